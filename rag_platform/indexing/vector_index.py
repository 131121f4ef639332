"""vector_index: brings a collection to what a page says, by difference, never by rebuilding.

A document is applied only if its change is newer than what the index holds, so replays and
overlapping runs are harmless whatever their order. Wanted minus present is added, present minus
wanted is deleted, last: until then the old content serves.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rag_platform.encoders.base import SparseEncoder
from rag_platform.indexing.access import AccessTags
from rag_platform.indexing.chunks import Chunks
from rag_platform.indexing.failures import failures_counted
from rag_platform.indexing.index_writer import ApplyFigures, IndexWriter, Terms, Wanted, terms_key
from rag_platform.indexing.near_copies import NearCopies
from rag_platform.indexing.payloads import PayloadFields, PayloadFigures
from rag_platform.indexing.processes import in_order
from rag_platform.indexing.progress import note_figures, unapplied, unapplied_passes
from rag_platform.indexing.retirement import retired
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo
from rag_platform.storage.pages import PageStore, PartKey
from rag_platform.storage.schema import changes
from rag_platform.storage.vectors.base import Collection, VectorStore

_BATCH_DOCUMENTS = 100
_BATCH_CHUNKS = 400

Group = dict[int, list[dict[str, Any]]]  # rows of a chunk part by change number


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
            failures_counted(self._catalog, name, "apply"),
            self._catalog.exclusive(f"index-{name}"),
        ):
            # Asked under the lock: a collection that is being retired must not come back.
            if name in retired(self._catalog):
                return figures
            self._apply(window, figures)
        note_figures(
            self._catalog,
            name,
            self._source,
            window,
            finished=figures.deferred == 0,
            figures=asdict(figures),
        )
        return figures

    def _apply(self, window: str, figures: ApplyFigures) -> None:
        name = self._index.name
        with self._vectors.open(
            name,
            dimension=self._index.embedder.dimension,
            fingerprint=self._index.fingerprint,
        ) as collection:
            writer = IndexWriter(self._index, collection, catalog=self._catalog, memo=self._memo)
            for pass_no in unapplied_passes(self._catalog, name, self._source, window):
                self._apply_pass(writer, window, pass_no, figures)
            tenant = self._chunks.tenant
            tags = AccessTags(name, self._source, tenant=tenant, catalog=self._catalog)
            copies = NearCopies(name, self._source, catalog=self._catalog)
            readers, near = self._bring(collection, tags), self._bring(collection, copies)
            figures.readers, figures.near_copies = readers.documents, near.documents
            figures.points = collection.count()
            figures.expected = writer.expected_points()
            # Those that drifted may still have their former readers: it must be told.
            figures.disagreeing = writer.disagreeing() + readers.drifted

    def _bring(self, collection: Collection, fields: PayloadFields) -> PayloadFigures:
        """What changed of documents of any page, without their text."""
        figures = PayloadFigures()
        fields.apply(collection, figures)
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
                tenant=self._chunks.tenant,
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
                tenant=self._chunks.tenant,
                figures=figures,
            )

    def _rows(self, part: PartKey) -> Iterator[dict[str, Any]]:
        for batch in self._pages.read(part):
            yield from batch.to_pylist()


def _texts(group: Group) -> dict[tuple[str, str, str], str]:
    return {terms_key(row): row["text"] for rows in group.values() for row in rows}


def _weigh(encoder: SparseEncoder, texts: dict[tuple[str, str, str], str]) -> Terms:
    return {
        key: encoder.passage(text, title=key[1], language=key[2]) for key, text in texts.items()
    }


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
