"""An HTTP client that no server can hold for ever or fill: time and size of an answer are capped.

Import it inside functions: httpx2 takes a while to load.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    import openai

    from rag_platform.llm.connection import Connection

_CONNECT_TIMEOUT_S = 10.0


class AnswerTooLarge(httpx2.TransportError):
    """More bytes than an answer may have."""


class AnswerTooSlow(httpx2.ReadTimeout):
    """The answer keeps coming, but not within its time."""


class AnswerCompressed(httpx2.TransportError):
    """Compressed although that was not asked for, so its size is not known beforehand."""


def bounded_client(*, silence_s: float, total_s: float, most_bytes: int) -> httpx2.Client:
    """A client that gives up after `silence_s` without a byte and `total_s` in all.

    The time is looked at with every part of a body that comes in, so an answer ends at the latest
    `silence_s` after its `total_s`. Redirects are not followed: what is sent goes to the address
    that was set, and nowhere else.
    """

    def start(request: httpx2.Request) -> None:
        request.extensions["rag_platform.deadline"] = time.monotonic() + total_s

    def bound(response: httpx2.Response) -> None:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise AnswerCompressed("sent a compressed answer, which was not asked for")
        deadline = response.request.extensions["rag_platform.deadline"]
        stream = response.stream
        assert isinstance(stream, httpx2.SyncByteStream)
        response.stream = _Bounded(stream, deadline, most_bytes)

    return httpx2.Client(
        headers={"Accept-Encoding": "identity"},
        timeout=httpx2.Timeout(silence_s, connect=min(silence_s, _CONNECT_TIMEOUT_S)),
        limits=httpx2.Limits(max_connections=256, max_keepalive_connections=64),
        event_hooks={"request": [start], "response": [bound]},
        follow_redirects=False,
    )


def openai_client(
    connection: "Connection", *, most_bytes: int, total_s: float | None = None
) -> "openai.OpenAI":
    """The library's client over a bounded one, without its retries.

    By default an answer ends within twice the silence that is awaited.
    """
    import openai

    http = bounded_client(
        silence_s=connection.timeout_s,
        total_s=total_s or 2 * connection.timeout_s,
        most_bytes=most_bytes,
    )
    return openai.OpenAI(
        api_key=connection.api_key,
        base_url=connection.base_url,
        max_retries=0,
        timeout=http.timeout,
        http_client=http,
    )


class _Bounded(httpx2.SyncByteStream):
    """A body that ends with an error at its deadline or its size."""

    def __init__(self, stream: httpx2.SyncByteStream, deadline: float, most_bytes: int) -> None:
        self._stream = stream
        self._deadline = deadline
        self._left = most_bytes

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._left -= len(part)
            if self._left < 0:
                raise AnswerTooLarge("sent more than an answer may have")
            if time.monotonic() > self._deadline:
                raise AnswerTooSlow("the answer did not end in time")
            yield part

    def close(self) -> None:
        self._stream.close()
