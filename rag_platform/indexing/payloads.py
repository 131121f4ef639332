"""Fields of points that change without their text: written as payloads, no vector is touched."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlalchemy as sa

from rag_platform.indexing.digests import digest_of
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents, index_documents
from rag_platform.storage.vectors.base import MARK, Collection, Payload, mark_of

_BATCH_DOCUMENTS = 200


@dataclass(frozen=True, slots=True)
class Carried:
    """What the points of a document carry: the fields, and the mark that the catalog keeps."""

    payload: Payload
    mark: str | None


@dataclass(slots=True)
class PayloadFigures:
    """What one run did: `documents` brought up to date, `points` of them written.

    `drifted` documents have other points than the catalog recorded: they are left to reconciling.
    """

    documents: int = 0
    points: int = 0
    drifted: int = 0


class PayloadFields(ABC):
    """Brings some fields of the points of one source in one index to what the catalog says.

    `column` of `index_documents` keeps the mark of what the points carry.
    """

    fields: ClassVar[tuple[str, ...]]
    column: ClassVar[str]

    def __init__(self, index: str, source: str, *, catalog: Catalog) -> None:
        self.index = index
        self.source = source
        self.catalog = catalog

    @abstractmethod
    def behind(self) -> sa.Select[Any]:
        """`doc_id`, `text_hash` and `digest` of the documents that carry something else."""

    @abstractmethod
    def carried(
        self, connection: sa.Connection, texts: Mapping[str, str | None]
    ) -> dict[str, Carried]:
        """What documents should carry; `texts` maps their ids to the hash of the text indexed."""

    def waiting(self) -> int:
        """Documents whose points do not carry what they should."""
        with self.catalog.read() as connection:
            count = sa.select(sa.func.count()).select_from(self.behind().subquery())
            return int(connection.scalar(count) or 0)

    def apply(self, collection: Collection, figures: PayloadFigures) -> None:
        """Write the payloads that changed. The index's lock must be held."""
        for batch in self._batches():
            self._write(collection, batch, figures)

    def _batches(self) -> Iterator[Sequence[Any]]:
        ordered = self.behind().order_by(index_documents.c.doc_id).limit(_BATCH_DOCUMENTS)
        last = None
        while True:
            after = ordered if last is None else ordered.where(index_documents.c.doc_id > last)
            with self.catalog.read() as connection:
                batch = connection.execute(after).all()
            if not batch:
                return
            yield batch
            last = batch[-1].doc_id

    def _write(self, collection: Collection, batch: Sequence[Any], figures: PayloadFigures) -> None:
        """Digests, payloads, then the record that they are written: in this order, so that a run
        after a kill in between sees what was meant and does it again."""
        texts = {row.doc_id: row.text_hash for row in batch}
        with self.catalog.read() as connection:
            wanted_of = self.carried(connection, texts)
        present = collection.present(list(texts))
        sound: dict[str, str | None] = {}
        changed: dict[str, Payload] = {}
        for row in batch:
            held = present[row.doc_id]
            wanted = {
                point: self._without_fields(payload) | wanted_of[row.doc_id].payload
                for point, payload in held.items()
            }
            digest = digest_of(wanted)
            if row.digest in (digest, digest_of(held)):
                sound[row.doc_id] = digest
                # All of them: the mark stands for the document as a whole.
                if wanted != held:
                    mark = {MARK: mark_of(digest)}
                    changed |= {point: payload | mark for point, payload in wanted.items()}
        self._record("digest", sound)
        collection.set_payloads(changed)
        self._record(self.column, {doc_id: wanted_of[doc_id].mark for doc_id in sound})
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
            .where(held.c.index_name == self.index, held.c.doc_id == sa.bindparam("_id"))
            .values({column: sa.bindparam("_value")})
        )
        rows = [{"_id": doc_id, "_value": value} for doc_id, value in values.items()]
        with self.catalog.begin() as connection:
            connection.execute(statement, rows)

    def _without_fields(self, payload: Payload) -> Payload:
        return {name: value for name, value in payload.items() if name not in self.fields}


def wholly_applied(index: str, source: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Documents of a source that an index holds with a text and that no run is writing."""
    held = index_documents
    return (
        held.c.index_name == index,
        held.c.source == source,
        held.c.seq == held.c.claimed,
        held.c.chunks > 0,
    )


def present_documents() -> sa.FromClause:
    """What indexes hold, joined with the documents as they are now."""
    return index_documents.join(documents, documents.c.doc_id == index_documents.c.doc_id)
