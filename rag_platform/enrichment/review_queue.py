"""The review queue as enriched_docs keeps it: one open review for each document that waits."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from rag_platform.enrichment.gate import DECISIONS, Proposal, Verdict
from rag_platform.enrichment.progress import clean_documents
from rag_platform.storage.schema import documents, reviews

_HOUR = 3_600


class ReviewQueue:
    """Brings the queue of one source to what was decided about some documents.

    Within the caller's transaction: `bring_to` for each document, then `write`.
    """

    def __init__(self, connection: sa.Connection, source: str, *, hours: int) -> None:
        self._connection = connection
        self._source = source
        self._hours = hours
        self._wanted: dict[str, dict[str, Any]] = {}
        # What a document that is deferred had in review stays there.
        self._waiting: dict[str, str] = {}
        self._seen: list[str] = []

    def bring_to(
        self, proposal: Proposal, verdict: Verdict, confidence: float | None, window: str
    ) -> None:
        """Say what became of a document."""
        self._seen.append(proposal.doc_id)
        if verdict.status == "deferred":
            self._waiting[proposal.doc_id] = proposal.text_hash
        elif verdict.status == "in_review":
            self._wanted[proposal.doc_id] = {
                "source": self._source,
                "doc_id": proposal.doc_id,
                "key": proposal.key,
                "title": proposal.title,
                "window": window,
                "text_hash": proposal.text_hash,
                "reason": verdict.reason,
                "fields": dict(verdict.fields),
                "label": proposal.label,
                "raw_confidence": proposal.raw_confidence,
                "confidence": confidence,
                "model": proposal.model,
                "prompt": proposal.prompt,
            }

    def write(self, now: float) -> None:
        """Open, refresh and close reviews; one that is open keeps its number and its deadline."""
        superseded: list[int] = []
        known: set[str] = set()
        for review in self._open():
            wanted = self._wanted.get(review.doc_id)
            if wanted is not None and wanted["text_hash"] == review.text_hash:
                known.add(review.doc_id)
                self._refresh(review, wanted)
            elif self._waiting.get(review.doc_id) != review.text_hash:
                superseded.append(review.id)
        self._close(superseded, now)
        opened = [
            {**row, "opened_at": now, "due_at": now + self._hours * _HOUR, "status": "open"}
            for doc_id, row in self._wanted.items()
            if doc_id not in known
        ]
        if opened:
            self._connection.execute(sa.insert(reviews), opened)

    def _open(self) -> Sequence[Any]:
        return self._connection.execute(
            sa.select(reviews).where(
                reviews.c.source == self._source,
                reviews.c.doc_id.in_(self._seen),
                reviews.c.status == "open",
            )
        ).all()

    def _refresh(self, review: Any, wanted: dict[str, Any]) -> None:
        changed = {name: value for name, value in wanted.items() if getattr(review, name) != value}
        if changed:
            self._connection.execute(
                sa.update(reviews).where(reviews.c.id == review.id).values(**changed)
            )

    def _close(self, numbers: Sequence[int], now: float) -> None:
        self._connection.execute(
            sa.update(reviews)
            .where(reviews.c.id.in_(numbers), reviews.c.status == "open")
            .values(status="superseded", decided_at=now)
        )


def decisions_for(connection: sa.Connection, source: str, texts: Sequence[str]) -> dict[str, Any]:
    """The newest decided review of each of some texts: a decision holds for the text, under
    whatever address it stands."""
    rows = connection.execute(
        sa.select(reviews)
        .where(
            reviews.c.source == source,
            reviews.c.text_hash.in_(list(texts)),
            reviews.c.status.in_(DECISIONS),
        )
        .order_by(reviews.c.decided_at, reviews.c.id)
    )
    return {row.text_hash: row for row in rows}


def close_gone(connection: sa.Connection, source: str) -> int:
    """Close the open reviews of texts that their documents have no more; returns how many."""
    stands = sa.exists().where(
        clean_documents(source),
        documents.c.doc_id == reviews.c.doc_id,
        documents.c.text_hash == reviews.c.text_hash,
    )
    return int(
        connection.execute(
            sa.update(reviews)
            .where(reviews.c.source == source, reviews.c.status == "open", ~stands)
            .values(status="superseded")
        ).rowcount
    )
