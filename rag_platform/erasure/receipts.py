"""Receipts: what was erased, where it was looked for, and that nothing was found after."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.windows import utc
from rag_platform.erasure.rows import redacted
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import erasures

RECEIPT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Erasure:
    """A request; `receipt` is None until everything was looked through and found empty."""

    id: int
    source: str
    doc_id: str
    requested_at: float
    requested_by: str
    reason: str
    completed_at: float | None
    receipt: Mapping[str, Any] | None

    @property
    def is_intact(self) -> bool:
        """Whether the receipt is as it was written."""
        if self.receipt is None:
            return False
        return self.receipt.get("sha256") == digest(self.receipt)

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form: the receipt, or the open request."""
        if self.receipt is not None:
            return dict(self.receipt) | {"intact": self.is_intact}
        return {
            "id": self.id,
            "source": self.source,
            "doc_id": self.doc_id,
            **_asked(self),
            "checked_at": None,
        }


def receipt(
    erasure: Erasure,
    key: str,
    *,
    redact: bool,
    at: float,
    found: Mapping[str, int],
    left: Mapping[str, int],
    remarks: Iterable[str],
) -> dict[str, Any]:
    """The receipt of a request: how much each place had, and how much was found there after."""
    written: dict[str, Any] = {
        "version": RECEIPT_VERSION,
        "id": erasure.id,
        "source": erasure.source,
        "key": redacted(erasure.source, key) if redact else key,
        "doc_id": erasure.doc_id,
        **_asked(erasure),
        "checked_at": _moment(at),
        "places": [
            {"place": place, "found": found.get(place, 0), "left": left[place]}
            for place in sorted(left)
        ],
        "remarks": list(remarks),
    }
    return written | {"sha256": digest(written)}


def digest(written: Mapping[str, Any]) -> str:
    """SHA-256 over a receipt without its own digest, as JSON with sorted keys and no spaces."""
    rest = {name: value for name, value in written.items() if name not in ("sha256", "intact")}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def receipts(catalog: Catalog, source: str | None = None) -> list[Erasure]:
    """All requests and receipts, or those of a source, oldest first."""
    statement = sa.select(erasures).order_by(erasures.c.id)
    if source is not None:
        statement = statement.where(erasures.c.source == source)
    with catalog.read() as connection:
        return [erasure_of(row) for row in connection.execute(statement)]


def newest(
    catalog: Catalog,
    *,
    sources: Collection[str] | None = None,
    doc_id: str | None = None,
    before: int | None = None,
    most: int = 50,
) -> list[Erasure]:
    """Requests and receipts of some sources or of one document, the newest first; `before` is a
    number of one."""
    statement = sa.select(erasures).order_by(erasures.c.id.desc()).limit(most)
    if sources is not None:
        statement = statement.where(erasures.c.source.in_(sources))
    if doc_id is not None:
        statement = statement.where(erasures.c.doc_id == doc_id)
    if before is not None:
        statement = statement.where(erasures.c.id < before)
    with catalog.read() as connection:
        return [erasure_of(row) for row in connection.execute(statement)]


def erasure_of(row: Any) -> Erasure:
    """A row of `erasures`; what an open one notes is not its receipt."""
    is_done = row.completed_at is not None
    fields = {name: getattr(row, name) for name in Erasure.__dataclass_fields__}
    return Erasure(**fields | {"receipt": row.receipt if is_done else None})


def _asked(erasure: Erasure) -> dict[str, Any]:
    return {
        "requested_at": _moment(erasure.requested_at),
        "requested_by": erasure.requested_by,
        "reason": erasure.reason,
    }


def _moment(at: float) -> str:
    return utc(at).isoformat(timespec="seconds")
