"""Pages of the web as a source: alone, and through raw_docs to their clean text."""

import datetime
import json
import logging
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_platform.documents.sources.base import (
    Fetched,
    Known,
    NotTaken,
    Source,
    SourceUnavailable,
    Unchanged,
)
from rag_platform.documents.sources.registry import BadSource, open_source
from rag_platform.documents.sources.selection import Selection
from rag_platform.documents.sources.web import client
from rag_platform_tests.documents.conftest import Docs, MakeDocs
from rag_platform_tests.servers.web import Page, WebServer, failing, moved

FIRST, SECOND = "2026-07-01", "2026-07-02"
DAY = 86_400.0


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_FIRST_WAIT_S", 0.001)


def options(server: WebServer, **more: Any) -> dict[str, Any]:
    return {"private_hosts": [server.host], "rate": 1_000, "timeout": 5.0, **more}


def source_of(
    server: WebServer, *, path: str = "/sitemap.xml", exclude: tuple[str, ...] = (), **more: Any
) -> Source:
    return open_source(
        "site",
        server.url + path,
        selection=Selection.of(("**",), exclude),
        options=options(server, **more),
    )


def page(text: str, **how: Any) -> Page:
    return Page(f"<html><body><main><p>{text}</p></main></body></html>".encode(), **how)


def key(server: WebServer, path: str) -> str:
    return f"{server.url}{path}"


def keys(source: Source) -> list[str]:
    return [found.key for batch in source.batches() for found in batch]


def known_of(fetched: Any) -> Known:
    assert isinstance(fetched, Fetched)
    return Known(fetched.etag, fetched.modified, "0" * 64)


# Listing


def test_the_pages_of_a_sitemap(server: WebServer) -> None:
    server.sitemap("/", "/a.html", "/a.html?page=2", "/docs/b", "/a.html#part", a="2026-06-30")
    source = source_of(server)
    [listed] = list(source.batches())
    paths = ["/", "/a.html", "/a.html?page=2", "/docs/b"]
    assert [found.key for found in listed] == [key(server, path) for path in paths]
    assert [source.uri(found.key) for found in listed] == [server.url + path for path in paths]
    assert {found.etag for found in listed} == {None}
    assert listed[1].modified == 1_782_777_600.0
    assert time.time() - listed[0].modified < 60


def test_selection_and_other_hosts(server: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    server.pages["/sitemap.xml"] = Page(
        f"{server.url}/a.pdf\n{server.url}/b.html\nhttps://other.example/c\n"
        f"https://third.example/d\nhttps://third.example/e\n".encode()
    )
    with caplog.at_level(logging.WARNING):
        found = keys(source_of(server, exclude=("*.pdf",), hosts=["OTHER.example"]))
    assert found == [key(server, "/b.html"), "other.example/c"]
    assert "2 addresses lie on other hosts, such as third.example" in caplog.text


def test_addresses_that_are_none_are_dead_letters(server: WebServer) -> None:
    server.pages["/sitemap.xml"] = Page(
        b"<urlset><url><loc>https://me:secret@example.com/</loc></url>"
        b"<url><loc>javascript:alert(1)</loc></url><url><loc>/fine</loc></url></urlset>"
    )
    source = source_of(server)
    [listed] = list(source.batches())
    assert [found.failure for found in listed] == ["bad_name", "bad_name", None]
    assert "secret" not in listed[0].key + listed[0].detail
    assert listed[1].key.startswith("javascript:alert(1) (")
    assert all(source.uri(found.key) for found in listed)


def test_a_list_of_addresses(server: WebServer, tmp_path: Path) -> None:
    file = tmp_path / "pages.txt"
    file.write_text("# more\n/c\nhttps://other.example/d\n")
    source = source_of(server, path="/docs/", urls=["a.html", "/b"], list_file=str(file))
    assert keys(source) == [
        *(key(server, path) for path in ("/docs/a.html", "/b", "/c")),
        "other.example/d",
    ]
    assert server.requests == []
    file.unlink()
    with pytest.raises(SourceUnavailable, match=r"pages.txt.*No such file.*Nothing was recorded"):
        keys(source)


def test_too_many_pages(server: WebServer) -> None:
    server.sitemap("/1", "/2", "/3")
    assert len(keys(source_of(server, max_pages=3))) == 3
    with pytest.raises(SourceUnavailable, match="more than 2 pages") as refused:
        keys(source_of(server, max_pages=2))
    assert not refused.value.transient


def test_the_signal_tells_of_pages_and_dates(server: WebServer) -> None:
    source = source_of(server)
    words = []
    for paths, date in (
        ("ab", "2026-01-01"),
        ("ba", "2026-01-01"),
        ("ab", "2026-01-02"),
        ("a", ""),
    ):
        server.sitemap(*(f"/{path}" for path in paths), a=date)
        words.append(source.signal())
    assert words[0] == words[1]
    assert len(set(words)) == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"list_file": "pages.txt"}, "absolute"),
        ({"rate": 0}, "greater than 0"),
        ({"user_agent": "a\r\nHost: b"}, "pattern"),
        ({"max_pages": 0}, "greater than or equal to 1"),
        ({"sitemap": "x"}, "unknown option"),
    ],
)
def test_options_that_are_wrong(server: WebServer, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSource, match=said):
        source_of(server, **wrong)


