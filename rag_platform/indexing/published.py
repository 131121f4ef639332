"""published_fields: what enrichment published of a document, in the payload of its points.

A point gets these fields when it is written. Where they are published, corrected or withdrawn
later, only payloads are written: no text is embedded and no vector is touched.
"""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from rag_platform.indexing.failures import failures_counted
from rag_platform.indexing.payloads import Carried, PayloadFields, PayloadFigures, wholly_applied
from rag_platform.indexing.version import IndexVersion
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import enrichments, index_documents
from rag_platform.storage.vectors.base import Payload, VectorStore

# Fields of a point that enrichment gives; filters use the first five.
PUBLISHED_FIELDS = (
    *("label", "topics", "people", "organizations", "author"),
    *("dates", "date", "summary"),
)
NOTHING = Carried({}, None)


def published_of(
    connection: sa.Connection, source: str, texts: Mapping[str, str | None]
) -> dict[str, Carried]:
    """What is published of some documents of a source.

    `texts` maps document ids to the hash of the clean text that is indexed: fields that were made
    of another text are not for it.
    """
    rows = connection.execute(
        sa.select(
            enrichments.c.doc_id,
            enrichments.c.text_hash,
            enrichments.c.published,
            enrichments.c.published_digest,
        ).where(
            enrichments.c.source == source,
            enrichments.c.doc_id.in_(list(texts)),
            enrichments.c.published_digest.is_not(None),
        )
    )
    found = {
        row.doc_id: Carried(_fields(row.published), row.published_digest)
        for row in rows
        if row.text_hash == texts[row.doc_id]
    }
    return {doc_id: found.get(doc_id, NOTHING) for doc_id in texts}


def _fields(published: Mapping[str, Any]) -> Payload:
    """Those of the fields that say something; an empty one would only widen the point."""
    return {name: published[name] for name in PUBLISHED_FIELDS if published.get(name)}


class PublishedFields(PayloadFields):
    """Brings the points of one source in one index version to what is published now."""

    fields = PUBLISHED_FIELDS
    column = "enrichment"

    def __init__(
        self,
        index: str,
        source: str,
        *,
        version: Callable[[], IndexVersion],
        catalog: Catalog,
        vectors: VectorStore,
    ) -> None:
        """`version` opens the index version: it loads encoders, so only where there is work."""
        super().__init__(index, source, catalog=catalog)
        self._version = version
        self._vectors = vectors

    def run(self) -> PayloadFigures:
        """Write the payloads that changed. Raises `LockTimeout` and `VectorStoreError`."""
        figures = PayloadFigures()
        if not self.waiting():
            return figures
        version = self._version()
        with (
            failures_counted(self.catalog, self.index, "publish"),
            self.catalog.exclusive(f"index-{self.index}"),
        ):
            # Asked again under the lock: a collection that was retired must not come back.
            if not self.waiting():
                return figures
            with self._vectors.open(
                self.index,
                dimension=version.embedder.dimension,
                fingerprint=version.fingerprint,
            ) as collection:
                self.apply(collection, figures)
        return figures

    def behind(self) -> sa.Select[Any]:
        """Documents that are wholly applied, with a text, and carry other fields than published."""
        held = index_documents
        return (
            sa.select(held.c.doc_id, held.c.text_hash, held.c.digest)
            .outerjoin(
                enrichments,
                sa.and_(
                    enrichments.c.source == held.c.source,
                    enrichments.c.doc_id == held.c.doc_id,
                    enrichments.c.text_hash == held.c.text_hash,
                ),
            )
            .where(
                *wholly_applied(self.index, self.source),
                held.c.enrichment.is_distinct_from(enrichments.c.published_digest),
            )
        )

    def carried(
        self, connection: sa.Connection, texts: Mapping[str, str | None]
    ) -> dict[str, Carried]:
        """What is published of the texts that are indexed."""
        return published_of(connection, self.source, texts)
