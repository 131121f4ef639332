"""vector_index: brings a collection to what a page says, by difference, never by rebuilding.

A document is applied only if its change is newer than what the index holds, so replays and
overlapping runs are harmless whatever their order. Wanted minus present is added, present minus
wanted is deleted, last: until then the old content serves.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.encoders.base import SparseEncoder
from rag_platform.indexing.chunks import Chunks, payload_of
from rag_platform.indexing.digests import digest_of
from rag_platform.indexing.embeddings import passage_key, vector_from
from rag_platform.indexing.processes import in_order
from rag_platform.indexing.progress import note_figures, unapplied, unapplied_passes
from rag_platform.indexing.published import Published, published_of
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo
from rag_platform.storage.pages import PageStore, PartKey
from rag_platform.storage.schema import changes, index_documents
from rag_platform.storage.vectors.base import Collection, Payload, Point, SparseVector, VectorStore

_BATCH_DOCUMENTS = 100
_BATCH_CHUNKS = 400

Group = dict[int, list[dict[str, Any]]]  # rows of a chunk part by change number
Terms = dict[str, SparseVector]  # by text hash


@dataclass(slots=True)
class ApplyFigures:
    """What one run did to the collection; counts of points, `documents` and `deferred` of
    documents. `points` and `expected` are the collection's size and the catalog's."""

    documents: int = 0
    inserted: int = 0
    updated: int = 0
    skipped: int = 0
    deleted: int = 0
    deferred: int = 0
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


class VectorIndex:
    """The applying stage of one source for one index version."""

    def __init__(
        self,
        chunks: Chunks,
        *,
        catalog: Catalog,
        memo: Memo,
        pages: PageStore,
        vectors: VectorStore,
    ) -> None:
        self._chunks = chunks
        self._index = chunks.index
        self._source = chunks.source
        self._catalog = catalog
        self._memo = memo
        self._pages = pages
        self._vectors = vectors

    def run(self, window: str) -> ApplyFigures:
        """Apply the page. Raises `LockTimeout`, `RecipeMismatch`, `VectorStoreError`."""
        figures = ApplyFigures()
        name = self._index.name
        with (
            self._catalog.exclusive(f"index-{name}"),
            self._vectors.open(
                name,
                dimension=self._index.embedder.dimension,
                fingerprint=self._index.fingerprint,
            ) as collection,
        ):
            writer = IndexWriter(self._index, collection, catalog=self._catalog, memo=self._memo)
            for pass_no in unapplied_passes(self._catalog, name, self._source, window):
                self._apply_pass(writer, window, pass_no, figures)
            figures.points = collection.count()
            figures.expected = writer.expected_points()
            figures.disagreeing = writer.disagreeing()
        note_figures(
            self._catalog,
            name,
            self._source,
            window,
            finished=figures.deferred == 0,
            figures=asdict(figures),
        )
        return figures

    def _apply_pass(
        self, writer: "IndexWriter", window: str, pass_no: int, figures: ApplyFigures
    ) -> None:
        """First the documents that have chunks, then those that have none any more.

        Where another run cleans the page anew meanwhile, the rest is left to that run: what the
        catalog says now is not what these chunks were made of.
        """
        part = self._chunks.part(window, pass_no)
        if part is None:
            raise RuntimeError(f"{self._source} {window}: chunks must run before vector_index")
        statement = unapplied(self._index.name, self._source).where(
            changes.c.window == window, changes.c.pass_no == pass_no
        )
        deferred: set[int] = set()
        groups, ahead = itertools.tee(_groups(self._rows(part)))
        weigh = functools.partial(_weigh, self._index.sparse)
        # One process beside this one, which the engine keeps busy.
        weighed = in_order(weigh, map(_texts, ahead), processes=1)
        for group, terms in zip(groups, weighed, strict=True):
            with self._catalog.read() as connection:
                found = connection.execute(statement.where(changes.c.seq.in_(list(group))))
                left = {row.seq: row.text_hash for row in found}
            if self._chunks.part(window, pass_no) != part:
                return
            deferred |= writer.apply(
                [
                    Wanted(rows[0]["doc_id"], seq, window, pass_no, left[seq], rows)
                    for seq, rows in group.items()
                    if seq in left
                ],
                source=self._source,
                figures=figures,
                terms=terms,
            )
        rest = statement.order_by(changes.c.seq).limit(_BATCH_DOCUMENTS)
        last = 0
        while True:
            with self._catalog.read() as connection:
                rows = connection.execute(rest.where(changes.c.seq > last)).all()
            if not rows or self._chunks.part(window, pass_no) != part:
                return
            last = rows[-1].seq
            writer.apply(
                [
                    Wanted(row.doc_id, row.seq, window, pass_no, row.text_hash, ())
                    for row in rows
                    if row.seq not in deferred
                ],
                source=self._source,
                figures=figures,
            )

    def _rows(self, part: PartKey) -> Iterator[dict[str, Any]]:
        for batch in self._pages.read(part):
            yield from batch.to_pylist()


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
        figures: ApplyFigures,
        terms: Terms | None = None,
    ) -> set[int]:
        """Bring some documents to what they should be; returns the changes of those that wait,
        deferred, for vectors.

        `terms` are sparse vectors made beforehand, by text hash; others are made here.
        """
        if not documents:
            return set()
        fields = self._published(documents, source)
        wanted = {
            document.doc_id: {
                row["point_id"]: payload_of(row, source) | fields[document.doc_id].payload
                for row in document.chunks
            }
            for document in documents
        }
        present = self._collection.present(self._claim(documents, source))
        vectors = self._vectors_for(wanted, present)
        ready: list[Wanted] = []
        deferred: list[Wanted] = []
        for document in documents:
            complete = all(
                payload["text_hash"] in vectors
                for point, payload in wanted[document.doc_id].items()
                if present.get(document.doc_id, {}).get(point) != payload
            )
            (ready if complete else deferred).append(document)
        self._write(ready, wanted, present, vectors, terms or {}, figures)
        self._record(ready, wanted, fields)
        self._defer(deferred)
        figures.documents += len(ready)
        figures.deferred += len(deferred)
        return {document.seq for document in deferred}

    def _published(self, documents: Sequence[Wanted], source: str) -> dict[str, Published]:
        texts = {document.doc_id: document.text_hash for document in documents}
        with self._catalog.read() as connection:
            return published_of(connection, source, texts)

    def _claim(self, documents: Sequence[Wanted], source: str) -> list[str]:
        """Say what is about to be written, before it is; returns the documents that the
        collection may hold points of."""
        ids = [document.doc_id for document in documents]
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
            known = connection.execute(
                sa.select(index_documents.c.doc_id).where(
                    index_documents.c.index_name == self._index.name,
                    index_documents.c.doc_id.in_(ids),
                )
            )
            touched = list(known.scalars())
            self._catalog.upsert(connection, index_documents, rows, update=("claimed",))
        return touched

    def _vectors_for(
        self,
        wanted: dict[str, dict[str, Payload]],
        present: dict[str, dict[str, Payload]],
    ) -> dict[str, Any]:
        """The vectors of the points that must be written, by text hash."""
        texts = {
            payload["text_hash"]: payload["text"]
            for doc_id, points in wanted.items()
            for point, payload in points.items()
            if present.get(doc_id, {}).get(point) != payload
        }
        keys = {h: passage_key(self._index.embedder, text) for h, text in texts.items()}
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
            for point, payload in wanted[document.doc_id].items():
                if held.get(point) == payload:
                    figures.skipped += 1
                    continue
                figures.updated += point in held
                figures.inserted += point not in held
                text_hash = payload["text_hash"]
                sparse = terms.get(text_hash) or self._index.sparse.passage(payload["text"])
                points.append(Point(point, vectors[text_hash], sparse, payload))
            gone += [point for point in held if point not in wanted[document.doc_id]]
        self._collection.upsert(points)
        self._collection.delete(gone)
        figures.deleted += len(gone)

    def _record(
        self,
        documents: Sequence[Wanted],
        wanted: dict[str, dict[str, Payload]],
        fields: dict[str, Published],
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
                "_enrichment": fields[document.doc_id].digest,
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
                ),
                rows,
            )
            connection.execute(
                sa.update(changes)
                .where(
                    changes.c.seq.in_([document.seq for document in documents]),
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

    def disagreeing(self, sample: int = _BATCH_DOCUMENTS) -> int:
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


def _texts(group: Group) -> dict[str, str]:
    return {row["text_hash"]: row["text"] for rows in group.values() for row in rows}


def _weigh(encoder: SparseEncoder, texts: dict[str, str]) -> Terms:
    return {text_hash: encoder.passage(text) for text_hash, text in texts.items()}


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[Group]:
    """Whole documents, several at a time, by change number; a document's rows are adjacent."""
    group: Group = {}
    count = 0
    for seq, adjacent in itertools.groupby(rows, key=lambda row: row["seq"]):
        group[seq] = list(adjacent)
        count += len(group[seq])
        if len(group) >= _BATCH_DOCUMENTS or count >= _BATCH_CHUNKS:
            yield group
            group, count = {}, 0
    if group:
        yield group
