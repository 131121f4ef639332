"""Who asks: this machine, who signed in with the token, a program with it, or whom a reverse proxy
names."""

import hmac
import ipaddress
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from rag_platform.listening import is_loopback
from rag_platform.settings_operations import ConsoleSettings

logger = logging.getLogger(__name__)

# Tries in a minute that were wrong, before nobody of an address, or nobody at all, may try.
TRIES, ALL_TRIES = 10, 100
_MINUTE = 60.0
_NAME = re.compile(r"[^\W_][\w .@+'-]{0,63}")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
By = Literal["here", "session", "bearer", "proxy"]


class Unknown(Exception):
    """Nobody that may come in; answered with `status`. No error of ours: it never leaves here."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, and how that is known."""

    name: str
    by: By


@dataclass
class Tries:
    """Counts wrong tokens in the last minute, in memory: a start of the console forgets them."""

    now: Callable[[], float] = time.monotonic
    _wrong: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def too_many(self, address: str) -> bool:
        """Whether nobody may try from this address now."""
        with self._lock:
            self._forget()
            mine = len(self._wrong.get(address, ()))
            return mine >= TRIES or sum(map(len, self._wrong.values())) >= ALL_TRIES

    def wrong(self, address: str) -> None:
        """A token was wrong."""
        with self._lock:
            self._wrong.setdefault(address, deque()).append(self.now())

    def _forget(self) -> None:
        since = self.now() - _MINUTE
        for address, times in list(self._wrong.items()):
            while times and times[0] < since:
                times.popleft()
            if not times:
                del self._wrong[address]


@dataclass(frozen=True)
class Access:
    """The rules of who comes in. `host` is the address that is listened on.

    Without a token and without a header the console is open, which `listen` allows on loopback
    only; who asks is then the person whose process it is.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    header: str | None = None
    proxies: Sequence[Network] = ()
    url: str | None = None
    person: str = field(default_factory=lambda: os.environ.get("USER") or "somebody")
    tries: Tries = field(default_factory=Tries)

    @classmethod
    def of(cls, settings: ConsoleSettings, *, host: str, token: str | None) -> "Access":
        """By the settings."""
        return cls(
            host=host,
            token=token,
            header=settings.user_header,
            proxies=[ipaddress.ip_network(each, strict=False) for each in settings.trusted_proxies],
            url=str(settings.url) if settings.url else None,
        )

    @property
    def open(self) -> bool:
        """Whether everybody comes in who reaches it."""
        return self.token is None and self.header is None

    def refuse_names(self, headers: Headers) -> None:
        """Only by a name of its own, where a page in a browser of this machine could reach it by
        another one (DNS rebinding): on loopback, and where a header says who asks."""
        if self.header is None and not is_loopback(self.host):
            return
        known = {*_LOOPBACK_NAMES, self.host, _hostname(urlsplit(self.url or "").netloc)}
        if _hostname(headers.get("host", "")) not in known - {""}:
            raise Unknown(
                400, "Not reached by this name. Set `console.url` in platform.yaml to the address."
            )

    def visitor(
        self, headers: Headers, address: str, session: Mapping[str, Any] | None
    ) -> Visitor | None:
        """Who asks; None who has to sign in. Raises `Unknown`."""
        if self.open:
            return Visitor(self.person, "here")
        if self.header is not None and self._is_proxy(address):
            named = headers.getlist(self.header)
            if len(named) == 1 and is_name(named[0]):
                return Visitor(named[0], "proxy")
            if named:
                raise Unknown(401, f"The header {self.header} holds no name.")
        if self.token is None:
            raise Unknown(401, "Come by way of the reverse proxy, and sign in there.")
        given = headers.getlist("authorization")
        if given:
            self.check(given[0].removeprefix("Bearer ") if len(given) == 1 else "", address)
            return Visitor("token", "bearer")
        if session is not None and "user" in session:
            return Visitor(str(session["user"]), "session")
        return None

    def check(self, token: str, address: str) -> None:
        """Raises `Unknown` unless the token is right."""
        if self.tries.too_many(address):
            raise Unknown(429, "Too many wrong tokens. Wait a minute, then try again.")
        if self.token is None or not hmac.compare_digest(token.encode(), self.token.encode()):
            self.tries.wrong(address)
            logger.warning("a wrong token from %s", address)
            raise Unknown(401, "The token is wrong.")

    def _is_proxy(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self.proxies)

    def is_secure(self, scheme: str) -> bool:
        """Whether people reach it by HTTPS, so that the cookie is for nothing else."""
        return scheme == "https" or urlsplit(self.url or "").scheme == "https"

    def is_own_origin(self, headers: Headers) -> bool:
        """Whether a page of ours asks: as the browser says."""
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site == "same-origin"
        own = urlsplit(headers.get("origin", ""))
        return bool(own.netloc) and own.netloc in (
            headers.get("host"),
            urlsplit(self.url or "").netloc,
        )


def is_led_from_elsewhere(headers: Headers) -> bool:
    """Whether another site has a browser ask for something that nobody is to see, as far as the
    browser says: it may lead people here, but not have pages worked out behind their backs."""
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    opens = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return opens != ("navigate", "document")


def is_name(text: str) -> bool:
    """Whether a text can stand for a person in the audit log."""
    return _NAME.fullmatch(text) is not None


def _hostname(host: str) -> str:
    """The name or address of a Host header, without its port; empty for none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
