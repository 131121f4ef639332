"""The calendar of a source."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from rag_platform.documents.windows import Calendar, UnknownWindow, utc

DAILY = Calendar("daily", datetime(2026, 7, 1, tzinfo=UTC))
HOURLY = Calendar("hourly", datetime(2026, 7, 1, 6, tzinfo=UTC))


def test_keys_are_of_utc() -> None:
    in_tokyo = datetime(2026, 7, 3, 8, 59, tzinfo=timezone(timedelta(hours=9)))
    assert DAILY.key(in_tokyo) == "2026-07-02"
    assert HOURLY.key(in_tokyo) == "2026-07-02-23:00"


def test_the_current_window() -> None:
    assert DAILY.current(datetime(2026, 7, 3, 23, 59, 59, tzinfo=UTC)) == "2026-07-03"
    assert HOURLY.current(datetime(2026, 7, 3, 23, 59, 59, tzinfo=UTC)) == "2026-07-03-23:00"
    before = datetime.now(UTC).strftime("%Y-%m-%d")
    assert before <= DAILY.current() <= datetime.now(UTC).strftime("%Y-%m-%d")


@pytest.mark.parametrize(
    ("calendar", "key"),
    [
        (DAILY, "2026-06-30"),
        (DAILY, "9999-12-31"),
        (DAILY, "2026-07-32"),
        (DAILY, "2026-7-2"),
        (DAILY, "2026-07-02-00:00"),
        (DAILY, "yesterday"),
        (DAILY, ""),
        (HOURLY, "2026-07-01-05:00"),
        (HOURLY, "2026-07-02-13:30"),
        (HOURLY, "2026-07-02-24:00"),
        (HOURLY, "2026-07-02"),
    ],
)
def test_what_is_no_window(calendar: Calendar, key: str) -> None:
    with pytest.raises(UnknownWindow, match=re.escape(f"window {key!r}")) as refused:
        calendar.check(key)
    assert "\n" not in str(refused.value)


def test_the_running_window_exists_and_the_next_does_not() -> None:
    now = datetime.now(UTC)
    assert HOURLY.check(HOURLY.current(now)) == HOURLY.current(now)
    with pytest.raises(UnknownWindow, match="the calendar runs from 2026-07-01-06:00 to"):
        HOURLY.check(HOURLY.key(now + timedelta(hours=2)))


def test_between_over_a_month_and_over_midnight() -> None:
    assert list(DAILY.between("2026-07-30", "2026-08-02")) == [
        "2026-07-30",
        "2026-07-31",
        "2026-08-01",
        "2026-08-02",
    ]
    assert list(HOURLY.between("2026-07-01-22:00", "2026-07-02-01:00")) == [
        "2026-07-01-22:00",
        "2026-07-01-23:00",
        "2026-07-02-00:00",
        "2026-07-02-01:00",
    ]
    assert list(DAILY.between("2026-07-02", "2026-07-02")) == ["2026-07-02"]
    assert list(DAILY.between("2026-07-03", "2026-07-02")) == []
    with pytest.raises(UnknownWindow):
        list(DAILY.between("2026-06-01", "2026-07-02"))


@pytest.mark.parametrize(
    ("moment", "window"),
    [
        (datetime(2026, 7, 2, 10, tzinfo=UTC), "2026-07-02"),
        (datetime(2020, 1, 1, tzinfo=UTC), "2026-07-01"),
        # Four digits or fewer in the year: a key must not be compared before it is one.
        (datetime(999, 12, 31, tzinfo=UTC), "2026-07-01"),
        (datetime(1, 1, 1, tzinfo=UTC), "2026-07-01"),
    ],
)
def test_the_window_of_a_past_moment(moment: datetime, window: str) -> None:
    assert DAILY.of_time(moment) == window


def test_a_moment_to_come_is_now() -> None:
    assert DAILY.of_time(datetime(9999, 12, 31, 23, 59, tzinfo=UTC)) == DAILY.current()


@pytest.mark.parametrize(
    ("path", "day", "hour"),
    [
        ("2026/07/05/report.md", "2026-07-05", "2026-07-05-00:00"),
        ("logs/2026-07-05T13/a.txt", "2026-07-05", "2026-07-05-13:00"),
        ("logs/2026/07/05/13/a.txt", "2026-07-05", "2026-07-05-13:00"),
        ("minutes-20260705.pdf", "2026-07-05", "2026-07-05-00:00"),
        ("minutes_2026_07_05_23.pdf", "2026-07-05", "2026-07-05-23:00"),
        ("2026.07.05.md", "2026-07-05", "2026-07-05-00:00"),
        # Not an hour of the day: only the date counts.
        ("2026/07/05/24/a.txt", "2026-07-05", "2026-07-05-00:00"),
        ("2026/07/05/2026.txt", "2026-07-05", "2026-07-05-00:00"),
        # The first date that exists.
        ("2026-02-30/2026-07-05.md", "2026-07-05", "2026-07-05-00:00"),
        ("2026-07-05/2026-07-09.md", "2026-07-05", "2026-07-05-00:00"),
        # Before the calendar.
        ("2019/01/01/13/a.txt", "2026-07-01", "2026-07-01-06:00"),
        ("09991231.txt", "2026-07-01", "2026-07-01-06:00"),
        # No dates.
        ("2026-02-30.md", None, None),
        ("2026-13-01.md", None, None),
        ("0000-01-01.md", None, None),
        ("2026-07/05.md", None, None),
        ("part-120260705.md", None, None),
        ("call-202607051.md", None, None),
        ("readme.md", None, None),
        ("", None, None),
    ],
)
def test_a_date_in_a_path(path: str, day: str | None, hour: str | None) -> None:
    assert DAILY.of_path(path) == day
    assert HOURLY.of_path(path) == hour


def test_times_out_of_the_calendar() -> None:
    assert utc(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert utc(1e12).year == 9999
    assert utc(-1e12).year == 1
