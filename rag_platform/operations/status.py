"""The state of sources and indexes as the catalog knows it."""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.report import report
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import (
    dead_letters,
    documents,
    index_documents,
    index_pages,
    passes,
)

EMBED_FIGURES = ("embed_calls", "embedded_chunks", "memo_hits")


def status(
    catalog: Catalog,
    *,
    sources: Sequence[str],
    indexes: Sequence[str],
    live: str,
    points: Callable[[str], int | None],
) -> dict[str, Any]:
    """Every source and every index; `points` counts what an index's collection holds."""
    return {
        "sources": {name: _source(catalog, name) for name in sources},
        "indexes": {
            name: _index(catalog, name) | {"points": points(name), "live": name == live}
            for name in indexes
        },
    }


def written_windows(catalog: Catalog, source: str) -> list[str]:
    """The windows of a source that have a page, oldest first."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(passes.c.window)
            .where(passes.c.source == source)
            .distinct()
            .order_by(passes.c.window)
        )
        return list(rows.scalars())


def page_summary(catalog: Catalog, source: str, window: str) -> dict[str, Any] | None:
    """What the newest pass of a page came to, and what embedding it took, over all indexes."""
    page = report(catalog, source, window)
    if page is None:
        return None
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(index_pages.c.figures).where(
                index_pages.c.source == source, index_pages.c.window == window
            )
        )
        figures = list(rows.scalars())
    return {
        "window": window,
        "listed": page.listed,
        "waiting": page.waiting,
        "outcomes": page.outcomes,
    } | {name: sum(of_index.get(name, 0) for of_index in figures) for name in EMBED_FIGURES}


def _source(catalog: Catalog, source: str) -> dict[str, Any]:
    dead = sa.exists().where(dead_letters.c.doc_id == documents.c.doc_id)
    with catalog.read() as connection:
        live = connection.scalar(
            sa.select(sa.func.count()).where(documents.c.source == source, ~documents.c.gone, ~dead)
        )
        letters = connection.scalar(
            sa.select(sa.func.count()).where(dead_letters.c.source == source)
        )
    windows = written_windows(catalog, source)
    return {
        "documents": live or 0,
        "dead_letters": letters or 0,
        "pages": len(windows),
        "last_page": page_summary(catalog, source, windows[-1]) if windows else None,
    }


def _index(catalog: Catalog, index: str) -> dict[str, int]:
    held = index_documents
    with catalog.read() as connection:
        row = connection.execute(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(held.c.chunks), 0)).where(
                held.c.index_name == index, held.c.chunks > 0
            )
        ).one()
    return {"documents": row[0], "chunks": int(row[1])}
