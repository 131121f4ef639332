"""Reconciling: what a collection holds against what the catalog recorded, and the repair."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from rag_platform.encoders.base import Vectors
from rag_platform.indexing.chunks import Chunks
from rag_platform.indexing.embeddings import passage_key, vector_from
from rag_platform.indexing.vector_index import ApplyFigures, IndexWriter, Wanted
from rag_platform.indexing.version import IndexVersion
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo
from rag_platform.storage.pages import PageStore
from rag_platform.storage.schema import index_documents
from rag_platform.storage.vectors.base import Collection, Point, VectorStore

_BATCH = 200
# A store may round a vector; it does not turn it.
_SAME_DIRECTION = 0.999


@dataclass(slots=True)
class ReconcileReport:
    """What was found and done. Counts of documents, `orphan_points` of points.

    `drifted` documents have missing, foreign or changed points; `unrepaired` ones could not be
    rebuilt from what is stored: their pages must be replayed.
    """

    index: str
    documents: int = 0
    points: int = 0
    drifted: int = 0
    orphan_points: int = 0
    repaired: int = 0
    unrepaired: int = 0

    @property
    def agrees(self) -> bool:
        """Whether the collection is now what the catalog says."""
        return self.drifted == self.repaired and self.unrepaired == 0 and not self.orphan_points

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return asdict(self) | {"agrees": self.agrees}


class Reconciler:
    """Compares and repairs one index version over all its sources."""

    def __init__(
        self,
        index: IndexVersion,
        chunks: dict[str, Chunks],
        *,
        catalog: Catalog,
        memo: Memo,
        pages: PageStore,
        vectors: VectorStore,
    ) -> None:
        self._index = index
        self._chunks = chunks
        self._catalog = catalog
        self._memo = memo
        self._pages = pages
        self._vectors = vectors

    def run(self, *, repair: bool) -> ReconcileReport:
        """Read the whole collection; with `repair`, rebuild what drifted from chunks and memo,
        remove what nobody owns, and reclaim the space of deleted points."""
        report = ReconcileReport(self._index.name)
        self._index.register(self._catalog)
        with (
            self._catalog.exclusive(f"index-{self._index.name}"),
            self._vectors.open(
                self._index.name,
                dimension=self._index.embedder.dimension,
                fingerprint=self._index.fingerprint,
            ) as collection,
        ):
            writer = IndexWriter(self._index, collection, catalog=self._catalog, memo=self._memo)
            for batch in self._known():
                report.documents += len(batch)
                drifted = set(writer.drifted([row.doc_id for row in batch]))
                report.drifted += len(drifted)
                if repair and drifted:
                    self._repair(writer, [row for row in batch if row.doc_id in drifted], report)
                whole = [row.doc_id for row in batch if row.doc_id not in drifted]
                self._check_vectors(collection, whole, report, repair=repair)
            orphans = list(self._orphans(collection))
            if repair:
                collection.delete(orphans)
                collection.optimize()
            report.orphan_points = 0 if repair else len(orphans)
            report.points = collection.count()
        return report

    def _check_vectors(
        self,
        collection: Collection,
        doc_ids: Sequence[str],
        report: ReconcileReport,
        *,
        repair: bool,
    ) -> None:
        """Points of sound documents whose vector is not the one remembered for their text."""
        present = collection.present(doc_ids)
        payloads = {point: found for points in present.values() for point, found in points.items()}
        embedder = self._index.embedder
        keys = {point: passage_key(embedder, found["text"]) for point, found in payloads.items()}
        known = self._memo.get_many(keys.values())
        stored = collection.vectors(list(payloads))
        strayed = [
            Point(
                point, vector, self._index.sparse.passage(payloads[point]["text"]), payloads[point]
            )
            for point, key in keys.items()
            if key in known
            and _cosine(stored[point], vector := vector_from(known[key])) < _SAME_DIRECTION
        ]
        documents = len({point.payload["doc_id"] for point in strayed})
        report.drifted += documents
        if repair:
            collection.upsert(strayed)
            report.repaired += documents

    def _known(self) -> Iterator[Sequence[Any]]:
        """The documents that the index holds as fully applied, in batches."""
        held = index_documents
        statement = (
            sa.select(held)
            .where(held.c.index_name == self._index.name, held.c.seq == held.c.claimed)
            .order_by(held.c.doc_id)
            .limit(_BATCH)
        )
        last = None
        while True:
            after = statement if last is None else statement.where(held.c.doc_id > last)
            with self._catalog.read() as connection:
                batch = connection.execute(after).all()
            if not batch:
                return
            yield batch
            last = batch[-1].doc_id

    def _repair(self, writer: IndexWriter, rows: Sequence[Any], report: ReconcileReport) -> None:
        """Write documents anew from the chunk parts of their pages; vectors are in the memo."""
        by_part: dict[tuple[str, str, int], dict[str, Any]] = {}
        for row in rows:
            by_part.setdefault((row.source, row.window, row.pass_no), {})[row.doc_id] = row
        for (source, window, pass_no), wanted in by_part.items():
            found = self._chunk_rows(source, window, pass_no, set(wanted))
            whole = [
                Wanted(doc, row.seq, window, pass_no, row.text_hash, found.get(doc, ()))
                for doc, row in wanted.items()
                if len(found.get(doc, ())) == row.chunks
            ]
            figures = ApplyFigures()
            writer.apply(whole, source=source, figures=figures)
            report.repaired += figures.documents
            report.unrepaired += len(wanted) - figures.documents

    def _chunk_rows(
        self, source: str, window: str, pass_no: int, doc_ids: set[str]
    ) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        chunks = self._chunks.get(source)
        part = chunks.part(window, pass_no) if chunks else None
        if part is None or self._pages.version(part) is None:
            return found
        for batch in self._pages.read(part):
            for row in batch.to_pylist():
                if row["doc_id"] in doc_ids:
                    found.setdefault(row["doc_id"], []).append(row)
        return found

    def _orphans(self, collection: Collection) -> Iterator[str]:
        """Points of documents that the index should hold nothing of."""
        batch: list[tuple[str, str]] = []
        for pair in collection.ids():
            batch.append(pair)
            if len(batch) >= 1_000:
                yield from self._orphans_of(batch)
                batch = []
        yield from self._orphans_of(batch)

    def _orphans_of(self, batch: list[tuple[str, str]]) -> list[str]:
        held = index_documents
        documents = list({doc_id for _, doc_id in batch})
        with self._catalog.read() as connection:
            rows = connection.execute(
                sa.select(held.c.doc_id).where(
                    held.c.index_name == self._index.name,
                    held.c.doc_id.in_(documents),
                    # A document begun and not finished may have points: its run will see to them.
                    sa.or_(held.c.chunks > 0, held.c.claimed != held.c.seq),
                )
            )
            known = set(rows.scalars())
        return [point for point, doc_id in batch if doc_id not in known]


def _cosine(one: Vectors, other: Vectors) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))
