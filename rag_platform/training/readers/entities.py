"""Texts with the named entities in them, in the forms in which such data comes.

- CoNLL (`.conll`, `.iob` or `.bio`, also gzipped): a token and, in the last column, its tag a line;
  an empty line ends a sentence, `-DOCSTART-` begins a document. Tags IO, IOB and IOBES.
- Records (JSON lines, JSON, Parquet, CSV with JSON in its cells): `text` and `entities` or `target`
  of `start`, `end` (characters, end exclusive) and `label`; FIRE's `tokens` and `entities` of
  `type`, `start`, `end` (tokens); FinEntity's `content` and `annotations`, all of them companies.

Tokens are joined as they are written in a text, without a blank before a comma, say: the texts that
a model answers later are such texts.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_platform.training.errors import UnusableData
from rag_platform.training.readers.conll import is_conll, sentences
from rag_platform.training.readers.messages import unit_of
from rag_platform.training.rows import BadRow, DataFile, Reader, Rows
from rag_platform.training.tables import is_table, read_records
from rag_platform.training.task import GROUP, TARGET, UNIT
from rag_platform.training.tasks.spans import BadSpans, Span, as_text, checked, joined

if TYPE_CHECKING:
    import pandas as pd

TEXT = "text"
MAX_TEXT = 100_000
COMPANY = "Company"


@dataclass(frozen=True, slots=True)
class Tagged:
    """A text and its entities; `unit` and `group` where the data tells them."""

    text: str
    spans: tuple[Span, ...]
    unit: str | None = None
    group: str | None = None


class EntitiesReader(Reader):
    """Rows with `text`; the target is JSON text, a list of objects as `spans.as_text` writes it."""

    def read(self, files: Sequence[DataFile], *, labelled: bool) -> Rows:
        """One row a sentence of CoNLL or a record.

        Texts without a character, too long ones, and entities that overlap or lie outside the text
        make bad rows. Files of other forms beside the data are left out.
        """
        bad: list[BadRow] = []
        found: list[tuple[int, Tagged]] = []
        others: list[str] = []
        for file in files:
            if not (is_conll(file) or is_table(file)):
                others.append(f"{file.name[:100]!r} is of a kind that is not known")
                continue
            try:
                read = list(_of_file(file, labelled=labelled))
            except _OtherForm as form:
                others.append(f"{file.name[:100]!r} has {form}")
                continue
            found += [(number, each) for number, each in read if isinstance(each, Tagged)]
            bad += [each for _, each in read if isinstance(each, BadRow)]
        if not found and not bad:
            raise UnusableData(_nothing(others))
        return Rows(_frame(found, labelled=labelled), bad, len(found) + len(bad))


class _OtherForm(Exception):
    """The records of a file have none of the forms: what they have instead."""


def _of_file(file: DataFile, *, labelled: bool) -> Iterator[tuple[int, Tagged | BadRow]]:
    if is_conll(file):
        for number, sentence in enumerate(sentences(file), start=1):
            text, spans = joined(sentence.tokens, sentence.entities)
            yield number, _checked(file, number, text, spans, None, sentence.group)
        return
    form = None
    for number, record in _records(file):
        if isinstance(record, BadRow):
            yield number, record
            continue
        form = form or _form(record, labelled=labelled)
        if form is None:
            there = ", ".join(f"{name!s:.40}" for name in list(record)[:10])
            raise _OtherForm(f"columns {there or 'none'}")
        yield number, _of_record(file, number, record, form)


def _records(file: DataFile) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    try:
        for number, record in read_records(file):
            if isinstance(record, dict):
                record = {str(name).strip().lower(): value for name, value in record.items()}
            yield number, record
    except UnusableData:
        if not file.name.lower().endswith((".json", ".json.gz")):
            raise
        # A list of the labels beside the data, say.
        raise _OtherForm("no list of records") from None


Form = Callable[[dict[str, Any]], tuple[str, tuple[Span, ...]]]


def _form(record: dict[str, Any], *, labelled: bool) -> Form | None:
    """How records with the columns of this one are read."""
    forms: list[tuple[str, str, Form]] = [
        ("tokens", "entities", _of_tokens),
        ("content", "annotations", _of_annotations),
        (TEXT, "entities", _of_characters),
        (TEXT, TARGET, _of_characters),
    ]
    for text, entities, form in forms:
        if text in record and (entities in record or not labelled):
            return form
    return None


def _of_tokens(record: dict[str, Any]) -> tuple[str, tuple[Span, ...]]:
    tokens = _parsed(record["tokens"])
    if not all(isinstance(token, str) for token in tokens):
        raise BadSpans("tokens are no texts")
    return joined(tokens, _spans(record.get("entities"), "type"))


def _of_annotations(record: dict[str, Any]) -> tuple[str, tuple[Span, ...]]:
    found = _spans(record.get("annotations"), None)
    return record["content"], tuple(Span(each.start, each.end, COMPANY) for each in found)


def _of_characters(record: dict[str, Any]) -> tuple[str, tuple[Span, ...]]:
    return record[TEXT], _spans(record.get("entities", record.get(TARGET)), "label")


def _spans(entities: Any, label: str | None) -> tuple[Span, ...]:
    """Entities as objects; without the name of their `label` it does not matter."""
    found = []
    for entity in _parsed(entities):
        if not isinstance(entity, dict):
            raise BadSpans("an entity is no object")
        start, end = entity.get("start"), entity.get("end")
        name = entity.get(label) if label else COMPANY
        # True is 1 to Python, and no place in a text.
        if type(start) is not int or type(end) is not int or not isinstance(name, str):
            raise BadSpans(f"an entity lacks start, end or {label or 'label'}")
        found.append(Span(start, end, name))
    return tuple(found)


def _parsed(value: Any) -> list[Any]:
    """A list, which in CSV is JSON text; none where there is nothing."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadSpans("a list that is no JSON") from None
    if value is None or value != value:
        return []
    if not isinstance(value, list):
        raise BadSpans("no list")
    return value


