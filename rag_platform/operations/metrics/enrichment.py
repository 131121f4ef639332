"""What models made of documents, how sure they were, and what waits for a person."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from rag_platform.operations.metrics.families import Family, Names, gauge, gauge_histogram
from rag_platform.operations.metrics.snapshot import Snapshot, bucket, buckets, plain
from rag_platform.storage.schema import enrichments, reviews

STATUSES = ("published", "in_review", "rejected", "held", "failed", "deferred")
_DECISIONS = ("open", "approved", "corrected", "rejected", "superseded")
# Confidence and quality are from 0 to 1; most of both lies near the upper end.
BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)

_COUNT = sa.func.count().label("n")
# Through the whole table once, which is quicker than through its index.
_SOURCE = plain(enrichments.c.source).label("source")


def statuses(seen: Snapshot) -> Iterator[Family]:
    """Enriched documents by status, and the share that needs nobody."""
    sources = Names(seen.settings.sources)
    found = gauge(
        "enrichment_documents", "Enriched documents by what became of them.", "source", "status"
    )
    coverage = gauge(
        "gate_coverage_ratio",
        "Share of the enriched documents that are published, of those that do not wait for money.",
        "source",
    )
    for source in seen.settings.enrichment.sources:
        for status in STATUSES:
            found.add(0, source, status)
    by = (_SOURCE, enrichments.c.status)
    for row in seen.rows(sa.select(*by, _COUNT).group_by(*by)):
        found.add(row.n, sources(row.source), row.status)
    for source in dict.fromkeys(source for source, _ in found.samples):
        counts = {status: found.samples.get((source, status), 0) for status in STATUSES}
        if settled := sum(counts.values()) - counts["deferred"]:
            coverage.add(counts["published"] / settled, source)
    yield from (found, coverage)


def scores(seen: Snapshot) -> Iterator[Family]:
    """How confidence and quality are distributed now."""
    confidence = gauge_histogram(
        "confidence", "Calibrated confidence of the documents as they stand.", "source"
    )
    quality = gauge_histogram(
        "quality_score", "Quality of the texts of the documents as they stand.", "source"
    )
    _fill(confidence, seen, enrichments.c.confidence)
    _fill(quality, seen, enrichments.c.fields["quality"].as_float())
    yield from (confidence, quality)


def review_queue(seen: Snapshot) -> Iterator[Family]:
    """Documents that a person is asked about."""
    sources = Names(seen.settings.sources)
    found = gauge("reviews", "Reviews by what became of them.", "source", "status")
    overdue = gauge("reviews_overdue", "Open reviews after their deadline.", "source")
    oldest = gauge(
        "review_oldest_seconds", "Since the oldest open review was opened; 0 without one.", "source"
    )
    for source in seen.settings.enrichment.sources:
        overdue.add(0, source)
        oldest.add(0, source)
        for status in _DECISIONS:
            found.add(0, source, status)
    by = (reviews.c.source, reviews.c.status)
    for row in seen.rows(sa.select(*by, _COUNT).group_by(*by)):
        found.add(row.n, sources(row.source), row.status)
    late = sa.func.count(sa.case((reviews.c.due_at < seen.now, 1))).label("late")
    first = sa.func.min(reviews.c.opened_at).label("first")
    waiting = sa.select(reviews.c.source, late, first).where(reviews.c.status == "open")
    for row in seen.rows(waiting.group_by(reviews.c.source)):
        overdue.add(row.late, sources(row.source))
        oldest.add(max(0.0, seen.now - row.first), sources(row.source))
    yield from (found, overdue, oldest)


def _fill(family: Family, seen: Snapshot, value: sa.ColumnElement[Any]) -> None:
    """A histogram of a value between 0 and 1 over the documents of each source."""
    sources = Names(seen.settings.sources)
    # Materialized: else the JSON is read again for each of the bounds.
    values = sa.select(_SOURCE, value.label("value")).cte().prefix_with("materialized")
    le = bucket(values.c.value, BOUNDS).label("le")
    statement = sa.select(values.c.source, le, _COUNT, sa.func.sum(values.c.value).label("total"))
    found: dict[str, dict[str, tuple[int, float]]] = {}
    grouped = statement.where(values.c.value.is_not(None)).group_by(values.c.source, le)
    for row in seen.rows(grouped):
        found.setdefault(row.source, {})[row.le] = (row.n, row.total)
    for source, counts in sorted(found.items()):
        family.add_buckets(buckets(BOUNDS, counts), sources(source))
