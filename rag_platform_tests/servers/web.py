"""A web server on the loopback that behaves, or does not, as each page says."""

import contextlib
import email.utils
import gzip
import hashlib
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal


@dataclass
class Page:
    """What is answered. `kind` is how: as it should be, cut off before its end, byte by byte, not
    at all within `seconds`, or without an end."""

    body: bytes = b""
    media_type: str = "text/html; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    modified: float | None = None
    etag: bool = True
    gzip: bool = False
    kind: Literal["whole", "cut", "drip", "hang", "endless"] = "whole"
    seconds: float = 30.0


def moved(where: str, status: int = 302) -> Page:
    """A redirect."""
    return Page(status=status, headers={"Location": where}, etag=False)


def failing(status: int = 503, **headers: str) -> Page:
    """An error of the server."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Page(status=status, headers=named, etag=False)


@dataclass(frozen=True)
class Request:
    """A request that came, and when."""

    at: float
    path: str
    headers: dict[str, str]


class WebServer:
    """The server as a context manager.

    `pages` are answered by path and query, `first` ones are used up before them. An answer has an
    ETag and honours If-None-Match and If-Modified-Since. With a certificate it speaks TLS.
    """

    def __init__(self, *, certificate: Path | None = None) -> None:
        """`certificate` is a PEM file with a key."""
        self.pages: dict[str, Page] = {}
        self.first: dict[str, deque[Page]] = {}
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_port
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self.names: list[str | None] = []
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            context.sni_callback = lambda _socket, name, _context: self.names.append(name)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)

    def __enter__(self) -> "WebServer":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def asked(self, path: str) -> list[Request]:
        """The requests for a path, in order."""
        return [request for request in self.requests if request.path == path]

    def paths(self) -> list[str]:
        """The paths that were asked for, but robots.txt."""
        return [request.path for request in self.requests if request.path != "/robots.txt"]

    def sitemap(self, *paths: str, at: str = "/sitemap.xml", **dates: str) -> None:
        """A sitemap of paths; `dates` are lastmod by the last part of a path, without extension."""
        entries = "".join(
            f"<url><loc>{self.url}{path}</loc>{_lastmod(dates, path)}</url>" for path in paths
        )
        namespace = "http://www.sitemaps.org/schemas/sitemap/0.9"
        body = f'<?xml version="1.0"?><urlset xmlns="{namespace}">{entries}</urlset>'
        self.pages[at] = Page(body.encode(), "application/xml")

    def judge(self, path: str, headers: dict[str, str]) -> Page:
        """The page that is answered."""
        with self._lock:
            self.requests.append(Request(time.monotonic(), path, headers))
            if self.first.get(path):
                return self.first[path].popleft()
            return self.pages.get(path) or Page(status=404, etag=False)


def _lastmod(dates: dict[str, str], path: str) -> str:
    name = path.rpartition("/")[2].partition(".")[0]
    return f"<lastmod>{dates[name]}</lastmod>" if name in dates else ""


def _handler(server: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 30

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                super().handle()

        def do_GET(self) -> None:
            page = server.judge(self.path, {k.lower(): v for k, v in self.headers.items()})
            self._answer(page)

        def _answer(self, page: Page) -> None:
            if page.kind == "hang":
                server.closing.wait(page.seconds)
                self.close_connection = True
                return
            etag = f'"{hashlib.sha256(page.body).hexdigest()[:16]}"' if page.etag else ""
            same = etag and self.headers.get("If-None-Match") == etag
            body = gzip.compress(page.body) if page.gzip else page.body
            headers = {"Content-Type": page.media_type, **page.headers}
            if etag:
                headers["ETag"] = etag
            if page.modified is not None:
                date = email.utils.formatdate(page.modified, usegmt=True)
                headers["Last-Modified"] = date
                same = same or self.headers.get("If-Modified-Since") == date
            if page.gzip:
                headers["Content-Encoding"] = "gzip"
            if same and page.status == 200:
                page = Page(status=304)
                body = b""
            else:
                headers["Content-Length"] = str(len(body) + (page.kind != "whole"))
            if page.kind == "endless":
                headers.pop("Content-Length")
                self.close_connection = True
            self.send_response(page.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self._send(body, page)

        def _send(self, body: bytes, page: Page) -> None:
            if page.kind == "drip":
                end = time.monotonic() + page.seconds
                for number in range(len(body)):
                    self.wfile.write(body[number : number + 1])
                    if time.monotonic() > end or server.closing.wait(0.05):
                        break
                self.close_connection = True
                return
            self.wfile.write(body)
            if page.kind == "cut":
                self.close_connection = True
            while page.kind == "endless" and not server.closing.is_set():
                self.wfile.write(b"x" * 65_536)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler
