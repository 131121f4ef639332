"""Reading from the web with hostile servers in mind.

Every connection goes to an address that was checked; redirects are followed by hand; time, size and
what a body inflates to are bounded; a host is asked no more often than it likes.
"""

import email.utils
import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from rag_platform.documents.sources.web import bodies
from rag_platform.documents.sources.web.addresses import AddressRefused
from rag_platform.documents.sources.web.rates import HostRates
from rag_platform.documents.sources.web.urls import (
    BadAddress,
    canonical,
    host_of,
    origin_of,
)
from rag_platform.errors import PlatformError
from rag_platform.retries import attempts
from rag_platform.storage.objects import display_url

if TYPE_CHECKING:
    import httpcore2

    from rag_platform.documents.sources.web.connection import Deadline

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Of a request that may well succeed later (RFC 9110, 6585, 8470).
_PASSING = frozenset({408, 425, 429})
_CONNECT_S = 10.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
_MAX_HEADER = 1_000
_MAX_KEPT = 200


class WebError(PlatformError):
    """Something of the web that cannot be read: `reason` is a code, `detail` says it in words."""

    def __init__(self, url: str, reason: str, detail: str) -> None:
        super().__init__(f"{display_url(url)}: {detail}")
        self.reason = reason
        self.detail = detail


class Refused(WebError):
    """It must not be taken, now or a minute later."""


class Unavailable(WebError):
    """It could not be had, after all attempts; another time it may be."""

    transient = True

    def __init__(self, url: str, detail: str, *, wait_s: float = 0.0) -> None:
        super().__init__(url, "unavailable", detail)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class WebRules:
    """How a client behaves.

    `timeout_s` for one request from its first byte to the last of its answer, `rate` in requests a
    second and host. `private_hosts` (`host`, or `host:port` for other than the usual ports) may lie
    on private addresses.
    """

    user_agent: str = "rag-platform"
    timeout_s: float = 30.0
    max_bytes: int = 20_000_000
    rate: float = 2.0
    private_hosts: tuple[str, ...] = ()
    attempts: int = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said; `url` is where, after redirects, and header names are in lower case.

    Only an answer of success has its `content`.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes


def _anything(_: str) -> None:
    """Every address may be asked."""


class WebClient:
    """Asks for addresses; several threads may share it."""

    def __init__(self, rules: WebRules) -> None:
        self.rules = rules
        self.rates = HostRates(1 / rules.rate)
        self._private = frozenset(host.lower() for host in rules.private_hosts)

    def get(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        max_bytes: int | None = None,
        check: Callable[[str], None] = _anything,
    ) -> Answer:
        """Ask for an address and follow redirects; answers up to status 499 come back.

        `headers` go to the address's own origin only. `check` is called with each address before it
        is asked and may raise. Raises `Refused` and `Unavailable`.
        """
        try:
            url = canonical(url)
        except BadAddress as error:
            raise Refused(url, "bad_name", f"no address of the web: {error}") from error
        own = origin_of(url)
        for _ in range(_MAX_REDIRECTS + 1):
            check(url)
            sent = headers if headers and origin_of(url) == own else {}
            answer = self._ask(url, sent, max_bytes or self.rules.max_bytes)
            if answer.status not in _REDIRECTS or "location" not in answer.headers:
                return answer
            url = _target(answer)
        raise Refused(url, "bad_redirect", f"more than {_MAX_REDIRECTS} redirects")

    def _ask(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        for attempt in attempts(
            _may_pass,
            most=self.rules.attempts,
            first_wait_s=_FIRST_WAIT_S,
            longest_wait_s=_LONGEST_WAIT_S,
        ):
            with attempt:
                self.rates.wait(host_of(url))
                return self._once(url, headers, max_bytes)
        raise AssertionError("there is at least one attempt")

    def _once(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        import httpcore2

        pool, deadline = self._connections
        deadline.start(self.rules.timeout_s)
        sent = {
            "User-Agent": self.rules.user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "gzip",
            **headers,
        }
        limits = {"connect": min(_CONNECT_S, self.rules.timeout_s), "pool": self.rules.timeout_s}
        try:
            with pool.stream(
                "GET", url, headers=list(sent.items()), extensions={"timeout": limits}
            ) as response:
                return self._answer(url, response, max_bytes)
        except AddressRefused as error:
            raise Refused(
                url,
                "forbidden_address",
                f"{host_of(url)} leads to {error}, no address of the internet. If it is one of "
                "your own network, add it to `private_hosts`.",
            ) from error
        except bodies.TooLarge as error:
            raise Refused(
                url, "too_large", f"more than {max_bytes:,} bytes; raise `max_bytes` or exclude it"
            ) from error
        except bodies.Broken as error:
            raise Unavailable(url, "its compressed answer broke off") from error
        except (
            httpcore2.TimeoutException,
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
        ) as error:
            raise Unavailable(url, f"it cannot be read ({_said(error)})") from error

    def _answer(self, url: str, response: "httpcore2.Response", max_bytes: int) -> Answer:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1").strip()
            for name, value in response.headers
            if len(value) <= _MAX_HEADER * (4 if name.lower() == b"location" else 1)
        }
        status = response.status
        if status >= 500 or status in _PASSING:
            wait_s = _retry_after(headers.get("retry-after", ""))
            if wait_s:
                self.rates.pause(host_of(url), wait_s)
            raise Unavailable(url, f"its server answers {status}", wait_s=wait_s)
        if not 200 <= status < 300:
            return Answer(url, status, headers, b"")
        encoding = headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise Refused(url, "bad_answer", "compressed in a way that was not asked for")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > max_bytes:
            raise bodies.TooLarge
        content = bodies.read(response.iter_stream(), encoding=encoding, max_bytes=max_bytes)
        return Answer(url, status, headers, content)

    @functools.cached_property
    def _connections(self) -> "tuple[httpcore2.ConnectionPool, Deadline]":
        from rag_platform.documents.sources.web.connection import Deadline, pool

        deadline = Deadline()
        return pool(deadline, self._is_private), deadline

    def _is_private(self, host: str, port: int) -> bool:
        host = f"[{host}]" if ":" in host else host
        usual = port in (80, 443) and host in self._private
        return usual or f"{host}:{port}" in self._private


def _target(answer: Answer) -> str:
    """Where a redirect leads; raises `Refused`."""
    try:
        target = canonical(answer.headers["location"], answer.url)
    except BadAddress as error:
        raise Refused(
            answer.url, "bad_redirect", f"it redirects to what is no address: {error}"
        ) from error
    if answer.url.startswith("https:") and target.startswith("http:"):
        raise Refused(answer.url, "bad_redirect", "it redirects from https to http")
    return target


def _may_pass(error: Exception) -> bool | float:
    return isinstance(error, Unavailable) and (error.wait_s or True)


def _retry_after(value: str) -> float:
    """Seconds of a Retry-After header, in numbers or as a date, within bounds; 0.0 for none."""
    seconds = 0.0
    if value.isdecimal():
        seconds = float(value[:9])
    elif value:
        moment = http_date(value)
        seconds = moment - time.time() if moment is not None else 0.0
    return min(max(seconds, 0.0), _LONGEST_WAIT_S)


def http_date(value: str) -> float | None:
    """A date of a header in seconds since 1970; None where it is none."""
    try:
        moment = email.utils.parsedate_to_datetime(value)
        seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return seconds if math.isfinite(seconds) else None


def plain(value: str) -> str:
    """A header's value that may be kept and sent back; "" for one that may not."""
    return value if len(value) <= _MAX_KEPT and value.isascii() and value.isprintable() else ""


def _said(error: Any) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
