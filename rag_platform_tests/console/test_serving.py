"""How the console holds connections."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from rag_platform.listening import patient_protocol


async def _app(_: Any, receive: Any, send: Any) -> None:
    """Answers after longer than anybody is waited for."""
    import anyio

    await anyio.sleep(0.5)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Of a server with little patience."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(_app, http=patient_protocol(0.1), log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_connection_without_a_request_is_closed(address: tuple[str, int], begun: bytes) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(begun)
        assert connection.recv(100) == b""


def test_a_request_may_take_its_time(address: tuple[str, int]) -> None:
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(whole)
        assert connection.recv(100).startswith(b"HTTP/1.1 204 ")
        # The second of a connection has to come as well.
        connection.sendall(whole[:-2])
        assert connection.recv(100) == b""
