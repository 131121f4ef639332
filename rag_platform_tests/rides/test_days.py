"""Days where the rides are, and the days that a file's name speaks of."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.rides.days import Days, Span, UnknownDay, dates_in

NEW_YORK = Days("America/New_York", date(2019, 1, 1))


def span(first: str, last: str | None = None) -> Span:
    return Span(date.fromisoformat(first), date.fromisoformat(last or first))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rides-2026-11-25.json", span("2026-11-25")),
        ("2026/11/25/part-0.csv.gz", span("2026-11-25")),
        ("date=2026-11-25/part.parquet", span("2026-11-25")),
        ("rides20261125.csv", span("2026-11-25")),
        ("20261125T0600.csv", span("2026-11-25")),
        ("week_2026-11-23_2026-11-29.csv", span("2026-11-23", "2026-11-29")),
        ("yellow_2019-03.parquet", span("2019-03-01", "2019-03-31")),
        ("yellow/2020/02/rides.parquet", span("2020-02-01", "2020-02-29")),
        ("trips_2013-01_2015-06.csv.gz", span("2013-01-01", "2015-06-30")),
        ("rides.csv", None),
        ("rides-2026-13-01.csv", None),
        ("rides-2026-02-30.csv", None),
        ("part-8f2e-2019-04ab-11.parquet", None),
        ("batch-201903.csv", None),
        ("1234567890123.csv", None),
    ],
)
def test_dates_in_names(name: str, expected: Span | None) -> None:
    assert dates_in(name) == expected


@pytest.mark.parametrize(("day", "hours"), [("2019-03-10", 23), ("2019-11-03", 25)])
def test_days_of_other_lengths(day: str, hours: int) -> None:
    begins, ends = NEW_YORK.bounds(date.fromisoformat(day))
    assert ends - begins == timedelta(hours=hours)


def test_bounds_are_midnights_where_the_rides_are() -> None:
    assert NEW_YORK.bounds(date(2019, 3, 10)) == (
        datetime(2019, 3, 10, 5, tzinfo=UTC),
        datetime(2019, 3, 11, 4, tzinfo=UTC),
    )


@given(
    st.dates(date(1990, 1, 2), date(2090, 1, 1)),
    st.sampled_from(["UTC", "America/New_York", "America/Sao_Paulo", "Pacific/Apia", "Asia/Gaza"]),
)
def test_days_leave_no_gap(day: date, zone: str) -> None:
    days = Days(zone, date(1990, 1, 1))
    begins, ends = days.bounds(day)
    assert days.bounds(day - timedelta(days=1))[1] == begins <= ends


def test_yesterday_is_that_of_the_zone() -> None:
    moment = datetime(2026, 6, 10, 3, tzinfo=UTC)  # 23:00 of the day before in New York
    assert NEW_YORK.today(moment) == date(2026, 6, 9)
    assert NEW_YORK.yesterday(moment) == date(2026, 6, 8)


def test_days_before_stop_at_the_first() -> None:
    assert list(NEW_YORK.before(date(2019, 1, 3), 7)) == [date(2019, 1, 2), date(2019, 1, 1)]


@pytest.mark.parametrize("key", ["2018-12-31", "2999-01-01", "20190110", "../../etc", "2019-1-1"])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(UnknownDay):
        NEW_YORK.check(key)
    assert NEW_YORK.check("2019-01-01") == date(2019, 1, 1)
