"""One document's life, as the catalog knows it, and the documents that there are."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa

from rag_platform.documents.access import Scope
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import (
    changes,
    dead_letters,
    documents,
    enrichments,
    index_documents,
    near_documents,
    passes,
    reviews,
    safety_findings,
    step_letters,
)

State = Literal["live", "empty", "waiting", "dead", "gone"]
STATES: tuple[State, ...] = get_args(State)

# Of one document that are shown; a document has seldom more.
MOST_CHANGES = 200
_MOST_OTHERS = 20

_STATE = sa.case(
    (documents.c.gone, "gone"),
    (dead_letters.c.doc_id.is_not(None), "dead"),
    (documents.c.text_hash.is_(None), "waiting"),
    (documents.c.empty, "empty"),
    else_="live",
)
_KNOWN = documents.outerjoin(dead_letters, dead_letters.c.doc_id == documents.c.doc_id)
_COLUMNS = (documents, _STATE.label("state"), dead_letters.c.reason)


@dataclass(frozen=True, slots=True)
class Known:
    """A document as it is now. `waiting` is one that is not cleaned yet; `reason` is why it is
    dead. `modified` is in UTC seconds since 1970, `seq` the number of its newest change."""

    source: str
    key: str
    doc_id: str
    state: State
    reason: str | None
    seq: int
    window: str
    pass_no: int
    size: int | None
    modified: float | None
    sha256: str | None
    text_hash: str | None
    acl: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change log; `listed_at` in UTC seconds since 1970.

    `other` is the address that it was moved from, or to, and `other_id` the document there, None
    where there is none; `outcome` is None until it is settled.
    """

    seq: int
    listed_at: float | None
    window: str
    pass_no: int
    key: str
    kind: str
    other: str | None
    other_id: str | None
    sha256: str | None
    size: int | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """What an index version has of a document. `is_current`: its newest change, wholly applied."""

    index: str
    chunks: int
    digest: str
    text_hash: str | None
    seq: int
    window: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Other:
    """Another document that has the same text, or one that is alike by so much (0 to 1)."""

    key: str
    doc_id: str
    similarity: float
    is_canonical: bool = False


@dataclass(frozen=True)
class Life:
    """All that the catalog knows of a document; `known` is None for one that was erased.

    `versions` counts the different contents that the change log has of it. Rows of tables are
    given as they are, None or empty where there are none.
    """

    source: str
    doc_id: str
    known: Known | None
    changes: Sequence[Change]
    versions: int
    held: Sequence[Held] = ()
    enrichment: Any = None
    findings: Any = None
    letter: Any = None
    step_letters: Sequence[Any] = ()
    reviews: Sequence[Any] = ()
    copies: Sequence[Other] = ()
    alike: Sequence[Other] = ()


def found(
    catalog: Catalog,
    scope: Scope,
    *,
    source: str | None = None,
    state: State | None = None,
    text: str = "",
    before: int | None = None,
    most: int = 50,
) -> tuple[list[Known], int | None]:
    """Documents whose address has some text in it, the newest change first; and, where there are
    more of them, what `before` is for the next."""
    # Which first, by what they are chosen by alone: the rows are wide, and most are not shown.
    newest = (
        sa.select(documents.c.doc_id)
        .where(scope.within(), *_in_state(state))
        .order_by(documents.c.seq.desc())
        .limit(most + 1)
    )
    if source is not None:
        newest = newest.where(documents.c.source == source)
    if text:
        newest = newest.where(documents.c.key.icontains(text, autoescape=True))
    if before is not None:
        newest = newest.where(documents.c.seq < before)
    statement = (
        sa.select(*_COLUMNS)
        .select_from(_KNOWN)
        .where(documents.c.doc_id.in_(newest))
        .order_by(documents.c.seq.desc())
    )
    with catalog.read() as connection:
        rows = connection.execute(statement).all()
    shown = [_known(row) for row in rows[:most] if scope.allows(row.source, row.acl)]
    return shown, rows[most - 1].seq if len(rows) > most else None


