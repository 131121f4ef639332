"""Dead letters as a person looks through them: by kind, and a page of them at a time."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.access import Scope
from rag_platform.documents.parsed import MAX_ATTEMPTS
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import dead_letters, documents, step_letters

_MOST_KINDS = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """Letters of one source, stage and reason. `quarantined` ones are not tried again;
    `is_of_documents` where documents have no text, else a step failed for them.

    `oldest` is in UTC seconds since 1970.
    """

    source: str
    stage: str
    reason: str
    count: int
    quarantined: int
    oldest: float
    is_of_documents: bool


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter; `doc_id` is None for records. Times are UTC seconds since 1970."""

    source: str
    key: str
    doc_id: str | None
    window: str
    stage: str
    reason: str
    detail: str
    attempts: int
    quarantined: bool
    first_at: float
    last_at: float


def kinds(catalog: Catalog, scope: Scope, source: str | None = None) -> list[Kind]:
    """How many letters there are of what kind, the most first; at most a hundred kinds of each."""
    quarantined = sa.func.sum(sa.case((dead_letters.c.attempts >= MAX_ATTEMPTS, 1), else_=0))
    found = []
    with catalog.read() as connection:
        for table, held in ((dead_letters, quarantined), (step_letters, sa.literal(0))):
            by = (table.c.source, table.c.stage, table.c.reason)
            count = sa.func.count()
            rows = connection.execute(
                sa.select(
                    *by,
                    count.label("count"),
                    held.label("quarantined"),
                    sa.func.min(table.c.first_at).label("oldest"),
                )
                .where(_of_sources(table, scope, source))
                .group_by(*by)
                .order_by(count.desc(), *by)
                .limit(_MOST_KINDS)
            )
            found += [Kind(**row._mapping, is_of_documents=table is dead_letters) for row in rows]
    return sorted(found, key=lambda kind: -kind.count)


def documents_page(
    catalog: Catalog,
    scope: Scope,
    *,
    source: str | None = None,
    stage: str | None = None,
    reason: str | None = None,
    before: int | None = None,
    most: int = 50,
) -> tuple[list[Letter], int | None]:
    """Documents without a text, the newest change first; and what `before` is for the next page."""
    table = dead_letters
    statement = (
        sa.select(table, documents.c.acl, documents.c.seq.label("document"))
        .outerjoin(documents, documents.c.doc_id == table.c.doc_id)
        .where(
            scope.of_documents(table.c.source),
            _of_sources(table, scope, source),
            *_of_kind(table, stage, reason),
        )
        .order_by(table.c.seq.desc())
        .limit(most + 1)
    )
    if before is not None:
        statement = statement.where(table.c.seq < before)
    with catalog.read() as connection:
        rows = connection.execute(statement).all()
    shown = [
        _letter(row, doc_id=row.doc_id, quarantined=row.attempts >= MAX_ATTEMPTS)
        for row in rows[:most]
        if _allows(scope, row.source, None if row.document is None else row)
    ]
    return shown, rows[most - 1].seq if len(rows) > most else None


Place = tuple[float, str, str, str]  # time of the last attempt, source, stage, item


def steps_page(
    catalog: Catalog,
    scope: Scope,
    *,
    source: str | None = None,
    stage: str | None = None,
    reason: str | None = None,
    before: Place | None = None,
    most: int = 50,
) -> tuple[list[Letter], Place | None]:
    """Documents and records that a step failed for, the newest attempt first; and what `before` is
    for the next page."""
    table = step_letters
    order = (table.c.last_at, table.c.source, table.c.stage, table.c.item)
    statement = (
        sa.select(table)
        .where(_of_sources(table, scope, source), *_of_kind(table, stage, reason))
        .order_by(*(column.desc() for column in order))
        .limit(most + 1)
    )
    if before is not None:
        statement = statement.where(sa.tuple_(*order) < sa.tuple_(*before))
    with catalog.read() as connection:
        rows = connection.execute(statement).all()
        ids = {row.item: _document_id(row.item) for row in rows}
        known = connection.execute(
            sa.select(documents.c.doc_id, documents.c.acl).where(
                documents.c.doc_id.in_([doc_id for doc_id in ids.values() if doc_id])
            )
        )
        acls = {row.doc_id: row for row in known}
    shown = [
        _letter(row, doc_id=ids[row.item], quarantined=False)
        for row in rows[:most]
        if _allows(scope, row.source, acls.get(ids[row.item]))
    ]
    if len(rows) <= most:
        return shown, None
    last = rows[most - 1]
    return shown, (last.last_at, last.source, last.stage, last.item)


def _allows(scope: Scope, source: str, document: Any) -> bool:
    if document is None:
        return scope.allows_forgotten(source)
    return scope.allows(source, document.acl)


def _document_id(item: str) -> str | None:
    """The id of a document, where the item is one."""
    try:
        return str(uuid.UUID(item))
    except ValueError:
        return None


def _letter(row: Any, *, doc_id: str | None, quarantined: bool) -> Letter:
    names = ("source", "key", "window", "stage", "reason", "detail", "attempts")
    fields = {name: getattr(row, name) for name in (*names, "first_at", "last_at")}
    return Letter(**fields, doc_id=doc_id, quarantined=quarantined)


def _of_sources(table: sa.Table, scope: Scope, source: str | None) -> sa.ColumnElement[bool]:
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    if scope.sources is not None:
        conditions.append(table.c.source.in_(scope.sources))
    if source is not None:
        conditions.append(table.c.source == source)
    return sa.and_(*conditions)


def _of_kind(
    table: sa.Table, stage: str | None, reason: str | None
) -> Sequence[sa.ColumnElement[bool]]:
    wanted = {"stage": stage, "reason": reason}
    return [table.c[name] == value for name, value in wanted.items() if value is not None]
