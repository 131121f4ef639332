"""published_fields: what enrichment published of a document, in the payload of its points.

A point gets these fields when it is written. Where they are published, corrected or withdrawn
later, only payloads are written: no text is embedded and no vector is touched.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.indexing.digests import digest_of
from rag_platform.indexing.version import IndexVersion
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import enrichments, index_documents
from rag_platform.storage.vectors.base import Collection, Payload, VectorStore

# Fields of a point that enrichment gives; filters use the first five.
PUBLISHED_FIELDS = (
    *("label", "topics", "people", "organizations", "author"),
    *("dates", "date", "summary"),
)
_BATCH_DOCUMENTS = 200


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of a document: fields for its points, and the digest of all of it."""

    payload: Payload
    digest: str | None


NOTHING = Published({}, None)


@dataclass(slots=True)
class PublishFigures:
    """What one run did: `documents` brought up to date, `points` of them written.

    `drifted` documents have other points than the catalog recorded: they are left to reconciling.
    """

    documents: int = 0
    points: int = 0
    drifted: int = 0


def published_of(
    connection: sa.Connection, source: str, texts: Mapping[str, str | None]
) -> dict[str, Published]:
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
        row.doc_id: Published(_fields(row.published), row.published_digest)
        for row in rows
        if row.text_hash == texts[row.doc_id]
    }
    return {doc_id: found.get(doc_id, NOTHING) for doc_id in texts}


def _fields(published: Mapping[str, Any]) -> Payload:
    """Those of the fields that say something; an empty one would only widen the point."""
    return {name: published[name] for name in PUBLISHED_FIELDS if published.get(name)}


class PublishedFields:
    """Brings the points of one source in one index version to what is published now."""

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
        self._index = index
        self._source = source
        self._version = version
        self._catalog = catalog
        self._vectors = vectors

    def waiting(self) -> int:
        """Documents whose points do not carry what is published."""
        with self._catalog.read() as connection:
            count = sa.select(sa.func.count()).select_from(self._behind().subquery())
            return int(connection.scalar(count) or 0)

    def run(self) -> PublishFigures:
        """Write the payloads that changed. Raises `LockTimeout` and `VectorStoreError`."""
        figures = PublishFigures()
        if not self.waiting():
            return figures
        version = self._version()
        with (
            self._catalog.exclusive(f"index-{self._index}"),
            self._vectors.open(
                self._index,
                dimension=version.embedder.dimension,
                fingerprint=version.fingerprint,
            ) as collection,
        ):
            for batch in self._batches():
                self._write(collection, batch, figures)
        return figures

    def _behind(self) -> sa.Select[Any]:
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
                held.c.index_name == self._index,
                held.c.source == self._source,
                held.c.seq == held.c.claimed,
                held.c.chunks > 0,
                held.c.enrichment.is_distinct_from(enrichments.c.published_digest),
            )
        )

    def _batches(self) -> Iterator[Sequence[Any]]:
        ordered = self._behind().order_by(index_documents.c.doc_id).limit(_BATCH_DOCUMENTS)
        last = None
        while True:
            after = ordered if last is None else ordered.where(index_documents.c.doc_id > last)
            with self._catalog.read() as connection:
                batch = connection.execute(after).all()
            if not batch:
                return
            yield batch
            last = batch[-1].doc_id

    def _write(self, collection: Collection, batch: Sequence[Any], figures: PublishFigures) -> None:
        """Digests, payloads, then the record that they are written: in this order, so that a run
        after a kill in between sees what was meant and does it again."""
        texts = {row.doc_id: row.text_hash for row in batch}
        with self._catalog.read() as connection:
            fields = published_of(connection, self._source, texts)
        present = collection.present(list(texts))
        sound: dict[str, str | None] = {}
        changed: dict[str, Payload] = {}
        for row in batch:
            held = present[row.doc_id]
            wanted = {
                point: _without_fields(payload) | fields[row.doc_id].payload
                for point, payload in held.items()
            }
            digest = digest_of(wanted)
            if row.digest in (digest, digest_of(held)):
                sound[row.doc_id] = digest
                changed |= {p: payload for p, payload in wanted.items() if held[p] != payload}
        self._record("digest", sound)
        collection.set_payloads(changed)
        self._record("enrichment", {doc_id: fields[doc_id].digest for doc_id in sound})
        figures.documents += len(sound)
        figures.points += len(changed)
        figures.drifted += len(batch) - len(sound)

    def _record(self, column: str, values: Mapping[str, str | None]) -> None:
        """Set one column of some documents."""
        if not values:
            return
        held = index_documents
        statement = (
            sa.update(held)
            .where(held.c.index_name == self._index, held.c.doc_id == sa.bindparam("_id"))
            .values({column: sa.bindparam("_value")})
        )
        rows = [{"_id": doc_id, "_value": value} for doc_id, value in values.items()]
        with self._catalog.begin() as connection:
            connection.execute(statement, rows)


def _without_fields(payload: Payload) -> Payload:
    return {name: value for name, value in payload.items() if name not in PUBLISHED_FIELDS}
