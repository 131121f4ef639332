"""The review queue as a person works through it: a page of it at a time, and what comes next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.access import Scope
from rag_platform.enrichment.fields import is_list
from rag_platform.enrichment.gate import DECISIONS
from rag_platform.enrichment.reviews import Review
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents, reviews

# A batch of rows in which the next review is looked for.
_LOOK = 50
_COLUMNS = tuple(column for column in reviews.c)
# What a person may put right besides the label, in the order of the form.
CORRECTABLE = (
    *("topics", "people", "organizations", "dates"),
    *("summary", "author", "date", "language"),
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many reviews are open, how many of them overdue, and how many decisions have not taken
    effect yet; of all that a person may see the source of."""

    open: int
    overdue: int
    unapplied: int


class ReviewDesk:
    """Looks at the queue for one person."""

    def __init__(self, catalog: Catalog, scope: Scope) -> None:
        self._catalog = catalog
        self._scope = scope

    def page(
        self,
        *,
        source: str | None = None,
        overdue_at: float | None = None,
        after: tuple[float, int] | None = None,
        most: int = 50,
    ) -> tuple[list[Review], tuple[float, int] | None]:
        """Open reviews, the most urgent first, those due before `overdue_at` only; and, where there
        are more of them, what `after` is for the next page."""
        statement = self._open(source, overdue_at).order_by(*_URGENCY)
        if after is not None:
            statement = statement.where(_behind(*after))
        rows = self._rows(statement.limit(most + 1))
        more = (rows[most - 1].due_at, rows[most - 1].id) if len(rows) > most else None
        return [_review(row) for row in rows[:most] if self._allows(row)], more

    def decided(
        self, *, source: str | None = None, before: int | None = None, most: int = 50
    ) -> tuple[list[Review], int | None]:
        """Decided reviews, the newest number first; and what `before` is for the next page."""
        statement = (
            self._select(source)
            .where(reviews.c.status.in_(DECISIONS))
            .order_by(reviews.c.id.desc())
            .limit(most + 1)
        )
        if before is not None:
            statement = statement.where(reviews.c.id < before)
        rows = self._rows(statement)
        more = rows[most - 1].id if len(rows) > most else None
        return [_review(row) for row in rows[:most] if self._allows(row)], more

    def get(self, number: int) -> Review | None:
        """A review of any status; None where there is none, or not for this person."""
        rows = self._rows(self._select(None).where(reviews.c.id == number))
        return _review(rows[0]) if rows and self._allows(rows[0]) else None

    def next(self, review: Review, source: str | None = None) -> int | None:
        """The number of the open review after this one, in order of urgency."""
        return self._neighbour(review, source, forward=True)

    def previous(self, review: Review, source: str | None = None) -> int | None:
        """The number of the open review before this one."""
        return self._neighbour(review, source, forward=False)

    def first(self, source: str | None = None) -> int | None:
        """The number of the most urgent open review."""
        found, _ = self.page(source=source, most=_LOOK)
        return found[0].id if found else None

    def waiting(self, now: float) -> Waiting:
        """Counts over the whole queue."""
        is_open = reviews.c.status == "open"
        decided = sa.and_(reviews.c.status.in_(DECISIONS), reviews.c.applied_at.is_(None))
        conditions = (is_open, sa.and_(is_open, reviews.c.due_at < now), decided)
        of_sources = self._of_sources()
        with self._catalog.read() as connection:
            counts = [
                connection.scalar(
                    sa.select(sa.func.count()).select_from(reviews).where(condition, of_sources)
                )
                for condition in conditions
            ]
        return Waiting(*(count or 0 for count in counts))

    def _neighbour(self, review: Review, source: str | None, *, forward: bool) -> int | None:
        behind = _behind(review.due_at, review.id)
        order = _URGENCY if forward else tuple(column.desc() for column in _URGENCY)
        statement = (
            self._open(source, None)
            .where(behind if forward else sa.not_(behind), reviews.c.id != review.id)
            .order_by(*order)
            .limit(_LOOK)
        )
        return next((row.id for row in self._rows(statement) if self._allows(row)), None)

    def _open(self, source: str | None, overdue_at: float | None) -> sa.Select[Any]:
        statement = self._select(source).where(reviews.c.status == "open")
        return statement if overdue_at is None else statement.where(reviews.c.due_at < overdue_at)

    def _select(self, source: str | None) -> sa.Select[Any]:
        statement = (
            sa.select(*_COLUMNS, documents.c.acl, documents.c.seq.label("document"))
            .outerjoin(documents, documents.c.doc_id == reviews.c.doc_id)
            .where(self._scope.of_documents(reviews.c.source))
        )
        return statement if source is None else statement.where(reviews.c.source == source)

    def _of_sources(self) -> sa.ColumnElement[bool]:
        sources = self._scope.sources
        return sa.true() if sources is None else reviews.c.source.in_(sources)

    def _rows(self, statement: sa.Select[Any]) -> Sequence[Any]:
        with self._catalog.read() as connection:
            return connection.execute(statement).all()

    def _allows(self, row: Any) -> bool:
        if row.document is None:
            return self._scope.allows_forgotten(row.source)
        return self._scope.allows(row.source, row.acl)


_URGENCY = (reviews.c.due_at, reviews.c.id)


def _behind(due_at: float, number: int) -> sa.ColumnElement[bool]:
    """Less urgent than a review."""
    return sa.tuple_(*_URGENCY) > sa.tuple_(due_at, number)


def _review(row: Any) -> Review:
    return Review(**{name: getattr(row, name) for name in Review.__dataclass_fields__})


def changed(review: Review, written: Mapping[str, str]) -> dict[str, Any]:
    """What of a form differs from the proposal, as `Reviews.correct` takes it.

    In the form a list has a line for each value.
    """
    found: dict[str, Any] = {}
    for name in CORRECTABLE:
        if name not in written:
            continue
        value = value_of(name, written[name])
        if value != value_of(name, as_written(review.fields.get(name))):
            found[name] = value
    return found


def value_of(name: str, written: str) -> Any:
    """The value of a field of the form: a list of its lines, or a text, None without any."""
    if is_list(name):
        return [line.strip() for line in written.splitlines() if line.strip()]
    return "\n".join(line.strip() for line in written.strip().splitlines()) or None


def as_written(value: Any) -> str:
    """A value of a proposal as its field in the form has it."""
    if isinstance(value, list):
        return "\n".join(" ".join(str(one).split()) for one in value)
    return "" if value is None else str(value)
