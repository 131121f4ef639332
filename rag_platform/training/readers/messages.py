"""Messages of people, each with the intent that it has."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from rag_platform.training.errors import UnusableData
from rag_platform.training.rows import BadRow, DataFile, Reader, Rows
from rag_platform.training.tables import is_table, read_table
from rag_platform.training.task import GROUP, TARGET, UNIT

if TYPE_CHECKING:
    import pandas as pd

TEXT = "text"
# The columns that may name the intent; the first that is there counts.
INTENT = ("intent", "category", "label", TARGET)
# The columns that may name the message itself; without one, its text does.
ID = (UNIT, "id")
MAX_INTENT = 100
_DOCUMENTS = (".json", ".json.gz")
_NO_WORD = re.compile(r"[\W_]+")


class MessagesReader(Reader):
    """Tables with a column `text` and, to train on, `intent`, `category`, `label` or `target`.

    Other columns are left out: of clinc's `domain` and `split` the one tells the intent and the
    other is no property of a message. The unit is `unit` or `id` where there is one, else a hash of
    the text. Messages that differ in case, blanks and punctuation only are one group.
    """

    def read(self, files: Sequence[DataFile], *, labelled: bool) -> Rows:
        """One row a message; empty ones, and those without an intent, are bad rows."""
        import pandas as pd

        bad: list[BadRow] = []
        frames: list[pd.DataFrame] = []
        records = 0
        others: list[str] = []
        for file in filter(is_table, files):
            unread: list[BadRow] = []
            try:
                whole = read_table(file, unread)
            except UnusableData as error:
                if not file.name.lower().endswith(_DOCUMENTS):
                    raise
                # A list of the intents beside the data, say.
                others.append(str(error))
                continue
            table = _columns(whole, labelled=labelled)
            if table is None:
                others.append(_without(file, whole))
                continue
            records += len(table) + len(unread)
            bad += unread
            problems = list(_problems(file, table, labelled=labelled))
            bad += problems
            frames.append(table.drop(index=[row.number for row in problems]))
        if not frames:
            raise UnusableData(_nothing(others))
        return Rows(_rows(pd.concat(frames), labelled=labelled), bad, records)


def _columns(table: "pd.DataFrame", *, labelled: bool) -> "pd.DataFrame | None":
    """The columns that count, under their names here, whatever their case; None where one is
    lacking."""
    there = {str(name).strip().lower(): name for name in reversed(table.columns)}
    wanted = {TEXT: (TEXT,), UNIT: ID, **({TARGET: INTENT} if labelled else {})}
    found = {
        next((there[each] for each in names if each in there), None): name
        for name, names in wanted.items()
    }
    kept = {column: name for column, name in found.items() if column is not None}
    if not set(wanted) - {UNIT} <= set(kept.values()):
        return None
    return table[list(kept)].rename(columns=kept)


def _without(file: DataFile, table: "pd.DataFrame") -> str:
    there = ", ".join(f"{name!s:.40}" for name in table.columns[:10]) or "none"
    return f"{file.name[:100]!r} has columns {there}"


def _nothing(others: list[str]) -> str:
    found = "; ".join(others[:3]) or "there is no table"
    return (
        f"messages: {found}. Needed are tables (CSV, JSON lines, Parquet) with columns text and, "
        f"to train on, {' or '.join(INTENT)}."
    )


def _problems(file: DataFile, table: "pd.DataFrame", *, labelled: bool) -> Iterator[BadRow]:
    for number, text in table[TEXT].items():
        if not isinstance(text, str) or not text.strip():
            yield BadRow(file.name, int(number), "no_text", "the message is empty")
        elif labelled and (told := _told(table.at[number, TARGET])):
            yield BadRow(file.name, int(number), "no_intent", told)


def _told(intent: Any) -> str | None:
    """What is wrong with an intent, if anything is."""
    name = _name(intent)
    if not name:
        return "the message has no intent"
    return None if len(name) <= MAX_INTENT else f"the intent has over {MAX_INTENT} characters"


def _name(value: Any) -> str:
    """Names that are whole numbers in the file are texts here; a missing one is empty."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, str | Integral) else ""


def _rows(table: "pd.DataFrame", *, labelled: bool) -> "pd.DataFrame":
    import pandas as pd

    texts = [text.strip() for text in table[TEXT]]
    units = list(map(unit_of, texts))
    if UNIT in table:
        units = [_name(name) or unit for name, unit in zip(table[UNIT], units, strict=True)]
    columns = {UNIT: units, GROUP: [unit_of(_bare(text)) for text in texts], TEXT: texts}
    if labelled:
        columns[TARGET] = list(map(_name, table[TARGET]))
    return pd.DataFrame(columns, index=table.index, dtype="str")


def unit_of(text: str) -> str:
    """The name of a text that has no other: 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _bare(text: str) -> str:
    """Letters and digits only, in lower case; the text itself where there are none."""
    return _NO_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip() or text
