"""An HTTP API as a source, read from a server on the loopback."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from rag_platform.documents.sources.base import (
    Fetched,
    Known,
    ListedObject,
    NotTaken,
    SourceUnavailable,
    Unchanged,
)
from rag_platform.documents.sources.kinds.api import ApiOptions, ApiSource
from rag_platform.documents.sources.registry import BadSource, open_source
from rag_platform.documents.sources.selection import Selection
from rag_platform_tests.documents.conftest import MakeDocs
from rag_platform_tests.servers.json_api import PATH, JsonApi, Reply

EVERYTHING = Selection.of(("**",), ())
FIRST, SECOND, THIRD = (f"2026-07-0{day}" for day in (1, 2, 3))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failing requests are tried again at once."""
    monkeypatch.setattr("rag_platform.documents.sources.web.client._FIRST_WAIT_S", 0.01)


@pytest.fixture
def api() -> Iterator[JsonApi]:
    with JsonApi() as server:
        yield server


def options(api: JsonApi, **more: Any) -> dict[str, Any]:
    content = {} if "url" in more else {"text": "text"}
    return {"private_hosts": [api.host], "rate": 1_000, **content, **more}


def source(api: JsonApi, **more: Any) -> ApiSource:
    return ApiSource(api.url, EVERYTHING, ApiOptions.model_validate(options(api, **more)))


def item(key: Any, text: str = "text", **more: Any) -> dict[str, Any]:
    return {"id": key, "text": text, **more}


def read(made: ApiSource, since: str | None = None) -> dict[str, ListedObject]:
    found = [one for batch in made.batches(since) for one in batch]
    assert len({one.key for one in found}) == len(found)
    return {one.key: one for one in found}


def text_of(made: ApiSource, key: str, known: Known | None = None) -> str | None:
    fetched = made.fetch(key, known)
    assert not isinstance(fetched, Unchanged)
    return fetched.content.decode() if fetched else None


# Pages and cursors


@pytest.mark.parametrize("style", ["feed", "pages", "links"])
def test_all_pages_are_listed(style: Any) -> None:
    with JsonApi(style) as api:
        api.items = [item(key, f"text of {key}") for key in "abcde"]
        made = source(api)
        assert list(read(made)) == list("abcde")
        assert [text_of(made, key) for key in "ae"] == ["text of a", "text of e"]
        # Each pass lists all, so nothing is kept of where it ended.
        assert (made.complete, made.cursor()) == (True, None)
        api.items = api.items[:1]
        assert list(read(made)) == ["a"]
    assert [asked.query.get("cursor") for asked in api.asked[:3]] == [None, "2", "4"]


def test_what_happened_since_the_cursor(api: JsonApi) -> None:
    api.items = [item("a"), item("b"), item("c")]
    made = source(api, incremental=True, deleted="removed")
    assert not made.complete
    assert list(read(made)) == ["a", "b", "c"]
    since = made.cursor()
    assert json.loads(since or "") == {"url": f"{api.base}{PATH}", "cursor": "3"}
    assert read(source(api, incremental=True), since) == {}
    api.items += [item("b", removed=True), item("a", "later"), item("d", removed=False)]
    later = source(api, incremental=True, deleted="removed")
    found = read(later, since)
    assert {key: one.gone for key, one in found.items()} == {"b": True, "a": False, "d": False}
    assert (text_of(later, "a"), later.fetch("b")) == ("later", None)
    assert json.loads(later.cursor() or "")["cursor"] == "6"


def test_a_listing_holds_what_it_says_last_of_an_item(api: JsonApi) -> None:
    api.items = [item("a"), item("b", removed=True), item("a", removed=True), item("b")]
    assert list(read(source(api, deleted="removed"))) == ["b"]


def test_a_last_page_without_a_cursor_is_asked_again() -> None:
    with JsonApi("pages") as api:
        api.items = [item("a"), item("b"), item("c")]
        made = source(api, incremental=True)
        assert list(read(made)) == ["a", "b", "c"]
        since = made.cursor()
        api.items.append(item("d"))
        assert list(read(source(api, incremental=True), since)) == ["c", "d"]


def test_an_api_that_says_whether_there_is_more(api: JsonApi) -> None:
    """An empty page is not the end of it, then."""
    for body in (
        {"data": {"rows": []}, "meta": {"next": "x", "more": True}},
        {"data": {"rows": [item("a")]}, "meta": {"next": "y", "more": False}},
    ):
        api.first.append(Reply(body=json.dumps(body).encode()))
    made = source(api, items="data.rows", next="meta.next", more="meta.more", incremental=True)
    assert list(read(made)) == ["a"]
    assert json.loads(made.cursor() or "")["cursor"] == "y"
    assert [asked.query for asked in api.asked] == [{}, {"cursor": "x"}]