def _of_record(file: DataFile, number: int, record: dict[str, Any], form: Form) -> Tagged | BadRow:
    try:
        text, spans = form(record)
    except BadSpans as error:
        return BadRow(file.name, number, "bad_entity", str(error))
    unit, group = (_name(record.get(name)) for name in (UNIT, GROUP))
    return _checked(file, number, text, spans, unit, group)


def _name(value: Any) -> str | None:
    return str(value).strip() or None if isinstance(value, str | int) else None


def _checked(
    file: DataFile,
    number: int,
    text: Any,
    spans: tuple[Span, ...],
    unit: str | None,
    group: str | None,
) -> Tagged | BadRow:
    if not isinstance(text, str) or not text.strip():
        return BadRow(file.name, number, "no_text", "the text is empty")
    if len(text) > MAX_TEXT:
        return BadRow(file.name, number, "too_long", f"over {MAX_TEXT:,} characters: split it")
    try:
        return Tagged(text, checked(text, spans), unit, group)
    except BadSpans as error:
        return BadRow(file.name, number, "bad_entity", str(error))


def _nothing(others: list[str]) -> str:
    found = "; ".join(others[:3]) or "there is no file"
    return (
        f"entities: {found}. Needed are CoNLL files (.conll, .iob, .bio) or records with text and "
        "entities (start, end, label), with tokens and entities (type, start, end), or with "
        "content and annotations (start, end)."
    )


def _frame(found: list[tuple[int, Tagged]], *, labelled: bool) -> "pd.DataFrame":
    import pandas as pd

    columns = {
        UNIT: [each.unit or unit_of(each.text) for _, each in found],
        GROUP: [each.group or unit_of(each.text) for _, each in found],
        TEXT: [each.text for _, each in found],
    }
    if labelled:
        columns[TARGET] = [as_text(each.spans, each.text) for _, each in found]
    return pd.DataFrame(columns, index=[number for number, _ in found], dtype="str")
