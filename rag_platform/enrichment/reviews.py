"""Reviews: what people are asked, what they decide, and how a decision takes effect."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from rag_platform.documents.windows import utc
from rag_platform.enrichment.fields import FieldsRefused, corrections
from rag_platform.enrichment.gate import DECISIONS, decided
from rag_platform.enrichment.progress import clean_documents
from rag_platform.errors import PlatformError
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents, enrichments, reviews
from rag_platform.storage.schema_models import notifications

if TYPE_CHECKING:
    from rag_platform.storage.outbox import Outbox

_BATCH = 100
_OVERDUE = "review-overdue:"


class UnknownReview(PlatformError):
    """There is no review of this number."""


class ReviewClosed(PlatformError):
    """The review was decided before, or its document is not what it was."""


@dataclass(frozen=True, slots=True)
class Review:
    """One item of the queue. `confidence` is calibrated; `decision` holds corrected fields.

    `opened_at` and the like are UTC seconds since 1970.
    """

    id: int
    source: str
    doc_id: str
    key: str
    title: str
    window: str
    text_hash: str
    reason: str
    fields: Mapping[str, Any]
    label: str | None
    raw_confidence: float | None
    confidence: float | None
    model: str | None
    prompt: str | None
    opened_at: float
    due_at: float
    status: str
    decided_at: float | None
    decided_by: str | None
    decision: Mapping[str, Any] | None
    note: str | None
    applied_at: float | None

    def is_overdue(self, now: float) -> bool:
        """Whether nobody decided in time."""
        return self.status == "open" and self.due_at < now

    def as_json(self, now: float) -> dict[str, Any]:
        """The stable JSON form; times in ISO 8601."""
        times = ("opened_at", "due_at", "decided_at", "applied_at")
        return (
            asdict(self)
            | {name: _iso(getattr(self, name)) for name in times}
            | {"overdue": self.is_overdue(now)}
        )


@dataclass(slots=True)
class AppliedFigures:
    """What one run took over: decisions by status, `dropped` of them on texts that are gone.

    `windows` are the pages whose documents were published or withdrawn, by source.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    windows: dict[str, set[str]] = field(default_factory=dict)