def test_pages_without_an_end(api: JsonApi) -> None:
    api.items = [item(f"{number}") for number in range(10)]
    with pytest.raises(SourceUnavailable, match="more than 3 pages") as caught:
        read(source(api, max_pages=3))
    assert not caught.value.transient
    # What happened is taken in parts.
    made = source(api, max_pages=3, incremental=True)
    assert list(read(made)) == ["0", "1", "2", "3", "4", "5"]
    assert list(read(source(api, incremental=True), made.cursor())) == ["6", "7", "8", "9"]


def test_the_last_of_several_items_counts(api: JsonApi) -> None:
    api.items = [item("a", "one"), item("b"), item("a", "two")]
    made = source(api)
    assert set(read(made)) == {"a", "b"}
    assert text_of(made, "a") == "two"


def test_query_headers_and_a_bare_list(api: JsonApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIKI_AUTHORIZATION", "Bearer 123")
    api.first.append(Reply(body=json.dumps([item("a")]).encode()))
    made = ApiSource(
        f"{api.url}?space=hr",
        EVERYTHING,
        ApiOptions.model_validate(
            options(
                api,
                items="",
                query={"limit": "50"},
                headers={"Authorization": "WIKI_AUTHORIZATION"},
            )
        ),
    )
    assert list(read(made)) == ["a"]
    assert api.asked[0].query == {"space": "hr", "limit": "50"}
    assert api.asked[0].headers["authorization"] == "Bearer 123"
    monkeypatch.delenv("WIKI_AUTHORIZATION")
    with pytest.raises(SourceUnavailable, match="the environment lacks WIKI_AUTHORIZATION"):
        read(made)


# Items


def test_what_an_item_holds(api: JsonApi) -> None:
    api.items = [
        item(7, "Grüße", at="2026-07-01T10:00:00Z", who=["hr", "board"]),
        item("b", at=1_782_900_000_000, who="sales"),
        item("c"),
    ]
    made = source(api, updated="at", acl="who", media_type="text/markdown")
    before = datetime.now(UTC).timestamp()
    found = read(made)
    times = [datetime(2026, 7, 1, 10, tzinfo=UTC).timestamp(), 1_782_900_000.0]
    assert [found["7"].modified, found["b"].modified] == times
    assert before <= found["c"].modified <= datetime.now(UTC).timestamp()
    assert [one.acl for one in found.values()] == [("board", "hr"), ("sales",), ()]
    assert found["7"].size == len("Grüße".encode())
    fetched = made.fetch("7")
    assert isinstance(fetched, Fetched)
    assert (fetched.etag, fetched.media_type) == (found["7"].etag, "text/markdown")


def test_an_item_that_cannot_be_taken_stops_no_other(api: JsonApi) -> None:
    api.size = 100
    api.items = [
        *(None, 5, "x", [], {}, {"id": None, "text": "x"}, item("a\nb"), item(True)),
        *(item("no-text", None), item("number", 5), item("surrogate", "\ud800")),  # type: ignore[arg-type]
        item("good", "good"),
    ]
    made = source(api)
    found = read(made)
    assert [key for key, one in found.items() if one.failure is None] == ["good"]
    unnamed = [key for key in found if key.startswith("unnamed/")]
    assert (len(unnamed), len(found)) == (8, 12)
    assert found["number"].detail == "no text at text"
    assert "nothing names the document at id" in found[unnamed[0]].detail
    assert {one.failure for one in found.values()} == {None, "bad_item"}
    # A bad item has the same name each time, so that it is one dead letter.
    assert set(read(made)) == set(found)


def test_only_the_selection_is_taken(api: JsonApi) -> None:
    api.items = [item("a.md"), item("b.png")]
    made = ApiSource(api.url, Selection.of(("*.md",), ()), ApiOptions.model_validate(options(api)))
    assert list(read(made)) == ["a.md"]


def test_addresses_as_people_see_them(api: JsonApi) -> None:
    assert source(api).uri("a b/c") == f"{api.base}{PATH}/a%20b/c"
    made = source(api, link="https://wiki.example/pages?id={id}")
    assert made.uri("7") == "https://wiki.example/pages?id=7"


# Answers that are none


def test_a_failing_api_is_asked_again(api: JsonApi) -> None:
    api.items = [item("a")]
    api.first.extend([Reply(503), Reply(429, headers={"Retry-After": "1"})])
    assert list(read(source(api))) == ["a"]
    first, second, third = (asked.at for asked in api.asked[:3])
    assert second - first < 0.9
    assert third - second >= 0.9


@pytest.mark.parametrize(
    ("reply", "said", "transient"),
    [
        (Reply(503), "answers 503", True),
        (Reply(body=b"<html>down for maintenance</html>"), "no JSON", True),
        (Reply(body=b"[" * 100_000), "no JSON", True),
        (Reply(body=b"x" * 200_000), "150,000 bytes", False),
        (Reply(401), "check WIKI_TOKEN", False),
        (Reply(410), "answers 410", False),
        (Reply(302, headers={"Location": "http://10.0.0.1/"}), "10.0.0.1", False),
        (Reply(body=b'{"items": {}}'), "no list at 'items'", False),
        (Reply(body=b'{"items": [], "next_cursor": [1]}'), "no cursor at 'next_cursor'", False),
        (Reply(body=b'{"items": [1], "next_cursor": "http://127.0.0.1:9/x"}'), "another", False),
    ],
)
def test_a_page_that_cannot_be_read_is_no_listing(
    api: JsonApi, monkeypatch: pytest.MonkeyPatch, reply: Reply, said: str, *, transient: bool
) -> None:
    monkeypatch.setenv("WIKI_TOKEN", "hunter2")
    api.items = [item("a"), item("b"), item("c")]
    api.first.extend([Reply(body=json.dumps(api._page(0)).encode()), *[reply] * 3])
    made = source(api, headers={"X-Token": "WIKI_TOKEN"}, max_bytes=150_000)
    with pytest.raises(SourceUnavailable, match=said) as caught:
        read(made)
    assert caught.value.transient is transient
    assert "hunter2" not in str(caught.value)
    assert made.cursor() is None


def test_an_expired_cursor_says_what_to_do(api: JsonApi) -> None:
    api.items = [item("a")]
    made = source(api, incremental=True)
    read(made)
    api.first.append(Reply(410))
    with pytest.raises(SourceUnavailable, match="--refresh"):
        read(made, made.cursor())


def test_a_cursor_of_another_api(api: JsonApi) -> None:
    since = json.dumps({"url": "https://elsewhere.example/v2", "cursor": "5"})
    with pytest.raises(SourceUnavailable, match=r"elsewhere\.example.*--refresh") as caught:
        read(source(api, incremental=True), since)
    assert not caught.value.transient


def test_an_api_of_the_own_network_must_be_named(api: JsonApi) -> None:
    made = source(api, private_hosts=[])
    with pytest.raises(SourceUnavailable, match="private_hosts") as caught:
        read(made)
    assert not caught.value.transient
    assert api.asked == []


# Documents by address


def linked(api: JsonApi, **more: Any) -> ApiSource:
    return source(api, url="href", **more)


def test_documents_are_read_at_their_address(api: JsonApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIKI_TOKEN", "123")
    headers = {"Content-Type": "text/html; charset=utf-8", "ETag": '"v1"'}
    headers["Last-Modified"] = "Wed, 01 Jul 2026 10:00:00 GMT"
    api.files["/files/a"] = Reply(body=b"<p>a</p>", headers=headers)
    api.items = [{"id": "a", "href": "/files/a"}]
    with JsonApi() as other:
        other.files["/b"] = Reply(body=b"b")
        api.items.append({"id": "b", "href": f"{other.base}/b"})
        made = linked(api, private_hosts=[api.host, other.host], headers={"X-Token": "WIKI_TOKEN"})
        # Whether it has changed, only its server can tell.
        assert {key: one.etag for key, one in read(made).items()} == {"a": None, "b": None}
        assert text_of(made, "b") == "b"
        # What lets one read the API is no business of another host.
        assert "x-token" not in other.asked[0].headers
    fetched = made.fetch("a")
    assert fetched == Fetched(
        b"<p>a</p>",
        datetime(2026, 7, 1, 10, tzinfo=UTC).timestamp(),
        '"v1"',
        "text/html; charset=utf-8",
    )
    assert api.asked[-1].headers["x-token"] == "123"
    api.files["/files/a"] = Reply(304)
    known = Known('"v1"', 5.0, "sha")
    assert made.fetch("a", known) == Unchanged(5.0, '"v1"')
    assert api.asked[-1].headers["if-none-match"] == '"v1"'


def test_a_document_whose_item_is_as_before_is_not_read(api: JsonApi) -> None:
    api.files["/a"] = Reply(body=b"one")
    api.items = [{"id": "a", "href": "/a", "updated": "2026-07-01"}]
    made = linked(api, updated="updated")
    read(made)
    fetched = made.fetch("a")
    assert isinstance(fetched, Fetched)
    known = Known(fetched.etag, fetched.modified, "sha")
    asked = len(api.asked)
    assert made.fetch("a", known) == Unchanged(fetched.modified, fetched.etag)
    assert len(api.asked) == asked
    api.items[0]["updated"] = "2026-07-02"
    read(made)
    assert text_of(made, "a", known) == "one"


@pytest.mark.parametrize(
    ("href", "reason"),
    [
        ("file:///etc/passwd", "bad_name"),
        ("http://169.254.169.254/latest", "forbidden_address"),
        ("http://127.0.0.1:9/x", "forbidden_address"),
        ("/closed", "unreadable"),
        ("/odd", "bad_answer"),
        ("/large", "too_large"),
        ("/failing", "unavailable"),
    ],
)
def test_addresses_that_give_no_document(api: JsonApi, href: str, reason: str) -> None:
    api.files |= {
        "/closed": Reply(403),
        "/odd": Reply(418),
        "/large": Reply(body=b"x" * 2_000),
        "/failing": Reply(500),
    }
    api.items = [{"id": "a", "href": href}]
    made = linked(api, max_bytes=1_000)
    read(made)
    with pytest.raises(NotTaken) as caught:
        made.fetch("a")
    assert caught.value.reason == reason


def test_a_document_that_cannot_be_had_for_the_moment(api: JsonApi) -> None:
    api.files["/a"] = Reply(500)
    api.items = [{"id": "a", "href": "/a"}, {"id": "gone", "href": "/never"}]
    known = Known("old", 5.0, "sha")
    made = linked(api)
    read(made)
    # It stays as it is; without an etag the next pass asks again.
    assert made.fetch("a", known) == Unchanged(5.0, None)
    assert made.fetch("gone", known) is None
    # An event does not come again, so that the pass must.
    feed = linked(api, incremental=True)
    read(feed)
    with pytest.raises(SourceUnavailable) as caught:
        feed.fetch("a", known)
    assert caught.value.transient


# The sensor's word


def test_signal_of_a_listing(api: JsonApi) -> None:
    api.items = [item("a"), item("b"), item("c")]
    word = source(api).signal()
    api.items = [item("c"), item("a"), item("b")]
    assert source(api).signal() == word
    api.items[0] = item("c", "edited")
    assert source(api).signal() not in ("", word)


def test_signal_of_a_long_listing_looks_at_its_first_pages(api: JsonApi) -> None:
    api.size = 1
    api.items = [item(f"{number}") for number in range(30)]
    word = source(api).signal()
    assert len(api.asked) == 20
    api.items[19] = item("19", "edited")
    assert source(api).signal() != word


def test_signal_of_a_feed(api: JsonApi) -> None:
    api.items = [item(key) for key in "abcde"]
    made = source(api, incremental=True)
    assert made.signal()
    assert len(api.asked) == 1  # the first page tells
    read(made)
    since = made.cursor()
    assert made.signal(since) == ""
    api.items.append(item("a", "later"))
    assert made.signal(since) == made.signal(since) != ""


def test_options_are_checked() -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"text": "a", "url": "b"},
        {"text": "a", "link": "https://x/"},
        {"text": "a", "headers": {"Authorization": "Bearer hunter2"}},
        {"text": "a", "headers": {"Bad Name": "TOKEN"}},
        {"text": "a", "group": "x"},
    ]
    for written in wrong:
        with pytest.raises(BadSource, match=r"sources\.wiki\.options") as caught:
            open_source("wiki", "api+https://h/p", selection=EVERYTHING, options=written)
        assert "hunter2" not in str(caught.value)
    made = open_source("wiki", "api+https://h/p", selection=EVERYTHING, options={"text": "a"})
    assert made.complete


# Through the log


def test_a_listing_through_the_log(api: JsonApi, make_docs: MakeDocs) -> None:
    docs = make_docs(url=api.url, options=options(api), max_deletion_share=0.9)
    api.items = [item("a", "one"), item("b", "two"), item("c", None)]  # type: ignore[arg-type]
    assert docs.ask(FIRST).changes == {"inserted": 3}
    assert docs.letters()["c"].reason == "bad_item"
    assert docs.ask(FIRST).changes == {}
    api.items = [item("a", "one, edited"), item("c", "mended")]
    assert docs.ask(SECOND).changes == {"updated": 2, "deleted": 1}
    assert docs.raw_keys(SECOND, 1) == ["a", "c"]
