"""The forms in which questions about reports come, a record at a time."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rag_platform.training.readers.filings import Filings, NoPages
from rag_platform.training.tasks.answers import (
    SCALES,
    UNANSWERABLE,
    Scale,
    Target,
    numbers,
    one_line,
    parts,
    row_text,
    target_of,
    words,
    written,
)

MAX_QUESTION = 2_000
MAX_CONTEXT = 60_000
# Of filings: the pages beside the evidence are taken as far as they fit.
MAX_PAGES = 36_000

Record = Mapping[str, Any]

# Words that do not say what a question is about.
_COMMON_WORDS = (
    "a an and are as at be been between by can did do does due for from had has have how if in "
    "into is it its many much not of on or per respectively s than that the their there these "
    "they this those to under was were what when where which who why will with change changes "
    "changed percentage percent average total year years fiscal amount value company difference "
    "increase increased decrease decreased sum number ratio proportion"
)
_COMMON = frozenset(_COMMON_WORDS.split())
_IN_USD = re.compile(r"\bUSD (thousand|million|billion)s?\b", re.IGNORECASE)
_MONEY = re.compile(r"-?[$€£]?-?[0-9][0-9,]*(?:\.[0-9]+)?%?")


@dataclass(frozen=True)
class Asked:
    """A question about a context. `target` is None where it is not asked for."""

    unit: str
    group: str
    question: str
    context: str
    target: Target | None

    @cached_property
    def about(self) -> frozenset[str]:
        """The words that say what the question is about."""
        return frozenset(words(self.question).split()) - _COMMON


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a record, or a question of it, is no row: a reason code, and in words."""

    reason: str
    detail: str


# `labelled` says whether targets are needed.
Form = Callable[[Record, Filings, bool], Iterator[Asked | Unusable]]


