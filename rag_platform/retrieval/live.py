"""Which index answers: the newest promotion says so, in one row of the catalog.

Whoever searches asks at each search. An index that was replaced goes on standing for some time;
one that was retired while somebody was about to search it is gone, and the search goes to the one
that is live by then. So a search is answered by one index as a whole, and always by some.
"""

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import index_promotions
from rag_platform.storage.vectors.base import CollectionMissing

T = TypeVar("T")

# Rows that say what is live; the others are on record only.
CROWNING = ("promoted", "rolled_back")


def live_index(catalog: Catalog, default: str) -> str:
    """The index that answers now; `default` before the first promotion."""
    rows = index_promotions
    newest = (
        sa.select(rows.c.live)
        .where(rows.c.action.in_(CROWNING))
        .order_by(rows.c.id.desc())
        .limit(1)
    )
    with catalog.read() as connection:
        return connection.scalar(newest) or default


def with_live(live: Callable[[], str], use: Callable[[str], T]) -> T:
    """What `use` makes of the live index; `live` says which that is.

    Where its collection is missing and another index has become live, of that one. Raises
    `CollectionMissing` where the live index has none.
    """
    name = live()
    while True:
        try:
            return use(name)
        except CollectionMissing:
            now = live()
            if now == name:
                raise
            name = now
