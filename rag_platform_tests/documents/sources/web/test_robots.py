"""What robots.txt of a server forbids."""

import time
from collections.abc import Iterator

import pytest

from rag_platform.documents.sources.web.client import Refused, Unavailable, WebClient, WebRules
from rag_platform.documents.sources.web.robots import Robots
from rag_platform_tests.servers.web import Page, WebServer, failing, moved


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


def robots(server: WebServer, text: str | None = None, agent: str = "rag-platform/1") -> Robots:
    if text is not None:
        server.pages["/robots.txt"] = Page(text.encode(), "text/plain")
    hosts = (server.host,)
    rules = WebRules(user_agent=agent, rate=1_000, attempts=1, private_hosts=hosts)
    return Robots(WebClient(rules))


def forbidden(found: Robots, url: str) -> bool:
    try:
        found.check(url)
    except Refused as error:
        return error.reason == "robots"
    return False


def test_rules(server: WebServer) -> None:
    text = "User-agent: *\nDisallow: /private/\nAllow: /private/open\nDisallow: /*.pdf$\n"
    found = robots(server, text)
    paths = ["/a", "/private/a", "/private/open/a", "/x.pdf", "/x.pdf?y", "/%70rivate/a"]
    verdicts = [forbidden(found, server.url + path) for path in paths]
    assert verdicts == [False, True, False, True, False, True]
    assert len(server.requests) == 1


def test_rules_for_one_robot(server: WebServer) -> None:
    text = "User-agent: *\nDisallow:\n\nUser-agent: rag-platform\nDisallow: /\n"
    assert forbidden(robots(server, text), f"{server.url}/a")
    assert not forbidden(robots(server, text, "other/2"), f"{server.url}/a")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_no_rules_allow_everything(server: WebServer, status: int) -> None:
    server.pages["/robots.txt"] = Page(b"User-agent: *\nDisallow: /", status=status)
    assert not forbidden(robots(server), f"{server.url}/a")


def test_rules_elsewhere(server: WebServer) -> None:
    server.pages["/robots.txt"] = moved("/rules")
    server.pages["/rules"] = Page(b"User-agent: *\nDisallow: /a")
    assert forbidden(robots(server), f"{server.url}/a")


def test_rules_that_cannot_be_had_allow_nothing(server: WebServer) -> None:
    server.pages["/robots.txt"] = failing(503)
    found = robots(server)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"robots.txt cannot be had.*503"):
            found.check(f"{server.url}/a")
    assert len(server.requests) == 1
    server.pages["/robots.txt"] = Page(b"#" * 1_000_001)
    with pytest.raises(Refused, match=r"robots.txt cannot be had.*1,000,000 bytes"):
        robots(server).check(f"{server.url}/a")


def test_text_that_is_none(server: WebServer) -> None:
    for text in ("\x00\x01", "<html>404</html>", "Disallow: /", "User-agent\nDisallow /"):
        assert not forbidden(robots(server, text), f"{server.url}/a")


def test_a_delay_is_kept(server: WebServer) -> None:
    found = robots(server, "User-agent: *\nCrawl-delay: 0.2\n")
    server.pages["/a"] = Page(b"hello")
    started = time.monotonic()
    for _ in range(3):
        found._client.get(f"{server.url}/a", check=found.check)
    assert server.asked("/a")[2].at - started >= 0.4


def test_a_delay_that_nobody_waits_for(server: WebServer) -> None:
    for delay in ("61", "1e300"):
        found = robots(server, f"User-agent: *\nCrawl-delay: {delay}\n")
        assert forbidden(found, f"{server.url}/a")
    for nothing in ("nan", "inf", "-5", "soon"):
        found = robots(server, f"User-agent: *\nCrawl-delay: {nothing}\n")
        assert not forbidden(found, f"{server.url}/a")


def test_rules_made_to_be_slow(server: WebServer) -> None:
    rules = "".join(f"Disallow: /{'a*' * 30}b{number}$\n" for number in range(2_000))
    found = robots(server, f"User-agent: *\n{rules}")
    found.check(f"{server.url}/x")
    started = time.monotonic()
    assert not forbidden(found, f"{server.url}/{'a' * 1_900}")
    assert time.monotonic() - started < 20
