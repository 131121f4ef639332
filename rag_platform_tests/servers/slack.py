"""A Slack to send to: `chat.postMessage` and an incoming webhook on the loopback, with a script.

It refuses what Slack refuses: another token, another channel, and messages that come too fast.
"""

import contextlib
import json
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

TOKEN = "xoxb-0000-test-token"
CHANNEL = "#alerts"
WEBHOOK_PATH = "/services/T0000/B0000/webhook-secret"


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    `answer`: this status and body; `hang`: the message is taken, and no answer comes for `seconds`;
    `drip`: it is taken, and the answer comes byte by byte for `seconds`; `reset`: the connection
    breaks before anything is taken.
    """

    kind: Literal["answer", "hang", "drip", "reset"] = "answer"
    status: int = 200
    body: str = "{}"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 60.0


def failing(error: str, *, status: int = 200, **headers: str) -> Fault:
    """The Web API says no."""
    body = json.dumps({"ok": False, "error": error})
    return Fault(status=status, body=body, headers=headers)


@dataclass(frozen=True)
class Post:
    """A message that was taken, and when."""

    at: float
    path: str
    body: dict[str, Any]

    @property
    def text(self) -> str:
        """Its text as sent."""
        return str(self.body["text"])


class SlackServer:
    """The server as a context manager; `faults` is used up a request an entry, then all is well.

    `fault` happens to every request while it is set. With `interval_s` messages that follow each
    other faster are refused as Slack does.
    """

    def __init__(self, *, port: int = 0, interval_s: float = 0.0) -> None:
        self.faults: deque[Fault] = deque()
        self.fault: Fault | None = None
        self.posts: list[Post] = []
        self.requests = 0
        self.interval_s = interval_s
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_port
        self.base_url = f"http://127.0.0.1:{self.port}/api"
        self.webhook_url = f"http://127.0.0.1:{self.port}{WEBHOOK_PATH}"

    @property
    def texts(self) -> list[str]:
        """The first line of every message that was taken."""
        with self.lock:
            return [post.text.partition("\n")[0] for post in self.posts]

    def __enter__(self) -> "SlackServer":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def judge(self, path: str, token: str, body: dict[str, Any]) -> Fault:
        """What becomes of a request, and the log of it."""
        with self.lock:
            self.requests += 1
            fault = self.faults.popleft() if self.faults else self.fault
            if fault and fault.kind in ("answer", "reset"):
                return fault
            now = time.time()
            refusal = self._refusal(path, token, body, now)
            if refusal:
                return refusal
            self.posts.append(Post(now, path, body))
        return fault or Fault(body="ok" if path == WEBHOOK_PATH else json.dumps({"ok": True}))

    def _refusal(self, path: str, token: str, body: dict[str, Any], now: float) -> Fault | None:
        if self.posts and now - self.posts[-1].at < self.interval_s:
            return failing("ratelimited", status=429, **{"Retry-After": "1"})
        if path == WEBHOOK_PATH:
            return None
        if path != "/api/chat.postMessage":
            return Fault(status=404, body="no_service")
        if token != f"Bearer {TOKEN}":
            return failing("invalid_auth")
        return None if body.get("channel") == CHANNEL else failing("channel_not_found")


def _handler(server: SlackServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fault = server.judge(self.path, self.headers.get("Authorization", ""), body)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._answer(fault)

        def _answer(self, fault: Fault) -> None:
            if fault.kind == "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                return
            if fault.kind == "hang":
                server.closing.wait(fault.seconds)
                self.close_connection = True
                return
            content = fault.body.encode()
            self.send_response(fault.status)
            for name, value in fault.headers.items():
                self.send_header(name, value)
            length = len(content) + (1000 if fault.kind == "drip" else 0)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)
            end = time.monotonic() + fault.seconds
            while fault.kind == "drip" and time.monotonic() < end:
                self.wfile.write(b" ")
                if server.closing.wait(0.1):
                    return

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler
