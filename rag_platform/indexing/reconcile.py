"""Reconciling: what a collection holds against what the catalog recorded, and the repair.

A large collection is not read for it. Each point carries the mark of its document, which is the
beginning of the digest in the catalog; counted by mark, the collection tells which documents lost
points, gained some, or are those of an older day. Of the rest a 128th is read in full, dense
vectors too, another one each day: all has been read after 128 runs, a day or a week apart.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa

from rag_platform.encoders.base import Vectors
from rag_platform.indexing.chunks import Chunks
from rag_platform.indexing.digests import digest_of
from rag_platform.indexing.embeddings import passage_key, vector_from
from rag_platform.indexing.failures import failures_counted
from rag_platform.indexing.index_writer import ApplyFigures, IndexWriter, Wanted
from rag_platform.indexing.retirement import refuse_retired
from rag_platform.indexing.version import IndexVersion
from rag_platform.settings_values import DEFAULT_TENANT
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.measures import (
    RECONCILE_DRIFTED,
    RECONCILE_ORPHANS,
    RECONCILE_UNREPAIRED,
    RECONCILED_AT,
    Measures,
)
from rag_platform.storage.memo import Memo
from rag_platform.storage.pages import PageStore
from rag_platform.storage.schema import index_documents
from rag_platform.storage.vectors.base import (
    Collection,
    Payload,
    Point,
    SparseVector,
    VectorStore,
    mark_of,
)

T = TypeVar("T")

# Documents read from the collection at a time, rows from the catalog.
_BATCH = 200
_ROWS = 2_000
# So many are gathered before they are repaired: the fewer at a time, the longer the way between
# their chunks.
_DOUBTFUL = 20_000
# Up to so many points a collection is read in full each time: that takes seconds.
_SMALL = 20_000
_TURNS = 128
_DAY_S = 86_400
# A store may round a vector; it does not turn it.
_SAME_DIRECTION = 0.999


@dataclass(slots=True)
class ReconcileReport:
    """What was found and done. Counts of documents, `points`, `read` and `orphan_points` of points.

    `drifted` documents have missing, foreign or changed points; `unrepaired` ones could not be
    rebuilt from what is stored: their pages must be replayed. `read` points were compared in full.
    """

    index: str
    documents: int = 0
    points: int = 0
    read: int = 0
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

    def run(
        self, *, repair: bool, full: bool | None = None, today: int | None = None
    ) -> ReconcileReport:
        """Compare the collection with the catalog. With `repair`, rebuild what drifted from chunks
        and memo, remove what nobody owns, and reclaim the space of deleted points.

        `full` reads every point; by default where there are few. `today` is a day as a number:
        it says whose turn it is to be read otherwise. Raises `Retired`, `RecipeMismatch`,
        `LockTimeout`.
        """
        name = self._index.name
        with (
            failures_counted(self._catalog, name, "reconcile"),
            self._catalog.exclusive(f"index-{name}"),
        ):
            # Asked under the lock: a collection that was retired meanwhile must not come back.
            refuse_retired(self._catalog, name)
            self._index.refuse_changed(self._catalog)
            held = self._held()
            if name not in self._vectors.names() and not (repair and held):
                # Nothing is made only to look at it: who finds no collection searches elsewhere.
                return self._kept(ReconcileReport(name, documents=held, drifted=held))
            today = _today() if today is None else today
            return self._kept(self._compared(repair=repair, full=full, today=today))

    def _kept(self, report: ReconcileReport) -> ReconcileReport:
        """The report, with its figures where metrics find the last ones."""
        measures = Measures(self._catalog)
        for measure, value in (
            (RECONCILE_DRIFTED, report.drifted),
            (RECONCILE_UNREPAIRED, report.drifted - report.repaired),
            (RECONCILE_ORPHANS, report.orphan_points),
            (RECONCILED_AT, time.time()),
        ):
            measures.keep(measure, value, index=report.index)
        return report

    def _compared(self, *, repair: bool, full: bool | None, today: int) -> ReconcileReport:
        """Under the lock of the index, with its collection open."""
        self._index.register(self._catalog)
        with self._vectors.open(
            self._index.name,
            dimension=self._index.embedder.dimension,
            fingerprint=self._index.fingerprint,
        ) as collection:
            check = _Check(self, collection, ReconcileReport(self._index.name), repair=repair)
            if full is None:
                full = collection.count() <= _SMALL
            check.documents(full=full, today=today)
            check.orphans(full=full)
            if repair:
                collection.optimize()
            check.report.points = collection.count()
        return check.report

    def _held(self) -> int:
        """How many documents should have points."""
        rows = index_documents
        statement = sa.select(sa.func.count()).where(
            rows.c.index_name == self._index.name, rows.c.chunks > 0
        )
        with self._catalog.read() as connection:
            return int(connection.scalar(statement) or 0)


class _Check:
    """One run over an open collection, whose index lock is held."""

    def __init__(
        self, parts: Reconciler, collection: Collection, report: ReconcileReport, *, repair: bool
    ) -> None:
        self.report = report
        self._index = parts._index
        self._chunks = parts._chunks
        self._catalog = parts._catalog
        self._memo = parts._memo
        self._pages = parts._pages
        self._collection = collection
        self._repairs = repair
        self._writer = IndexWriter(self._index, collection, catalog=self._catalog, memo=self._memo)
        self._marks = collection.marks()  # those that no document explains are left in the end
        self._read: set[str] = set()

    def documents(self, *, full: bool, today: int) -> None:
        """Read what its marks do not vouch for, and whose turn it is."""
        doubtful: list[Any] = []
        for batch in self._known():
            self.report.documents += len(batch)
            doubtful += [row for row in batch if not self._is_marked(row)]
            sound = [row for row in batch if row.chunks and self._is_marked(row)]
            for row in sound:
                del self._marks[mark_of(row.digest)]
            self._compare([row for row in sound if full or _is_turn(row.doc_id, today)])
            if len(doubtful) >= _DOUBTFUL:
                self._settle(doubtful)
                doubtful = []
        self._settle(doubtful)

    def _settle(self, doubtful: Sequence[Any]) -> None:
        """Read documents, and repair them in the order of their chunks: neighbours are found
        together."""
        ordered = sorted(doubtful, key=lambda row: (row.source, row.window, row.pass_no, row.seq))
        for batch in _batches(ordered, _ROWS):
            self._mark(self._compare(batch))

    def orphans(self, *, full: bool) -> None:
        """Remove points of documents that the index should hold nothing of, and compare documents
        that have more points than their mark counts."""
        collection = self._collection
        points = collection.ids() if full else collection.strays(list(self._marks))
        found: list[str] = []
        for batch in _batches(points, 1_000):
            owners = self._owners({doc_id for _, doc_id in batch})
            found += [point for point, doc_id in batch if doc_id not in owners]
            self._mark(self._compare([row for row in owners.values() if self._is_whole(row)]))
        if self._repairs:
            collection.delete(found)
        else:
            self.report.orphan_points = len(found)

    def _is_marked(self, row: Any) -> bool:
        return bool(self._marks.get(mark_of(row.digest), 0) == row.chunks)

    def _is_whole(self, row: Any) -> bool:
        """Whether a document is fully applied and was not read yet."""
        return row.seq == row.claimed and row.doc_id not in self._read

    def _compare(self, rows: Sequence[Any]) -> list[str]:
        """Read documents in full, and repair them; returns those that are sound now."""
        sound: list[str] = []
        for batch in _batches(rows, _BATCH):
            present = self._collection.present([row.doc_id for row in batch])
            self._read.update(present)
            self.report.read += sum(map(len, present.values()))
            drifted = {r.doc_id: r for r in batch if digest_of(present[r.doc_id]) != r.digest}
            self.report.drifted += len(drifted)
            whole = {doc_id: held for doc_id, held in present.items() if doc_id not in drifted}
            self._compare_vectors(
                {p: held for points in whole.values() for p, held in points.items()}
            )
            sound += whole
            if self._repairs:
                self._repair(list(drifted.values()))
                left = self._writer.drifted(list(drifted))
                sound += [doc_id for doc_id in drifted if doc_id not in left]
        return sound

    def _compare_vectors(self, payloads: dict[str, Payload]) -> None:
        """Points of sound documents whose vector is not the one remembered for their text."""
        keys = {point: self._key(payload) for point, payload in payloads.items()}
        known = self._memo.get_many(keys.values())
        stored = self._collection.vectors(list(payloads))
        strayed = [
            Point(point, vector, self._weighed(payloads[point]), payloads[point])
            for point, key in keys.items()
            if key in known
            and _cosine(stored[point], vector := vector_from(known[key])) < _SAME_DIRECTION
        ]
        documents = {point.payload["doc_id"] for point in strayed}
        self.report.drifted += len(documents)
        if self._repairs:
            self._collection.upsert(strayed)
            self._mark(list(documents))
            self.report.repaired += len(documents)

    def _key(self, payload: Payload) -> bytes:
        tenant = payload.get("tenant", DEFAULT_TENANT)
        return passage_key(self._index.embedder, payload["text"], tenant)

    def _weighed(self, payload: Payload) -> SparseVector:
        return self._index.sparse.passage(
            payload["text"], title=payload["title"], language=payload["language"]
        )

    def _mark(self, doc_ids: Sequence[str]) -> None:
        """Let the marks of sound documents vouch for them from now on."""
        if self._repairs and doc_ids:
            owners = self._owners(set(doc_ids)).values()
            self._collection.set_marks({row.doc_id: mark_of(row.digest) for row in owners})

    def _known(self) -> Iterator[Sequence[Any]]:
        """The documents that the index holds as fully applied, in batches."""
        held = index_documents
        statement = (
            sa.select(held)
            .where(held.c.index_name == self._index.name, held.c.seq == held.c.claimed)
            .order_by(held.c.doc_id)
            .limit(_ROWS)
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

    def _owners(self, doc_ids: set[str]) -> dict[str, Any]:
        """The documents among these that may have points, by id. One begun and not finished may
        have some: its run will see to them."""
        held = index_documents
        statement = sa.select(held).where(
            held.c.index_name == self._index.name,
            held.c.doc_id.in_(doc_ids),
            sa.or_(held.c.chunks > 0, held.c.claimed != held.c.seq),
        )
        with self._catalog.read() as connection:
            return {row.doc_id: row for row in connection.execute(statement)}

    def _repair(self, rows: Sequence[Any]) -> None:
        """Write documents anew from the chunk parts of their pages; vectors are in the memo."""
        by_part: dict[tuple[str, str, int], dict[str, Any]] = {}
        for row in rows:
            by_part.setdefault((row.source, row.window, row.pass_no), {})[row.doc_id] = row
        for (source, window, pass_no), wanted in by_part.items():
            found = self._chunk_rows(source, window, pass_no, wanted)
            whole = [
                Wanted(doc, row.seq, window, pass_no, row.text_hash, found.get(doc, ()))
                for doc, row in wanted.items()
                if len(found.get(doc, ())) == row.chunks
            ]
            figures = ApplyFigures()
            if whole:
                tenant = self._chunks[source].tenant
                self._writer.apply(whole, source=source, tenant=tenant, figures=figures)
            self.report.repaired += figures.documents
            self.report.unrepaired += len(wanted) - figures.documents

    def _chunk_rows(
        self, source: str, window: str, pass_no: int, wanted: Mapping[str, Any]
    ) -> dict[str, list[dict[str, Any]]]:
        """The chunks of documents, from the part of the change that the index holds of them."""
        found: dict[str, list[dict[str, Any]]] = {}
        chunks = self._chunks.get(source)
        # What the index holds was made by the steps as they were then.
        part = chunks.stored(window, pass_no) if chunks else None
        if part is None or self._pages.version(part) is None:
            return found
        changes = {row.seq for row in wanted.values()}
        for chunk in self._pages.find(part, "seq", changes):
            if chunk["doc_id"] in wanted:
                found.setdefault(chunk["doc_id"], []).append(chunk)
        return found


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def _is_turn(doc_id: str, today: int) -> bool:
    """Whether a document is read in full on this day; ids are spread evenly."""
    return int(doc_id[:8], 16) % _TURNS == today % _TURNS


def _today() -> int:
    return int(time.time() // _DAY_S)


def _cosine(one: Vectors, other: Vectors) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))
