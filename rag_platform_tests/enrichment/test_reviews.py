"""Reviews: who may decide what, once; how decisions take effect; and whom nobody decided on."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rag_platform.enrichment.fields import FieldsRefused, digest_of
from rag_platform.enrichment.reviews import Review, ReviewClosed, Reviews, UnknownReview
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox
from rag_platform_tests.conformance.harness import SOURCE
from rag_platform_tests.enrichment.conftest import (
    FIRST,
    LABELS,
    PLAIN,
    SECOND,
    MakeWorld,
    World,
    text,
)


@pytest.fixture
def queued(plain: World) -> World:
    """Two documents in review and one that was published."""
    plain.folder.write("a.md", text("loans", "sure 0.55"))
    plain.folder.write("b.md", text("cards", "sure 0.60"))
    plain.folder.write("c.md", text("cards"))
    plain.sync(FIRST)
    return plain


def of(world: World, key: str) -> Review:
    """The newest review of a document."""
    found = [row.id for row in world.review_rows() if row.key == key]
    return world.reviews.get(found[-1])


def test_the_queue(queued: World) -> None:
    assert {review.key for review in queued.reviews.queue()} == {"a.md", "b.md"}
    assert queued.reviews.queue(source="other") == []
    assert queued.reviews.queue(overdue=True) == []
    later = Reviews(queued.platform.catalog, labels=(), clock=lambda: time.time() + 25 * 3600)
    assert len(later.queue(overdue=True)) == 2
    first = of(queued, "a.md")
    assert first.as_json(0.0)["overdue"] is False
    assert first.as_json(1e12)["overdue"] is True
    with pytest.raises(UnknownReview, match="review 99: there is none"):
        queued.reviews.get(99)


def test_an_approved_document_is_published_as_it_was_proposed(queued: World) -> None:
    review = of(queued, "a.md")
    assert queued.reviews.approve(review.id, by="ann", note="clear") == [review.id]
    # Recorded, and in effect only when it is taken over.
    assert queued.rows()["a.md"].status == "in_review"
    assert queued.reviews.unapplied() == [review.id]
    done = queued.reviews.apply()
    assert (done.decisions, done.dropped, done.windows) == ({"approved": 1}, 0, {SOURCE: {FIRST}})
    row = queued.rows()["a.md"]
    assert (row.status, row.reason) == ("published", f"approved by ann in review {review.id}")
    assert row.published["label"] == "loans"
    assert row.published_digest == digest_of(row.published)
    decided = of(queued, "a.md")
    assert (decided.decided_by, decided.note, decided.status) == ("ann", "clear", "approved")
    assert decided.applied_at is not None
    assert queued.reviews.apply().decisions == {}
    assert queued.rows()["b.md"].status == "in_review"


def test_a_corrected_document_is_published_with_what_was_said(queued: World) -> None:
    review = of(queued, "a.md")
    fields = {"topics": ["tax"], "author": "Ann Lee"}
    queued.reviews.correct(review.id, by="ann", label="cards", fields=fields)
    queued.reviews.apply()
    published = queued.rows()["a.md"].published
    assert (published["label"], published["topics"]) == ("cards", ["tax"])
    assert published["author"] == "Ann Lee"
    assert published["summary"] == review.fields["summary"]
    # A page that runs again says the same.
    before = queued.rows()["a.md"]
    queued.enrich(FIRST)
    after = queued.rows()["a.md"]
    assert (after.published, after.published_digest) == (before.published, before.published_digest)


def test_fields_alone_may_be_corrected(queued: World) -> None:
    review = of(queued, "a.md")
    queued.reviews.correct(review.id, by="ann", fields={"people": ["Ann Lee"]})
    queued.reviews.apply()
    published = queued.rows()["a.md"].published
    assert (published["label"], published["people"]) == ("loans", ["Ann Lee"])


def test_a_rejected_document_is_not_published(queued: World) -> None:
    queued.reviews.reject(of(queued, "a.md").id, by="ann")
    queued.reviews.apply()
    row = queued.rows()["a.md"]
    assert (row.status, row.published, row.published_digest) == ("rejected", None, None)


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        ({"label": "taxes"}, "label 'taxes': there are: billing, cards, loans."),
        ({"fields": {"labels": "x"}}, "field 'labels': Extra inputs"),
        ({"fields": {"dates": "2024"}}, "field 'dates': Input should be a valid list"),
    ],
)
def test_corrections_are_held_to_settings_and_schema(
    queued: World, correction: dict[str, Any], message: str
) -> None:
    with pytest.raises(FieldsRefused) as refused:
        queued.reviews.correct(of(queued, "a.md").id, by="ann", **correction)
    assert str(refused.value).startswith(message)
    assert of(queued, "a.md").status == "open"


def test_who_comes_second_is_told(queued: World) -> None:
    review = of(queued, "a.md")
    queued.reviews.approve(review.id, by="ann")
    for decide in (queued.reviews.approve, queued.reviews.reject, queued.reviews.correct):
        with pytest.raises(ReviewClosed, match=f"review {review.id}: already approved by ann, 20"):
            decide(review.id, by="bob")
    assert of(queued, "a.md").decided_by == "ann"


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_of_many_at_once_one_wins(
    make_world: MakeWorld, request: pytest.FixtureRequest, engine: str
) -> None:
    where = {}
    if engine == "postgresql":
        where = {"catalog": request.getfixturevalue("postgres_catalog")}
    world = make_world(**where)
    world.gateway = {"extractive": PLAIN}
    # Three copies: each decider begins at another one of them.
    for key in ("a.md", "b.md", "c.md"):
        world.folder.write(key, text("loans", "sure 0.55"))
    world.sync(FIRST)
    numbers = [review.id for review in world.reviews.queue()]
    assert len(numbers) == 3
    won: list[str] = []
    told: list[str] = []
    start = threading.Barrier(6)

    def decide(who: int) -> None:
        start.wait()
        try:
            world.reviews.correct(numbers[who % 3], by=f"p{who}", label="cards")
            won.append(f"p{who}")
        except ReviewClosed as closed:
            told.append(str(closed))

    threads = [threading.Thread(target=decide, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(told)) == (1, 5)
    assert all(f"by {won[0]}" in text for text in told)
    assert {row.decided_by for row in world.review_rows()} == set(won)
    assert world.reviews.apply().decisions == {"corrected": 3}
    assert {row.published["label"] for row in world.rows().values()} == {"cards"}


def test_a_decision_goes_for_all_addresses_of_the_text(plain: World) -> None:
    plain.folder.write("a.md", text("loans", "sure 0.55"))
    plain.folder.write("copy.md", text("loans", "sure 0.55"))
    plain.folder.write("other.md", text("cards", "sure 0.55"))
    plain.sync(FIRST)
    assert len(plain.reviews.queue()) == 3
    assert len(plain.reviews.reject(of(plain, "copy.md").id, by="ann")) == 2
    plain.reviews.apply()
    assert plain.statuses() == {
        "a.md": "rejected",
        "copy.md": "rejected",
        "other.md": "in_review",
    }


def test_a_document_that_changed_meanwhile_is_not_decided_on(queued: World) -> None:
    first, second = of(queued, "a.md"), of(queued, "b.md")
    queued.folder.write("a.md", text("billing"))
    queued.folder.remove("b.md")
    queued.run(SECOND)
    for review in (first, second):
        with pytest.raises(ReviewClosed, match="its document has changed or gone"):
            queued.reviews.approve(review.id, by="ann")
    queued.enrich(SECOND)
    assert [r.status for r in queued.review_rows()] == ["superseded", "superseded"]
    with pytest.raises(ReviewClosed, match="has changed or gone"):
        queued.reviews.approve(first.id, by="ann")


def test_a_decision_on_a_text_that_went_before_it_took_effect(queued: World) -> None:
    queued.reviews.approve(of(queued, "a.md").id, by="ann")
    queued.folder.write("a.md", text("billing"))
    queued.sync(SECOND)
    done = queued.reviews.apply()
    assert (done.decisions, done.dropped, done.windows) == ({"approved": 1}, 1, {})
    assert queued.rows()["a.md"].label == "billing"


def test_two_appliers_take_each_decision_once(queued: World) -> None:
    for key in ("a.md", "b.md"):
        queued.reviews.approve(of(queued, key).id, by="ann")
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(queued.reviews.apply().decisions.total()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 2


def test_an_applier_that_dies_changes_nothing(queued: World) -> None:
    queued.reviews.approve(of(queued, "a.md").id, by="ann")

    def dying() -> float:
        raise KeyboardInterrupt

    broken = Reviews(queued.platform.catalog, labels=tuple(LABELS), clock=dying)
    with pytest.raises(KeyboardInterrupt):
        broken.apply()
    assert queued.rows()["a.md"].status == "in_review"
    assert len(queued.reviews.unapplied()) == 1


def test_overdue_reviews_are_told_once(queued: World) -> None:
    catalog = queued.platform.catalog
    outbox = Outbox(catalog)
    assert queued.reviews.tell_overdue(outbox) == 0
    late = Reviews(catalog, labels=tuple(LABELS), clock=lambda: time.time() + 25 * 3600)
    assert late.tell_overdue(outbox) == 2
    assert late.tell_overdue(outbox) == 0
    numbers = sorted(review.id for review in queued.reviews.queue())
    messages = outbox.pending()
    assert sorted(message.key for message in messages) == [f"review-overdue:{n}" for n in numbers]
    assert f"rag-platform reviews show {numbers[0]}" in " ".join(m.text for m in messages)
    assert "a.md" not in " ".join(message.text for message in messages)


def test_a_label_that_is_missing_must_be_given(catalog: Catalog, tmp_path: Path) -> None:
    import sqlalchemy as sa

    from rag_platform.storage.schema import reviews
    from rag_platform_tests.enrichment.test_calibration import review

    with catalog.begin() as connection:
        connection.execute(sa.insert(reviews).values(**review(1, "open", label=None)))
    queue = Reviews(catalog, labels=("loans",))
    with pytest.raises(FieldsRefused, match="review 1: proposes no label; there are: loans"):
        queue.approve(1, by="ann")
    with pytest.raises(FieldsRefused, match="with `reviews correct 1 --label`"):
        queue.correct(1, by="ann", fields={"author": "x"})


def test_only_labels_of_the_settings_are_published(queued: World) -> None:
    review = of(queued, "a.md")
    fewer = Reviews(queued.platform.catalog, labels=("cards", "billing"))
    with pytest.raises(FieldsRefused, match="proposes loans; there are: cards, billing"):
        fewer.approve(review.id, by="ann")
    fewer.correct(review.id, by="ann", label="cards")
    fewer.apply()
    assert queued.rows()["a.md"].published["label"] == "cards"


def test_a_decision_reaches_copies_that_another_gate_let_through(plain: World) -> None:
    content = text("loans", "sure 0.60")
    plain.rules = {"gate": 0.5}
    plain.folder.write("a.md", content)
    plain.sync(FIRST)
    plain.rules = {}
    plain.folder.write("copy.md", content)
    plain.sync(SECOND)
    assert plain.statuses() == {"a.md": "published", "copy.md": "in_review"}
    plain.reviews.reject(of(plain, "copy.md").id, by="ann")
    assert plain.reviews.apply().windows == {SOURCE: {FIRST, SECOND}}
    assert plain.statuses() == {"a.md": "rejected", "copy.md": "rejected"}
    assert {row.published_digest for row in plain.rows().values()} == {None}
