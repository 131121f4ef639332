"""The week in one message: what failed, how models do, what was spent, what waits for people."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar

import sqlalchemy as sa

from rag_platform.llm import ledger
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import dead_letters, reviews, step_letters
from rag_platform.storage.schema_models import deliveries

_MOST_LINES = 10
_MOST_REASONS = 3

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Week:
    """The seven days before a date, in UTC."""

    end: date

    @property
    def start(self) -> date:
        """The first day."""
        return self.end - timedelta(days=7)

    @property
    def seconds(self) -> tuple[float, float]:
        """From when to when, in seconds since 1970; the end is not part of it."""
        return _midnight(self.start), _midnight(self.end)

    @property
    def key(self) -> str:
        """What makes its digest one message."""
        return f"digest-{self.end.isoformat()}"

    def __str__(self) -> str:
        return f"{self.start.isoformat()} to {(self.end - timedelta(days=1)).isoformat()}"


def digest(
    catalog: Catalog,
    week: Week,
    *,
    failed_runs: Mapping[str, int],
    model_lines: Callable[[], Iterable[str]],
) -> str:
    """The text of a week's digest.

    `failed_runs` counts by job the runs that failed for good; `model_lines` gives a line for each
    model. Reviews and dead letters are those of now.
    """
    failed = sum(failed_runs.values())
    spent, before = _spent(catalog, week), _spent(catalog, Week(week.start))
    waiting, overdue = _reviews(catalog, _midnight(week.end))
    lines = [
        f"Week of {week}: {_count(failed, 'run')} failed, {_count(waiting, 'review')} open, "
        f"${sum(spent.values()):,.2f} for models",
        f"Failed runs: {failed:,}",
        *_shown(f"{job}: {count:,}" for job, count in _ranked(failed_runs)),
        "Models:",
        *(_shown(model_lines()) or ["  none"]),
        f"Cost of language models: ${sum(spent.values()):,.2f} "
        f"(the week before: ${sum(before.values()):,.2f})",
        *_shown(f"{model}: ${dollars:,.2f}" for model, dollars in _ranked(spent) if dollars),
        f"Reviews: {waiting:,} open, {overdue:,} of them overdue",
        *_letters(catalog, week),
        *_given_up(catalog, week),
    ]
    return "\n".join(lines)


def _spent(catalog: Catalog, week: Week) -> dict[str, float]:
    """US dollars by model."""
    days = ledger.daily_by_model(catalog, since=week.start)
    sums: dict[str, float] = {}
    for day, costs in days.items():
        if day < week.end.isoformat():
            for model, dollars in costs.items():
                sums[model] = sums.get(model, 0.0) + dollars
    return sums


def _reviews(catalog: Catalog, now: float) -> tuple[int, int]:
    late = sa.func.sum(sa.case((reviews.c.due_at < now, 1), else_=0))
    with catalog.read() as connection:
        row = connection.execute(
            sa.select(sa.func.count(), late).where(reviews.c.status == "open")
        ).one()
    return row[0], int(row[1] or 0)


def _letters(catalog: Catalog, week: Week) -> list[str]:
    """Documents and records that are dead letters, and which of them became so in the week."""
    start, end = week.seconds
    total, oldest, fresh = 0, end, dict[str, dict[str, int]]()
    for table in (dead_letters, step_letters):
        is_new = sa.and_(table.c.first_at >= start, table.c.first_at < end)
        kinds = (table.c.source, table.c.reason)
        new = sa.func.sum(sa.case((is_new, 1), else_=0))
        first = sa.func.min(table.c.first_at)
        statement = sa.select(*kinds, sa.func.count(), new, first).group_by(*kinds)
        with catalog.read() as connection:
            for source, reason, count, added, since in connection.execute(statement):
                total += count
                oldest = min(oldest, since)
                if added:
                    reasons = fresh.setdefault(source, {})
                    reasons[reason] = reasons.get(reason, 0) + int(added)
    sums = {source: sum(reasons.values()) for source, reasons in fresh.items()}
    since = f", the oldest since {datetime.fromtimestamp(oldest, UTC).date()}" if total else ""
    return [
        f"Dead letters: {total:,}, {sum(sums.values()):,} of them new{since}",
        *_shown(
            f"{source}: {count:,} new ({_reasons(fresh[source])})"
            for source, count in _ranked(sums)
        ),
    ]


def _reasons(counts: Mapping[str, int]) -> str:
    """The most frequent ones."""
    ranked = _ranked(counts)
    shown = [f"{reason} {count:,}" for reason, count in ranked[:_MOST_REASONS]]
    return ", ".join([*shown, "others"] if len(ranked) > _MOST_REASONS else shown)


def _given_up(catalog: Catalog, week: Week) -> list[str]:
    """What could not be told in the week, by channel, with the newest reason."""
    start, end = week.seconds
    statement = (
        sa.select(deliveries.c.channel, deliveries.c.error)
        .where(deliveries.c.status == "given_up", deliveries.c.at >= start, deliveries.c.at < end)
        .order_by(deliveries.c.at)
    )
    counts: dict[str, int] = {}
    reasons: dict[str, str] = {}
    with catalog.read() as connection:
        for channel, error in connection.execute(statement):
            counts[channel] = counts.get(channel, 0) + 1
            reasons[channel] = error or ""
    if not counts:
        return []
    return [
        f"Messages given up: {sum(counts.values()):,}",
        *_shown(f"{name}: {count:,}, {reasons[name]}" for name, count in _ranked(counts)),
    ]


def _ranked(counts: Mapping[str, N]) -> list[tuple[str, N]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))


def _shown(lines: Iterable[str]) -> list[str]:
    every = [f"  {' '.join(line.split())}" for line in lines]
    more = len(every) - _MOST_LINES
    return every if more <= 0 else [*every[:_MOST_LINES], f"  and {more:,} more"]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()
