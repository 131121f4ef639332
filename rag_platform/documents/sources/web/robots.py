"""What a host lets robots read: its robots.txt (RFC 9309), asked once for a listing."""

import threading
from typing import TYPE_CHECKING

from rag_platform.documents.sources.web.client import (
    Refused,
    Unavailable,
    WebClient,
    WebError,
)
from rag_platform.documents.sources.web.urls import host_of, origin_of

if TYPE_CHECKING:
    from protego import Protego

_MAX_BYTES = 1_000_000
_MAX_DELAY_S = 60.0


class Robots:
    """The rules of the hosts that were asked; several threads may share it."""

    def __init__(self, client: WebClient) -> None:
        self._client = client
        self._rules: dict[str, Protego | WebError] = {}
        self._lock = threading.Lock()

    def check(self, url: str) -> None:
        """Raises `Refused` where the host forbids an address, and `Unavailable` where it does not
        say: a robots.txt that fails allows nothing."""
        rules = self._of(origin_of(url))
        if isinstance(rules, WebError):
            problem = f"its host's robots.txt cannot be had: {rules.detail}"
            if rules.transient:
                raise Unavailable(url, problem)
            raise Refused(url, rules.reason, problem)
        agent = self._client.rules.user_agent
        if not rules.can_fetch(url, agent):
            raise Refused(url, "robots", "its host's robots.txt forbids it to robots")
        delay = rules.crawl_delay(agent) or 0.0
        if not delay <= _MAX_DELAY_S:
            raise Refused(
                url,
                "robots",
                f"its host's robots.txt asks for more than {_MAX_DELAY_S:.0f} s between requests",
            )
        self._client.rates.slow(host_of(url), delay)

    def _of(self, origin: str) -> "Protego | WebError":
        with self._lock:  # the other threads have to know it as well
            if origin not in self._rules:
                self._rules[origin] = self._ask(origin)
            return self._rules[origin]

    def _ask(self, origin: str) -> "Protego | WebError":
        from protego import Protego

        try:
            answer = self._client.get(f"{origin}/robots.txt", max_bytes=_MAX_BYTES)
        except WebError as error:
            return error
        return Protego.parse(answer.content.decode("utf-8", "replace"))
