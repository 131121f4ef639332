"""Dead letters: documents without a text, why, and how to give them another chance; and what later
steps could not use."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.parsed import MAX_ATTEMPTS
from rag_platform.documents.windows import utc
from rag_platform.storage import schema
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import dead_letters, documents


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One document and why it has no text. A quarantined one is left alone until it changes."""

    source: str
    key: str
    window: str
    stage: str
    reason: str
    detail: str
    attempts: int
    quarantined: bool
    first_at: str
    last_at: str
    sha256: str | None
    doc_id: str

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return asdict(self)


def letters(
    catalog: Catalog, *, source: str | None = None, window: str | None = None
) -> list[DeadLetter]:
    """The dead letters, of a source, of a window or all, by source and key."""
    statement = sa.select(dead_letters).order_by(dead_letters.c.source, dead_letters.c.key)
    if source is not None:
        statement = statement.where(dead_letters.c.source == source)
    if window is not None:
        statement = statement.where(dead_letters.c.window == window)
    with catalog.read() as connection:
        return [
            _letter(
                row,
                doc_id=row.doc_id,
                sha256=row.sha256,
                quarantined=row.attempts >= MAX_ATTEMPTS,
            )
            for row in connection.execute(statement)
        ]


def step_letters(catalog: Catalog, source: str, *, window: str | None = None) -> list[DeadLetter]:
    """What the steps behind the clean documents of a source could not do, by key and stage; or,
    for `rides`, the records and rides that its days could not use."""
    table = schema.step_letters
    statement = sa.select(table).where(table.c.source == source)
    if window is not None:
        statement = statement.where(table.c.window == window)
    statement = statement.order_by(table.c.key, table.c.stage)
    with catalog.read() as connection:
        return [
            _letter(row, doc_id=row.item, sha256=None, quarantined=False)
            for row in connection.execute(statement)
        ]


def _letter(row: Any, *, doc_id: str, sha256: str | None, quarantined: bool) -> DeadLetter:
    return DeadLetter(
        source=row.source,
        key=row.key,
        window=row.window,
        stage=row.stage,
        reason=row.reason,
        detail=row.detail,
        attempts=row.attempts,
        quarantined=quarantined,
        first_at=utc(row.first_at).isoformat(timespec="seconds"),
        last_at=utc(row.last_at).isoformat(timespec="seconds"),
        sha256=sha256,
        doc_id=doc_id,
    )


def forget_etags(catalog: Catalog, chosen: Sequence[DeadLetter]) -> list[str]:
    """Make documents whose bytes could not be had look changed, so that they are fetched again.

    Returns the sources concerned: their newest window must be asked.
    """
    unread = [letter for letter in chosen if letter.sha256 is None]
    with catalog.begin() as connection:
        connection.execute(
            sa.update(documents)
            .where(documents.c.doc_id.in_([letter.doc_id for letter in unread]))
            .values(etag=None)
        )
    return sorted({letter.source for letter in unread})
