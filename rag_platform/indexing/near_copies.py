"""Which documents are near copies of each other, in the payload of their points.

All points of a group carry its canonical document, those of other documents carry nothing. Groups
change with any page of the source; then payloads alone are written.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from rag_platform.indexing.payloads import Carried, PayloadFields, wholly_applied
from rag_platform.storage.schema import index_documents, near_documents

NEAR_FIELDS = ("canonical",)
_ALONE = Carried({}, None)


def near_copies_of(
    connection: sa.Connection, texts: Mapping[str, str | None]
) -> dict[str, Carried]:
    """The canonical documents of some documents of groups.

    `texts` maps document ids to the hash of the clean text that is indexed: what another text is
    alike says nothing of it.
    """
    held = near_documents
    rows = connection.execute(
        sa.select(held.c.doc_id, held.c.text_hash, held.c.canonical).where(
            held.c.doc_id.in_(list(texts)), _of_a_group()
        )
    )
    found = {
        row.doc_id: Carried({"canonical": row.canonical}, _mark(row.canonical))
        for row in rows
        if row.text_hash == texts[row.doc_id]
    }
    return {doc_id: found.get(doc_id, _ALONE) for doc_id in texts}


def _of_a_group() -> sa.ColumnElement[bool]:
    """Documents that are a near copy, or have one."""
    held, copy = near_documents, near_documents.alias("copy")
    has_copies = sa.exists().where(
        copy.c.canonical == held.c.doc_id, copy.c.doc_id != held.c.doc_id
    )
    return sa.or_(held.c.canonical != held.c.doc_id, has_copies)


def _mark(doc_id: str) -> str:
    """Without hyphens: databases write ids either way."""
    return doc_id.replace("-", "")


class NearCopies(PayloadFields):
    """Brings canonical documents to the points of one source in one index."""

    fields = NEAR_FIELDS
    column = "canonical"

    def behind(self) -> sa.Select[Any]:
        """Documents whose group is not the one that their points carry."""
        held = index_documents
        near = sa.select(near_documents).where(_of_a_group()).subquery("near")
        mark = sa.func.replace(sa.cast(near.c.canonical, sa.Text), "-", "")
        return (
            sa.select(held.c.doc_id, held.c.text_hash, held.c.digest)
            .outerjoin(
                near,
                sa.and_(near.c.doc_id == held.c.doc_id, near.c.text_hash == held.c.text_hash),
            )
            .where(
                *wholly_applied(self.index, self.source), held.c.canonical.is_distinct_from(mark)
            )
        )

    def carried(
        self, connection: sa.Connection, texts: Mapping[str, str | None]
    ) -> dict[str, Carried]:
        """By the groups of the texts that are indexed."""
        return near_copies_of(connection, texts)
