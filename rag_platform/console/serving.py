"""The console on a socket."""

import socket
from typing import TYPE_CHECKING

from rag_platform.console.access import Access
from rag_platform.console.app import console
from rag_platform.listening import patient_protocol

if TYPE_CHECKING:
    from rag_platform.platform import Platform
    from rag_platform.retrieval.readers import Reader, System

_MOST_CONNECTIONS = 64  # others are told to come back
# Twice as long at most, a connection may stand without a request; browsers open some in advance.
_PATIENCE_S = 15.0


def serve(
    platform: "Platform", reader: "Reader | System", listener: socket.socket, *, token: str | None
) -> None:
    """Serve until interrupted."""
    import uvicorn

    host, port = listener.getsockname()[:2]
    access = Access.of(platform.settings.console, host=host, token=token)
    # A browser has one jar of cookies for all ports of a machine.
    app = console(platform, reader, access=access, cookie=f"rag_platform_{port}")
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        # Who asks and from where is for `Access` to say: headers are believed of proxies alone.
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http=patient_protocol(_PATIENCE_S),
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listener])
