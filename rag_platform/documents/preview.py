"""A listing compared with what is known of a source, a batch in memory at a time.

Nothing is read of the objects and nothing is recorded: of an object that looks changed the bytes
may turn out the same, and one that is new and one that is gone may be the same document, moved.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.sources.base import ListedObject
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents


@dataclass(slots=True)
class ListingPreview:
    """Counts of objects: `listed` ones are new, changed, unchanged or waiting; `known` documents
    that are not listed any more are gone. Waiting ones are dated into a later page."""

    listed: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    waiting: int = 0
    gone: int = 0
    known: int = 0


def preview(
    source: str,
    batches: Iterable[list[ListedObject]],
    *,
    catalog: Catalog,
    is_due: Callable[[Any], bool],
    complete: bool = True,
) -> ListingPreview:
    """Compare a listing with the catalog as the next pass would.

    Of one that is not `complete`, what it does not tell is as it was.
    """
    found = ListingPreview()
    met = 0
    for batch in batches:
        known = _known(catalog, source, [listed.key for listed in batch])
        found.listed += len(batch)
        met += len(known)
        for listed in batch:
            before = known.get(listed.key)
            if listed.gone:
                found.gone += before is not None
                continue
            if before == (listed.etag, listed.size, listed.modified):
                found.unchanged += 1
            elif not is_due(listed):
                found.waiting += 1
            elif before is None:
                found.new += 1
            else:
                found.changed += 1
    with catalog.read() as connection:
        found.known = connection.scalar(sa.select(sa.func.count()).where(*_live(source))) or 0
    if complete:
        found.gone = found.known - met
    return found


def _live(source: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (documents.c.source == source, ~documents.c.gone)


def _known(catalog: Catalog, source: str, keys: list[str]) -> dict[str, tuple[Any, Any, Any]]:
    """What the store said of those documents when they were last read, by key."""
    columns = (documents.c.key, documents.c.etag, documents.c.size, documents.c.modified)
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(*columns).where(*_live(source), documents.c.key.in_(keys))
        )
        return {row.key: (row.etag, row.size, row.modified) for row in rows}