# Reading


def test_a_page(server: WebServer) -> None:
    server.pages["/a"] = page("hello", modified=1_780_000_000)
    fetched = source_of(server).fetch(key(server, "/a"))
    assert isinstance(fetched, Fetched)
    assert b"hello" in fetched.content
    assert fetched.modified == 1_780_000_000
    assert fetched.media_type == "text/html; charset=utf-8"


@pytest.mark.parametrize("how", [{"etag": True}, {"etag": False, "modified": 1_780_000_000.0}])
def test_a_page_as_it_is_known_is_not_sent(server: WebServer, how: dict[str, Any]) -> None:
    server.pages["/a"] = page("hello", **how)
    source, where = source_of(server), key(server, "/a")
    known = known_of(source.fetch(where))
    again = source.fetch(where, known)
    assert isinstance(again, Unchanged)
    assert again.modified == known.modified
    assert known_of(source.fetch(where)).etag
    server.pages["/a"] = page("another", **{**how, "modified": 1_780_000_001.0})
    changed = source.fetch(where, Known(again.etag, again.modified, known.sha256))
    assert isinstance(changed, Fetched)
    assert b"another" in changed.content


def test_an_etag_of_another_kind_of_source_is_no_trouble(server: WebServer) -> None:
    server.pages["/a"] = page("hello")
    source = source_of(server)
    for etag in ("1f-2a-3", "[1]", '["a", "b", "c", "d"]', "null", None):
        assert isinstance(source.fetch(key(server, "/a"), Known(etag, None, "0")), Fetched)
    assert not any("if-none-match" in request.headers for request in server.asked("/a"))


@pytest.mark.parametrize(
    ("lastmod", "asked", "request_made"),
    [
        ("2026-01-01", 10 * DAY, False),
        # Asked so soon after the date that a later change of that day has the same one.
        ("2026-01-01", 1.5 * DAY, True),
        ("2026-01-01T12:00:00Z", 3 * DAY, False),
        ("2099-01-01", 10 * DAY, True),
        ("lately", 10 * DAY, True),
        ("", 10 * DAY, True),
    ],
)
def test_what_a_sitemap_vouches_for_is_not_asked(
    server: WebServer,
    monkeypatch: pytest.MonkeyPatch,
    lastmod: str,
    asked: float,
    request_made: bool,
) -> None:
    server.pages["/a"] = page("hello")
    server.sitemap("/a", a=lastmod)
    source, where = source_of(server), key(server, "/a")
    keys(source)
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp() + asked
    monkeypatch.setattr(time, "time", lambda: now)
    known = known_of(source.fetch(where))
    now += 6 * DAY
    assert isinstance(source.fetch(where, known), Unchanged)
    assert len(server.asked("/a")) == 1 + request_made
    if not request_made:
        now += DAY  # a week after it was asked: sitemaps may be wrong
        again = source.fetch(where, known)
        assert isinstance(again, Unchanged)
        assert len(server.asked("/a")) == 2
        server.sitemap("/a", a="2026-02-01")
        keys(source)
        source.fetch(where, Known(again.etag, again.modified, known.sha256))
        assert len(server.asked("/a")) == 3


