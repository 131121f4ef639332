"""The weeks of training: each is named by its Monday, in UTC."""

from datetime import UTC, date, datetime, timedelta

from rag_platform.training.errors import TrainingError

# The first week that there is: before it nothing was trained here.
FIRST_WEEK = date(2026, 1, 5)
_WEEK = timedelta(days=7)


class UnknownWeek(TrainingError):
    """A week that is no Monday, or lies outside of the calendar."""


def week_of(moment: datetime) -> str:
    """The week that contains a moment."""
    day = moment.astimezone(UTC).date()
    return (day - timedelta(days=day.weekday())).isoformat()


def current_week(now: datetime | None = None) -> str:
    """The week that is running."""
    return week_of(now or datetime.now(UTC))


def has_ended(week: str, now: datetime | None = None) -> bool:
    """Whether a week is over."""
    return week < current_week(now)


def check_week(key: str) -> str:
    """The key itself. Raises `UnknownWeek`."""
    try:
        day = date.fromisoformat(key)
    except ValueError as error:
        raise UnknownWeek(f"week {key!r}: no date; write its Monday, {current_week()}.") from error
    if day.isoformat() != key or day.weekday() != 0 or not day >= FIRST_WEEK:
        raise UnknownWeek(
            f"week {key!r}: weeks are named by their Mondays, from {FIRST_WEEK} to "
            f"{current_week()}."
        )
    if key > current_week():
        raise UnknownWeek(f"week {key!r}: it has not begun; the current one is {current_week()}.")
    return key
