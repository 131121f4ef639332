"""The exporter over HTTP: who gets the metrics, and what probes are told."""

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from rag_platform.operations.metrics.exporter import Exporter, collector
from rag_platform.operations.metrics.families import Family, gauge
from rag_platform.operations.metrics.server import application, serve

TOKEN = "a-token-of-many-letters"


def _exporter() -> Exporter:
    def pages() -> Iterator[Family]:
        yield gauge("pages", "Pages.", "source").add(4, "notes")

    return Exporter([collector("pages", pages)])


def _client(
    *, token: str | None = None, loopback: bool = True, ready: bool = True, **options: Any
) -> TestClient:
    app = application(_exporter(), lambda: ready, token=token, loopback=loopback)
    return TestClient(app, base_url="http://127.0.0.1:9464", **options)


def test_prometheus_gets_the_metrics() -> None:
    answer = _client().get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"rag_platform_pages", "rag_platform_collector_success"} <= families
    newer = _client().get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert newer.headers["content-type"].startswith("application/openmetrics-text")
    assert newer.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (None, 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer tökén", 401),
    ],
)
def test_a_token_is_wanted(header: str | None, status: int) -> None:
    sent = [] if header is None else [(b"Authorization", header.encode())]
    answer = _client(token=TOKEN).get("/metrics", headers=sent)
    assert answer.status_code == status
    assert ("rag_platform_pages" in answer.text) == (status == 200)


def test_probes_need_no_token() -> None:
    assert _client(token=TOKEN).get("/healthz").text == "ok\n"
    assert _client(token=TOKEN).get("/readyz").status_code == 200
    lost = _client(ready=False)
    assert lost.get("/readyz").status_code == 503
    assert lost.get("/healthz").status_code == 200


def test_other_names_of_this_machine_are_not_answered() -> None:
    """A page that a browser shows may have its own name lead to 127.0.0.1."""
    for host in ("evil.example", "127.0.0.1.evil.example", "metrics:9464"):
        assert _client().get("/metrics", headers={"Host": host}).status_code == 400
        assert _client(loopback=False).get("/metrics", headers={"Host": host}).status_code == 200
    for host in ("127.0.0.1:9464", "localhost:9464", "[::1]:9464"):
        assert _client().get("/metrics", headers={"Host": host}).status_code == 200


def test_nothing_is_changed_and_nothing_else_is_served() -> None:
    client = _client()
    assert client.post("/metrics").status_code == 405
    assert client.get("/").status_code == 404


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Of a server as `serve` starts it, with little patience."""
    monkeypatch.setattr("rag_platform.operations.metrics.server._PATIENCE_S", 0.1)
    run, servers = uvicorn.Server.run, []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: servers.append(server))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = application(_exporter(), lambda: True, token=None, loopback=True)
        serve(app, listener)
        (server,) = servers
        thread = threading.Thread(target=run, args=(server, [listener]))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()
        server.should_exit = True
        thread.join()


def _status(address: tuple[str, int]) -> int:
    try:
        with urllib.request.urlopen("http://{}:{}/metrics".format(*address), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_many_scrapes_at_a_time_are_answered(address: tuple[str, int]) -> None:
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(_status, [address] * 20)) == {200}


def test_who_says_nothing_keeps_nobody_out(address: tuple[str, int]) -> None:
    silent = [socket.create_connection(address, timeout=30) for _ in range(70)]
    deadline = time.monotonic() + 30
    while _status(address) != 200:
        assert time.monotonic() < deadline
    for connection in silent:
        connection.close()
