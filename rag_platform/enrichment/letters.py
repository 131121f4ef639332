"""Dead letters of the steps: documents that a model could not do something with, and why."""

import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents, step_letters

STAGES = ("entities", "summary", "classification")
_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step has no answer for a document; `fingerprint` stands for its input and the step."""

    doc_id: str
    key: str
    reason: str
    detail: str
    fingerprint: str


class StepLetters:
    """The letters of one step of one source."""

    def __init__(self, catalog: Catalog, source: str, stage: str) -> None:
        self._catalog = catalog
        self._source = source
        self._stage = stage

    def known(self, doc_ids: Collection[str]) -> dict[str, Failure]:
        """What failed before for some documents, by document."""
        with self._catalog.read() as connection:
            rows = connection.execute(sa.select(step_letters).where(self._of(doc_ids)))
            return {
                row.item: Failure(row.item, row.key, row.reason, row.detail, row.fingerprint)
                for row in rows
            }

    def record(self, window: str, failed: Sequence[Failure], worked: Collection[str]) -> None:
        """Keep what failed in one attempt, and forget what worked, in one transaction."""
        if not failed and not worked:
            return
        now = time.time()
        with self._catalog.begin() as connection:
            connection.execute(sa.delete(step_letters).where(self._of(worked)))
            if not failed:
                return
            ids = [failure.doc_id for failure in failed]
            rows = connection.execute(sa.select(step_letters).where(self._of(ids)))
            before = {(row.item, row.fingerprint): row for row in rows}
            letters = []
            for failure in failed:
                same = before.get((failure.doc_id, failure.fingerprint))
                letters.append(
                    {
                        "source": self._source,
                        "item": failure.doc_id,
                        "stage": self._stage,
                        "key": failure.key,
                        "window": window,
                        "reason": failure.reason,
                        "detail": " ".join(failure.detail.split())[:_DETAIL],
                        "fingerprint": failure.fingerprint,
                        "attempts": same.attempts + 1 if same else 1,
                        "first_at": same.first_at if same else now,
                        "last_at": now,
                    }
                )
            self._catalog.upsert(connection, step_letters, letters)

    def _of(self, doc_ids: Collection[str]) -> sa.ColumnElement[bool]:
        return sa.and_(
            step_letters.c.source == self._source,
            step_letters.c.stage == self._stage,
            step_letters.c.item.in_(list(doc_ids)),
        )


def forget_gone(connection: sa.Connection, source: str) -> int:
    """Remove the letters of documents that have no text any more; returns how many."""
    of_source = sa.and_(step_letters.c.source == source, step_letters.c.stage.in_(STAGES))
    items = set(connection.execute(sa.select(step_letters.c.item).where(of_source)).scalars())
    known: set[str] = set()
    # By value, not by a join: a document's id is a UUID there and a text here.
    for batch in _batches(sorted(items)):
        rows = connection.execute(
            sa.select(documents.c.doc_id).where(
                documents.c.doc_id.in_(batch),
                ~documents.c.gone,
                ~documents.c.empty,
                documents.c.text_hash.is_not(None),
            )
        )
        known |= {str(uuid.UUID(doc_id)) for doc_id in rows.scalars()}
    for batch in _batches(sorted(items - known)):
        connection.execute(sa.delete(step_letters).where(of_source, step_letters.c.item.in_(batch)))
    return len(items - known)


def _batches(items: Sequence[str], size: int = 500) -> list[Sequence[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
