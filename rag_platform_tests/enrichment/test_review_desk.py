"""The queue of one person: what is shown of it in which order, and what a form changes."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.documents.access import EVERYTHING, Scope
from rag_platform.enrichment.fields import Corrections
from rag_platform.enrichment.review_desk import (
    CORRECTABLE,
    ReviewDesk,
    Waiting,
    as_written,
    changed,
)
from rag_platform.enrichment.reviews import Review
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents, reviews

SOURCE = "notes"


def put(
    catalog: Catalog,
    due_at: float,
    *,
    acl: Sequence[str] | None = None,
    known: bool = True,
    **values: Any,
) -> int:
    """A review that is open unless `values` say else; its document is forgotten if not `known`."""
    doc_id = str(uuid.uuid4())
    row: dict[str, Any] = {
        "source": SOURCE,
        "doc_id": doc_id,
        "key": doc_id,
        "title": "t",
        "window": "w",
    }
    row |= {"text_hash": "h", "reason": "r", "fields": {}, "opened_at": 0.0, "due_at": due_at}
    row |= {"status": "open"}
    with catalog.begin() as connection:
        if known:
            connection.execute(
                sa.insert(documents).values(
                    source=(row | values)["source"],
                    key=doc_id,
                    doc_id=doc_id,
                    seq=1,
                    window="w",
                    pass_no=1,
                    acl=None if acl is None else json.dumps(acl),
                )
            )
        statement = sa.insert(reviews).values(**row | values).returning(reviews.c.id)
        return int(connection.execute(statement).scalar_one())


def numbers(found: tuple[list[Review], Any]) -> list[int]:
    return [review.id for review in found[0]]


def test_the_way_through_the_queue_is_by_deadline_then_number(shared: Catalog) -> None:
    late, early, same, other = (
        put(shared, 3.0),
        put(shared, 1.0),
        put(shared, 1.0),
        put(shared, 2.0, source="wiki"),
    )
    put(shared, 0.5, status="approved")
    desk = ReviewDesk(shared, EVERYTHING)
    order = [early, same, other, late]
    assert numbers(desk.page()) == order
    found, after = desk.page(most=2)
    assert [review.id for review in found] == order[:2]
    assert numbers(desk.page(after=after, most=2)) == order[2:]
    assert desk.page(after=after, most=2)[1] is None
    assert numbers(desk.page(overdue_at=2.0)) == [early, same]
    assert numbers(desk.page(source="wiki")) == [other]
    of = {number: desk.get(number) for number in order}
    assert [desk.next(of[number]) for number in order] == [same, other, late, None]  # type: ignore[arg-type]
    assert [desk.previous(of[number]) for number in order] == [None, early, same, other]  # type: ignore[arg-type]
    assert desk.next(of[same], SOURCE) == late  # type: ignore[arg-type]
    assert (desk.first(), desk.first("wiki"), desk.first("nobody")) == (early, other, None)
    assert desk.get(10**9) is None


def test_what_was_decided_comes_newest_first(shared: Catalog) -> None:
    decided = [
        put(shared, 1.0, status=status, decided_at=2.0, decided_by="ann", applied_at=applied)
        for status, applied in (("approved", 1.0), ("rejected", None), ("corrected", None))
    ]
    put(shared, 1.0, status="superseded", decided_at=3.0)
    put(shared, 1.0)
    put(shared, 9.0)
    desk = ReviewDesk(shared, EVERYTHING)
    assert numbers(desk.decided()) == decided[::-1]
    _, before = desk.decided(most=2)
    assert before == decided[1]
    assert numbers(desk.decided(before=before)) == decided[:1]
    assert desk.waiting(5.0) == Waiting(open=2, overdue=1, unapplied=2)


def test_what_is_for_others_is_passed_over(shared: Catalog) -> None:
    first = put(shared, 1.0)
    hidden = put(shared, 2.0, acl=["board"])
    other = put(shared, 3.0, source="wiki")
    gone = put(shared, 4.0, known=False)
    mine = put(shared, 5.0, acl=["board", "staff"])
    desk = ReviewDesk(shared, Scope((SOURCE,), ("staff",)))
    assert numbers(desk.page()) == [first, mine]
    review = desk.get(first)
    assert review is not None
    assert desk.next(review) == mine
    assert [desk.get(number) for number in (hidden, other, gone)] == [None, None, None]
    assert desk.waiting(0.0).open == 4  # a count, of the sources that may be seen
    forgotten = ReviewDesk(shared, Scope((SOURCE,), ("staff",), frozenset({SOURCE})))
    assert numbers(forgotten.page()) == [first, gone, mine]


# Forms


def proposal(**fields: Any) -> Review:
    rest = dict.fromkeys(Review.__dataclass_fields__)
    return Review(**rest | {"fields": fields})


def test_the_form_has_every_field_that_may_be_corrected() -> None:
    assert set(CORRECTABLE) == set(Corrections.model_fields)


@pytest.mark.parametrize(
    ("proposed", "written", "expected"),
    [
        ({}, {}, {}),
        ({"people": ["Ann", "Bo"]}, {"people": "Ann\r\nBo\r\n"}, {}),
        ({"people": ["Ann", "Bo"]}, {"people": "Bo\nAnn"}, {"people": ["Bo", "Ann"]}),
        ({"people": ["Ann"]}, {"people": " \n"}, {"people": []}),
        ({"people": None}, {"people": ""}, {}),
        # A value of the model may have what no line of a form has.
        ({"people": ["Ann\nLee"]}, {"people": "Ann Lee"}, {}),
        ({"summary": "One.\nTwo. "}, {"summary": "One.\r\nTwo."}, {}),
        ({"summary": "One."}, {"summary": "  "}, {"summary": None}),
        ({"author": None}, {"author": "Ann"}, {"author": "Ann"}),
        ({"date": "2024"}, {"date": "2025", "quality": "1", "note": "x"}, {"date": "2025"}),
    ],
)
def test_only_what_differs_is_a_correction(
    proposed: dict[str, Any], written: dict[str, str], expected: dict[str, Any]
) -> None:
    assert changed(proposal(**proposed), written) == expected


def test_a_form_left_as_it_is_changes_nothing() -> None:
    fields = {"topics": ["a b", " c"], "summary": "S\n\nT", "author": None, "date": "2024-01-02"}
    review = proposal(**fields)
    written = {name: as_written(review.fields.get(name)) for name in CORRECTABLE}
    assert written["topics"] == "a b\nc"
    assert changed(review, written) == {}
