"""An HTTP API of documents on the loopback: items in pages, and a script for what goes wrong."""

import contextlib
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

PATH = "/v1/documents"
Style = Literal["feed", "pages", "links"]


@dataclass(frozen=True)
class Asked:
    """A request that came, and when."""

    at: float
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """A body as it is, instead of what the API would answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


class JsonApi:
    """The API as a context manager.

    `items` are listed at `PATH`, `size` a page. `feed`: the cursor is always there and is the
    number of items told, so that later ones come after it. `pages`: it is null on the last page.
    `links`: it is the address of the next page, absent on the last. `first` replies come before
    all else, `files` are answered by path.
    """

    def __init__(self, style: Style = "feed", *, size: int = 2) -> None:
        self.style = style
        self.size = size
        self.items: list[Any] = []
        self.first: deque[Reply] = deque()
        self.files: dict[str, Reply] = {}
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.host = f"127.0.0.1:{self._http.server_port}"
        self.base = f"http://{self.host}"
        self.url = f"api+{self.base}{PATH}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def judge(self, target: str, headers: dict[str, str]) -> Reply:
        """What is answered to a request."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        with self._lock:
            self.asked.append(Asked(time.monotonic(), parts.path, query, headers))
            if self.first:
                return self.first.popleft()
        if parts.path in self.files:
            return self.files[parts.path]
        if parts.path != PATH:
            return Reply(404)
        return Reply(body=json.dumps(self._page(int(query.get("cursor", 0)))).encode())

    def _page(self, start: int) -> dict[str, Any]:
        end = min(start + self.size, len(self.items))
        page: dict[str, Any] = {"items": self.items[start:end], "more": end < len(self.items)}
        if self.style == "feed":
            page["next_cursor"] = end
        elif self.style == "pages":
            page["next_cursor"] = end if page["more"] else None
        elif page["more"]:
            page["next_cursor"] = f"{self.base}{PATH}?cursor={end}"
        return page


def _handler(api: JsonApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            reply = api.judge(self.path, {k.lower(): v for k, v in self.headers.items()})
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler
