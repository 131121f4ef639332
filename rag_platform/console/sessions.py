"""Sessions in a signed cookie: nothing is kept here, so several processes with one key share them.

A session holds who signed in, the token that its forms carry, and a line to show once.
"""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

_LONGEST_SAID = 600  # a browser drops a cookie of more than 4,096 bytes
_SALT = b"rag_platform console session"


def key_of(token: str | None) -> bytes:
    """The key that sessions are signed with: of the token, or without one new at each start.

    A cookie tells nothing about the token that a guess could be checked by cheaply.
    """
    if token is None:
        return secrets.token_bytes(32)
    return hashlib.scrypt(token.encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=32)


class Sessions:
    """Makes, reads and ends sessions; each lasts `hours` from its beginning."""

    def __init__(self, key: bytes, *, hours: float, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self.seconds = hours * 3_600
        self._now = now
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()

    def new(self, **more: Any) -> dict[str, Any]:
        """A session that begins now."""
        return {
            "id": secrets.token_hex(8),
            "csrf": secrets.token_hex(16),
            "at": int(self._now()),
            **more,
        }

    def read(self, cookie: str | None) -> dict[str, Any] | None:
        """The session of a cookie; None where it is not of ours, too old or ended."""
        body, _, signature = (cookie or "").partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            return None
        session: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body))
        with self._lock:
            ended = session["id"] in self._ended
        fresh = 0 <= self._now() - session["at"] < self.seconds
        return session if fresh and not ended else None

    def written(self, session: dict[str, Any]) -> str:
        """The cookie of a session."""
        if "said" in session:
            session = session | {"said": session["said"][:_LONGEST_SAID]}
        text = json.dumps(session, ensure_ascii=False).encode("utf-8", "replace")
        body = base64.urlsafe_b64encode(text).decode()
        return f"{body}.{self._signature(body)}"

    def end(self, session: dict[str, Any]) -> None:
        """A session is over, also for who has a copy of its cookie; known until it would be too
        old anyway, and by this process alone."""
        now = self._now()
        with self._lock:
            for other in [each for each, until in self._ended.items() if until < now]:
                del self._ended[other]
            self._ended[session["id"]] = session["at"] + self.seconds

    def _signature(self, body: str) -> str:
        digest = hmac.new(self._key, body.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode()
