"""Dates in text: ISO, numeric, English and East Asian forms, read as ISO where that is clear."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sept sep",
            "october oct",
            "november nov",
            "december dec",
        ),
        start=1,
    )
    for name in names.split()
}
# In lower case these are no months, or too often something else.
_ALSO_WORDS = frozenset({"may", "march"}) | {name for name in _MONTHS if len(name) < 4}
_EARLIEST = 1000

_MONTH = "(" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\b\.?"
_DAY = r"(?<![\w.,/:-])(\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(\d{4})(?![\w/:-])"


@dataclass(frozen=True, slots=True)
class FoundDate:
    """A date at text[start:end], with its possible readings as ISO 8601.

    A reading is YYYY-MM-DD, YYYY-MM, or --MM-DD where the text names no year.
    """

    start: int
    end: int
    written: str
    readings: tuple[str, ...]

    @property
    def value(self) -> str:
        """The ISO date where there is one reading with a year, else the date as written."""
        clear = len(self.readings) == 1 and not self.readings[0].startswith("-")
        return self.readings[0] if clear else self.written


def find_dates(text: str) -> list[FoundDate]:
    """The dates of a text, in order and apart from each other; no day that no calendar has."""
    return list(_apart(_found(text)))


def _found(text: str) -> Iterator[FoundDate]:
    """The forms that fit where a number stands or, before it, a month; in order of their starts."""
    for number in _NUMBER.finditer(text):
        begin = max(0, number.start() - _LONGEST_MONTH)
        month = _MONTH_BEFORE.search(text, begin, number.start())
        tried = [(month.start(), _MONTH_FIRST)] if month else []
        for start, forms in [*tried, (number.start(), _NUMBER_FIRST)]:
            for pattern, read in forms:
                match = pattern.match(text, start)
                readings = filter(None, read(*match.groups())) if match else ()
                if match and (known := tuple(dict.fromkeys(readings))):
                    yield FoundDate(start, match.end(), match[0].rstrip("."), known)


def _apart(found: Iterable[FoundDate]) -> Iterator[FoundDate]:
    """Of dates that overlap, the longest."""
    kept: FoundDate | None = None
    for each in found:
        if kept is not None and each.start < kept.end:
            kept = max(kept, each, key=lambda one: one.end - one.start)
            continue
        if kept is not None:
            yield kept
        kept = each
    if kept is not None:
        yield kept


def iso(year: str | int, month: int, day: str | int) -> str | None:
    """YYYY-MM-DD, or None for a day that no calendar has."""
    try:
        found = date(int(year), month, int(day))
    except ValueError:
        return None
    return found.isoformat() if found.year >= _EARLIEST else None


def _month(name: str) -> int | None:
    return None if name in _ALSO_WORDS else _MONTHS[name.lower()]


def _year_first(year: str, month: str, day: str) -> list[str | None]:
    return [iso(year, int(month), day)]


def _numeric(first: str, second: str, year: str) -> list[str | None]:
    return [iso(year, int(second), first), iso(year, int(first), second)]


def _dotted(day: str, month: str, year: str) -> list[str | None]:
    return [iso(year, int(month), day)]


def _day_month_year(day: str, name: str, year: str) -> list[str | None]:
    return [iso(year, _MONTHS[name.lower()], day)]


def _month_day_year(name: str, day: str, year: str) -> list[str | None]:
    return [iso(year, _MONTHS[name.lower()], day)]


def _month_year(name: str, year: str) -> list[str | None]:
    month = _month(name)
    return [f"{int(year)}-{month:02d}" if month and int(year) >= _EARLIEST else None]


def _day_month(day: str, name: str) -> list[str | None]:
    return _month_day(name, day)


def _month_day(name: str, day: str) -> list[str | None]:
    month = _month(name)
    # 2000 is a leap year: 29 February is a day of some year.
    known = month and iso(2000, month, day)
    return [f"--{known[5:]}" if known else None]


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_NUMBER = re.compile(r"(?<!\d)\d{1,4}(?!\d)")
_LONGEST_MONTH = 12  # "September, "
_MONTH_BEFORE = _form(rf"\b{_MONTH},? $")
_NUMBER_FIRST = (
    (_form(r"(?<![\w./-])(\d{4})-(\d\d)-(\d\d)(?![\d-])"), _year_first),
    (_form(r"(?<![\w./-])(\d{4})/(\d{1,2})/(\d{1,2})(?![\w/-])"), _year_first),
    (_form(r"(\d{4})\s?[年년]\s?(\d{1,2})\s?[月월]\s?(\d{1,2})\s?[日일]"), _year_first),
    (_form(rf"{_DAY}\.?(?: of)?[ -]{_MONTH},?[ -]{_YEAR}"), _day_month_year),
    (_form(r"(?<![\w./-])(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})(?![\w/-])"), _dotted),
    (_form(r"(?<![\w./-])(\d{1,2})[/-](\d{1,2})[/-](\d{4})(?![\w/-])"), _numeric),
    (_form(rf"{_DAY}\.?(?: of)? {_MONTH}"), _day_month),
)
_MONTH_FIRST = (
    (_form(rf"{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?,? {_YEAR}"), _month_day_year),
    (_form(rf"{_MONTH},? {_YEAR}"), _month_year),
    (_form(rf"{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?\b(?![.,]\d|:)"), _month_day),
)
