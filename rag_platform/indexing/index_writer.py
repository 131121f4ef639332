"""Writing documents into a collection, and into the catalog what was written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.encoders.base import SparseEncoder
from rag_platform.indexing.access import access_of
from rag_platform.indexing.chunks import payload_of
from rag_platform.indexing.digests import digest_of
from rag_platform.indexing.embeddings import passage_key, vector_from
from rag_platform.indexing.near_copies import near_copies_of
from rag_platform.indexing.payloads import Carried
from rag_platform.indexing.published import published_of
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo
from rag_platform.storage.schema import changes, index_documents
from rag_platform.storage.vectors.base import (
    MARK,
    Collection,
    Payload,
    Point,
    SparseVector,
    mark_of,
)

# How many documents are read back to see whether the collection holds what was written.
_SAMPLE = 100

Terms = dict[tuple[str, str, str], SparseVector]  # by text hash, title and language


@dataclass(slots=True)
class ApplyFigures:
    """What one run did to the collection; counts of points, `documents` and `deferred` of
    documents, `readers` and `near_copies` of documents whose readers or near copies changed.
    `points` and `expected` are the collection's size and the catalog's."""

    documents: int = 0
    inserted: int = 0
    updated: int = 0
    skipped: int = 0
    deleted: int = 0
    deferred: int = 0
    readers: int = 0
    near_copies: int = 0
    points: int = 0
    expected: int = 0
    disagreeing: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document as the index should hold it: `chunks` are rows of a chunk part."""

    doc_id: str
    seq: int
    window: str
    pass_no: int
    text_hash: str | None
    chunks: Sequence[dict[str, Any]]


