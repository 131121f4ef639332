"""Addresses in their one form, and the keys made of them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag_platform.documents.sources.web.urls import (
    BadAddress,
    canonical,
    host_of,
    key_of,
    origin_of,
    url_of,
)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("HTTPS://example.com:443/a", "https://example.com/a"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("http://example.com:443/a", "http://example.com:443/a"),
        ("https://example.com./a", "https://example.com/a"),
        ("  https://example.com/a\n", "https://example.com/a"),
        ("https://example.com/a#part", "https://example.com/a"),
        ("https://example.com/a?b=1&a=2", "https://example.com/a?b=1&a=2"),
        ("https://example.com?q=/../x", "https://example.com/?q=/../x"),
        ("https://example.com/a/./b/../c", "https://example.com/a/c"),
        ("https://example.com/../../etc/passwd", "https://example.com/etc/passwd"),
        ("https://example.com/a/..", "https://example.com/"),
        ("https://example.com/a//b/", "https://example.com/a//b/"),
        ("https://example.com/a b", "https://example.com/a%20b"),
        ("https://example.com/100%", "https://example.com/100%25"),
        ("https://example.com/%c3%bc%2f", "https://example.com/%C3%BC%2F"),
        ("https://example.com/ü?q=水", "https://example.com/%C3%BC?q=%E6%B0%B4"),
        ("https://Bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://[2001:DB8:0::1]:8080/", "http://[2001:db8::1]:8080/"),
        ("http://my_host/", "http://my_host/"),
    ],
)
def test_one_form(written: str, found: str) -> None:
    assert canonical(written) == found
    assert canonical(found) == found


def test_relative_ones() -> None:
    base = "https://example.com/docs/index.html?x=1"
    assert canonical("guide.html", base) == "https://example.com/docs/guide.html"
    assert canonical("/a", base) == "https://example.com/a"
    assert canonical("//other.example/a", base) == "https://other.example/a"
    assert canonical("http://third.example", base) == "http://third.example/"


@pytest.mark.parametrize(
    "written",
    [
        "",
        "a.html",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://",
        "https:///a",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://:@example.com/",
        "https://example.com:0x50/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://-example.com/",
        "https://example.com\\@evil.example/",
        "https://example.com/a\r\nHost: evil",
        "https://example.com/\x00",
        "http://[::1/",
        "http://[fe80::zz]/",
        "https://\ud800.example/",
        "https://example.com/\ud800",
        "https://example.com/" + "a" * 2_048,
    ],
)
def test_what_is_no_address(written: str) -> None:
    with pytest.raises(BadAddress) as refused:
        canonical(written)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://example.com/", "example.com/"),
        ("https://example.com/a/b.html?page=2", "example.com/a/b.html?page=2"),
        ("http://example.com/a", "http://example.com/a"),
        ("http://example.com:8080/a", "http://example.com:8080/a"),
        ("https://example.com:8443/a", "example.com:8443/a"),
        ("https://ja.example/wiki/%E6%B0%B4", "ja.example/wiki/水"),
        ("https://example.com/a%2Fb%20c", "example.com/a%2Fb%20c"),
        # No UTF-8, a direction mark, a wide space: nothing that a reader could mistake.
        ("https://example.com/%FC", "example.com/%FC"),
        ("https://example.com/%E2%80%AEx", "example.com/%E2%80%AEx"),
        ("https://example.com/%E3%80%80", "example.com/%E3%80%80"),
    ],
)
def test_keys(url: str, key: str) -> None:
    assert key_of(url) == key
    assert url_of(key) == url


def test_hosts_and_origins() -> None:
    assert host_of("https://example.com/a?b=http://other/") == "example.com"
    assert host_of("http://example.com:8080/") == "example.com:8080"
    assert origin_of("http://example.com:8080/a/b") == "http://example.com:8080"


_PARTS = st.text(st.characters(codec="utf-8"), max_size=12)


@given(scheme=st.sampled_from(["http", "https"]), path=_PARTS, query=_PARTS)
@example(scheme="https", path="%E2%80", query="%AE")
@example(scheme="http", path="//evil.example/..", query="?")
def test_a_key_leads_back_to_its_address(scheme: str, path: str, query: str) -> None:
    try:
        url = canonical(f"{scheme}://example.com/{path}?{query}")
    except BadAddress:
        return
    assert url.isascii()
    assert host_of(url) == "example.com"
    assert canonical(url) == url
    assert url_of(key_of(url)) == url