@pytest.mark.parametrize("status", [404, 410])
def test_a_page_that_is_gone(server: WebServer, status: int) -> None:
    server.pages["/a"] = Page(status=status)
    assert source_of(server).fetch(key(server, "/a")) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Page(status=403), "unreadable"),
        (Page(status=401), "unreadable"),
        (Page(status=418), "bad_answer"),
        (Page(status=204), "bad_answer"),
        (Page(status=304, etag=False), "bad_answer"),
        (moved("http://169.254.169.254/latest/meta-data/"), "forbidden_address"),
        (moved("/a"), "bad_redirect"),
        (Page(b"x" * 2_000), "too_large"),
        (failing(503), "unavailable"),
    ],
)
def test_pages_that_are_not_taken(server: WebServer, answer: Page, reason: str) -> None:
    server.pages["/a"] = answer
    with pytest.raises(NotTaken) as refused:
        source_of(server, max_bytes=1_000).fetch(key(server, "/a"))
    assert refused.value.reason == reason


def test_robots(server: WebServer) -> None:
    server.pages["/robots.txt"] = Page(b"User-agent: *\nDisallow: /private")
    server.pages["/a"] = moved("/private")
    server.pages["/private"] = page("secret")
    source = source_of(server)
    for path in ("/private", "/a"):
        with pytest.raises(NotTaken, match="robots"):
            source.fetch(key(server, path))
    assert server.paths() == ["/a"]


def test_robots_are_asked_about_pages_that_a_sitemap_vouches_for(server: WebServer) -> None:
    server.pages["/a"] = page("hello")
    server.sitemap("/a", a="2020-01-01")
    source, where = source_of(server), key(server, "/a")
    keys(source)
    known = known_of(source.fetch(where))
    server.pages["/robots.txt"] = Page(b"User-agent: *\nDisallow: /")
    assert isinstance(source.fetch(where, known), Unchanged)  # as it said for this listing
    keys(source)
    with pytest.raises(NotTaken, match="robots"):
        source.fetch(where, known)


def test_a_clock_that_was_ahead_vouches_for_nothing(server: WebServer) -> None:
    server.pages["/a"] = page("hello")
    server.sitemap("/a", a="2020-01-01")
    source, where = source_of(server), key(server, "/a")
    keys(source)
    known = known_of(source.fetch(where))
    etag = json.loads(known.etag or "")
    etag[3] += 2 * DAY
    source.fetch(where, Known(json.dumps(etag), known.modified, known.sha256))
    assert len(server.asked("/a")) == 2


def test_a_host_that_keeps_failing_is_left_alone(server: WebServer) -> None:
    with WebServer() as other:
        other.pages["/a"] = page("hello")
        source = source_of(server, private_hosts=[server.host, other.host], urls=["/x"])
        server.pages |= {f"/{number}": failing(500) for number in range(20)}
        for number in range(20):
            with pytest.raises(NotTaken, match="unavailable"):
                source.fetch(key(server, f"/{number}"))
        assert len(server.paths()) == 5 * 3
        assert isinstance(source.fetch(f"{other.url}/a"), Fetched)
        # A new listing asks again.
        keys(source)
        server.pages["/1"] = page("back")
        assert isinstance(source.fetch(key(server, "/1")), Fetched)


# Through the stages


@pytest.fixture
def site(server: WebServer, make_docs: MakeDocs) -> Docs:
    for name in "abc":
        server.pages[f"/{name}"] = page(f"text of {name}")
    server.sitemap("/a", "/b", "/c")
    return make_docs(url=f"{server.url}/sitemap.xml", options=options(server))