def document(catalog: Catalog, scope: Scope, source: str, doc_id: str) -> Known | None:
    """A document of a source as it is now; None for one that is not known or not to be shown."""
    with catalog.read() as connection:
        return _document(connection, scope, source, doc_id)


def life(catalog: Catalog, scope: Scope, source: str, doc_id: str) -> Life | None:
    """A document's life; None for one that is not known or not to be shown.

    What was erased has its change log only, as far as the receipt leaves it.
    """
    if not scope.has(source):
        return None
    with catalog.read() as connection:
        known = _document(connection, scope, source, doc_id)
        if known is None and (
            not scope.allows_forgotten(source) or _exists(connection, source, doc_id)
        ):
            return None
        entries = _changes(connection, scope, source, doc_id)
        versions = connection.scalar(
            sa.select(sa.func.count(changes.c.sha256.distinct())).where(changes.c.doc_id == doc_id)
        )
        if known is None:
            return Life(source, doc_id, None, entries, versions or 0) if entries else None
        return Life(
            source,
            doc_id,
            known,
            entries,
            versions or 0,
            held=_held(connection, known),
            enrichment=_row(connection, enrichments, doc_id),
            findings=_row(connection, safety_findings, doc_id),
            letter=_row(connection, dead_letters, doc_id),
            step_letters=connection.execute(
                sa.select(step_letters)
                .where(step_letters.c.source == source, step_letters.c.item == doc_id)
                .order_by(step_letters.c.stage)
            ).all(),
            reviews=connection.execute(
                sa.select(reviews.c.id, reviews.c.status, reviews.c.decided_by)
                .where(reviews.c.source == source, reviews.c.doc_id == doc_id)
                .order_by(reviews.c.id.desc())
                .limit(_MOST_OTHERS)
            ).all(),
            copies=_copies(connection, scope, known),
            alike=_alike(connection, scope, known),
        )


def _in_state(state: State | None) -> list[sa.ColumnElement[bool]]:
    """The conditions of a state, as `_STATE` has it. What has a text is not dead: it is not looked
    up among the letters."""
    letters = sa.select(dead_letters.c.doc_id)
    has_text = documents.c.text_hash.is_not(None)
    conditions: dict[State | None, list[sa.ColumnElement[bool]]] = {
        None: [],
        "gone": [documents.c.gone],
        "dead": [~documents.c.gone, documents.c.doc_id.in_(letters)],
        "waiting": [~documents.c.gone, ~has_text, documents.c.doc_id.not_in(letters)],
        "empty": [~documents.c.gone, has_text, documents.c.empty],
        "live": [~documents.c.gone, has_text, ~documents.c.empty],
    }
    return conditions[state]


def _document(connection: sa.Connection, scope: Scope, source: str, doc_id: str) -> Known | None:
    statement = sa.select(*_COLUMNS).select_from(_KNOWN)
    row = connection.execute(
        statement.where(documents.c.doc_id == doc_id, documents.c.source == source)
    ).first()
    return _known(row) if row is not None and scope.allows(source, row.acl) else None


def _exists(connection: sa.Connection, source: str, doc_id: str) -> bool:
    one = sa.select(documents.c.seq).where(
        documents.c.doc_id == doc_id, documents.c.source == source
    )
    return connection.scalar(one) is not None


def _known(row: Any) -> Known:
    return Known(**{name: getattr(row, name) for name in Known.__slots__})


def _row(connection: sa.Connection, table: sa.Table, doc_id: str) -> Any:
    return connection.execute(sa.select(table).where(table.c.doc_id == doc_id)).first()


