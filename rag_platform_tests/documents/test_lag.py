"""Which windows a feed's lag is brought to."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Self

import pytest

from rag_platform.documents.lag import windows_to_ask
from rag_platform.documents.sources.base import Fetched, Known, ListedObject, Place, Source
from rag_platform.documents.windows import Calendar


class Feed(Source):
    """A feed whose first event that waits has a time."""

    complete = False

    def __init__(self, oldest: float | None) -> None:
        self._oldest = oldest

    @classmethod
    def open(cls, place: Place) -> Self:
        raise NotImplementedError

    def batches(
        self, since: str | None = None, until: datetime | None = None
    ) -> Iterator[list[ListedObject]]:
        raise NotImplementedError

    def fetch(self, key: str, known: Known | None = None) -> Fetched | None:
        raise NotImplementedError

    def oldest(self, since: str | None = None) -> float | None:
        assert since == "here"
        return self._oldest


TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = TODAY - timedelta(days=30)


def day(ago: int) -> str:
    return (TODAY - timedelta(days=ago)).strftime("%Y-%m-%d")


def asked(
    ago: float | None, *, written: tuple[int, ...] = (), dated_by: str = "modified"
) -> list[str]:
    """The windows that are asked for where the first event is some days old."""
    oldest = None if ago is None else (TODAY - timedelta(days=ago)).timestamp()
    return windows_to_ask(
        Feed(oldest),
        "here",
        calendar=Calendar("daily", START),
        dated_by=dated_by,
        written={day(one) for one in written},
        most=3,
    )


@pytest.mark.parametrize(
    ("ago", "written", "windows"),
    [
        (None, (), [0]),  # it may have been read meanwhile
        (-0.5, (5,), [0]),  # noon today
        (2, (), [2, 1, 0]),
        (9.5, (), [10, 9, 8]),  # the further ones when these are done
        (99, (), [30, 29, 28]),  # before the calendar
        (-99, (), [0]),  # a clock that runs ahead
        (5, (6,), [5, 4, 3]),  # it follows what was written
        (5, (5,), [5, 4, 3]),  # the newest window is open
        (5, (5, 2), [2, 1, 0]),  # came late: to the newest window
        (5, (2,), [5, 4, 3]),  # opened late
    ],
)
def test_windows_with_lag(ago: float | None, written: tuple[int, ...], windows: list[int]) -> None:
    assert asked(ago, written=written) == [day(one) for one in windows]


def test_what_is_dated_by_when_it_is_seen_goes_to_today() -> None:
    assert asked(9, dated_by="seen") == [day(0)]
    assert asked(2, dated_by="path") == [day(2), day(1), day(0)]


def test_a_listing_goes_to_today() -> None:
    feed = Feed(START.timestamp())
    feed.complete = True
    calendar = Calendar("daily", START)
    found = windows_to_ask(
        feed, None, calendar=calendar, dated_by="modified", written=set(), most=3
    )
    assert found == [day(0)]
