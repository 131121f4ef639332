"""The client against a server that does what servers do, and what they should not."""

import datetime
import email.utils
import gzip
import ipaddress
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rag_platform.documents.sources.web import client as module
from rag_platform.documents.sources.web.client import (
    Refused,
    Unavailable,
    WebClient,
    WebRules,
    http_date,
)
from rag_platform_tests.servers.web import Page, WebServer, failing, moved


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.001)


def client_of(server: WebServer, *more: str, **rules: Any) -> WebClient:
    given = {"rate": 1_000.0, "timeout_s": 5.0, **rules}
    return WebClient(WebRules(private_hosts=(server.host, *more), **given))


def names(monkeypatch: pytest.MonkeyPatch, **addresses: list[str]) -> list[str]:
    """A DNS of a few names, the dots of which are written as _; returns what is looked up."""
    asked: list[str] = []
    look_up = socket.getaddrinfo

    def answer(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        known = addresses.get(str(host).replace(".", "_"))
        if known is None:
            return look_up(host, port, *args, **kwargs)
        asked.append(str(host))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in known]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


def test_an_answer(server: WebServer) -> None:
    server.pages["/a?b=1"] = Page(b"hello", "text/plain", headers={"X-More": "yes"})
    answer = client_of(server, user_agent="tester/1").get(
        f"{server.url}/a?b=1", {"Authorization": "Bearer t"}
    )
    assert (answer.status, answer.content, answer.url) == (200, b"hello", f"{server.url}/a?b=1")
    assert (answer.headers["content-type"], answer.headers["x-more"]) == ("text/plain", "yes")
    sent = server.requests[0].headers
    assert sent["host"] == server.host
    assert sent["user-agent"] == "tester/1"
    assert sent["accept-encoding"] == "gzip"
    assert sent["authorization"] == "Bearer t"


def test_answers_that_are_no_success_have_no_content(server: WebServer) -> None:
    server.pages["/a"] = Page(b"nothing here", status=410)
    answer = client_of(server).get(f"{server.url}/a")
    assert (answer.status, answer.content) == (410, b"")


def test_it_asks_only_if_it_is_another(server: WebServer) -> None:
    server.pages["/a"] = Page(b"hello", modified=1_780_000_000)
    client = client_of(server)
    first = client.get(f"{server.url}/a")
    again = client.get(f"{server.url}/a", {"If-None-Match": first.headers["etag"]})
    assert (again.status, again.content) == (304, b"")
    assert http_date(first.headers["last-modified"]) == 1_780_000_000


# Addresses


def test_private_addresses_are_refused_before_anything_is_sent(server: WebServer) -> None:
    client = WebClient(WebRules(rate=1_000))
    for url in (server.url, f"http://localhost:{server.port}", f"http://127.1:{server.port}"):
        with pytest.raises(Refused) as refused:
            client.get(f"{url}/latest/meta-data?token=secret")
        assert refused.value.reason == "forbidden_address"
        assert "private_hosts" in str(refused.value)
        assert "secret" not in str(refused.value)
    assert server.requests == []


def test_a_private_host_is_one_host_and_port(server: WebServer) -> None:
    other = WebClient(WebRules(rate=1_000, private_hosts=("127.0.0.1", "127.0.0.1:1")))
    with pytest.raises(Refused, match="no address of the internet"):
        other.get(server.url)


def test_a_redirect_must_not_lead_inside(server: WebServer) -> None:
    with WebServer() as inner:
        inner.pages["/secret"] = Page(b"secret")
        server.pages["/a"] = moved(f"{inner.url}/secret")
        with pytest.raises(Refused) as refused:
            client_of(server).get(f"{server.url}/a")
        assert refused.value.reason == "forbidden_address"
        assert inner.requests == []


