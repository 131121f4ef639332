"""Time windows: the pages of a source's change log, one per partition key.

Keys are those of Dagster's daily and hourly partitions in UTC, so a key sorts as its time.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from rag_platform.errors import PlatformError

Cadence = Literal["daily", "hourly"]

_FORMAT: dict[Cadence, str] = {"daily": "%Y-%m-%d", "hourly": "%Y-%m-%d-%H:%M"}
_LENGTH: dict[Cadence, timedelta] = {
    "daily": timedelta(days=1),
    "hourly": timedelta(hours=1),
}

# 2026-07-01, 2026/07/01, 20260701, each optionally followed by an hour: /13/, T13, -13.
_DATE_IN_PATH = re.compile(
    r"(?<!\d)(?P<y>\d{4})(?P<sep>[-/_.]?)(?P<m>\d{2})(?P=sep)(?P<d>\d{2})(?!\d)"
    r"(?:[T/_-](?P<h>[01]\d|2[0-3])(?!\d))?"
)


class UnknownWindow(PlatformError):
    """A window key that the source's calendar does not have."""


class Calendar:
    """The windows of one source: from `start` to the one that is running now."""

    def __init__(self, cadence: Cadence, start: datetime) -> None:
        self.cadence: Cadence = cadence
        self.start = start
        self._format = _FORMAT[cadence]
        self._length = _LENGTH[cadence]

    def key(self, moment: datetime) -> str:
        """The key of the window that contains `moment`."""
        return moment.astimezone(UTC).strftime(
            "%Y-%m-%d" if self.cadence == "daily" else "%Y-%m-%d-%H:00"
        )

    def current(self, now: datetime | None = None) -> str:
        """The window that is running now."""
        return self.key(now or datetime.now(UTC))

    def check(self, key: str) -> str:
        """The key itself, or `UnknownWindow` when it is malformed or out of the calendar."""
        try:
            begins = datetime.strptime(key, self._format).replace(tzinfo=UTC)
        except ValueError as error:
            raise UnknownWindow(
                f"window {key!r}: not a {self.cadence} key; write it like {self.current()!r}."
            ) from error
        if begins < self.start or begins > datetime.now(UTC) or self.key(begins) != key:
            raise UnknownWindow(
                f"window {key!r}: the calendar runs from {self.key(self.start)} to "
                f"{self.current()} ({self.cadence}, UTC). Change `start` of the source for more."
            )
        return key

    def between(self, first: str, last: str) -> Iterator[str]:
        """The keys from `first` to `last`, both included."""
        begins = datetime.strptime(self.check(first), self._format).replace(tzinfo=UTC)
        while (key := self.key(begins)) <= self.check(last):
            yield key
            begins += self._length

    def end(self, key: str) -> datetime:
        """The first moment after a window."""
        return datetime.strptime(key, self._format).replace(tzinfo=UTC) + self._length

    def of_time(self, moment: datetime) -> str:
        """The window of a past moment; before the calendar: its first, after it: the current."""
        return min(self.key(max(moment, self.start)), self.current())

    def of_path(self, path: str) -> str | None:
        """The window of the first date written in a path, or None when there is none."""
        for found in _DATE_IN_PATH.finditer(path):
            try:
                day = date(int(found["y"]), int(found["m"]), int(found["d"]))
            except ValueError:
                continue
            return self.of_time(
                datetime(day.year, day.month, day.day, int(found["h"] or 0), tzinfo=UTC)
            )
        return None


_LAST_SECOND = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_FIRST_SECOND = datetime(1, 1, 1, tzinfo=UTC).timestamp()


def utc(seconds: float) -> datetime:
    """A datetime from seconds since 1970; times out of the calendar are its first or last."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST_SECOND), _LAST_SECOND), UTC)
