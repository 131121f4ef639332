"""Connections to checked addresses, with a deadline over everything that is read and written.

Import it inside functions: httpcore2 takes a while to load.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore2

from rag_platform.documents.sources.web.addresses import resolve


class Deadline(threading.local):
    """Until when the request of this thread may take (`time.monotonic`)."""

    at = float("inf")

    def start(self, seconds: float) -> None:
        """The request under way ends so many seconds from now."""
        self.at = time.monotonic() + seconds

    def cap(self, timeout: float | None) -> float:
        """What is left of a timeout. Raises `httpcore2.ReadTimeout` when nothing is."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the answer did not end in time")
        return left if timeout is None else min(timeout, left)


class CheckedBackend(httpcore2.NetworkBackend):
    """Connects to the very address that was checked; the name stays for TLS and `Host`."""

    def __init__(self, deadline: Deadline, is_private: Callable[[str, int], bool]) -> None:
        """`is_private` says of host and port whether private addresses are allowed."""
        self._deadline = deadline
        self._is_private = is_private
        self._network = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Raises `AddressRefused`, and httpcore2's errors."""
        try:
            addresses = resolve(host, port, private=self._is_private(host, port))
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the host is not known ({error})") from error
        for number, address in enumerate(addresses, 1):
            try:
                stream = self._network.connect_tcp(
                    address, port, self._deadline.cap(timeout), local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(addresses):
                    raise
            else:
                return _Timed(stream, self._deadline)
        raise httpcore2.ConnectError("the host has no address")


class _Timed(httpcore2.NetworkStream):
    """A stream whose every read and write ends at the deadline: a server may send a byte a second
    and yet hold nobody."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.cap(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.cap(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = self._deadline.cap(timeout)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def pool(deadline: Deadline, is_private: Callable[[str, int], bool]) -> httpcore2.ConnectionPool:
    """A pool of connections to checked addresses; no proxy, HTTP/1.1."""
    return httpcore2.ConnectionPool(
        ssl_context=httpcore2.default_ssl_context(),
        network_backend=CheckedBackend(deadline, is_private),
        max_connections=32,
        max_keepalive_connections=16,
        keepalive_expiry=30.0,
    )