class IndexWriter:
    """Writes documents into an open collection and into the catalog. Holds the index's lock."""

    def __init__(self, index: Any, collection: Collection, *, catalog: Catalog, memo: Memo) -> None:
        self._index = index
        self._collection = collection
        self._catalog = catalog
        self._memo = memo
        self._applied: list[str] = []

    def apply(
        self,
        documents: Sequence[Wanted],
        *,
        source: str,
        tenant: str,
        figures: ApplyFigures,
        terms: Terms | None = None,
    ) -> set[int]:
        """Bring some documents to what they should be; returns the changes of those that wait,
        deferred, for vectors.

        `terms` are sparse vectors made beforehand; others are made here.
        """
        if not documents:
            return set()
        fields = self._published(documents, source)
        readers = self._readers(documents, tenant)
        near = self._near(documents)
        wanted = {
            document.doc_id: {
                row["point_id"]: payload_of(row, source)
                | readers[document.doc_id].payload
                | near[document.doc_id].payload
                | fields[document.doc_id].payload
                for row in document.chunks
            }
            for document in documents
        }
        present = self._collection.present(self._held(documents))
        vectors = self._vectors_for(wanted, present, tenant)
        ready: list[Wanted] = []
        deferred: list[Wanted] = []
        for document in documents:
            complete = all(
                payload["text_hash"] in vectors
                for point, payload in wanted[document.doc_id].items()
                if present.get(document.doc_id, {}).get(point) != payload
            )
            (ready if complete else deferred).append(document)
        # Of what waits nothing is claimed: as it stands it is kept up to date meanwhile.
        self._claim(ready, source)
        self._write(ready, wanted, present, vectors, terms or {}, figures)
        self._record(ready, wanted, fields, readers, near)
        self._defer(deferred)
        figures.documents += len(ready)
        figures.deferred += len(deferred)
        return {document.seq for document in deferred}

    def _readers(self, documents: Sequence[Wanted], tenant: str) -> dict[str, Carried]:
        with self._catalog.read() as connection:
            return access_of(connection, tenant, [document.doc_id for document in documents])

    def _near(self, documents: Sequence[Wanted]) -> dict[str, Carried]:
        with self._catalog.read() as connection:
            return near_copies_of(connection, {each.doc_id: each.text_hash for each in documents})

    def _published(self, documents: Sequence[Wanted], source: str) -> dict[str, Carried]:
        texts = {document.doc_id: document.text_hash for document in documents}
        with self._catalog.read() as connection:
            return published_of(connection, source, texts)

    def _held(self, documents: Sequence[Wanted]) -> list[str]:
        """The documents that the collection may hold points of."""
        ids = [document.doc_id for document in documents]
        held = sa.select(index_documents.c.doc_id).where(
            index_documents.c.index_name == self._index.name, index_documents.c.doc_id.in_(ids)
        )
        with self._catalog.read() as connection:
            return list(connection.execute(held).scalars())

    def _claim(self, documents: Sequence[Wanted], source: str) -> None:
        """Say what is about to be written, before it is."""
        rows = [
            {
                "index_name": self._index.name,
                "doc_id": document.doc_id,
                "source": source,
                "seq": 0,
                "claimed": document.seq,
                "window": document.window,
                "pass_no": document.pass_no,
                "chunks": 0,
                "digest": "",
            }
            for document in documents
        ]
        with self._catalog.begin() as connection:
            self._catalog.upsert(connection, index_documents, rows, update=("claimed",))

    def _vectors_for(
        self,
        wanted: dict[str, dict[str, Payload]],
        present: dict[str, dict[str, Payload]],
        tenant: str,
    ) -> dict[str, Any]:
        """The vectors of the points that must be written, by text hash."""
        texts = {
            payload["text_hash"]: payload["text"]
            for doc_id, points in wanted.items()
            for point, payload in points.items()
            if present.get(doc_id, {}).get(point) != payload
        }
        keys = {h: passage_key(self._index.embedder, text, tenant) for h, text in texts.items()}
        known = self._memo.get_many(keys.values())
        return {h: vector_from(known[key]) for h, key in keys.items() if key in known}

    def _write(
        self,
        documents: Sequence[Wanted],
        wanted: dict[str, dict[str, Payload]],
        present: dict[str, dict[str, Payload]],
        vectors: dict[str, Any],
        terms: Terms,
        figures: ApplyFigures,
    ) -> None:
        points, gone = [], []
        for document in documents:
            held = present.get(document.doc_id, {})
            mark = {MARK: mark_of(digest_of(wanted[document.doc_id]))}
            for point, payload in wanted[document.doc_id].items():
                if held.get(point) == payload:
                    figures.skipped += 1
                    continue
                figures.updated += point in held
                figures.inserted += point not in held
                sparse = terms.get(terms_key(payload)) or _weighed(self._index.sparse, payload)
                points.append(Point(point, vectors[payload["text_hash"]], sparse, payload | mark))
            gone += [point for point in held if point not in wanted[document.doc_id]]
        self._collection.upsert(points)
        self._collection.delete(gone)
        figures.deleted += len(gone)

    def _record(
        self,
        documents: Sequence[Wanted],
        wanted: dict[str, dict[str, Payload]],
        fields: dict[str, Carried],
        readers: dict[str, Carried],
        near: dict[str, Carried],
    ) -> None:
        """The documents are as the collection now holds them; what they waited for is over."""
        if not documents:
            return
        held = index_documents
        rows = [
            {
                "_id": document.doc_id,
                "_seq": document.seq,
                "_window": document.window,
                "_pass": document.pass_no,
                "_chunks": len(document.chunks),
                "_digest": digest_of(wanted[document.doc_id]),
                "_text_hash": document.text_hash,
                "_enrichment": fields[document.doc_id].mark,
                "_access": readers[document.doc_id].mark,
                "_canonical": near[document.doc_id].mark,
            }
            for document in documents
        ]
        with self._catalog.begin() as connection:
            connection.execute(
                sa.update(held)
                .where(
                    held.c.index_name == self._index.name,
                    held.c.doc_id == sa.bindparam("_id"),
                    held.c.seq <= sa.bindparam("_seq"),
                )
                .values(
                    seq=sa.bindparam("_seq"),
                    window=sa.bindparam("_window"),
                    pass_no=sa.bindparam("_pass"),
                    chunks=sa.bindparam("_chunks"),
                    digest=sa.bindparam("_digest"),
                    text_hash=sa.bindparam("_text_hash"),
                    enrichment=sa.bindparam("_enrichment"),
                    access=sa.bindparam("_access"),
                    canonical=sa.bindparam("_canonical"),
                ),
                rows,
            )
            connection.execute(
                sa.update(changes)
                .where(
                    # Older changes of theirs, too: what was superseded waits for nothing.
                    changes.c.doc_id.in_([document.doc_id for document in documents]),
                    changes.c.deferred_by == self._index.name,
                )
                .values(deferred_by=None)
            )
        self._applied += [document.doc_id for document in documents]

    def _defer(self, documents: Sequence[Wanted]) -> None:
        with self._catalog.begin() as connection:
            connection.execute(
                sa.update(changes)
                .where(changes.c.seq.in_([document.seq for document in documents]))
                .values(deferred_by=self._index.name)
            )

    def expected_points(self) -> int:
        """How many points the catalog says the collection has."""
        with self._catalog.read() as connection:
            total = connection.scalar(
                sa.select(sa.func.sum(index_documents.c.chunks)).where(
                    index_documents.c.index_name == self._index.name
                )
            )
        return int(total or 0)

    def disagreeing(self, sample: int = _SAMPLE) -> int:
        """Read documents of this run back; how many differ from their digest in the catalog.

        All of them up to `sample`, evenly spread beyond.
        """
        ids = self._applied[:: max(1, len(self._applied) // sample)]
        return len(self.drifted(ids))

    def drifted(self, doc_ids: Sequence[str]) -> list[str]:
        """Those of the documents whose points are not what the catalog recorded."""
        present = self._collection.present(doc_ids)
        with self._catalog.read() as connection:
            rows = connection.execute(
                sa.select(index_documents.c.doc_id, index_documents.c.digest).where(
                    index_documents.c.index_name == self._index.name,
                    index_documents.c.doc_id.in_(doc_ids),
                )
            )
            known = {row.doc_id: row.digest for row in rows}
        return [doc for doc in doc_ids if digest_of(present[doc]) != known.get(doc)]


def terms_key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """What the terms of a passage depend on; `row` is one of a chunk part, or a payload."""
    return row["text_hash"], row["title"], row["language"]


def _weighed(encoder: SparseEncoder, payload: Payload) -> SparseVector:
    return encoder.passage(payload["text"], title=payload["title"], language=payload["language"])
