"""Reading a page of the change log: its passes, and those of its changes that still stand."""

from collections.abc import Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from rag_platform.storage.pages import PartKey
from rag_platform.storage.schema import changes, documents

GONE_KINDS = ("deleted", "departed")


class CleanStage(Protocol):
    """A stage of a source whose parts hold clean documents."""

    name: str

    def part(self, window: str, pass_no: int) -> PartKey | None:
        """Where the documents of one pass are kept; None before they are."""


def passes_of(connection: sa.Connection, source: str, window: str) -> list[int]:
    """The passes of a page that found something, oldest first."""
    rows = connection.execute(
        sa.select(changes.c.pass_no)
        .where(changes.c.source == source, changes.c.window == window)
        .distinct()
        .order_by(changes.c.pass_no)
    )
    return list(rows.scalars())


def standing(source: str, window: str, pass_no: int) -> sa.Select[Any]:
    """The changes of a pass that no newer change of their document has superseded."""
    return (
        sa.select(changes, documents.c.text_hash)
        .join(documents, documents.c.doc_id == changes.c.doc_id)
        .where(
            changes.c.source == source,
            changes.c.window == window,
            changes.c.pass_no == pass_no,
            documents.c.seq == changes.c.seq,
        )
    )


def standing_by_key(
    connection: sa.Connection, statement: sa.Select[Any], source: str, keys: Sequence[str]
) -> dict[str, Any]:
    """Those standing changes of a source that concern some keys (a batch of them), by key."""
    # By number: `changes` has no index on keys, and a page may be as large as the source.
    newest = sa.select(documents.c.seq).where(
        documents.c.source == source, documents.c.key.in_(keys)
    )
    rows = connection.execute(statement.where(changes.c.seq.in_(newest.correlate(None))))
    return {row.key: row for row in rows}
