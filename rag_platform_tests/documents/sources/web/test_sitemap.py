"""Sitemaps of a server, sound and not."""

import gzip
from collections.abc import Iterator

import pytest

from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.documents.sources.web.client import WebClient, WebRules
from rag_platform.documents.sources.web.sitemap import Entry, changed_at, read_sitemap
from rag_platform_tests.servers.web import Page, WebServer, failing

XMLNS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


def entries(server: WebServer, *hosts: str) -> list[Entry]:
    rules = WebRules(rate=1_000, attempts=1, private_hosts=(server.host,))
    url = f"{server.url}/sitemap.xml"
    return list(read_sitemap(WebClient(rules), url, hosts=frozenset({server.host, *hosts})))


def xml(server: WebServer, body: str, at: str = "/sitemap.xml") -> None:
    server.pages[at] = Page(body.encode(), "application/xml")


def test_entries_and_their_dates(server: WebServer) -> None:
    image = 'xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"'
    xml(
        server,
        f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset {XMLNS} {image}>'
        "<url><loc> https://a.example/?x=1&amp;y=2 </loc><lastmod>2026-01-02</lastmod>"
        "<changefreq>daily</changefreq></url>"
        "<url><image:image><image:loc>https://a.example/i.png</image:loc></image:image>"
        "<loc><![CDATA[https://a.example/ü]]></loc></url>"
        "<url><lastmod>2026-01-02</lastmod></url>"
        "</urlset>",
    )
    assert entries(server) == [
        Entry("https://a.example/?x=1&y=2", "2026-01-02"),
        Entry("https://a.example/ü"),
    ]


def test_prefixes_and_no_namespace_are_alike(server: WebServer) -> None:
    xml(server, "<urlset><url><loc>https://a.example/1</loc></url></urlset>")
    plain = entries(server)
    named = 'xmlns:s="http://www.sitemaps.org/schemas/sitemap/0.9"'
    xml(server, f"<s:urlset {named}><s:url><s:loc>https://a.example/1</s:loc></s:url></s:urlset>")
    assert entries(server) == plain == [Entry("https://a.example/1")]


def test_an_index_of_packed_sitemaps(server: WebServer) -> None:
    xml(
        server,
        f"<sitemapindex {XMLNS}><sitemap><loc>{server.url}/1.xml.gz</loc></sitemap>"
        "<sitemap><loc>/2.xml</loc></sitemap><sitemap><loc>/2.xml</loc></sitemap></sitemapindex>",
    )
    server.sitemap("/a.html", at="/1.xml.gz", a="2026-05-01")
    packed = server.pages["/1.xml.gz"]
    packed.body, packed.media_type = gzip.compress(packed.body), "application/x-gzip"
    server.sitemap("/b.html", at="/2.xml")
    server.pages["/2.xml"].gzip = True
    assert entries(server) == [
        Entry(f"{server.url}/a.html", "2026-05-01"),
        Entry(f"{server.url}/b.html"),
    ]
    assert len(server.asked("/2.xml")) == 1


def test_a_text_file(server: WebServer) -> None:
    server.pages["/sitemap.xml"] = Page(b"\xef\xbb\xbf# pages\nhttps://a.example/1\r\n\n /2 \n")
    assert entries(server) == [Entry("https://a.example/1"), Entry("/2")]


def test_an_empty_sitemap_is_one(server: WebServer) -> None:
    xml(server, f"<urlset {XMLNS}/>")
    assert entries(server) == []


SECRET = "file:///etc/hostname"
BAD = {
    "html": "<!DOCTYPE html><html><body>Not found</body></html>",
    "another root": "<rss><channel/></rss>",
    "cut off": f"<urlset {XMLNS}><url><loc>https://a.example/1</loc></url>",
    "entities": '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><urlset>&b;</urlset>',
    "an entity outside": f'<!DOCTYPE x [<!ENTITY a SYSTEM "{SECRET}">]><urlset>&a;</urlset>',
    "an unknown entity": "<urlset><url><loc>&nbsp;</loc></url></urlset>",
    "deep": "<urlset>" + "<url>" * 100_000,
    "an unknown encoding": '<?xml version="1.0" encoding="x-none"?><urlset/>',
    "broken gzip": "\x1f\x8b rest",
    "too many": "<urlset>" + "<url><loc>/a</loc></url>" * 50_001 + "</urlset>",
    "too many lines": "/a\n" * 50_001,
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_what_is_no_sitemap(server: WebServer, body: str) -> None:
    server.pages["/sitemap.xml"] = Page(body.encode("latin-1"))
    with pytest.raises(SourceUnavailable, match="nothing was recorded") as refused:
        entries(server)
    assert not refused.value.transient
    assert "\n" not in str(refused.value)


def test_a_bomb(server: WebServer) -> None:
    server.pages["/sitemap.xml"] = Page(gzip.compress(b" " * 60_000_000))
    with pytest.raises(SourceUnavailable, match="cannot be unpacked"):
        entries(server)


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_sitemap_that_is_not_there_says_nothing_of_its_pages(
    server: WebServer, status: int
) -> None:
    server.pages["/sitemap.xml"] = Page(status=status)
    with pytest.raises(SourceUnavailable, match=f"answers {status}") as refused:
        entries(server)
    assert not refused.value.transient


def test_one_part_that_fails_fails_all(server: WebServer) -> None:
    xml(
        server,
        f"<sitemapindex {XMLNS}><sitemap><loc>/1.xml</loc></sitemap>"
        "<sitemap><loc>/2.xml</loc></sitemap></sitemapindex>",
    )
    server.sitemap("/a.html", at="/1.xml")
    server.pages["/2.xml"] = failing(503)
    with pytest.raises(SourceUnavailable, match="503; nothing was recorded") as refused:
        entries(server)
    assert refused.value.transient


def test_parts_on_other_hosts_are_asked_for_by_name(server: WebServer) -> None:
    with WebServer() as other:
        part = f"<sitemap><loc>{other.url}/1.xml</loc></sitemap>"
        xml(server, f"<sitemapindex {XMLNS}>{part}</sitemapindex>")
        other.sitemap("/a.html", at="/1.xml")
        with pytest.raises(SourceUnavailable, match=f"on {other.host}.*`hosts`"):
            entries(server)
        # Even then not on a private address, unless that is told as well.
        with pytest.raises(SourceUnavailable, match="no address of the internet"):
            entries(server, other.host)
        assert other.requests == []


def test_sitemaps_without_an_end(server: WebServer) -> None:
    for number in range(5):
        part = f"<sitemap><loc>/{number + 1}.xml</loc></sitemap>"
        at = f"/{number}.xml" if number else "/sitemap.xml"
        xml(server, f"<sitemapindex {XMLNS}>{part}</sitemapindex>", at)
    with pytest.raises(SourceUnavailable, match="3 in each other"):
        entries(server)
    xml(server, f"<sitemapindex {XMLNS}><sitemap><loc>/sitemap.xml</loc></sitemap></sitemapindex>")
    assert entries(server) == []


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2026-06-30", 1_782_777_600.0),
        ("2026-06-30T06:00:00Z", 1_782_799_200.0),
        ("2026-06-30T06:00:00.5+02:00", 1_782_792_000.5),
        ("2026-06", 1_780_272_000.0),
        ("2026", 1_767_225_600.0),
        ("", None),
        ("yesterday", None),
        ("2026-13-01", None),
        ("0001-01-01T00:00:00+23:00", -62_135_679_600.0),
        ("9999-12-31T23:59:59-23:00", 253_402_383_599.0),
    ],
)
def test_dates(written: str, seconds: float | None) -> None:
    assert changed_at(written) == seconds
