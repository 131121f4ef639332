"""What an index has applied of the change log, and what is left to do."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import changes, documents, index_documents, index_pages

# Of a document and what an index holds of it: something newer, or another text.
_LACKS = sa.or_(
    sa.func.coalesce(index_documents.c.seq, 0) < documents.c.seq,
    sa.and_(
        ~documents.c.gone,
        index_documents.c.text_hash.is_distinct_from(documents.c.text_hash),
    ),
)


def unapplied(index: str, source: str) -> sa.Select[Any]:
    """The settled, standing changes of a source that an index does not hold yet.

    A document whose text came out different without a change of its own (a dead letter that was
    replayed, a better parser) counts as not held.
    """
    held = index_documents
    return (
        sa.select(changes, documents.c.text_hash)
        .join(documents, documents.c.doc_id == changes.c.doc_id)
        .outerjoin(held, sa.and_(held.c.index_name == index, held.c.doc_id == changes.c.doc_id))
        .where(
            changes.c.source == source,
            changes.c.outcome.is_not(None),
            documents.c.seq == changes.c.seq,
            _LACKS,
        )
    )


def count_unapplied(index: str, source: str) -> sa.Select[int]:
    """How many there are of `unapplied`: asked of the documents, which are fewer than changes."""
    held = index_documents
    is_settled = sa.exists().where(changes.c.seq == documents.c.seq, changes.c.outcome.is_not(None))
    return (
        sa.select(sa.func.count())
        .select_from(documents)
        .outerjoin(held, sa.and_(held.c.index_name == index, held.c.doc_id == documents.c.doc_id))
        .where(documents.c.source == source, _LACKS, is_settled)
    )


def unapplied_passes(catalog: Catalog, index: str, source: str, window: str) -> list[int]:
    """The passes of a page with something that an index does not hold yet, oldest first."""
    found = unapplied(index, source).where(changes.c.window == window).subquery()
    with catalog.read() as connection:
        rows = connection.execute(sa.select(found.c.pass_no).distinct().order_by(found.c.pass_no))
        return list(rows.scalars())


def begin_page(catalog: Catalog, indexes: Sequence[str], source: str, window: str) -> None:
    """From now on the page is owed to the indexes: see `unfinished_windows`."""
    rows = [
        {"index_name": i, "source": source, "window": window, "finished": False, "figures": {}}
        for i in indexes
    ]
    with catalog.begin() as connection:
        catalog.upsert(connection, index_pages, rows, update=())


def note_figures(
    catalog: Catalog,
    index: str,
    source: str,
    window: str,
    *,
    finished: bool,
    figures: dict[str, int],
) -> None:
    """Keep the figures of the run under way; those of earlier stages of it stay."""
    with catalog.begin() as connection:
        known = connection.execute(
            sa.select(index_pages.c.figures).where(
                index_pages.c.index_name == index,
                index_pages.c.source == source,
                index_pages.c.window == window,
            )
        ).scalar()
        row = {
            "index_name": index,
            "source": source,
            "window": window,
            "finished": finished,
            "figures": {**(known or {}), **figures},
        }
        catalog.upsert(connection, index_pages, [row])


def unfinished_windows(catalog: Catalog, source: str, indexes: list[str]) -> list[str]:
    """Windows whose run broke off before every index held the page, oldest first.

    A page that an index never began is not among them: filling a new index is a backfill that
    somebody plans and pays for, not something that happens by the way. A page is begun for every
    index before its source is asked.
    """
    windows: set[str] = set()
    for index in indexes:
        left = unapplied(index, source).subquery()
        begun = sa.select(left.c.window).join(
            index_pages,
            sa.and_(
                index_pages.c.index_name == index,
                index_pages.c.source == source,
                index_pages.c.window == left.c.window,
            ),
        )
        with catalog.read() as connection:
            windows.update(connection.execute(begun.distinct()).scalars())
    unsettled = sa.select(changes.c.window).where(
        changes.c.source == source, changes.c.outcome.is_(None)
    )
    with catalog.read() as connection:
        windows.update(connection.execute(unsettled.distinct()).scalars())
    return sorted(windows)
