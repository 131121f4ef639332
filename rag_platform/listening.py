"""Sockets to serve on: at an address of this machine, or at any for those who are told apart."""

import asyncio
import ipaddress
import socket
from typing import Any

from rag_platform.errors import PlatformError

LEAST_TOKEN = 16


class CannotServe(PlatformError):
    """A server cannot be started as it was asked to."""


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an IP address."""
    return ipaddress.ip_address(address).is_loopback


def listen(
    host: str, port: int, *, variable: str, token: str | None = None, guarded: bool = False
) -> socket.socket:
    """A socket at an address; port 0 takes a free one. Raises `CannotServe`.

    At an address that other machines reach only with a token, or where something else says who
    asks (`guarded`). `variable` is where the token comes from.
    """
    if token is not None and len(token) < LEAST_TOKEN:
        raise CannotServe(
            f"{variable}: has fewer than {LEAST_TOKEN} characters; make a longer token."
        )
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise CannotServe(f"{host!r}: give an IP address, such as 127.0.0.1.") from None
    if token is None and not guarded and not address.is_loopback:
        raise CannotServe(
            f"{host}: other machines reach it. Set a token in {variable}, or serve on 127.0.0.1."
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise CannotServe(
            f"{host}:{port}: cannot be listened on ({error.strerror}). Give another --port."
        ) from error


def address_of(listener: socket.socket) -> str:
    """HOST:PORT of a socket, as it stands in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def patient_protocol(patience_s: float) -> type[asyncio.Protocol]:
    """HTTP as uvicorn speaks it, for a while: connections that bring no request, or not all of
    one's head, are closed. They would keep their places for ever, and everybody else out."""
    from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

    class Patient(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(patience_s, self._look, None)

        def _look(self, seen: RequestResponseCycle | None) -> None:
            under_way = self.cycle is not None and not self.cycle.response_complete
            if not under_way and self.cycle is seen:
                self.transport.close()
            elif not self.transport.is_closing():
                self.loop.call_later(patience_s, self._look, self.cycle)

    return Patient
