"""What the enrichment of a page came to, for metadata, checks and the command line."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from rag_platform.enrichment.gate import STATUSES
from rag_platform.enrichment.progress import (
    clean_documents,
    enriched_as_they_stand,
    unaccounted,
)
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents, enrichments, reviews


@dataclass(slots=True)
class Routing:
    """How a step's documents of a page came out, and which models answered.

    `routes` counts answers by tier and model; `complexity` is their mean, from 0 to 1. `dropped`
    counts what answers said and texts did not bear out.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    routes: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    complexity: float | None = None
    confidence: float | None = None
    dropped: int = 0


def routing(rows: Iterable[Mapping[str, Any]]) -> Routing:
    """Over rows of a step's part."""
    found = Routing()
    complexities: list[float] = []
    confidences: list[float] = []
    for row in rows:
        found.statuses[row["status"]] += 1
        if row["status"] != "ok":
            found.reasons[row["reason"].partition(":")[0]] += 1
            continue
        found.routes[(row["tier"], row["model"])] += 1
        complexities.append(row["complexity"])
        found.dropped += row["dropped"]
        if row["confidence"] is not None:
            confidences.append(row["confidence"])
    found.complexity = _mean(complexities)
    found.confidence = _mean(confidences)
    return found


@dataclass(frozen=True, slots=True)
class PageEnrichment:
    """The enrichment of a page as the catalog has it.

    `documents` have a text; each has one of the `statuses`, but for the `unaccounted`. `labels`
    counts all that have one, `published_labels` the published ones. `open_reviews` and `overdue`
    are those of the page.
    """

    source: str
    window: str
    documents: int
    statuses: dict[str, int]
    unaccounted: int
    labels: dict[str, int]
    open_reviews: int
    overdue: int

    @property
    def published_share(self) -> float:
        """Published documents among those that do not wait."""
        settled = sum(self.statuses.values()) - self.statuses.get("deferred", 0)
        return self.statuses.get("published", 0) / settled if settled else 1.0

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "window": self.window,
            "documents": self.documents,
            "statuses": self.statuses,
            "labels": self.labels,
            "open_reviews": self.open_reviews,
            "overdue": self.overdue,
        }


def page_enrichment(catalog: Catalog, source: str, window: str, *, now: float) -> PageEnrichment:
    """The report of a page."""
    of_page = sa.and_(clean_documents(source), documents.c.window == window)
    joined = sa.join(documents, enrichments, enriched_as_they_stand())
    waiting = sa.and_(
        reviews.c.source == source, reviews.c.window == window, reviews.c.status == "open"
    )
    with catalog.read() as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(documents).where(of_page))
        statuses = _counts(connection, joined, enrichments.c.status, of_page)
        labels = _counts(connection, joined, enrichments.c.label, of_page)
        open_, overdue = connection.execute(
            sa.select(sa.func.count(), sa.func.count(sa.case((reviews.c.due_at < now, 1)))).where(
                waiting
            )
        ).one()
    return PageEnrichment(
        source,
        window,
        total or 0,
        {name: statuses[name] for name in STATUSES if name in statuses},
        unaccounted(catalog, source, [window]).get(window, 0),
        {name: n for name, n in sorted(labels.items(), key=lambda item: -item[1]) if name},
        open_,
        overdue,
    )


def sample(catalog: Catalog, source: str, window: str, count: int) -> Sequence[Any]:
    """Some enrichments of a page: those that a person should look at first."""
    urgent = sa.case(
        {"published": 2, "rejected": 2, "deferred": 1}, value=enrichments.c.status, else_=0
    )
    with catalog.read() as connection:
        return connection.execute(
            sa.select(enrichments, documents.c.key)
            .join(documents, enriched_as_they_stand())
            .where(clean_documents(source), documents.c.window == window)
            .order_by(urgent, enrichments.c.confidence, enrichments.c.doc_id)
            .limit(count)
        ).all()


def queue_size(catalog: Catalog, source: str, *, now: float) -> tuple[int, int]:
    """Open reviews of a source, and how many of them are overdue."""
    with catalog.read() as connection:
        row = connection.execute(
            sa.select(sa.func.count(), sa.func.count(sa.case((reviews.c.due_at < now, 1)))).where(
                reviews.c.source == source, reviews.c.status == "open"
            )
        ).one()
    return row[0], row[1]


def status_problems(catalog: Catalog, source: str, windows: Sequence[str]) -> list[str]:
    """Where it does not hold that every document with a text has exactly one status, and one
    open review if it is in review."""
    problems = [
        f"{window}: {count:,} documents without a status; run the enrichment of this window again"
        for window, count in sorted(unaccounted(catalog, source, windows).items())
    ]
    asked = sa.exists().where(
        reviews.c.source == enrichments.c.source,
        reviews.c.doc_id == enrichments.c.doc_id,
        reviews.c.text_hash == enrichments.c.text_hash,
        # One that was decided a moment ago takes effect with review_decisions.
        sa.or_(reviews.c.status == "open", reviews.c.applied_at.is_(None)),
        reviews.c.status != "superseded",
    )
    lost = (
        sa.select(enrichments.c.window, sa.func.count().label("n"))
        .where(
            enrichments.c.source == source,
            enrichments.c.window.in_(list(windows)),
            enrichments.c.status == "in_review",
            ~asked,
        )
        .group_by(enrichments.c.window)
    )
    with catalog.read() as connection:
        problems += [
            f"{row.window}: {row.n:,} documents in review without an open review"
            for row in connection.execute(lost)
        ]
    return problems


def _counts(
    connection: sa.Connection, tables: sa.FromClause, column: Any, condition: Any
) -> dict[Any, int]:
    rows = connection.execute(
        sa.select(column.label("name"), sa.func.count().label("n"))
        .select_from(tables)
        .where(condition)
        .group_by(column)
    )
    return {row.name: row.n for row in rows}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
