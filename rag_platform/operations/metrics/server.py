"""The exporter over HTTP: /metrics for Prometheus, /healthz and /readyz for whoever restarts it."""

import hmac
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from rag_platform.listening import patient_protocol
from rag_platform.operations.metrics.exporter import Exporter, text

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

PATH = "/metrics"
_MOST_CONNECTIONS = 64  # more are told to come back
_PATIENCE_S = 10.0  # twice as long at most, a connection may stand without a request


def application(
    exporter: Exporter, is_ready: Callable[[], bool], *, token: str | None, loopback: bool
) -> "Starlette":
    """The application. With a token, /metrics wants it: `Authorization: Bearer TOKEN`.

    On a loopback address only requests to this machine's own names are answered: a page in a
    browser could reach it by another (DNS rebinding).
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    def metrics(request: "Request") -> Response:
        if token is not None and not _knows(request, token):
            return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
        content, media_type = text(exporter.scrape(), request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": media_type})

    def healthz(_: "Request") -> Response:
        return PlainTextResponse("ok\n")

    def readyz(_: "Request") -> Response:
        if is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("the catalog does not answer\n", status_code=503)

    names = ["127.0.0.1", "localhost", "[::1]"] if loopback else ["*"]
    return Starlette(
        routes=[Route(PATH, metrics), Route("/healthz", healthz), Route("/readyz", readyz)],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False),
            Middleware(GZipMiddleware, minimum_size=1_000),
        ],
    )


def serve(app: "Starlette", listener: socket.socket) -> None:
    """Serve on a socket until interrupted."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        http=patient_protocol(_PATIENCE_S),
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _knows(request: "Request", token: str) -> bool:
    given = request.headers.getlist("authorization")
    return len(given) == 1 and hmac.compare_digest(given[0].encode(), f"Bearer {token}".encode())