def test_the_address_that_was_checked_is_the_one_connected_to(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that changes its address between check and connection gains nothing."""
    asked = names(monkeypatch, docs_example=["127.0.0.1"])
    connected: list[Any] = []
    connect = socket.create_connection

    def connection(address: Any, *args: Any, **kwargs: Any) -> socket.socket:
        connected.append(address)
        return connect(address, *args, **kwargs)

    monkeypatch.setattr(socket, "create_connection", connection)
    server.pages["/a"] = Page(b"hello")
    client = client_of(server, f"docs.example:{server.port}")
    assert client.get(f"http://docs.example:{server.port}/a").content == b"hello"
    assert asked == ["docs.example"]
    assert connected == [("127.0.0.1", server.port)]
    assert server.requests[0].headers["host"] == f"docs.example:{server.port}"


def test_the_next_address_is_tried(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, docs_example=["127.0.0.2", "127.0.0.1"])
    server.pages["/a"] = Page(b"hello")
    client = client_of(server, f"docs.example:{server.port}")
    assert client.get(f"http://docs.example:{server.port}/a").content == b"hello"


def test_tls_is_for_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = _certificate(tmp_path, "docs.example")
    names(monkeypatch, docs_example=["127.0.0.1"], other_example=["127.0.0.1"])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with WebServer(certificate=certificate) as server:
        server.pages["/a"] = Page(b"hello")
        hosts = [f"{name}.example:{server.port}" for name in ("docs", "other")]
        client = client_of(server, *hosts)
        assert client.get(f"https://{hosts[0]}/a").content == b"hello"
        assert server.names == ["docs.example"]
        with pytest.raises(Unavailable, match="certificate"):
            client.get(f"https://{hosts[1]}/a")
        assert len(server.requests) == 1


def _certificate(folder: Path, name: str) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    addresses = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.9"))]
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - hour)
        .not_valid_after(now + hour)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


# Redirects


def test_redirects_are_followed_and_each_is_checked(server: WebServer) -> None:
    server.pages["/a"] = moved("b?x=1", 301)
    server.pages["/b?x=1"] = moved("/c", 308)
    server.pages["/c"] = Page(b"here")
    checked: list[str] = []
    answer = client_of(server).get(f"{server.url}/a", check=checked.append)
    assert (answer.content, answer.url) == (b"here", f"{server.url}/c")
    assert checked == [f"{server.url}{path}" for path in ("/a", "/b?x=1", "/c")]


def test_credentials_stay_with_their_origin(server: WebServer) -> None:
    with WebServer() as other:
        server.pages["/a"] = moved("/b")
        server.pages["/b"] = moved(f"{other.url}/c")
        other.pages["/c"] = Page(b"here")
        client = client_of(server, other.host)
        assert client.get(f"{server.url}/a", {"Authorization": "t"}).content == b"here"
        assert [one.headers.get("authorization") for one in server.requests] == ["t", "t"]
        assert "authorization" not in other.requests[0].headers


@pytest.mark.parametrize(
    "target",
    ["/a", "file:///etc/passwd", "http://user:pw@host/", "http://\\evil", "gopher://x/"],
)
def test_redirects_that_lead_nowhere(server: WebServer, target: str) -> None:
    server.pages["/a"] = moved(target)
    with pytest.raises(Refused) as refused:
        client_of(server).get(f"{server.url}/a")
    assert refused.value.reason == "bad_redirect"
    assert len(server.requests) == (6 if target == "/a" else 1)


def test_no_redirect_from_https_to_http() -> None:
    answer = module.Answer("https://a.example/", 302, {"location": "http://a.example/"}, b"")
    with pytest.raises(Refused, match="from https to http"):
        module._target(answer)


def test_what_is_no_address() -> None:
    with pytest.raises(Refused) as refused:
        WebClient(WebRules()).get("https://user:secret@example.com/")
    assert refused.value.reason == "bad_name"
    assert "secret" not in str(refused.value)


# Size and time


@pytest.mark.parametrize("encoded", [False, True])
def test_the_limit_of_size(server: WebServer, encoded: bool) -> None:
    server.pages["/fits"] = Page(b"x" * 1_000, gzip=encoded)
    server.pages["/large"] = Page(b"x" * 1_001, gzip=encoded)
    client = client_of(server, max_bytes=1_000)
    assert client.get(f"{server.url}/fits").content == b"x" * 1_000
    with pytest.raises(Refused, match="more than 1,000 bytes") as refused:
        client.get(f"{server.url}/large")
    assert refused.value.reason == "too_large"
    assert len(client.get(f"{server.url}/large", max_bytes=2_000).content) == 1_001


def test_what_has_no_end_is_cut_off(server: WebServer) -> None:
    server.pages["/endless"] = Page(b"", kind="endless")
    server.pages["/bomb"] = Page(b"\0" * 100_000_000, gzip=True)
    for path in ("/endless", "/bomb"):
        with pytest.raises(Refused, match="more than"):
            client_of(server, max_bytes=1_000_000).get(server.url + path)


def test_a_server_that_drips_is_left(server: WebServer) -> None:
    server.pages["/a"] = Page(b"x" * 1_000, kind="drip")
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"did not end in time|timed out"):
        client_of(server, timeout_s=0.3, attempts=1).get(f"{server.url}/a")
    assert time.monotonic() - started < 20


def test_a_server_that_drips_its_headers_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    for _ in range(1_000):
                        connection.sendall(b"H")
                        time.sleep(0.05)
                except OSError:
                    pass

        threading.Thread(target=drip, daemon=True).start()
        rules = WebRules(timeout_s=0.3, attempts=1, private_hosts=(f"127.0.0.1:{port}",))
        started = time.monotonic()
        with pytest.raises(Unavailable):
            WebClient(rules).get(f"http://127.0.0.1:{port}/")
        assert time.monotonic() - started < 20


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "deflate"])
def test_compressed_as_nobody_asked(server: WebServer, encoding: str) -> None:
    server.pages["/a"] = Page(b"hello", headers={"Content-Encoding": encoding})
    with pytest.raises(Refused) as refused:
        client_of(server).get(f"{server.url}/a")
    assert refused.value.reason == "bad_answer"


def test_broken_gzip(server: WebServer) -> None:
    for number, body in enumerate((b"no gzip", gzip.compress(b"hello" * 100)[:-10])):
        headers = {"Content-Encoding": "gzip"}
        server.pages[f"/{number}"] = Page(body, headers=headers)
        with pytest.raises(Unavailable, match="broke off"):
            client_of(server, attempts=1).get(f"{server.url}/{number}")


# Failures that pass


def test_failures_that_pass(server: WebServer) -> None:
    server.pages["/a"] = Page(b"hello")
    server.first["/a"] = deque([failing(503), Page(b"hello", kind="cut")])
    assert client_of(server).get(f"{server.url}/a").content == b"hello"
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_failures_that_do_not(server: WebServer, status: int) -> None:
    server.pages["/a?token=secret"] = failing(status)
    with pytest.raises(Unavailable, match=f"its server answers {status}") as refused:
        client_of(server, attempts=2).get(f"{server.url}/a?token=secret")
    assert len(server.requests) == 2
    assert (refused.value.reason, refused.value.transient) == ("unavailable", True)
    assert "secret" not in str(refused.value)


def test_nobody_there(server: WebServer) -> None:
    client = client_of(server, attempts=2)
    server.__exit__()
    with pytest.raises(Unavailable, match="refused"):
        client.get(f"{server.url}/a")


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Unavailable, match="the host is not known"):
        WebClient(WebRules(attempts=1)).get("https://nowhere.example/")


def test_retry_after_is_kept_by_all(server: WebServer) -> None:
    server.pages["/a"] = server.pages["/b"] = Page(b"hello")
    server.first["/a"] = deque([failing(429, Retry_After="1")])
    client = client_of(server)
    client.get(f"{server.url}/a")
    client.get(f"{server.url}/b")
    first, second, third = (request.at for request in server.requests)
    assert 1.0 <= second - first < 20.0
    assert third >= second


def test_retry_after_in_its_forms() -> None:
    in_a_while = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert module._retry_after("7") == 7.0
    assert 25 < module._retry_after(in_a_while) <= 30
    assert module._retry_after("9" * 400) == 60.0
    for nothing in ("", "soon", "-3", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Foo"):
        assert module._retry_after(nothing) == 0.0


def test_the_rate_of_a_host(server: WebServer) -> None:
    server.pages["/a"] = Page(b"hello")
    client = client_of(server, rate=20.0)
    started = time.monotonic()
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(lambda _: client.get(f"{server.url}/a"), range(7)))
    for number, at in enumerate(sorted(request.at for request in server.requests)):
        assert at - started >= number / 20
