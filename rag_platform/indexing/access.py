"""Whose a document is and who may read it, in the payload of its points.

Both are known to the catalog before a point is written. Where readers change later, payloads
alone are written: nothing is embedded.
"""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.access import read
from rag_platform.indexing.payloads import (
    Carried,
    PayloadFields,
    present_documents,
    wholly_applied,
)
from rag_platform.settings_values import DEFAULT_TENANT
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents, index_documents

ACCESS_FIELDS = ("tenant", "acl")


def access_of(connection: sa.Connection, tenant: str, doc_ids: list[str]) -> dict[str, Carried]:
    """Tenant and readers of some documents of a tenant's source."""
    rows = connection.execute(
        sa.select(documents.c.doc_id, documents.c.acl).where(documents.c.doc_id.in_(doc_ids))
    )
    return {
        row.doc_id: Carried({"tenant": tenant, "acl": read(row.acl)}, _mark(tenant, row.acl))
        for row in rows
    }


def _mark(tenant: str, acl: str | None) -> str:
    return f"{tenant} {json.dumps(None) if acl is None else acl}"


def holds_guarded(catalog: Catalog) -> bool:
    """Whether any index holds what is not for everybody, whatever the settings say by now."""
    held, everybody = index_documents.c.access, _mark(DEFAULT_TENANT, None)
    # As two ranges of its index: other rows than these are not looked at.
    with catalog.read() as connection:
        return any(
            connection.scalar(sa.select(sa.literal(1)).where(beyond).limit(1))
            for beyond in (held < everybody, held > everybody)
        )


class AccessTags(PayloadFields):
    """Brings tenant and readers to the points of one source in one index."""

    fields = ACCESS_FIELDS
    column = "access"

    def __init__(self, index: str, source: str, *, tenant: str, catalog: Catalog) -> None:
        super().__init__(index, source, catalog=catalog)
        self._tenant = tenant

    def behind(self) -> sa.Select[Any]:
        """Documents whose readers are not those that their points carry."""
        held = index_documents
        mark = sa.literal(f"{self._tenant} ") + sa.func.coalesce(documents.c.acl, "null")
        return (
            sa.select(held.c.doc_id, held.c.text_hash, held.c.digest)
            .select_from(present_documents())
            .where(
                *wholly_applied(self.index, self.source),
                ~documents.c.gone,
                held.c.access.is_distinct_from(mark),
            )
        )

    def carried(
        self, connection: sa.Connection, texts: Mapping[str, str | None]
    ) -> dict[str, Carried]:
        """By the catalog, whatever the text."""
        return access_of(connection, self._tenant, list(texts))