class _Odd(ValueError):
    """Something about a record; `reason` is its code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def form_of(record: Record) -> Form | None:
    """The form of a record by its columns; None for a record that holds no question."""
    for columns, form in _FORMS:
        if record.keys() >= columns:
            return form
    return None


# TAT-QA


def _tatqa(record: Record, _: Filings, labelled: bool) -> Iterator[Asked | Unusable]:
    """A table, its paragraphs, and the questions about them."""
    try:
        rows, paragraphs = record["table"]["table"], record["paragraphs"]
        table = [(f"t{n}", row_text(map(str, row))) for n, row in enumerate(rows, start=1)]
        prose = [(f"p{int(each['order'])}", str(each["text"])) for each in paragraphs]
        group, questions = str(record["table"]["uid"]), list(record["questions"])
        context = _context(written([*table, *prose]))
    except (KeyError, TypeError, ValueError) as error:
        yield Unusable("odd_context", f"not of TAT-QA's form ({type(error).__name__})")
        return
    for each in questions:
        try:
            target = _tatqa_target(each, table) if labelled else None
            yield Asked(str(each["uid"]), group, _question(each["question"]), context, target)
        except _Odd as odd:
            yield Unusable(odd.reason, str(odd))
        except (KeyError, TypeError, ValueError) as error:
            yield Unusable("odd_question", f"not of TAT-QA's form ({type(error).__name__})")


def _tatqa_target(each: Record, table: Sequence[tuple[str, str]]) -> Target:
    answers = _answers(each["answer"])
    source = str(each.get("answer_from", ""))
    evidence = [f"p{int(order)}" for order in each.get("rel_paragraphs", ())]
    if "table" in source:
        used = {words(text) for text in (*answers, *numbers(str(each.get("derivation", ""))))}
        evidence += [name for name, text in table if _holds(text, used)]
    return Target(
        answers=answers,
        scale=_scale(each.get("scale")),
        type=str(each.get("answer_type", "span")),
        source=source,
        cites=evidence,
    )


def _holds(text: str, used: set[str]) -> bool:
    return any(each and f" {each} " in f" {words(text)} " for each in used)


# FinanceBench


def _financebench(record: Record, filings: Filings, labelled: bool) -> Iterator[Asked | Unusable]:
    """A question with the page of its evidence; the context is the text around that page."""
    try:
        document, question = str(record["doc_name"]), _question(record["question"])
        pages = [int(each["evidence_page_num"]) for each in record["evidence"]]
        context = _context(written(filings.text(document, pages, most=MAX_PAGES)))
        target = None
        if labelled:
            answers = _answers(record["answer"])
            in_usd = _IN_USD.search(question)
            is_number = _MONEY.fullmatch(answers[0]) is not None
            target = Target(
                answers=answers,
                scale=_scale(in_usd[1].lower() if in_usd and is_number else ""),
                type="arithmetic" if is_number else "free",
                source="pdf",
                cites=[f"p{page + 1}" for page in pages],
            )
        unit = str(record.get("financebench_id") or "") or _unit(question, document)
        yield Asked(unit, document, question, context, target)
    except NoPages as none:
        yield Unusable(none.reason, str(none))
    except _Odd as odd:
        yield Unusable(odd.reason, str(odd))
    except (KeyError, TypeError, ValueError) as error:
        yield Unusable("odd_question", f"not of FinanceBench's form ({type(error).__name__})")


# Plain columns


def _plain(record: Record, _: Filings, labelled: bool) -> Iterator[Asked | Unusable]:
    """A question, its context, and what is known of them."""
    try:
        question, context = _question(record["question"]), _plain_context(record["context"])
        unit = _text(record, "unit", "uid", "id") or _unit(question, context)
        group = _text(record, "group", "document") or _unit(context)
        target = _plain_target(record) if labelled else None
        yield Asked(unit, group, question, context, target)
    except _Odd as odd:
        yield Unusable(odd.reason, str(odd))


def _plain_context(value: Any) -> str:
    """A text, or a list of paragraphs; where all lines have ids already, they keep them."""
    if isinstance(value, list):
        value = "\n".join(one_line(str(each)) for each in value)
    if not isinstance(value, str):
        raise _Odd("no_context", "context is no text")
    lines = [line for line in value.split("\n") if line.strip()]
    if len(parts(value)) == len(lines):
        return _context(value)
    return _context(written((f"p{n}", line) for n, line in enumerate(lines, start=1)))


def _plain_target(record: Record) -> Target:
    given = record.get("target")
    if isinstance(given, str) and given:
        try:
            return target_of(given)
        except ValueError:
            raise _Odd("odd_target", "target is not of the form that this reader gives") from None
    answer = record.get("answer")
    if record.get("answerable") in (False, "false", "False", 0):
        return UNANSWERABLE
    if answer is None or answer != answer or answer in ("", []):
        if "answer" not in record:
            raise _Odd("no_answer", "neither answer nor target")
        return UNANSWERABLE
    answers = _answers(answer)
    several = "multi-span" if len(answers) > 1 else "span"
    cites = record.get("cites")
    return Target(
        answers=answers,
        scale=_scale(record.get("scale")),
        type=_text(record, "type") or several,
        source=_text(record, "source"),
        cites=[str(cite) for cite in cites] if isinstance(cites, list) else [],
    )


# Values


def _question(value: Any) -> str:
    text = one_line(value) if isinstance(value, str) else ""
    if not text:
        raise _Odd("no_question", "question is empty")
    if len(text) > MAX_QUESTION:
        raise _Odd("long_question", f"question has over {MAX_QUESTION:,} characters")
    return text


def _context(text: str) -> str:
    if not text.strip():
        raise _Odd("no_context", "context is empty")
    if len(text) > MAX_CONTEXT:
        raise _Odd("long_context", f"context has over {MAX_CONTEXT:,} characters")
    return text


def _answers(value: Any) -> list[str]:
    """One text or several; a number as it is written."""
    values = value if isinstance(value, list) else [value]
    found = [one_line(str(each)) for each in values if each is not None]
    if not any(found):
        raise _Odd("no_answer", "answer is empty")
    return found


def _scale(value: Any) -> Scale:
    for scale in SCALES:
        if scale == (value or ""):
            return scale
    raise _Odd("odd_scale", f"scale is none of {', '.join(filter(None, SCALES))}")


def _text(record: Record, *names: str) -> str:
    found = (record.get(name) for name in names)
    return next((one_line(str(each)) for each in found if isinstance(each, str | int)), "")


def _unit(*texts: str) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]


_FORMS: list[tuple[set[str], Form]] = [
    ({"table", "paragraphs", "questions"}, _tatqa),
    ({"question", "doc_name", "evidence"}, _financebench),
    ({"question", "context"}, _plain),
]
