"""Questions about a text: the text in citable parts, the form of an answer, and what it rests on.

A context is text in which each line is a part and begins with its id: `[t3] Revenue | 12 | 11` for
the third row of a table, `[p2] ...` for the second paragraph, `[p54.7] ...` for the seventh part
of page 54. Lines are separated by one line end or more.
"""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

Scale = Literal["", "thousand", "million", "billion", "percent"]
SCALES: tuple[Scale, ...] = ("", "thousand", "million", "billion", "percent")

MAX_SPAN = 1_000
MAX_SPANS = 40

_LINE = re.compile(r"\[([tp][0-9]{1,6}(?:\.[0-9]{1,6})?)\] ?(.*)")
# A number with its thousands, or a word.
_TOKEN = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+|[^\W_]+")
_NUMBER = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+")
# What a calculation is written with; anything else names items that were counted.
_FORMULA = re.compile(r"[0-9\s.,+\-*/x%$€£()\[\]<>=\u2212\u2013\u00d7\u00f7]+")
# Numbers that stand for themselves in a calculation: counts of items, months, percent.
_OWN = frozenset({*map(str, range(13)), "100"})


# Contexts


def parts(context: str) -> dict[str, str]:
    """The parts of a context by their ids, in order; what has no id is no part."""
    found = (_LINE.fullmatch(line) for line in context.split("\n"))
    return {match[1]: match[2] for match in found if match}


def written(named: Iterable[tuple[str, str]]) -> str:
    """A context of parts with their ids. Each stays on one line; empty ones are left out.

    Paragraphs stand apart: what is taken out of one for looking like an instruction must not take
    the next ones with it.
    """
    lines = [(name, one_line(text)) for name, text in named]
    return "".join(
        f"[{name}] {text}\n" + ("" if name.startswith("t") else "\n")
        for name, text in lines
        if text.strip(" |")
    ).strip()


def row_text(cells: Iterable[str]) -> str:
    """A row of a table as the text of its part."""
    return " | ".join(one_line(cell).replace("|", "/") for cell in cells)


def cells(text: str) -> list[str]:
    """The cells of a part that is a row of a table."""
    return [cell.strip() for cell in text.split("|")]


def one_line(text: str) -> str:
    """The text without line ends and runs of blanks."""
    return " ".join(text.split())


# Answers


def _bounded(text: str) -> str:
    return one_line(text)[:MAX_SPAN]


def _id(value: Any) -> Any:
    return value.strip(" []") if isinstance(value, str) else value


Span = Annotated[str, AfterValidator(_bounded)]
CiteId = Annotated[str, BeforeValidator(_id), Field(max_length=20)]


class Answer(BaseModel):
    """An answer to a question about a context. One that refuses says nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    derivation: Span = Field(
        description="How the answer was made: for a calculation the formula, with the numbers as "
        "they stand in the data; for a count the items that were counted, separated by ';'; "
        "otherwise empty."
    )
    answer: Annotated[list[Span], Field(max_length=MAX_SPANS)] = Field(
        description="The answer, one entry for each of its parts; empty when refused."
    )
    scale: Scale = Field(description="Scale of the numbers of the answer; empty for none.")
    cites: Annotated[list[CiteId], Field(max_length=MAX_SPANS)] = Field(
        description="Ids of the parts of the data that the answer was taken from."
    )
    refused: bool = Field(description="True when the data does not hold the answer.")

    @model_validator(mode="before")
    @classmethod
    def _says_nothing_else(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("refused") is True:
            return {**value, "derivation": "", "answer": [], "scale": "", "cites": []}
        return value

    @model_validator(mode="after")
    def _says_something(self) -> "Answer":
        if not self.refused and not any(self.answer):
            raise ValueError("answer is empty; set refused where the data does not hold it")
        return self


REFUSAL = Answer(derivation="", answer=[], scale="", cites=[], refused=True)


def as_json(answer: Answer) -> str:
    """An answer as it stands in predictions."""
    return json.dumps(answer.model_dump(), ensure_ascii=False)


def answer_of(prediction: Any) -> Answer | None:
    """What stands in predictions as an answer; None for what is none: the model failed."""
    if not isinstance(prediction, str):
        return None
    try:
        return Answer.model_validate_json(prediction)
    except ValidationError:
        return None


# What is right


class Target(BaseModel):
    """What is right. `type` is span, multi-span, arithmetic or count, `source` where it stands.

    `cites` are ids of parts that hold it, as far as the data says; `page` ids (`p54`) stand for
    all parts of the page.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    answers: list[str]
    scale: Scale = ""
    type: str = "span"
    source: str = ""
    answerable: bool = True
    cites: list[str] = Field(default_factory=list)

    def text(self) -> str:
        """The target as it stands in the rows."""
        return json.dumps(self.model_dump(), ensure_ascii=False, sort_keys=True)


UNANSWERABLE = Target(answers=[], type="unanswerable", answerable=False)


def target_of(text: str) -> Target:
    """What stands in the rows as a target. Raises `ValueError`."""
    return Target.model_validate_json(text)


# Grounding


def is_grounded(answer: Answer, context: str, question: str) -> bool:
    """Whether all that an answer is made of stands in the parts that it cites.

    Those are its spans, and the numbers of its formula or the items it counted. A number that was
    calculated or counted need not stand there itself, nor must numbers that the question brought.
    """
    known = parts(context)
    if not answer.cites or any(cite not in known for cite in answer.cites):
        return False
    cited = words(" ".join(known[cite] for cite in answer.cites))
    used = _used(answer, question)
    return bool(used) and all(f" {each} " in f" {cited} " for each in used)


def _used(answer: Answer, question: str) -> list[str]:
    """The words and numbers that have to stand in the text."""
    is_result = bool(answer.derivation) and all(_is_number(span) for span in answer.answer)
    used = [] if is_result else [words(span) for span in answer.answer]
    if _FORMULA.fullmatch(answer.derivation):
        found = [words(number) for number in numbers(answer.derivation)]
        given = _OWN.union(words(question).split())
        # Where all of them are such numbers, they must come from the text after all.
        used += [number for number in found if number not in given] or found
    elif answer.derivation:
        used += [words(item) for item in answer.derivation.split(";")]
    return [each for each in used if each]


def numbers(text: str) -> list[str]:
    """The numbers of a text, as they are written there."""
    return _NUMBER.findall(text)


def words(text: str) -> str:
    """The words and numbers of a text in one spelling, parted by single blanks."""
    return " ".join(map(_spelled, _TOKEN.findall(text.casefold())))


def _spelled(token: str) -> str:
    if not _NUMBER.fullmatch(token) or len(token) > 40:
        return token
    return f"{Decimal(token.replace(',', '')).normalize():f}"


def _is_number(text: str) -> bool:
    return _NUMBER.search(text) is not None and _FORMULA.fullmatch(text) is not None
