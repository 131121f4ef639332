"""The pages of the review queue: what a person sees, and what becomes of a decision."""

from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.operations.audit import Audit
from rag_platform.platform import Platform
from rag_platform.storage.schema import documents, reviews
from rag_platform_tests.console.library import HIDDEN, NOTES, SCRIPT, Place
from rag_platform_tests.console.test_documents import facts, reader_of, rows, table
from rag_platform_tests.console.visitor import Visitor, said, visit
from rag_platform_tests.enrichment.conftest import LABELS


def number(platform: Platform, key: str) -> int:
    with platform.catalog.read() as connection:
        wanted = sa.select(reviews.c.id).where(reviews.c.key == key).order_by(reviews.c.id.desc())
        return int(connection.scalar(wanted) or 0)


def review(platform: Platform, key: str) -> Any:
    return platform.reviews.get(number(platform, key))


def digest(visitor: Visitor, address: str) -> str:
    """What the form of a review carries."""
    [found] = set(visitor.html(address).xpath("//input[@name='digest']/@value"))
    return str(found)


# Looking


def test_the_queue_begins_with_the_most_urgent(onlooker: Visitor) -> None:
    page = onlooker.html("/reviews")
    listed = table(page, "The most urgent first")
    assert listed[0]["Document"] == "cards.md"
    assert listed[0]["Due (UTC)"] == "1970-01-01 00:00 overdue"
    assert listed[0]["Category"] == "cards"
    waiting = len(onlooker.platform.reviews.queue())
    assert said(page).count(f"{waiting} open, 1 overdue")
    # All but the one that is for the board.
    assert len(listed) == waiting - 1
    [begin] = page.xpath("//a[@data-key='j']/@href")
    assert begin == f"/reviews/{number(onlooker.platform, 'cards.md')}"
    [only] = table(onlooker.html("/reviews?show=overdue&source=notes"), "The most urgent first")
    assert only["Document"] == "cards.md"
    for nothing in ("source=wiki", "show=decided", "source=nobody&show=overdue"):
        assert not onlooker.html(f"/reviews?{nothing}").xpath("//table")
    assert onlooker.get("/reviews/next").headers["location"] == begin


