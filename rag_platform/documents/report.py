"""What a page came to: the outcomes of its newest pass, its dead letters, its documents."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.settlement import OUTCOMES
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import (
    changes,
    dead_letters,
    documents,
    passes,
    safety_findings,
)


@dataclass(frozen=True, slots=True)
class PageReport:
    """The newest pass of a page, and what of the whole page is dead.

    `outcomes` sum to `listed` when every document has exactly one; of the `objects`, `waiting` are
    dated into windows without a page and not among the listed. `undecided` counts changes
    without an outcome over the whole page. `standing` counts the page's documents that no newer
    change has superseded, `dead` those of them without a text; `dead_so_far` counts the dead
    letters of this page and of all before it, `standing_so_far` their documents.
    """

    source: str
    window: str
    objects: int
    listed: int
    waiting: int
    outcomes: dict[str, int]
    undecided: int
    standing: int
    dead: int
    dead_so_far: int
    standing_so_far: int

    @property
    def sums(self) -> bool:
        """Whether every listed document has exactly one outcome."""
        return self.undecided == 0 and sum(self.outcomes.values()) == self.listed


def report(catalog: Catalog, source: str, window: str) -> PageReport | None:
    """The report of a page; None for one that was never written."""
    with catalog.read() as connection:
        last = connection.execute(
            sa.select(passes)
            .where(passes.c.source == source, passes.c.window == window)
            .order_by(passes.c.pass_no.desc())
            .limit(1)
        ).first()
        if last is None:
            return None
        of_page = sa.and_(changes.c.source == source, changes.c.window == window)
        deleted = _count(
            connection,
            changes,
            of_page,
            changes.c.pass_no == last.pass_no,
            changes.c.kind == "deleted",
        )
        return PageReport(
            source=source,
            window=window,
            objects=last.objects,
            listed=last.listed,
            waiting=last.objects + deleted - last.listed,
            outcomes=_outcomes(connection, last, of_page),
            undecided=_count(connection, changes, of_page, changes.c.outcome.is_(None)),
            standing=_count(
                connection,
                documents,
                documents.c.source == source,
                documents.c.window == window,
                ~documents.c.gone,
            ),
            dead=_count(
                connection,
                dead_letters,
                dead_letters.c.source == source,
                dead_letters.c.window == window,
            ),
            dead_so_far=_count(
                connection,
                dead_letters,
                dead_letters.c.source == source,
                dead_letters.c.window <= window,
            ),
            standing_so_far=_count(
                connection,
                documents,
                documents.c.source == source,
                documents.c.window <= window,
                ~documents.c.gone,
            ),
        )


def _outcomes(
    connection: sa.Connection, last: Any, of_page: sa.ColumnElement[bool]
) -> dict[str, int]:
    """The counts of the pass by outcome; a document that waits for money is deferred."""
    outcome = sa.case(
        (changes.c.deferred_by.is_not(None), "deferred"), else_=changes.c.outcome
    ).label("outcome")
    rows = connection.execute(
        sa.select(outcome, sa.func.count().label("n"))
        .where(of_page, changes.c.pass_no == last.pass_no, changes.c.outcome != "departed")
        .group_by(outcome)
    )
    counts = {row.outcome: row.n for row in rows}
    if not last.complete:  # what did not happen is not listed
        counts["unchanged"] = counts.get("unchanged", 0) + last.unchanged
        return {name: counts[name] for name in OUTCOMES if counts.get(name)}
    # Of those that did not change: what an earlier pass left to wait, or dead.
    waiting = _count(
        connection,
        documents.join(changes, changes.c.seq == documents.c.seq),
        documents.c.source == last.source,
        ~documents.c.gone,
        changes.c.deferred_by.is_not(None),
        _before(changes, last),
    )
    dead = _count(
        connection,
        dead_letters,
        dead_letters.c.source == last.source,
        _before(dead_letters, last),
    )
    counts["deferred"] = counts.get("deferred", 0) + waiting
    counts["dead_lettered"] = counts.get("dead_lettered", 0) + dead
    counts["unchanged"] = counts.get("unchanged", 0) + last.unchanged - waiting - dead
    return {name: counts[name] for name in OUTCOMES if counts.get(name)}


def _before(table: sa.Table, last: Any) -> sa.ColumnElement[bool]:
    """Rows of passes before that one."""
    earlier = sa.and_(table.c.window == last.window, table.c.pass_no < last.pass_no)
    return sa.or_(table.c.window < last.window, earlier)


def _count(
    connection: sa.Connection, table: sa.FromClause, *conditions: sa.ColumnElement[bool]
) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table).where(*conditions)) or 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found in one document; `kinds` counts findings by kind."""

    key: str
    action: str
    injection: float
    hidden: int
    kinds: dict[str, int]


@dataclass(frozen=True, slots=True)
class SafetyReport:
    """What was found in the documents of a page.

    `documents` counts by kind of finding those that have it, `findings` how often it stands in
    them all; `actions` counts documents by what was done. `worst` are those that need a person
    most: quarantined, for review, masked, then the rest.
    """

    documents: dict[str, int]
    findings: dict[str, int]
    actions: dict[str, int]
    worst: tuple[Finding, ...]


_ACTIONS = ("quarantined", "review", "masked", "none")


def safety(catalog: Catalog, source: str, window: str, *, most: int = 50) -> SafetyReport:
    """What was found in a page's documents, with at most so many of them by name."""
    table = safety_findings
    statement = (
        sa.select(table, documents.c.key)
        .join(documents, documents.c.doc_id == table.c.doc_id)
        .where(table.c.source == source, table.c.window == window)
        .order_by(
            sa.case({name: n for n, name in enumerate(_ACTIONS)}, value=table.c.action),
            table.c.injection.desc(),
            documents.c.key,
        )
    )
    held: Counter[str] = Counter()
    found: Counter[str] = Counter()
    actions: Counter[str] = Counter()
    worst: list[Any] = []
    with catalog.read() as connection:
        for row in connection.execute(statement):
            held.update(row.kinds.keys())
            found.update(row.kinds)
            actions[row.action] += 1
            if len(worst) < most:
                worst.append(Finding(row.key, row.action, row.injection, row.hidden, row.kinds))
    return SafetyReport(
        documents=dict(held.most_common()),
        findings=dict(found.most_common()),
        actions={name: actions[name] for name in _ACTIONS if actions[name]},
        worst=tuple(worst),
    )


def too_many_dead(page: PageReport, max_share: float) -> str | None:
    """Why the share of dead letters is out of bounds, or None.

    Measured against all that was listed, or all that is known where a listing shows only what
    happened; and against the page's own documents once there are enough of them to tell a broken
    parser from a broken document.
    """
    all_of_them = "listed" if page.listed >= page.standing_so_far else "known"
    total = max(page.listed, page.standing_so_far)
    shares = {f"{all_of_them} documents": (page.dead_so_far, total)}
    if page.dead >= _ENOUGH:
        shares["documents of this page"] = (page.dead, page.standing)
    for what, (dead, total) in shares.items():
        if dead > max_share * max(total, 1):
            return (
                f"{dead:,} of {total:,} {what} are dead letters, over the share of {max_share:.0%}"
            )
    return None


_ENOUGH = 5
