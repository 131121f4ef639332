"""All dead letters at a glance, and word to people when a page gets many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox
from rag_platform.storage.schema import dead_letters, step_letters

# So many of one page are told at once, and again at ten times as many.
MANY = 20

_COLUMNS = ("source", "key", "window", "stage", "reason", "detail", "attempts")
_MOST_REASONS = 3


@dataclass(frozen=True, slots=True)
class Count:
    """How many dead letters there are of one source, stage and reason, and since when.

    `oldest` is in UTC seconds since 1970.
    """

    source: str
    stage: str
    reason: str
    count: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Overview:
    """Dead letters of all documents and records: counts, the most first, and the newest."""

    counts: tuple[Count, ...]
    newest: tuple[Any, ...]

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(row.count for row in self.counts)

    @property
    def oldest(self) -> float | None:
        """Since when there is one; None without any."""
        return min((row.oldest for row in self.counts), default=None)


def overview(catalog: Catalog, *, newest: int = 50) -> Overview:
    """What is dead now, with so many of the newest by name."""
    every = sa.union_all(
        *(
            sa.select(*(table.c[name] for name in _COLUMNS), table.c.first_at)
            for table in (dead_letters, step_letters)
        )
    ).subquery()
    kinds = (every.c.source, every.c.stage, every.c.reason)
    count = sa.func.count()
    with catalog.read() as connection:
        counts = connection.execute(
            sa.select(*kinds, count, sa.func.min(every.c.first_at))
            .group_by(*kinds)
            .order_by(count.desc(), *kinds)
        )
        rows = connection.execute(
            sa.select(every)
            .order_by(every.c.first_at.desc(), every.c.source, every.c.key)
            .limit(newest)
        )
        return Overview(tuple(Count(*row) for row in counts), tuple(rows))


def tell_of_many(
    catalog: Catalog, outbox: Outbox, source: str, windows: Sequence[str]
) -> list[str]:
    """Tell people of the pages of a source that have many dead letters; returns the new messages.

    A page is told of once for each power of ten.
    """
    told = []
    for window in windows:
        reasons = _by_reason(catalog, source, window)
        total = sum(reasons.values())
        if total < MANY:
            continue
        step = MANY * 10 ** (len(str(total // MANY)) - 1)
        named = ", ".join(
            f"{reason} {count:,}" for reason, count in list(reasons.items())[:_MOST_REASONS]
        )
        text = (
            f"{source} {window}: {total:,} dead letters\n"
            f"{named}{', and others' if len(reasons) > _MOST_REASONS else ''}\n"
            f"See: rag-platform dead-letters --source {source}"
        )
        if outbox.tell(f"dead-letters:{source}:{window}:{step}", text):
            told.append(text)
    return told


def _by_reason(catalog: Catalog, source: str, window: str) -> dict[str, int]:
    count = sa.func.count()
    statement = (
        sa.select(dead_letters.c.reason, count)
        .where(dead_letters.c.source == source, dead_letters.c.window == window)
        .group_by(dead_letters.c.reason)
        .order_by(count.desc(), dead_letters.c.reason)
    )
    with catalog.read() as connection:
        return {row[0]: row[1] for row in connection.execute(statement)}