def test_from_a_site_to_clean_text(server: WebServer, site: Docs) -> None:
    site.run(FIRST)
    assert site.outcomes(FIRST) == {"inserted": 3}
    rows = site.clean_rows(FIRST)
    assert rows[key(server, "/a")]["text"] == "text of a"
    assert rows[key(server, "/a")]["uri"] == f"{server.url}/a"
    assert rows[key(server, "/a")]["media_type"] == "text/html"

    server.pages["/a"] = page("another text")
    server.pages["/b"] = Page(status=404)
    server.sitemap("/a", "/b", "/c", "/d")
    server.pages["/d"] = page("text of d")
    before = len(server.requests)
    site.run(SECOND)
    assert site.outcomes(SECOND) == {"inserted": 1, "updated": 1, "deleted": 1, "unchanged": 1}
    assert len(server.requests) - before == 6  # sitemap, robots.txt and the four pages
    assert site.raw_keys(SECOND, 1) == [key(server, "/a"), key(server, "/d")]

    server.sitemap("/a", "/d")
    assert site.run(SECOND).changes == {"deleted": 1}


def test_a_page_that_cannot_be_had_for_the_moment(server: WebServer, site: Docs) -> None:
    server.first["/c"] = deque([failing(503)] * 3)
    site.run(FIRST)
    assert site.outcomes(FIRST) == {"inserted": 2, "dead_lettered": 1}
    assert site.letters()[key(server, "/c")].reason == "unavailable"

    server.first["/a"] = deque([failing(503)] * 3)
    server.pages["/a"] = page("another text")
    site.run(SECOND)
    # The dead one is taken now; of the known one nothing new is known.
    assert site.outcomes(SECOND) == {"updated": 1, "unchanged": 2}
    assert site.letters() == {}
    assert site.run(SECOND).changes == {"updated": 1}


@pytest.mark.parametrize(
    "broken",
    [
        failing(503),
        Page(status=404),
        Page(b"<urlset><url><loc>/a</loc></url>"),
        Page(b"<html>busy</html>"),
        Page(b"<urlset></urlset>", kind="cut"),
    ],
    ids=["failing", "missing", "cut off", "html", "broken off"],
)
def test_without_its_sitemap_nothing_is_gone(server: WebServer, site: Docs, broken: Page) -> None:
    site.run(FIRST)
    whole = server.pages["/sitemap.xml"]
    server.pages["/sitemap.xml"] = broken
    with pytest.raises(SourceUnavailable):
        site.ask(SECOND)
    server.pages["/sitemap.xml"] = whole
    site.run(SECOND)
    assert site.outcomes(SECOND) == {"unchanged": 3}


def test_a_page_that_changes_after_the_listing(server: WebServer, site: Docs) -> None:
    server.first["/a"] = deque([page("as it was read")])
    site.run(FIRST)
    assert site.clean_rows(FIRST)[key(server, "/a")]["text"] == "as it was read"
    # The ETag that was noted is that of what was read, so the later text is found.
    assert site.run(SECOND).changes == {"updated": 1}
    assert site.clean_rows(SECOND)[key(server, "/a")]["text"] == "text of a"


def test_pages_by_the_dates_of_the_sitemap(server: WebServer, make_docs: MakeDocs) -> None:
    for name in "abc":
        server.pages[f"/{name}"] = page(f"text of {name}")
    server.sitemap("/a", "/b", "/c", a="2026-06-01", b="2026-07-02T10:00:00+00:00")
    where = f"{server.url}/sitemap.xml"
    site = make_docs(url=where, options=options(server), dated_by="modified")
    done = site.run(FIRST)
    assert (done.changes, done.waiting) == ({"inserted": 1}, 2)
    done = site.run(SECOND)
    assert (done.changes, done.waiting) == ({"inserted": 1}, 1)
    # The sitemap vouches for a page that changed so long ago.
    assert server.paths().count("/a") == 1


def test_what_is_kept_of_an_answer_is_bounded(server: WebServer) -> None:
    headers = {"ETag": '"' + "x" * 5_000 + '"', "Last-Modified": "y" * 300}
    server.pages["/a"] = page("hello", etag=False, headers=headers)
    fetched = source_of(server).fetch(key(server, "/a"))
    assert isinstance(fetched, Fetched)
    assert json.loads(fetched.etag or "")[:2] == ["", ""]
