"""Sources and their documents: what came of them, and how old what is known of them is."""

import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.settlement import OUTCOMES
from rag_platform.documents.windows import Calendar
from rag_platform.operations.metrics.families import OTHER, Family, Names, gauge
from rag_platform.operations.metrics.snapshot import Snapshot, plain
from rag_platform.storage.schema import (
    changes,
    dead_letters,
    documents,
    erasures,
    near_documents,
    passes,
    safety_findings,
    step_letters,
)

_COUNT = sa.func.count().label("n")
_PARSING = ("parsed_docs", "clean_docs")
# A reason is a word of ours. A sentence would speak of one document, and be a label for it alone.
_WORD = re.compile(r"[a-z][a-z0-9_]{0,39}")
_OUTCOME = sa.case((changes.c.deferred_by.is_not(None), "deferred"), else_=changes.c.outcome).label(
    "outcome"
)
# A document that moved away from a key has its outcome where it went.
_IS_SETTLED = sa.and_(changes.c.outcome.is_not(None), changes.c.outcome != "departed")


def states(seen: Snapshot) -> Iterator[Family]:
    """Documents as they stand, and what was noted about them."""
    sources = _sources(seen)
    found = gauge(
        "documents",
        "Documents known of a source: live, dead (without a text, see dead_letters), or gone.",
        *("source", "state"),
    )
    for source in seen.settings.sources:
        for state in ("live", "dead", "gone"):
            found.add(0, source, state)
    is_dead = dead_letters.c.doc_id.is_not(None)
    case = sa.case((documents.c.gone, "gone"), (is_dead, "dead"), else_="live").label("state")
    letters = documents.outerjoin(dead_letters, dead_letters.c.doc_id == documents.c.doc_id)
    by_state = sa.select(documents.c.source, case, _COUNT).select_from(letters)
    for row in seen.rows(by_state.group_by(documents.c.source, case)):
        found.add(row.n, sources(row.source), row.state)
    yield found
    yield _counted(
        seen,
        gauge("safety_findings", "Documents in which something was found.", "source", "action"),
        safety_findings.c.source,
        safety_findings.c.action,
    )
    yield _counted(
        seen,
        gauge("near_duplicates", "Documents that are near copies of another.", "source"),
        near_documents.c.source,
        where=near_documents.c.canonical != near_documents.c.doc_id,
    )
    yield from _erasures(seen)


def outcomes(seen: Snapshot) -> Iterator[Family]:
    """What became of the changes of documents. Replays and erasure change it, so it may fall."""
    sources = _sources(seen)
    found = gauge(
        "document_outcomes",
        "Changes of documents by outcome, of all pages.",
        *("source", "outcome"),
    )
    for name in seen.settings.sources:
        for outcome in OUTCOMES:
            if outcome != "unchanged":  # no change, so of no count
                found.add(0, name, outcome)
    source = plain(changes.c.source).label("source")
    settled = sa.select(source, _OUTCOME, _COUNT).where(_IS_SETTLED).group_by(source, _OUTCOME)
    for row in seen.rows(settled):
        found.add(row.n, sources(row.source), row.outcome)
    yield found


