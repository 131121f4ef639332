"""A ride's day: from midnight to midnight where the rides are, 23 to 25 hours long."""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from rag_platform.errors import PlatformError

_ONE = timedelta(days=1)
# 2026-11-25, 2026/11/25, 2026_11_25, 20261125.
_DAY = re.compile(r"(?<!\d)(20\d\d|19\d\d)([-/_.]?)(\d\d)\2(\d\d)(?!\d)")
# 2026-11, 2026/11, 2026_11; without a separator, or amid letters, it could be any number.
_MONTH = re.compile(r"(?<![0-9A-Za-z])(20\d\d|19\d\d)[-/_.](\d\d)(?![0-9A-Za-z]|[-/_.]\d\d(?!\d))")


class UnknownDay(PlatformError):
    """A day that is no date, or lies outside of the calendar."""


@dataclass(frozen=True, slots=True)
class Span:
    """Days from `first` to `last`, both included."""

    first: date
    last: date

    def wider(self) -> "Span":
        """With a day more on either side: a file may be dated in another time zone."""
        return Span(self.first - _ONE, self.last + _ONE)

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last


class Days:
    """The days of the rides in one time zone, from `start` to yesterday. Keys are ISO dates."""

    def __init__(self, timezone: str, start: date) -> None:
        self.zone = ZoneInfo(timezone)
        self.start = start

    def check(self, key: str) -> date:
        """The day of a key. Raises `UnknownDay`."""
        try:
            day = date.fromisoformat(key)
        except ValueError as error:
            raise UnknownDay(f"day {key!r}: no date; write it like 2026-11-25.") from error
        if day.isoformat() != key or not self.start <= day <= self.today():
            raise UnknownDay(
                f"day {key!r}: the rides run from {self.start} to {self.today()} "
                f"({self.zone.key}). Change `rides.start` for more."
            )
        return day

    def today(self, now: datetime | None = None) -> date:
        """The day that is running."""
        return (now or datetime.now(UTC)).astimezone(self.zone).date()

    def yesterday(self, now: datetime | None = None) -> date:
        """The newest day that has ended."""
        return self.today(now) - _ONE

    def bounds(self, day: date) -> tuple[datetime, datetime]:
        """When a day begins, and when the next one does, in UTC."""
        return self._midnight(day), self._midnight(day + _ONE)

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone).astimezone(UTC)

    def before(self, day: date, count: int) -> Iterator[date]:
        """Up to `count` days before a day, the newest first, none before the first one."""
        for back in range(1, count + 1):
            if day - back * _ONE >= self.start:
                yield day - back * _ONE


def dates_in(name: str) -> Span | None:
    """The days that a file's name speaks of, from the earliest to the latest; None without one.

    A month (`yellow_2019-03.parquet`) stands for all of its days.
    """
    spans = [
        span
        for found in _DAY.finditer(name)
        if (span := _span(int(found[1]), int(found[3]), int(found[4])))
    ]
    spans += [
        span for found in _MONTH.finditer(name) if (span := _span(int(found[1]), int(found[2])))
    ]
    if not spans:
        return None
    return Span(min(span.first for span in spans), max(span.last for span in spans))


def _span(year: int, month: int, day: int | None = None) -> Span | None:
    try:
        if day is not None:
            return Span(date(year, month, day), date(year, month, day))
        return Span(date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1]))
    except ValueError:  # calendar's error for a month of 13 is one, too
        return None
