"""Which documents of a source owe an enrichment, and which of its windows must be asked again."""

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import changes, documents, enrichments

# The reason of a document that a run has begun and not ended.
BEGUN = "not finished"
_BATCH = 500


def clean_documents(source: str) -> sa.ColumnElement[bool]:
    """The documents of a source that have a text: those that have an enrichment, one each."""
    return sa.and_(
        documents.c.source == source,
        ~documents.c.gone,
        ~documents.c.empty,
        documents.c.text_hash.is_not(None),
    )


def enriched_as_they_stand() -> sa.ColumnElement[bool]:
    """The join of documents with the enrichment that was made of their text as it is now."""
    return sa.and_(
        enrichments.c.source == documents.c.source,
        enrichments.c.doc_id == documents.c.doc_id,
        enrichments.c.text_hash == documents.c.text_hash,
    )


def begin(catalog: Catalog, source: str, window: str) -> None:
    """From now on the page's documents are owed an enrichment: see `unfinished_windows`.

    What was made of the same text before stays until there is something newer.
    """
    lacking = (
        sa.select(documents.c.doc_id, documents.c.seq, documents.c.text_hash)
        .outerjoin(enrichments, enriched_as_they_stand())
        .where(
            clean_documents(source), documents.c.window == window, enrichments.c.doc_id.is_(None)
        )
        .order_by(documents.c.doc_id)
        .limit(_BATCH)
    )
    while True:
        with catalog.begin() as connection:
            found = connection.execute(lacking).all()
            catalog.upsert(connection, enrichments, [_owed(source, window, row) for row in found])
        if len(found) < _BATCH:
            return


def _owed(source: str, window: str, row: Any) -> dict[str, Any]:
    nothing = ("label", "confidence", "raw_confidence", "method", "model", "prompt")
    return {
        "source": source,
        "doc_id": row.doc_id,
        "seq": row.seq,
        "window": window,
        "text_hash": row.text_hash,
        "status": "deferred",
        "reason": BEGUN,
        "fields": {},
        **dict.fromkeys((*nothing, "published", "published_digest")),
        "updated_at": time.time(),
    }


def unfinished_windows(catalog: Catalog, source: str) -> list[str]:
    """Windows with documents that wait: over the budget, not answered in time, broken off, or
    come in since. Oldest first.

    A page that no run has begun is not among them: enriching what was there before is a backfill
    that somebody plans and pays for.
    """
    of_page = enrichments.alias("of_page")
    begun = sa.exists().where(
        of_page.c.source == documents.c.source, of_page.c.window == documents.c.window
    )
    owed = (
        sa.select(documents.c.window)
        .join(changes, changes.c.seq == documents.c.seq)
        .outerjoin(enrichments, enriched_as_they_stand())
        .where(
            clean_documents(source),
            changes.c.outcome.is_not(None),
            sa.or_(
                sa.func.coalesce(enrichments.c.seq, 0) < documents.c.seq,
                enrichments.c.status == "deferred",
            ),
            begun,
        )
        .distinct()
    )
    with catalog.read() as connection:
        return sorted(connection.execute(owed).scalars())


def newest_window(catalog: Catalog, source: str) -> str | None:
    """The newest page with documents that have a text."""
    newest = sa.select(sa.func.max(documents.c.window)).where(clean_documents(source))
    with catalog.read() as connection:
        found = connection.scalar(newest)
    return None if found is None else str(found)


def unaccounted(catalog: Catalog, source: str, windows: Sequence[str]) -> dict[str, int]:
    """Documents with a text and without an enrichment made of it, by window."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(documents.c.window, sa.func.count().label("n"))
            .outerjoin(enrichments, enriched_as_they_stand())
            .where(
                clean_documents(source),
                documents.c.window.in_(list(windows)),
                sa.func.coalesce(enrichments.c.seq, 0) < documents.c.seq,
            )
            .group_by(documents.c.window)
        )
        return {row.window: row.n for row in rows}
