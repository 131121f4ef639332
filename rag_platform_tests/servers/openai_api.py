"""An HTTP server on the loopback interface that speaks OpenAI's API and fails on request.

In a test: `with OpenAIServer() as server`, then `server.base_url`, `server.faults`,
`server.requests`, and `server.chat` for what completions say. As a process of its own:
`python -m rag_platform_tests.servers.openai_api` prints its address in the first line;
`POST /faults` takes a JSON list of faults for the next requests and `GET /requests` gives the log.
"""

import argparse
import contextlib
import gzip
import hashlib
import json
import math
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rag_platform_tests.servers.openai_chat import Body, Charge, Chat, tokens_of

KEY = "sk-test-1234567890"
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    `kind`: "ok", "status" (with `status`, `code`, `param`, `message` and `headers`), "hang" (for
    `seconds`), "slow_stream" (the body drips for `seconds`), "huge" (64 MB; both may have another
    `status`), "gzip", "reset", "malformed", "html", or the name of a fault of the endpoint.
    """

    kind: str
    status: int = 200
    code: str | None = None
    message: str = "scripted"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 60.0
    param: str | None = None


OK = Fault("ok")


def rate_limited(retry_after: str | None = None) -> Fault:
    """A 429 that goes away."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Fault("status", 429, "rate_limit_exceeded", headers=headers)


def quota_used_up() -> Fault:
    """A 429 that does not."""
    return Fault("status", 429, "insufficient_quota", "You exceeded your current quota")


def failing(
    status: int, code: str | None = None, message: str = "scripted", param: str | None = None
) -> Fault:
    """An error answer in OpenAI's form."""
    return Fault("status", status, code, message, param=param)


def unknown_parameter(*names: str, named: bool = True) -> Callable[[Body], Fault | None]:
    """For `refuse`: a 400 for each of these parameters, in `param` or in the message alone."""

    def refuse(body: Body) -> Fault | None:
        for name in names:
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                return failing(400, "unsupported", message, name if named else None)
        return None

    return refuse


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


@dataclass(frozen=True)
class Reply:
    """What an extension answers."""

    status: int
    content: bytes
    kind: str = "application/json"


# Method, path, headers and content of a request that no endpoint takes; None: not mine either.
Extension = Callable[[str, str, Mapping[str, str], bytes], Reply | None]


class OpenAIServer:
    """The server as a context manager; `faults` is consumed one entry a request, then all is well.

    `refuse` may answer a request with a fault by looking at its body, whatever the script says.
    `endpoints` answer a POST of JSON; `extensions` take any other request, in their order.
    """

    def __init__(
        self, *, port: int = 0, key: str = KEY, refuse: Callable[[Body], Fault | None] | None = None
    ) -> None:
        self.key = key
        self.refuse = refuse
        self.chat = Chat()
        self.endpoints: dict[str, Callable[[Body, str], Body]] = {
            "/v1/embeddings": embeddings,
            "/v1/chat/completions": self.chat,
        }
        self.extensions: list[Extension] = []
        self.faults: deque[Fault] = deque()
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._http.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def charged(self) -> list[Charge]:
        """What completions were charged, whether or not their answers arrived."""
        return list(self.chat.charged)

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
                self._extended("GET", b"")

        def do_DELETE(self) -> None:
            self._extended("DELETE", b"")

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/faults":
                server.faults.extend(Fault(**fault) for fault in json.loads(content))
                self._json(200, {})
                return
            if self.path not in server.endpoints:
                self._extended("POST", content)
                return
            body = json.loads(content)
            fault = self._fault(body)
            self._record(body, fault)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._answer(body, fault)

        def _extended(self, method: str, content: bytes) -> None:
            fault = self._fault(None)
            self._record({}, fault)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if fault.kind != "ok":
                    self._answer({}, fault)
                    return
                headers = dict(self.headers)
                for extension in server.extensions:
                    if reply := extension(method, self.path, headers, content):
                        self._send(reply.status, reply.content, reply.kind, {})
                        return
                self._error(failing(404, "not_found", f"no such address {self.path}"))

        def _fault(self, body: Body | None) -> Fault:
            """What is wrong with this request; without a body it is one for the extensions."""
            if self.headers.get("Authorization") != f"Bearer {server.key}":
                sent = self.headers.get("Authorization", "")
                return failing(401, "invalid_api_key", f"Incorrect API key provided: {sent}")
            if body is None and not server.extensions:
                return failing(404, "not_found", f"no such address {self.path}")
            return server.next_fault(body or {})

        def _record(self, body: Body, fault: Fault) -> None:
            status = fault.status if fault.kind == "status" else 200
            authorization = self.headers.get("Authorization", "")
            server.record(Request(self.path, body, authorization, time.time(), fault.kind, status))

        def _answer(self, body: Body, fault: Fault) -> None:
            if fault.kind == "status":
                self._error(fault)
            elif fault.kind == "html":
                self._send(200, b"<!doctype html><title>Sign in</title>", "text/html", {})
            elif fault.kind in _TRANSPORT:
                # The model has done its work, and it is charged; it does not arrive as it should.
                endpoint = server.endpoints.get(self.path)
                content = json.dumps(endpoint(body, "ok") if endpoint else {}).encode()
                _TRANSPORT[fault.kind](self, content, fault)
            else:
                self._json(200, server.endpoints[self.path](body, fault.kind))

        def hang(self, _content: bytes, fault: Fault) -> None:
            server.closing.wait(fault.seconds)
            self.close_connection = True

        def reset(self, _content: bytes, _fault: Fault) -> None:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True

        def malformed(self, content: bytes, _fault: Fault) -> None:
            self._send(200, content[: len(content) // 2], "application/json", {})

        def slow_stream(self, content: bytes, fault: Fault) -> None:
            self._head(fault.status, "application/json", len(content), {})
            end = time.monotonic() + fault.seconds
            sent = 0
            while sent < len(content) - 1 and time.monotonic() < end:
                self.wfile.write(content[sent : sent + 1])
                sent += 1
                server.closing.wait(0.02)
            self.wfile.write(content[sent:])

        def huge(self, content: bytes, fault: Fault) -> None:
            part = b" " * (1 << 20)
            self._head(fault.status, "application/json", 64 * len(part) + len(content), {})
            for _ in range(64):
                self.wfile.write(part)
            self.wfile.write(content)

        def gzip(self, content: bytes, _fault: Fault) -> None:
            packed = gzip.compress(content)
            self._send(200, packed, "application/json", {"Content-Encoding": "gzip"})

        def _error(self, fault: Fault) -> None:
            error = {"message": fault.message, "type": fault.code, "param": fault.param}
            self._json(fault.status, {"error": error | {"code": fault.code}}, fault.headers)

        def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            self._send(status, json.dumps(body).encode(), "application/json", headers or {})

        def _send(self, status: int, content: bytes, kind: str, headers: dict[str, str]) -> None:
            self._head(status, kind, len(content), headers)
            self.wfile.write(content)

        def _head(self, status: int, kind: str, length: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    _TRANSPORT = {
        name: getattr(Handler, name)
        for name in ("hang", "reset", "malformed", "slow_stream", "huge", "gzip")
    }
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