def _changes(connection: sa.Connection, scope: Scope, source: str, doc_id: str) -> list[Change]:
    """The newest first. A document that went to another address has its change under that one."""
    moved = changes.alias("moved")
    moved_to = (
        sa.select(moved.c.key)
        .where(
            changes.c.kind == "departed",
            moved.c.source == changes.c.source,
            moved.c.window == changes.c.window,
            moved.c.pass_no == changes.c.pass_no,
            moved.c.moved_from == changes.c.key,
        )
        .limit(1)
        .scalar_subquery()
    )
    of_pass = (
        passes.c.source == changes.c.source,
        passes.c.window == changes.c.window,
        passes.c.pass_no == changes.c.pass_no,
    )
    rows = connection.execute(
        sa.select(
            changes,
            passes.c.listed_at,
            sa.func.coalesce(changes.c.moved_from, moved_to).label("other"),
        )
        .outerjoin(passes, sa.and_(*of_pass))
        .where(changes.c.doc_id == doc_id, changes.c.source == source)
        .order_by(changes.c.seq.desc())
        .limit(MOST_CHANGES)
    ).all()
    others = _others(connection, scope, source, {row.other for row in rows if row.other})
    return [
        Change(
            seq=row.seq,
            listed_at=row.listed_at,
            window=row.window,
            pass_no=row.pass_no,
            key=row.key,
            kind=row.kind,
            other=row.other if row.other in others else None,
            other_id=others.get(row.other),
            sha256=row.sha256,
            size=row.size,
            outcome="deferred" if row.deferred_by is not None else row.outcome,
        )
        for row in rows
    ]


def _others(
    connection: sa.Connection, scope: Scope, source: str, keys: Collection[str]
) -> dict[str, str | None]:
    """The documents at other addresses of a source; None for what was erased there. Those that are
    not to be shown are left out."""
    rows = connection.execute(
        sa.select(documents.c.key, documents.c.doc_id, documents.c.acl).where(
            documents.c.source == source, documents.c.key.in_(keys)
        )
    ).all()
    there = {row.key for row in rows}
    found: dict[str, str | None] = {
        key: None for key in keys if key not in there and scope.allows_forgotten(source)
    }
    return found | {row.key: row.doc_id for row in rows if scope.allows(source, row.acl)}


def _held(connection: sa.Connection, known: Known) -> list[Held]:
    rows = connection.execute(
        sa.select(index_documents)
        .where(index_documents.c.doc_id == known.doc_id)
        .order_by(index_documents.c.index_name)
    )
    return [
        Held(
            index=row.index_name,
            chunks=row.chunks,
            digest=row.digest,
            text_hash=row.text_hash,
            seq=row.seq,
            window=row.window,
            is_current=row.seq == row.claimed == known.seq
            and (known.state == "gone" or row.text_hash == known.text_hash),
        )
        for row in rows
    ]


def _copies(connection: sa.Connection, scope: Scope, known: Known) -> list[Other]:
    """Other documents of the source with the same text."""
    if known.text_hash is None or known.state != "live":
        return []
    rows = connection.execute(
        sa.select(documents)
        .where(
            documents.c.source == known.source,
            documents.c.text_hash == known.text_hash,
            documents.c.doc_id != known.doc_id,
            ~documents.c.gone,
        )
        .order_by(documents.c.seq)
        .limit(_MOST_OTHERS)
    )
    return [Other(r.key, r.doc_id, 1.0) for r in rows if scope.allows(r.source, r.acl)]


def _alike(connection: sa.Connection, scope: Scope, known: Known) -> list[Other]:
    """The group of near copies that the document is in, its canonical document first."""
    held = near_documents
    canonical = connection.scalar(sa.select(held.c.canonical).where(held.c.doc_id == known.doc_id))
    if canonical is None:
        return []
    rows = connection.execute(
        sa.select(documents, held.c.similarity, held.c.canonical)
        .join(held, held.c.doc_id == documents.c.doc_id)
        .where(
            held.c.canonical == canonical,
            held.c.doc_id != known.doc_id,
            documents.c.text_hash.is_distinct_from(known.text_hash),
        )
        .order_by(held.c.doc_id != canonical, held.c.similarity.desc(), documents.c.seq)
        .limit(_MOST_OTHERS)
    )
    return [
        Other(row.key, row.doc_id, row.similarity, row.doc_id == canonical)
        for row in rows
        if scope.allows(row.source, row.acl)
    ]
