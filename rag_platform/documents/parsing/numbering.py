"""The numbers that Word puts before headings, clauses and list items (ECMA-376 part 1, 17.9)."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from rag_platform.documents.parsing.package import (
    Package,
    attribute,
    descend,
    elements,
    local,
    value,
)

MAX_LEVELS: Final = 9
PLACE: Final = re.compile(r"%([1-9])")
ROMAN: Final = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
    (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip


@dataclass(frozen=True)
class Level:
    """How a level counts: `text` is the label with %1 to %9 for the counters of the levels."""

    format: str
    text: str
    start: int
    legal: bool


@dataclass
class Numbering:
    """The lists of a document and how far each has counted."""

    levels: dict[str, dict[int, Level]] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    restarts: dict[str, dict[int, int]] = field(default_factory=dict)
    counts: dict[str, dict[int, int]] = field(default_factory=dict)

    def next_label(self, number: str, depth: int) -> str | None:
        """The label of the next paragraph at a depth (from 0) of a list: "2.1", "b)".

        "-" for bullets, "" for numbers that do not show, None for a list that is not defined.
        """
        group = self.lists.get(number, "")
        levels = self.levels.get(group, {})
        level = levels.get(depth)
        if level is None:
            return None
        counts = self.counts.setdefault(group, {})
        for restarted, start in self.restarts.pop(number, {}).items():
            counts[restarted] = start - 1
        counts[depth] = counts.get(depth, level.start - 1) + 1
        for deeper in [each for each in counts if each > depth]:
            del counts[deeper]
        if level.format == "bullet":
            return "-"
        if level.format == "none":
            return ""
        return PLACE.sub(lambda found: _count(levels, counts, int(found[1]) - 1, level), level.text)


def read_numbering(package: Package, name: str) -> Numbering:
    """The lists of a numbering part."""
    numbering = Numbering()
    for element in elements(package, name, frozenset({"abstractNum", "num"})):
        if local(element) == "abstractNum":
            numbering.levels[attribute(element, "abstractNumId")] = dict(
                _level(each) for each in element if local(each) == "lvl"
            )
            continue
        number = attribute(element, "numId")
        numbering.lists[number] = value(element, "abstractNumId")
        numbering.restarts[number] = {
            _number(attribute(each, "ilvl")): _number(value(each, "startOverride"), 1)
            for each in element
            if local(each) == "lvlOverride" and value(each, "startOverride")
        }
    return numbering


def _level(element: Any) -> tuple[int, Level]:
    level = Level(
        format=value(element, "numFmt") or "decimal",
        text=value(element, "lvlText")[:50],
        start=_number(value(element, "start"), 1),
        legal=descend(element, "isLgl") is not None,
    )
    return min(_number(attribute(element, "ilvl")), MAX_LEVELS), level


def _number(written: str, otherwise: int = 0) -> int:
    return int(written) if written.isdecimal() and len(written) < 6 else otherwise


def _count(levels: dict[int, Level], counts: dict[int, int], depth: int, shown: Level) -> str:
    level = levels.get(depth)
    if level is None:
        return ""
    count = counts.setdefault(depth, level.start)
    return _written(count, "decimal" if shown.legal else level.format)


def _written(count: int, form: str) -> str:
    if form == "decimalZero":
        return f"{count:02}"
    if form.endswith("Letter") and count > 0:  # z is followed by aa, bb
        letters = chr(ord("a") + (count - 1) % 26) * min((count - 1) // 26 + 1, 9)
        return letters.upper() if form.startswith("upper") else letters
    if form.endswith("Roman") and 0 < count < 4_000:
        letters = _roman(count)
        return letters.upper() if form.startswith("upper") else letters
    return str(count)


def _roman(count: int) -> str:
    letters = ""
    for worth, written in ROMAN:
        letters += written * (count // worth)
        count %= worth
    return letters
