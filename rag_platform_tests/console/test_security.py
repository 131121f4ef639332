"""What every request passes: names, sign-in, the origin of changes, headers."""

import ipaddress
import logging
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import yaml

from rag_platform.console.access import Access
from rag_platform.console.app import console
from rag_platform.console.sessions import Sessions
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform_tests.catalogs import new_catalog
from rag_platform_tests.console.visitor import ORIGIN, Visitor, text_of

TOKEN = "a-token-of-many-letters"
OUT = "http://console.example.org"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that holds nothing."""
    root = tmp_path_factory.mktemp("bare")
    new_catalog(root / "home" / "catalog.db")
    (root / "platform.yaml").write_text("automation: false\n")
    platform = Platform(load(root / "platform.yaml", {"RAG_PLATFORM_HOME": str(root / "home")}))
    yield platform
    platform.close()


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def guarded(platform: Platform, clock: Clock, *, origin: str = OUT, **access: Any) -> Visitor:
    """A visitor of a console with some rules, which other machines reach."""
    rules = Access(**({"host": "0.0.0.0", "token": TOKEN} | access))
    rules.tries.now = clock
    sessions = Sessions(b"key", hours=12, now=clock)
    app = console(platform, platform.reader(), access=rules, sessions=sessions)
    return Visitor(app, origin=origin, client="192.0.2.7")


@pytest.fixture
def outside(bare: Platform, clock: Clock) -> Visitor:
    """Somebody on another machine, who has to sign in with the token."""
    return guarded(bare, clock)


@pytest.fixture
def here(bare: Platform) -> Visitor:
    """Somebody on this machine; no sign-in."""
    return Visitor(console(bare, bare.reader(), access=Access(person="ann")))


def sign_in(visitor: Visitor, **fields: str) -> Any:
    return visitor.post("/sign-in", **{"name": "bob", "token": TOKEN, "next": "/audit", **fields})


# Headers


@pytest.mark.parametrize(
    ("path", "status", "kept"),
    [
        ("/", 200, "no-store"),
        ("/sign-in", 200, "no-store"),
        ("/nothing", 404, "no-store"),
        ("/healthz", 200, "no-store"),
        ("/readyz", 200, "no-store"),
        ("/static/console.css", 200, "no-cache"),
        ("/static/nothing.js", 404, "no-cache"),
        ("/static/../app.py", 404, "no-store"),
        ("/static/%2e%2e/app.py", 404, "no-cache"),
    ],
)
def test_every_answer_has_the_headers(here: Visitor, path: str, status: int, kept: str) -> None:
    answer = here.get(path)
    assert answer.status_code == status
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == kept


def test_an_unexpected_error_is_a_page_that_tells_nothing(
    here: Visitor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("rag_platform.operations.audit.Audit.entries", fail)
    here.fails = True
    with caplog.at_level(logging.ERROR):
        answer = here.get("/audit")
    assert answer.status_code == 500
    assert "the log of the console has it" in text_of(answer)
    assert "secret" not in answer.text
    assert "content-security-policy" in answer.headers
    assert "unexpected error at /audit" in caplog.text
    assert "a secret" in caplog.text


def test_a_page_takes_no_other_methods(here: Visitor) -> None:
    assert here.http.put("/audit", content=b"x").status_code == 405
    assert here.http.request("DELETE", "/audit").status_code == 405
    assert here.http.head("/audit").status_code == 200


# Names of the host


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8766", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8766", 200),
        ("evil.example.org", 400),
        ("127.0.0.1.evil.example.org", 400),
        ("localhost@evil.example.org", 400),
        ("", 400),
        ("[", 400),
    ],
)
def test_on_loopback_only_its_own_names_lead_to_it(here: Visitor, host: str, status: int) -> None:
    answer = here.get("/", host=host)
    assert answer.status_code == status
    if status == 400:
        assert "console.url" in text_of(answer)


def test_the_name_of_the_settings_leads_to_it(bare: Platform, clock: Clock) -> None:
    own = guarded(bare, clock, host="127.0.0.1", token=None, url="https://console.example.org/")
    assert own.get("/").status_code == 200
    assert own.get("/", host="other.example.org").status_code == 400


def test_with_a_token_any_name_leads_to_it(outside: Visitor) -> None:
    assert outside.get("/sign-in", host="10.0.0.8:8766").status_code == 200


# Changes


CROSS = {"sec-fetch-site": "cross-site"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin", "origin": "null"}, 400),
        ({"origin": ORIGIN}, 400),
        ({"origin": ORIGIN, **CROSS}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "http://evil.example.org"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
    ],
)
def test_a_change_comes_from_a_page_of_ours(
    here: Visitor, headers: dict[str, str], status: int
) -> None:
    fields = {"csrf": here.csrf()}
    answer = here.http.post("/sign-in", data=fields, headers=headers)
    assert answer.status_code == status  # 400: it went through, and has no name


def test_a_form_of_another_site_signs_nobody_out(outside: Visitor) -> None:
    """A browser sends no cookie with it: one that came back would take the place of its own."""
    sign_in(outside)
    own = dict(outside.http.cookies)
    outside.http.cookies.clear()
    fields = {"csrf": "0" * 32}
    answer = outside.send("/sign-out", fields, origin="http://evil.example.org")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    outside.http.cookies.update(own)
    answer = outside.send("/sign-out", fields, origin="http://evil.example.org")
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert outside.get("/audit").status_code == 200


def test_a_change_carries_the_token_of_its_session(here: Visitor) -> None:
    csrf = here.csrf()
    for fields in ({}, {"csrf": ""}, {"csrf": "0" * 32}, {"csrf": "ü"}):
        answer = here.send("/sign-in", {"name": "x", **fields})
        assert answer.status_code == 403
        assert "out of date" in text_of(answer)
    other = Visitor(here.app)
    assert other.csrf() != csrf
    assert other.send("/sign-in", {"csrf": csrf}).status_code == 403
    assert here.send("/sign-in", {"csrf": csrf}).status_code == 400


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("cross-site", "no-cors", "image", 403),
        ("same-site", "cors", "empty", 403),
        ("cross-site", "navigate", "iframe", 403),
        ("cross-site", "navigate", "document", 200),
        ("same-origin", "cors", "empty", 200),
        ("none", "navigate", "document", 200),
    ],
)
def test_other_sites_lead_here_and_ask_for_nothing(
    here: Visitor, site: str, mode: str, dest: str, status: int
) -> None:
    """A search costs time and is counted in an experiment: no picture of a page makes one."""
    said = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    assert here.get("/audit", **said).status_code == status


def test_no_text_has_the_character_of_number_zero(here: Visitor) -> None:
    for path in ("/audit?action=%00", "/indexes/a%00"):
        assert here.get(path).status_code == 400
    answer = here.post("/indexes/rollback", live="v1", reason="a\0b")
    assert answer.status_code == 400
    assert "number 0" in text_of(answer)


async def _asked(app: Any, path: str, *received: dict[str, Any], **scope: Any) -> list[Any]:
    """What an application sends to a request that arrives so."""
    sent: list[Any] = []
    waiting = iter(received)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    async def send(message: Any) -> None:
        sent.append(message)

    asked = {"type": "http", "method": "GET", "path": path, "query_string": b"", **scope}
    await app({"client": ("127.0.0.1", 1), "scheme": "http", **asked}, receive, send)
    return sent


def test_who_goes_away_while_a_form_is_read_is_no_error(here: Visitor) -> None:
    headers = [(b"host", b"127.0.0.1"), (b"content-type", FORM.encode())]
    part = {"type": "http.request", "body": b"a=", "more_body": True}
    gone = {"type": "http.disconnect"}
    call = partial(_asked, here.app, "/sign-out", part, gone, method="POST", headers=headers)
    assert anyio.run(call)[0]["status"] == 400


def test_it_says_that_it_lives_while_every_thread_waits(here: Visitor) -> None:
    async def asked() -> list[Any]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        free = threading.Event()
        async with anyio.create_task_group() as others:
            others.start_soon(partial(anyio.to_thread.run_sync, free.wait))
            await anyio.lowlevel.checkpoint()
            with anyio.move_on_after(10):
                sent = await _asked(here.app, "/healthz", headers=[])
            free.set()
        return sent

    assert anyio.run(asked)[0]["status"] == 200


def test_a_form_is_read_within_limits(here: Visitor) -> None:
    csrf, headers = here.csrf(), {"origin": ORIGIN}
    large = here.send("/sign-in", {"csrf": csrf, "name": "x" * 300_000})
    assert large.status_code == 413
    many = here.send("/sign-in", {"csrf": csrf, "name": ["x"] * 501})
    assert many.status_code == 400
    files = here.http.post("/sign-in", files={"csrf": csrf}, headers=headers)
    assert files.status_code == 400
    assert FORM in text_of(files)
    named = {**headers, "content-type": FORM}
    assert here.http.post("/sign-in", content=b"csrf=%ff\xff", headers=named).status_code == 400


# Signing in


def test_who_has_not_signed_in_is_sent_to_the_form(outside: Visitor) -> None:
    answer = outside.get("/audit?action=index")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/sign-in?next=%2Faudit%3Faction%3Dindex",
    )
    program = outside.get("/audit", accept="*/*")
    assert (program.status_code, program.headers["www-authenticate"]) == (401, "Bearer")
    assert outside.send("/sign-out", {}).status_code == 401
    assert [outside.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    assert "Audit" not in outside.text("/sign-in")


@pytest.mark.parametrize("host", ["x/sign-in?", "x/healthz?", "x/static/?", "x/sign-in#"])
def test_the_name_of_the_host_is_no_way_around_the_form(outside: Visitor, host: str) -> None:
    for path in ("/audit", "/audit/", "/sign-in/", "//sign-in", "/sign-in/../audit"):
        answer = outside.get(path, host=host)
        assert (answer.status_code, "Audit" in answer.text) == (303, False)
        assert answer.headers["location"].startswith("/sign-in?next=%2F")
    assert outside.send("/sign-out", {"x": "1"}, host=host).status_code == 401


def test_signing_in_and_out(outside: Visitor) -> None:
    answer = sign_in(outside)
    assert (answer.status_code, answer.headers["location"]) == (303, "/audit")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("rag_platform=")
    assert cookie.endswith("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax")
    assert "bob" in outside.text("/audit")
    copied = outside.http.cookies["rag_platform"]
    assert outside.post("/sign-out").headers["location"] == "/sign-in"
    assert outside.get("/audit").status_code == 303
    # Not even a copy of the cookie that was made before leads in again.
    outside.http.cookies.set("rag_platform", copied)
    assert outside.get("/audit").status_code == 303


def test_a_session_ends(outside: Visitor, clock: Clock) -> None:
    sign_in(outside)
    clock.now += 12 * 3_600 - 1
    assert outside.get("/audit").status_code == 200
    clock.now += 1
    assert outside.get("/audit").status_code == 303


def test_a_session_of_another_key_leads_nowhere(outside: Visitor, clock: Clock) -> None:
    forged = Sessions(b"another key", hours=12, now=clock)
    outside.http.cookies.set("rag_platform", forged.written(forged.new(user="bob")))
    assert outside.get("/audit").status_code == 303


def test_the_cookie_is_for_https_where_people_come_by_it(bare: Platform, clock: Clock) -> None:
    secure = guarded(bare, clock, origin="https://console.example.org")
    assert secure.get("/sign-in").headers["set-cookie"].endswith("; Secure")
    behind = guarded(bare, clock, url="https://console.example.org/")
    assert behind.get("/sign-in").headers["set-cookie"].endswith("; Secure")


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "<script>", "a\nb", "_x", "\u202ebob", "a;b"])
def test_a_name_has_letters(outside: Visitor, name: str) -> None:
    answer = sign_in(outside, name=name)
    assert answer.status_code == 400
    assert "Give a name" in text_of(answer)
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    "target", ["//evil.example.org", "https://evil.example.org", "/\\evil", "javascript:x", "/\n/x"]
)
def test_nobody_is_led_to_another_site(outside: Visitor, target: str) -> None:
    assert sign_in(outside, next=target).headers["location"] == "/"


def test_guesses_are_counted(
    outside: Visitor, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        assert sign_in(outside, token="guess").status_code == 401
    assert caplog.messages.count("a wrong token from 192.0.2.7") == 10
    assert "guess" not in caplog.text
    assert sign_in(outside, token="wrong").status_code == 429
    assert sign_in(outside).status_code == 429
    right = {"authorization": f"Bearer {TOKEN}"}
    assert outside.get("/audit", **right).status_code == 429
    clock.now += 61
    assert outside.get("/audit", **right).status_code == 200
    assert sign_in(outside).status_code == 303


def test_guesses_of_many_addresses_are_counted_together(clock: Clock) -> None:
    tries = Access(token=TOKEN).tries
    tries.now = clock
    for number in range(100):
        assert not tries.too_many("10.0.0.1")
        tries.wrong(f"192.0.2.{number}")
    assert tries.too_many("10.0.0.1")
    clock.now += 61
    assert not tries.too_many("192.0.2.1")


def test_a_program_brings_the_token(outside: Visitor) -> None:
    right = {"authorization": f"Bearer {TOKEN}"}
    assert outside.get("/audit", **right).status_code == 200
    # A change of a program needs no page of ours: a browser never sends its header for another.
    answer = outside.http.post("/sign-out", data={}, headers={**right, "content-type": FORM})
    assert answer.status_code == 303
    for wrong in ("Bearer x", f"Basic {TOKEN}", f"bearer {TOKEN}x", "Bearer ", "Bearer ü"):
        headers = {b"authorization": wrong.encode()}
        assert outside.http.get("/audit", headers=headers).status_code == 401


# A reverse proxy


@pytest.fixture
def proxied(bare: Platform, tmp_path: Path) -> Visitor:
    """Somebody whom a proxy on this machine has signed in."""
    tree = {"console": {"user_header": "X-Forwarded-User", "url": OUT}}
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    settings = load(tmp_path / "platform.yaml", {"RAG_PLATFORM_HOME": str(tmp_path)})
    access = Access.of(settings.console, host="0.0.0.0", token=None)
    return Visitor(console(bare, bare.reader(), access=access), origin=OUT)


def test_the_proxy_says_who_asks(proxied: Visitor) -> None:
    answer = proxied.get("/audit", x_forwarded_user="carol@example.org")
    assert answer.status_code == 200
    assert "carol@example.org" in answer.text
    proxied.http.headers["x-forwarded-user"] = "carol"
    assert proxied.post("/sign-in", name="x").status_code == 401  # there is no token to know


@pytest.mark.parametrize("name", ["", "<script>", "a\tb", "x" * 65])
def test_the_proxy_says_a_name(proxied: Visitor, name: str) -> None:
    assert proxied.get("/audit", x_forwarded_user=name).status_code == 401


def test_two_names_are_none(proxied: Visitor) -> None:
    both = [("x-forwarded-user", "carol"), ("x-forwarded-user", "root")]
    assert proxied.http.get("/audit", headers=both).status_code == 401


def test_nobody_else_says_who_asks(proxied: Visitor, bare: Platform) -> None:
    assert proxied.get("/audit").status_code == 401
    for address in ("192.0.2.7", "testclient", ""):
        stranger = Visitor(proxied.app, origin=OUT, client=address)
        assert stranger.get("/audit", x_forwarded_user="carol").status_code == 401
    # A page in a browser beside the proxy that reaches the console by another name.
    rebound = proxied.get("/audit", host="evil.example.org", x_forwarded_user="carol")
    assert rebound.status_code == 400


def test_with_a_token_too_those_sign_in_who_do_not_come_by_the_proxy(bare: Platform) -> None:
    access = Access("0.0.0.0", TOKEN, "X-User", [ipaddress.ip_network("10.0.0.0/8")], OUT)
    app = console(bare, bare.reader(), access=access)
    assert Visitor(app, origin=OUT, client="10.1.2.3").get("/audit", x_user="carol").is_success
    stranger = Visitor(app, origin=OUT, client="192.0.2.7")
    assert stranger.get("/audit", x_user="carol").status_code == 303
    assert sign_in(stranger).status_code == 303
