"""An HTTP server on the loopback interface that speaks OpenAI's API and fails on request.

In a test: `with OpenAIServer() as server`, then `server.base_url`, `server.faults`,
`server.requests`. As a process of its own: `python -m rag_platform_tests.servers.openai_api`
prints its address in the first line; `POST /faults` takes a JSON list of faults for the next
requests and `GET /requests` gives the log.
"""

import argparse
import contextlib
import hashlib
import json
import math
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

KEY = "sk-test-1234567890"
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
Body = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    `kind`: "ok", "status" (with `status`, `code`, `message` and `headers`), "hang" (for
    `seconds`), "reset", "malformed", "html", or the name of a fault of the endpoint.
    """

    kind: str
    status: int = 200
    code: str | None = None
    message: str = "scripted"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 60.0


OK = Fault("ok")


def rate_limited(retry_after: str | None = None) -> Fault:
    """A 429 that goes away."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Fault("status", 429, "rate_limit_exceeded", headers=headers)


def quota_used_up() -> Fault:
    """A 429 that does not."""
    return Fault("status", 429, "insufficient_quota", "You exceeded your current quota")


def failing(status: int, code: str | None = None, message: str = "scripted") -> Fault:
    """An error answer in OpenAI's form."""
    return Fault("status", status, code, message)


@dataclass(frozen=True)
class Request:
    """One entry of the request log."""

    path: str
    body: Body
    authorization: str
    at: float
    fault: str
    status: int


def vector_of(text: str, dimensions: int) -> list[float]:
    """The server's vector of a text: of unit length, and another for every other text."""
    dice = random.Random(hashlib.sha256(text.encode()).digest())
    values = [dice.gauss(0, 1) for _ in range(dimensions)]
    norm = math.sqrt(math.fsum(value * value for value in values))
    return [value / norm for value in values]


def tokens_of(text: str) -> int:
    """What the server bills for a text: its words."""
    return max(1, len(text.split()))


def embeddings(body: Body, fault: str) -> Body:
    """The answer to POST /v1/embeddings, with one of the endpoint's own faults."""
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    dimensions = body.get("dimensions") or DIMENSIONS.get(body["model"], 8)
    vectors = [vector_of(text, dimensions) for text in texts]
    if fault == "scaled":
        vectors = [[value * 7 for value in vector] for vector in vectors]
    data: list[Body] = [
        {"object": "embedding", "index": number, "embedding": vector}
        for number, vector in enumerate(vectors)
    ]
    answer: Body = {
        "object": "list",
        "data": data,
        "model": body["model"],
        "usage": dict.fromkeys(("prompt_tokens", "total_tokens"), sum(map(tokens_of, texts))),
    }
    if fault == "shuffled":
        random.Random(1).shuffle(data)
    elif fault == "wrong_count":
        data.pop()
    elif fault == "same_index":
        data[-1]["index"] = 0
    elif fault == "wrong_dimension":
        data[-1]["embedding"] = vectors[-1][:-1]
    elif fault == "all_wrong_dimension":
        for entry in data:
            entry["embedding"] = entry["embedding"][:-1]
    elif fault == "nan":
        data[-1]["embedding"] = [math.nan, *vectors[-1][1:]]
    elif fault == "infinite":
        data[-1]["embedding"] = [1e39, *vectors[-1][1:]]
    elif fault == "zero":
        data[-1]["embedding"] = [0.0] * dimensions
    elif fault == "base64":
        data[-1]["embedding"] = "AAAA"
    elif fault == "no_usage":
        del answer["usage"]
    elif fault == "odd_usage":
        answer["usage"] = {"prompt_tokens": "many", "total_tokens": -1}
    elif fault == "no_data":
        answer = {"error": None}
    elif fault != "ok":
        raise ValueError(f"unknown fault {fault!r}")
    return answer


class OpenAIServer:
    """The server as a context manager; `faults` is consumed one entry a request, then all is well.

    `refuse` may answer a request with a fault by looking at its body, whatever the script says.
    """

    endpoints: ClassVar[dict[str, Callable[[Body, str], Body]]] = {"/v1/embeddings": embeddings}

    def __init__(
        self, *, port: int = 0, key: str = KEY, refuse: Callable[[Body], Fault | None] | None = None
    ) -> None:
        self.key = key
        self.refuse = refuse
        self.faults: deque[Fault] = deque()
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._http.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> "OpenAIServer":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def texts(self) -> list[str]:
        """Every text of every embeddings request, refused ones too."""
        found = (request.body.get("input", []) for request in self.requests)
        return [text for texts in found for text in ([texts] if isinstance(texts, str) else texts)]

    def next_fault(self, body: Body) -> Fault:
        """What the script has for this request."""
        with self.lock:
            scripted = self.faults.popleft() if self.faults else OK
        return (self.refuse(body) if self.refuse else None) or scripted

    def record(self, request: Request) -> None:
        """Add to the log."""
        with self.lock:
            self.requests.append(request)


def _handler(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path == "/requests":
                with server.lock:
                    self._json(200, [asdict(request) for request in server.requests])
            else:
                self._error(404, "not_found", f"no such address {self.path}")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/faults":
                server.faults.extend(Fault(**fault) for fault in body)
                self._json(200, {})
                return
            fault = self._fault(body)
            status = fault.status if fault.kind == "status" else 200
            authorization = self.headers.get("Authorization", "")
            server.record(Request(self.path, body, authorization, time.time(), fault.kind, status))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._answer(body, fault)

        def _fault(self, body: Body) -> Fault:
            if self.headers.get("Authorization") != f"Bearer {server.key}":
                sent = self.headers.get("Authorization", "")
                return failing(401, "invalid_api_key", f"Incorrect API key provided: {sent}")
            if self.path not in server.endpoints:
                return failing(404, "not_found", f"no such address {self.path}")
            return server.next_fault(body)

        def _answer(self, body: Body, fault: Fault) -> None:
            if fault.kind == "status":
                self._error(fault.status, fault.code, fault.message, fault.headers)
            elif fault.kind == "hang":
                server.closing.wait(fault.seconds)
                self.close_connection = True
            elif fault.kind == "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                self.close_connection = True
            elif fault.kind == "malformed":
                self._send(200, b'{"object": "list", "data": [', "application/json", {})
            elif fault.kind == "html":
                self._send(200, b"<!doctype html><title>Sign in</title>", "text/html", {})
            else:
                self._json(200, server.endpoints[self.path](body, fault.kind))

        def _error(
            self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None
        ) -> None:
            error = {"message": message, "type": code, "param": None, "code": code}
            self._json(status, {"error": error}, headers)

        def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            self._send(status, json.dumps(body).encode(), "application/json", headers or {})

        def _send(self, status: int, content: bytes, kind: str, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler


@contextlib.contextmanager
def openai_server() -> Iterator[OpenAIServer]:
    """A server for the length of the context."""
    with OpenAIServer() as server:
        yield server


def main() -> None:
    """Serve until the process ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    with OpenAIServer(port=parser.parse_args().port) as server:
        print(server.base_url, flush=True)
        server.closing.wait()


if __name__ == "__main__":
    main()