class Reviews:
    """The review queue of all sources; `labels` are the categories that there are."""

    def __init__(
        self, catalog: Catalog, *, labels: Sequence[str], clock: Callable[[], float] = time.time
    ) -> None:
        self._catalog = catalog
        self._labels = tuple(labels)
        self._clock = clock

    # Looking

    def queue(
        self, *, source: str | None = None, overdue: bool = False, status: str = "open"
    ) -> list[Review]:
        """Reviews of a status, the most urgent first."""
        statement = (
            sa.select(reviews)
            .where(reviews.c.status == status)
            .order_by(reviews.c.due_at, reviews.c.id)
        )
        if source is not None:
            statement = statement.where(reviews.c.source == source)
        if overdue:
            statement = statement.where(reviews.c.due_at < self._clock())
        with self._catalog.read() as connection:
            return [Review(**row._mapping) for row in connection.execute(statement)]

    def get(self, number: int) -> Review:
        """One review, whatever its status; raises `UnknownReview`."""
        with self._catalog.read() as connection:
            row = connection.execute(sa.select(reviews).where(reviews.c.id == number)).first()
        if row is None:
            raise UnknownReview(f"review {number}: there is none. See `rag-platform reviews list`.")
        return Review(**row._mapping)

    # Deciding: each raises `UnknownReview` or `ReviewClosed`, and returns the numbers of the
    # reviews that are decided by it: the same text under other addresses goes with it.

    def approve(self, number: int, *, by: str, note: str | None = None) -> list[int]:
        """The proposal is right: it is to be published as it is."""
        self._proposed_label(number)
        return self._decide(number, "approved", None, by=by, note=note)

    def correct(
        self,
        number: int,
        *,
        by: str,
        label: str | None = None,
        fields: Mapping[str, Any] | None = None,
        note: str | None = None,
    ) -> list[int]:
        """Publish with another label or other fields. Raises `FieldsRefused` for such as the
        settings or the schema do not have."""
        if label is None:
            label = self._proposed_label(number)
        elif label not in self._labels:
            raise FieldsRefused(f"label {label!r}: there are: {', '.join(self._labels)}.")
        decision = corrections(fields or {})
        return self._decide(number, "corrected", {**decision, "label": label}, by=by, note=note)

    def reject(self, number: int, *, by: str, note: str | None = None) -> list[int]:
        """Nothing of the proposal is to be published."""
        return self._decide(number, "rejected", None, by=by, note=note)

    def _proposed_label(self, number: int) -> str:
        """The label of the proposal; raises `FieldsRefused` where the settings have it no more."""
        label = self.get(number).label
        if label in self._labels:
            return str(label)
        raise FieldsRefused(
            f"review {number}: proposes {label or 'no label'}; there are: "
            f"{', '.join(self._labels)}. Give one with `reviews correct {number} --label`."
        )

    def _decide(
        self,
        number: int,
        status: str,
        decision: dict[str, Any] | None,
        *,
        by: str,
        note: str | None,
    ) -> list[int]:
        asked = self.get(number)
        same_text = sa.and_(
            reviews.c.source == asked.source,
            reviews.c.text_hash == asked.text_hash,
            reviews.c.status == "open",
        )
        if status != "corrected":
            same_text = sa.and_(same_text, reviews.c.label.is_not_distinct_from(asked.label))
        with self._catalog.begin() as connection:
            # In one order, so that two people who decide on copies of a text do not deadlock.
            rows = connection.execute(
                sa.select(reviews.c.id)
                .where(sa.or_(reviews.c.id == number, same_text), reviews.c.status == "open")
                .order_by(reviews.c.id)
                .with_for_update()
            )
            numbers = list(rows.scalars())
            if number in numbers and self._stands(connection, asked):
                connection.execute(
                    sa.update(reviews)
                    .where(reviews.c.id.in_(numbers))
                    .values(
                        status=status,
                        decision=decision,
                        decided_at=self._clock(),
                        decided_by=by,
                        note=note,
                    )
                )
                return numbers
        raise ReviewClosed(self._why_closed(number))

    def _stands(self, connection: sa.Connection, review: Review) -> bool:
        found = sa.select(documents.c.doc_id).where(
            clean_documents(review.source),
            documents.c.doc_id == review.doc_id,
            documents.c.text_hash == review.text_hash,
        )
        return connection.scalar(found) is not None

    def _why_closed(self, number: int) -> str:
        review = self.get(number)
        if review.status in DECISIONS:
            when = _iso(review.decided_at)
            return f"review {number}: already {review.status} by {review.decided_by}, {when}."
        return (
            f"review {number}: its document has changed or gone, or its text was decided on in "
            "another review; nothing to decide. "
            "See `rag-platform reviews list`."
        )

    # Taking effect

    def unapplied(self) -> list[int]:
        """Numbers of decided reviews that have not taken effect yet, oldest first."""
        with self._catalog.read() as connection:
            rows = connection.execute(sa.select(reviews.c.id).where(_unapplied()).order_by("id"))
            return list(rows.scalars())

    def apply(self) -> AppliedFigures:
        """Let decisions take effect, each exactly once."""
        figures = AppliedFigures()
        while self._apply_batch(figures):
            pass
        return figures

    def _apply_batch(self, figures: AppliedFigures) -> bool:
        statement = (
            sa.select(reviews)
            .where(_unapplied())
            .order_by(reviews.c.decided_at, reviews.c.id)
            .limit(_BATCH)
        ).with_for_update()
        now = self._clock()
        with self._catalog.begin() as connection:
            taken = [
                (review, _take_effect(connection, review, now))
                for review in connection.execute(statement).all()
            ]
            connection.execute(
                sa.update(reviews)
                .where(reviews.c.id.in_([review.id for review, _ in taken]))
                .values(applied_at=now)
            )
        for review, windows in taken:
            figures.decisions[review.status] += 1
            figures.dropped += not windows
            if windows:
                figures.windows.setdefault(review.source, set()).update(windows)
        return bool(taken)

    def tell_overdue(self, outbox: "Outbox") -> int:
        """Tell people of reviews past their deadline, of each once; returns how many are new."""
        told = sa.exists().where(
            notifications.c.key == sa.literal(_OVERDUE) + sa.cast(reviews.c.id, sa.Text)
        )
        statement = (
            sa.select(reviews.c.id, reviews.c.source, reviews.c.due_at, reviews.c.reason)
            .where(reviews.c.status == "open", reviews.c.due_at < self._clock(), ~told)
            .order_by(reviews.c.due_at, reviews.c.id)
        )
        with self._catalog.read() as connection:
            late = connection.execute(statement).all()
        return sum(
            outbox.tell(
                f"{_OVERDUE}{row.id}",
                f"Review {row.id} of {row.source} was due at {_iso(row.due_at)}: {row.reason}. "
                f"Decide: rag-platform reviews show {row.id}",
            )
            for row in late
        )


def _unapplied() -> sa.ColumnElement[bool]:
    return sa.and_(reviews.c.status.in_(DECISIONS), reviews.c.applied_at.is_(None))


def _take_effect(connection: sa.Connection, review: Any, now: float) -> set[str]:
    """Publish or withdraw what was decided, wherever the text stands; the windows of the documents,
    none where the text is gone."""
    verdict = decided(review)
    rows = connection.execute(
        sa.update(enrichments)
        .where(enrichments.c.source == review.source, enrichments.c.text_hash == review.text_hash)
        .values(
            status=verdict.status,
            reason=verdict.reason,
            fields=dict(verdict.fields),
            label=verdict.fields.get("label"),
            published=verdict.published,
            published_digest=verdict.digest,
            updated_at=now,
        )
        .returning(enrichments.c.window)
    )
    # Copies with another proposal were not decided with it, and need no answer any more.
    connection.execute(
        sa.update(reviews)
        .where(
            reviews.c.source == review.source,
            reviews.c.text_hash == review.text_hash,
            reviews.c.status == "open",
        )
        .values(status="superseded")
    )
    return set(rows.scalars())


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else utc(seconds).isoformat(timespec="seconds")