def pages(seen: Snapshot) -> Iterator[Family]:
    """The windows of the sources, and how old the newest is."""
    sources = _sources(seen)
    counted = gauge("pages", "Pages: settled, or open with changes that wait.", "source", "state")
    age = gauge("page_age_seconds", "Since a source was last listed.", "source")
    fresh = gauge(
        "source_freshness_seconds",
        "Since the end of the newest window that is settled; 0 while it runs.",
        "source",
    )
    newest = gauge(
        "newest_page_documents",
        "Changes of documents by outcome, of the newest page.",
        *("source", "outcome"),
    )
    length = gauge("window_seconds", "How much time a page of a source is about.", "source")
    bound = gauge(
        "dead_letter_limit_ratio",
        "Most of a page's documents that may be dead letters, by the settings.",
        "source",
    )
    for source, rules in seen.settings.sources.items():
        length.add(3_600 if rules.cadence == "hourly" else 86_400, source)
        bound.add(rules.max_dead_letter_share, source)
        for state in ("settled", "open"):
            counted.add(0, source, state)
    table = (
        sa.select(
            passes.c.source,
            passes.c.window,
            sa.func.max(passes.c.listed_at).label("at"),
            sa.func.min(sa.cast(passes.c.settled, sa.Integer)).label("settled"),
        )
        .group_by(passes.c.source, passes.c.window)
        .subquery()
    )
    by_source = sa.select(
        table.c.source,
        sa.func.count().label("n"),
        sa.func.sum(table.c.settled).label("settled"),
        sa.func.max(table.c.at).label("at"),
        sa.func.max(table.c.window).label("newest"),
        sa.func.max(sa.case((table.c.settled == 1, table.c.window))).label("newest_settled"),
    ).group_by(table.c.source)
    for row in seen.rows(by_source):
        name = sources(row.source)
        counted.add(row.settled, name, "settled").add(row.n - row.settled, name, "open")
        if row.source not in seen.settings.sources:
            continue  # nobody asks it any more
        age.add(max(0.0, seen.now - row.at), name)
        if row.newest_settled is not None:
            fresh.add(max(0.0, seen.now - _end(seen, row.source, row.newest_settled)), name)
        for outcome in seen.rows(_of_page(row.source, row.newest)):
            newest.add(outcome.n, name, outcome.outcome)
    yield from (counted, age, fresh, newest, length, bound)


def letters(seen: Snapshot) -> Iterator[Family]:
    """Dead letters of documents and of later steps."""
    sources, stages, reasons = _sources(seen), Names(), Names()
    labels = ("source", "stage", "reason")
    dead = gauge("dead_letters", "Documents without a text, by stage and reason.", *labels)
    refused = gauge(
        "validation_failures",
        "Documents whose content was refused by parsing or cleaning: of the dead letters.",
        *("source", "reason"),
    )
    step = gauge("step_letters", "What later steps could not use.", *labels)
    for source in seen.settings.sources:
        refused.add(0, source, "none")
    for table, family in ((dead_letters, dead), (step_letters, step)):
        by = (table.c.source, table.c.stage, table.c.reason)
        for row in seen.rows(sa.select(*by, _COUNT).group_by(*by).order_by(*by)):
            reason = reasons(row.reason if _WORD.fullmatch(row.reason) else OTHER)
            family.add(row.n, sources(row.source), stages(row.stage), reason)
            if family is dead and row.stage in _PARSING:
                refused.add(row.n, sources(row.source), reason)
    yield from (dead, refused, step)


def _erasures(seen: Snapshot) -> Iterator[Family]:
    statement = sa.select(_COUNT, sa.func.min(erasures.c.requested_at).label("at")).where(
        erasures.c.completed_at.is_(None)
    )
    (row,) = seen.rows(statement)
    yield gauge("erasures_open", "Documents that are to be erased and are not yet.").add(row.n)
    age = max(0.0, seen.now - row.at) if row.at is not None else 0.0
    yield gauge(
        "erasure_oldest_seconds",
        "Since the oldest erasure that is not done was asked for; 0 without one.",
    ).add(age)


def _counted(
    seen: Snapshot,
    family: Family,
    source: sa.Column[Any],
    *by: sa.Column[Any],
    where: sa.ColumnElement[bool] | None = None,
) -> Family:
    """Rows of a table by source and other columns."""
    sources = _sources(seen)
    if not by:
        for name in seen.settings.sources:
            family.add(0, name)
    statement = sa.select(source, *by, _COUNT).group_by(source, *by).order_by(source, *by)
    for row in seen.rows(statement if where is None else statement.where(where)):
        family.add(row.n, sources(row[0]), *row[1:-1])
    return family


def _of_page(source: str, window: str) -> sa.Select[Any]:
    of_page = (changes.c.source == source, changes.c.window == window)
    return sa.select(_OUTCOME, _COUNT).where(*of_page, _IS_SETTLED).group_by(_OUTCOME)


def _end(seen: Snapshot, source: str, window: str) -> float:
    """The end of a window; its cadence may have been another when it was written."""
    start = seen.settings.sources[source].start
    return Calendar("hourly" if ":" in window else "daily", start).end(window).timestamp()


def _sources(seen: Snapshot) -> Names:
    return Names(seen.settings.sources)
