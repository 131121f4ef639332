"""Weeks by their Mondays."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from rag_platform.training.calendar import (
    UnknownWeek,
    check_week,
    current_week,
    has_ended,
    week_of,
)


@pytest.mark.parametrize(
    ("moment", "week"),
    [
        (datetime(2026, 11, 23, tzinfo=UTC), "2026-11-23"),
        (datetime(2026, 11, 29, 23, 59, tzinfo=UTC), "2026-11-23"),
        (datetime(2026, 11, 30, tzinfo=UTC), "2026-11-30"),
        # Still Sunday in UTC.
        (datetime(2026, 11, 30, 1, tzinfo=timezone(timedelta(hours=2))), "2026-11-23"),
        (datetime(2027, 1, 1, tzinfo=UTC), "2026-12-28"),
    ],
)
def test_a_moment_is_in_the_week_of_its_monday(moment: datetime, week: str) -> None:
    assert week_of(moment) == week


def test_a_week_ends_with_its_sunday() -> None:
    sunday = datetime(2026, 11, 29, 23, tzinfo=UTC)
    assert not has_ended("2026-11-23", sunday)
    assert has_ended("2026-11-23", sunday + timedelta(hours=1))


@pytest.mark.parametrize("key", ["2026-11-24", "2026-1-5", "soon", "", "../x", "2025-12-29"])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(UnknownWeek, match="Monday"):
        check_week(key)


def test_the_future_has_no_week() -> None:
    after = (datetime.now(UTC) + timedelta(days=8)).date()
    monday = (after - timedelta(days=after.weekday())).isoformat()
    with pytest.raises(UnknownWeek, match="not begun"):
        check_week(monday)
    assert check_week(current_week()) == current_week()
