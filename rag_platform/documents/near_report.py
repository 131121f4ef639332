"""What near duplicates a page has, for people."""

from dataclasses import dataclass

import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents, near_documents


@dataclass(frozen=True, slots=True)
class NearPair:
    """A near copy, the document that it is a copy of, and how alike they are, 0 to 1."""

    key: str
    canonical: str
    similarity: float


@dataclass(frozen=True, slots=True)
class NearReport:
    """How many documents of a page are near copies, and some of them, the most alike first."""

    copies: int
    pairs: tuple[NearPair, ...]


def near_copies(catalog: Catalog, source: str, window: str, *, most: int = 20) -> NearReport:
    """The near copies of a page, whose canonical documents may stand on any page of the source."""
    canonical = documents.alias("canonical")
    held = near_documents
    copies = (
        sa.select(documents.c.key, canonical.c.key.label("canonical"), held.c.similarity)
        .select_from(
            held.join(documents, documents.c.doc_id == held.c.doc_id).join(
                canonical, canonical.c.doc_id == held.c.canonical
            )
        )
        .where(
            held.c.source == source,
            held.c.doc_id != held.c.canonical,
            documents.c.source == source,
            documents.c.window == window,
        )
    )
    first = copies.order_by(held.c.similarity.desc(), documents.c.key).limit(most)
    with catalog.read() as connection:
        count = connection.scalar(sa.select(sa.func.count()).select_from(copies.subquery()))
        return NearReport(count or 0, tuple(NearPair(*row) for row in connection.execute(first)))
