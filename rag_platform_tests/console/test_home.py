"""Search and ask, over a platform with hostile documents."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from lxml import html

from rag_platform.console.access import Access
from rag_platform.console.app import console
from rag_platform.platform import Platform
from rag_platform.storage.schema import documents, search_log
from rag_platform_tests.console.library import HOSTILE_KEY, NOTES, SCRIPT, Place
from rag_platform_tests.console.visitor import Visitor, said, visit

TEA = "how long is black tea steeped"


def results(page: Any) -> list[Any]:
    return list(page.xpath("//ol[@class='results']/li"))


def doc_id(platform: Platform, key: str) -> str:
    with platform.catalog.read() as connection:
        return str(connection.scalar(sa.select(documents.c.doc_id).where(documents.c.key == key)))


def test_the_form_without_a_query(onlooker: Visitor) -> None:
    page = onlooker.html("/")
    assert said(page.find(".//h1")) == "Search"
    assert "v1 answers. Found is what everybody of default may read." in said(page)
    [source] = page.xpath("//select[@name='source']")
    assert [said(option) for option in source] == ["all", "notes", "wiki"]


def test_a_result_leads_to_its_passage(onlooker: Visitor) -> None:
    page = onlooker.html(f"/?q={TEA}")
    first = results(page)[0]
    assert "steeped for four minutes" in said(first)
    tea = doc_id(onlooker.platform, "copy/tea.md")
    [link] = first.xpath(".//h3/a/@href")
    path, _, rest = link.partition("?")
    assert path == f"/documents/{NOTES}/{tea}"
    query, _, fragment = rest.partition("#")
    start, end = (int(part.partition("=")[2]) for part in query.split("&"))
    assert fragment == f"passage-{start}-{end}"
    text = "About tea\n\nBlack tea is steeped for four minutes"
    assert end - start >= len(text)
    assert "From v1." in said(page)


def test_hostile_documents_show_as_they_are(onlooker: Visitor) -> None:
    answer = onlooker.get("/?q=who+patented+the+steam+engine")
    assert "&lt;script&gt;document.title=&#39;owned&#39;&lt;/script&gt;" in answer.text
    page = onlooker.html("/?q=who+patented+the+steam+engine")
    assert SCRIPT in said(page)
    assert [each.get("src") for each in page.iter("script")] == [
        "/static/htmx.min.js",
        "/static/console.js",
    ]
    assert not page.xpath("//img | //*[@onerror] | //*[@style]")
    addresses = [*page.xpath("//@href"), *page.xpath("//@src"), *page.xpath("//@action")]
    assert {address.split(":")[0] for address in addresses if ":" in address} <= {"data", "http"}
    assert "\u202e" not in onlooker.get("/?q=turbine+order").text


def test_the_query_shows_as_it_is(onlooker: Visitor) -> None:
    page = onlooker.html('/?q="><script>x</script>&author="><b>')
    assert page.xpath("//input[@name='q']/@value") == ['"><script>x</script>']
    assert page.xpath("//input[@name='author']/@value") == ['"><b>']
    assert not page.xpath("//b")


def test_filters(onlooker: Visitor) -> None:
    found = results(onlooker.html("/?q=steam+engine&source=wiki"))
    assert [each.xpath(".//span[@class='badge']/text()") for each in found] == [["wiki"]]
    page = onlooker.html("/?q=steam+engine&source=wiki&language=fr")
    assert results(page) == []
    assert "No passage has all filters. Search without them." in said(page)
    assert page.xpath("//a[text()='Search without them']/@href") == ["/?q=steam%20engine"]
    assert page.xpath("//details/@open")
    # What is no filter changes nothing, least of all who asks.
    for field in ("acl=board", "tenant=other", "groups=board"):
        assert len(results(onlooker.html(f"/?q=lighthouse&{field}"))) > 0
        assert "lighthouse" not in said(onlooker.html(f"/?q=autumn+plan&{field}"))


def test_what_others_read_is_found_by_them(place: Place) -> None:
    place.write(console={"search_as": ["board"]})
    platform = place.platform()
    reader = platform.reader(groups=platform.settings.console.search_as)
    board = Visitor(console(platform, reader))
    assert "sell the lighthouse" in board.text("/?q=lighthouse")
    platform.close()


def test_more_results(onlooker: Visitor) -> None:
    ten = onlooker.html("/?q=inspection+of+the+valve&k=1")
    assert len(results(ten)) == 1
    [more] = ten.xpath("//a[@rel='next']/@href")
    assert more == "/?q=inspection+of+the+valve&k=11"
    assert len(results(onlooker.html(more))) > 1
    for k in ("0", "-1", "x", "1e3", "\u0663", "999999999999999999999"):
        assert onlooker.get(f"/?q=tea&k={k}").status_code == 200
    assert len(results(onlooker.html("/?q=tea&k=99999"))) <= 50


def test_a_question_is_answered_with_citations(onlooker: Visitor) -> None:
    answer = onlooker.post("/ask", q="How long is black tea steeped?")
    assert answer.status_code == 200
    page = html.document_fromstring(answer.text)
    [sentence, *_] = page.xpath("//p[@class='answer']")
    assert "Black tea is steeped for four minutes in boiling water" in said(sentence)
    assert page.xpath("//p[@class='answer']/a/@href")[0] == "#citation-1"
    [first, *_] = page.xpath("//li[@id='citation-1']")
    assert "steeped for four minutes" in said(first.find("blockquote"))
    [link] = first.xpath("./a/@href")
    assert link.startswith(f"/documents/{NOTES}/{doc_id(onlooker.platform, 'copy/tea.md')}?start=")
    facts = said(page.xpath("//dl")[0])
    assert "extractive: sentences as they were found" in facts
    assert "From v1." in said(page)


def test_a_question_that_is_not_answered_says_why(onlooker: Visitor) -> None:
    answer = onlooker.post("/ask", q="What is the capital of France?")
    assert "No answer. What was found is not like the question." in answer.text
    assert "<blockquote>" not in answer.text
    none = onlooker.post("/ask", q="tea", source="wiki", language="fr")
    assert "No answer. Nothing was found that could hold the answer." in none.text
    empty = onlooker.post("/ask", q=" ")
    assert (empty.status_code, "write 1 to 1,000" in empty.text) == (409, True)


def test_a_question_is_not_asked_by_a_link(onlooker: Visitor) -> None:
    assert onlooker.get("/ask?q=tea").status_code == 405


def test_texts_are_not_shown_where_they_may_not_be(place: Place) -> None:
    place.write(show_content=False)
    platform = place.platform()
    visitor = visit(platform)
    page = visitor.html(f"/?q={TEA}")
    assert {said(result.find(".//h3")) for result in results(page)} >= {"copy/tea.md"}
    assert "four minutes" not in said(page)
    assert "About tea" not in said(page)
    assert "show_content" in visitor.text("/")
    assert not page.xpath("//button[@formaction]")
    session = visitor.app.sessions.read(visitor.http.cookies["rag_platform"])
    assert session is not None
    asked = visitor.send("/ask", {"q": TEA, "csrf": session["csrf"]})
    assert "four minutes" not in asked.text
    platform.close()


@pytest.fixture
def tried(place: Place) -> Iterator[Platform]:
    """Half of the people who search are answered by v2."""
    place.write(search={"experiment": {"challenger": "v2", "share": 50}})
    platform = place.platform()
    yield platform
    platform.close()


def test_who_asks_is_the_unit_of_an_experiment(tried: Platform) -> None:
    told = set()
    for person in ("ann", "bob", "carol", "dave", "erin", "frank"):
        visitor = Visitor(console(tried, tried.reader(), access=Access(person=person)))
        pages = [visitor.text(f"/?q={query}") for query in ("tea", "loans")]
        [arm] = {"challenger" if "From v2 as the challenger" in page else "live" for page in pages}
        assert all("of an experiment (search" in page for page in pages)
        told.add(arm)
    assert told == {"live", "challenger"}


def chosen(platform: Platform) -> list[int | None]:
    with platform.catalog.read() as connection:
        rows = connection.scalars(sa.select(search_log.c.chosen).order_by(search_log.c.id))
        return list(rows)


def test_a_result_that_is_followed_was_taken(tried: Platform) -> None:
    visitor = visit(tried)
    page = visitor.html(f"/?q={TEA}")
    second = results(page)[1].xpath(".//h3/a/@href")[0]
    assert second.startswith("/chosen?search=1&rank=2&source=notes&doc=")
    # Another site that links there leads on, and counts for nothing.
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    link["sec-fetch-dest"] = "document"
    for headers in ({}, link, {"referer": "http://evil.example.org/"}):
        assert visitor.get(second, **headers).status_code == 303
        assert chosen(tried) == [None]
    answer = visitor.get(second, sec_fetch_site="same-origin")
    assert chosen(tried) == [2]
    assert answer.headers["location"].startswith("/documents/notes/")
    assert "#passage-" in answer.headers["location"]
    gone = second.replace("search=1", "search=99")
    assert visitor.get(gone, sec_fetch_site="same-origin").status_code == 303


def test_a_choice_leads_to_no_other_site(onlooker: Visitor) -> None:
    path = "/chosen?search=1&rank=1&source=//evil.example.org&doc=..%2F..%0d%0aX:1&start=x&end="
    assert onlooker.get(path).headers["location"] == (
        "/documents/%2F%2Fevil.example.org/..%2F..%0D%0AX%3A1?start=0&end=0#passage-0-0"
    )


def test_an_index_that_was_not_built_is_said(place: Place) -> None:
    place.write(live="v3", indexes={"v3": {}, "v1": {"chunker": {"max_tokens": 64, "overlap": 0}}})
    platform = place.platform()
    answer = visit(platform).get("/?q=tea")
    assert answer.status_code == 409
    assert "v3" in answer.text
    platform.close()


def test_an_engine_that_is_held_is_said(place: Place) -> None:
    place.write(lock_timeout_s=0.2)
    platform, other = place.platform(), place.platform()
    visitor = visit(platform)
    with other.vectors.open_existing("v1"):
        answer = visitor.get("/?q=tea")
    assert answer.status_code in (409, 503)
    assert "lock_timeout_s" in answer.text
    assert len(results(visitor.html("/?q=tea"))) > 0
    assert HOSTILE_KEY not in answer.text
    platform.close()
    other.close()