def test_pages_of_the_queue_and_the_way_through_it(
    onlooker: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows(onlooker.html("/reviews"))
    monkeypatch.setattr("rag_platform.console.web.A_PAGE", 3)
    asked, seen = "/reviews", []
    while asked:
        page = onlooker.html(asked)
        assert len(rows(page)) <= 3
        seen += rows(page)
        asked = next(iter(page.xpath("//a[text()='More']/@href")), "")
    assert seen == whole
    walked, asked = [], f"/reviews/{whole[0]}"
    while asked:
        walked.append(asked.rpartition("/")[2])
        asked = next(iter(onlooker.html(asked).xpath("//a[@data-key='j']/@href")), "")
    assert walked == whole
    back = onlooker.html(f"/reviews/{whole[1]}").xpath("//a[@data-key='k']/@href")
    assert back == [f"/reviews/{whole[0]}"]
    assert not onlooker.html(f"/reviews/{whole[0]}").xpath("//a[@data-key='k']")
    assert rows(onlooker.html("/reviews?after=nonsense")) == whole[:3]


def test_a_review_shows_the_text_and_what_is_proposed(onlooker: Visitor) -> None:
    page = onlooker.html(f"/reviews/{number(onlooker.platform, 'loans.md')}")
    told = facts(page)
    proposed = review(onlooker.platform, "loans.md")
    assert told["Category"] == "loans"
    assert told["Why"] == proposed.reason
    assert told["By"] == f"extractive, {proposed.prompt}"
    assert told["Confidence"].endswith(f"{proposed.raw_confidence:.3f} raw")
    assert "Ann Lee writes on 2024-03-05" in said(page.find(".//pre"))
    marked = {(one.get("class"), one.text) for one in page.xpath("//pre/mark")}
    assert ("entity dates", "2024-03-05") in marked
    kinds = ("people", "organizations", "dates", "topics")
    expected = {one.lower() for kind in kinds for one in proposed.fields[kind]}
    assert {text.lower() for _, text in marked} <= expected
    assert set(page.xpath("//@data-key")) >= {"a", "r", "c"}
    assert page.xpath("//select[@name='label']/option/text()") == list(LABELS)


def test_what_is_for_others_is_not_reviewed(onlooker: Visitor) -> None:
    hidden = number(onlooker.platform, HIDDEN)
    assert onlooker.get(f"/reviews/{hidden}").status_code == 404
    assert onlooker.post(f"/reviews/{hidden}/approve").status_code == 404
    for none in (10**6, 2**70):
        assert onlooker.get(f"/reviews/{none}").status_code == 404
    board = reader_of(onlooker.platform, "board")
    assert "sell the lighthouse" in board.text(f"/reviews/{hidden}")


def test_what_is_for_others_hides_nothing_that_waits_behind_it(
    visitor: Visitor, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_platform.console.web.A_PAGE", 1)
    monkeypatch.setattr("rag_platform.enrichment.review_desk._LOOK", 1)
    hidden = sa.update(documents).where(documents.c.key == "cards.md").values(acl='["board"]')
    with platform.catalog.begin() as connection:
        connection.execute(hidden)
    page = visitor.html("/reviews")
    [first] = table(page, "The most urgent first")
    assert first["Document"] != "cards.md"
    begin = f"/reviews/{first['Review']}"
    assert page.xpath("//a[@data-key='j']/@href") == [begin]
    assert visitor.get("/reviews/next").headers["location"] == begin


@pytest.mark.parametrize("after", ["1+" + "9" * 30, "nan+-1", "1", "x+y"])
def test_a_place_that_is_none_is_the_beginning(onlooker: Visitor, after: str) -> None:
    page = onlooker.html(f"/reviews?after={after}")
    assert table(page, "The most urgent first")[0]["Document"] == "cards.md"


def test_settings_may_keep_texts_off_the_reviews(place: Place) -> None:
    place.write(show_content=False)
    platform = place.platform()
    page = visit(platform).html(f"/reviews/{number(platform, 'loans.md')}")
    assert "show_content: false" in said(page)
    assert "mortgage" not in said(page).replace("mortgages", "")
    assert not page.xpath("//pre | //textarea[@name='summary']")
    assert facts(page)["Category"] == "loans"
    platform.close()


# Deciding


def test_a_decision_opens_the_next_review_and_is_on_record(
    visitor: Visitor, platform: Platform
) -> None:
    first = number(platform, "cards.md")
    address = f"/reviews/{first}"
    [following] = visitor.html(address).xpath("//a[@data-key='j']/@href")
    shown = visitor.done(f"{address}/approve", digest=digest(visitor, address), note="  seen it\n")
    assert f"Review {first}: approved." in said(shown)
    assert said(shown.find(".//h1")).startswith(f"Review {following.rpartition('/')[2]}")
    row = platform.reviews.get(first)
    assert (row.status, row.decided_by, row.note) == ("approved", "ann", "seen it")
    [entry] = Audit(platform.catalog).entries(action="review")
    assert (entry.action, entry.via, entry.outcome) == ("review.approve", "console", "done")
    [told] = table(visitor.html("/reviews?show=decided"), "Decided")
    assert (told["By"], told["Decision"], told["Note"]) == ("ann", "approved", "seen it")
    assert told["Took effect"] == "not yet"
    assert "1 decisions have not taken effect yet" in visitor.text("/reviews")
    platform.reviews.apply()
    assert "have not taken effect" not in visitor.text("/reviews")


def test_a_correction_holds_what_differs_only(visitor: Visitor, platform: Platform) -> None:
    asked = number(platform, "loans.md")
    address = f"/reviews/{asked}"
    page = visitor.html(address)
    form = {
        name: (field.text or "") if field.tag == "textarea" else field.get("value")
        for field in page.xpath("//details//*[@name]")
        if (name := field.get("name")) not in ("csrf", "label")
    }
    unchanged = visitor.post(f"{address}/correct", **form, label="loans")
    assert unchanged.status_code == 422
    assert platform.reviews.get(asked).status == "open"
    refused = visitor.post(f"{address}/correct", **form | {"language": "English"}, label="loans")
    assert refused.status_code == 422
    assert 'value="English"' in refused.text
    assert "field &#39;language&#39;" in refused.text
    visitor.done(
        f"{address}/correct",
        **form | {"people": " Ann Lee \r\n\r\nBo  Li", "author": "Ann Lee"},
        label="cards",
    )
    row = platform.reviews.get(asked)
    assert row.status == "corrected"
    assert row.decision == {"label": "cards", "people": ["Ann Lee", "Bo  Li"], "author": "Ann Lee"}
    assert facts(visitor.html(address))["People"] == "Ann Lee; Bo Li"
    assert not visitor.html(address).xpath("//form[contains(@action, '/reviews/')]")


def test_who_comes_second_is_told_who_came_first(visitor: Visitor, platform: Platform) -> None:
    asked = number(platform, "tea.md")
    address = f"/reviews/{asked}"
    seen = digest(visitor, address)
    platform.reviews.reject(asked, by="bob")
    answer = visitor.post(f"{address}/approve", digest=seen)
    assert answer.status_code == 409
    assert "already rejected by bob" in answer.text
    assert platform.reviews.get(asked).status == "rejected"
    [entry] = Audit(platform.catalog).entries(action="review")
    assert (entry.action, entry.outcome) == ("review.approve", "refused")


def test_a_decision_is_on_what_its_page_showed(visitor: Visitor, platform: Platform) -> None:
    asked = number(platform, "tea.md")
    address = f"/reviews/{asked}"
    seen = digest(visitor, address)
    with platform.catalog.begin() as connection:
        connection.execute(sa.update(reviews).where(reviews.c.id == asked).values(label="billing"))
    for sent in (seen, "", "x"):
        answer = visitor.post(f"{address}/approve", digest=sent)
        assert answer.status_code == 409
        assert "has changed since this page was opened" in answer.text
    assert platform.reviews.get(asked).status == "open"
    assert Audit(platform.catalog).entries() == []


def test_copies_are_decided_together_and_the_last_ends_the_queue(
    visitor: Visitor, platform: Platform
) -> None:
    hashes = sa.update(reviews).where(reviews.c.key.in_(("first.md", "second.md")))
    kept = (number(platform, "first.md"), number(platform, "second.md"))
    with platform.catalog.begin() as connection:
        connection.execute(
            hashes.values(text_hash=review(platform, "first.md").text_hash, label="loans")
        )
        others = sa.update(reviews).where(reviews.c.id.not_in(kept))
        connection.execute(others.values(status="superseded"))
    address = f"/reviews/{kept[0]}"
    shown = visitor.done(
        f"{address}/reject?source={NOTES}", digest=digest(visitor, address), note=""
    )
    assert f"Review {kept[0]}: rejected, and with it 1 of the same text." in said(shown)
    assert "Nothing waits for a review." in said(shown)
    assert visitor.post(f"{address}/explode").status_code == 404


def test_a_hostile_proposal_is_shown_as_text(visitor: Visitor, platform: Platform) -> None:
    asked = number(platform, "tea.md")
    fields = dict(review(platform, "tea.md").fields) | {
        "summary": f"</textarea>{SCRIPT}",
        "people": ['"><img src=x onerror=alert(1)>', "(", "\u202eliam"],
        "author": "' autofocus onfocus=alert(1) x='",
    }
    with platform.catalog.begin() as connection:
        connection.execute(
            sa.update(reviews).where(reviews.c.id == asked).values(fields=fields, title=SCRIPT)
        )
    page = visitor.html(f"/reviews/{asked}")
    assert not list(page.iter("img"))
    assert all(one.get("src", "").startswith("/static/") for one in page.iter("script"))
    assert not page.xpath("//*[@onfocus]")
    assert facts(page)["People"].endswith("\ufffdliam")
    assert SCRIPT in said(page.find(".//h1"))
