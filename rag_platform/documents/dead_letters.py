"""Dead letters: documents without a text, why, and how to give them another chance; and what later
steps could not use."""

from collections.abc import Collection, Sequence
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


_EXCLUDE = "exclude it in the source's `exclude`"
_REPAIR = "repair it at the source"
_LIMIT = "raise the limit in `limits`, or " + _EXCLUDE
_ASKED = "it is asked again with each listing; look at the source's server"
_REMEDIES = {
    "unsupported": _EXCLUDE,
    "too_large": _LIMIT,
    "too_many_pages": _LIMIT,
    "inflates": _LIMIT,
    "timeout": _LIMIT,
    "memory": _LIMIT,
    "worker_died": _EXCLUDE + ": it may be hostile",
    "corrupt": _REPAIR,
    "hostile_xml": _REPAIR,
    "garbled": _REPAIR,
    "encrypted": "store it without a password",
    "needs_ocr": "install what the detail names: it is read by itself then",
    "secrets": "take them out at the source, or set the source's `safety`",
    "pii": "take it out at the source, or set the source's `safety`",
    "unreadable": "give this user the right to read it, then replay",
    "outside_source": "put it below the source's URL instead of a link",
    "bad_name": "rename it at the source",
    "unavailable": _ASKED,
    "bad_answer": _ASKED,
    "robots": "its site does not want it read: leave it out",
    "forbidden_address": "name the host in `private_hosts` if it is yours",
    "bad_redirect": "name the page that it leads to instead",
}


def remedy(reason: str) -> str:
    """What a person can do about a dead letter."""
    return _REMEDIES.get(reason, "see its detail")


def letters(
    catalog: Catalog,
    *,
    source: str | None = None,
    window: str | None = None,
    reason: str | None = None,
    keys: Collection[str] = (),
) -> list[DeadLetter]:
    """The dead letters by source and key: all, or those of a source, a window, a reason, keys."""
    statement = sa.select(dead_letters).order_by(dead_letters.c.source, dead_letters.c.key)
    if source is not None:
        statement = statement.where(dead_letters.c.source == source)
    if window is not None:
        statement = statement.where(dead_letters.c.window == window)
    if reason is not None:
        statement = statement.where(dead_letters.c.reason == reason)
    if keys:
        statement = statement.where(dead_letters.c.key.in_(list(keys)))
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


def retries(chosen: Sequence[DeadLetter]) -> dict[str, dict[str, list[str]]]:
    """The keys of the letters that failed to parse, by source and window; those whose bytes could
    not be had are none of them: see `forget_etags`."""
    found: dict[str, dict[str, list[str]]] = {}
    for letter in sorted(chosen, key=lambda letter: (letter.source, letter.window, letter.key)):
        if letter.sha256 is not None:
            found.setdefault(letter.source, {}).setdefault(letter.window, []).append(letter.key)
    return found


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
