"""What the errors of an OpenAI-compatible service mean: pass, wait, pay or give up."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openai

QUOTA = "insufficient_quota"

_MOST_TOKENS = 1_000_000_000


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later: not with a quota used up, nor a bad request."""
    import openai

    from rag_platform.llm.bounded_http import AnswerCompressed, AnswerTooLarge

    if isinstance(error, openai.APIConnectionError):
        return not isinstance(error.__cause__, AnswerTooLarge | AnswerCompressed)
    if not isinstance(error, openai.APIStatusError) or QUOTA in (error.code, error.type):
        return False
    return error.status_code in (408, 409, 429) or error.status_code >= 500


def asked_wait(error: "openai.APIStatusError") -> float | None:
    """Retry-After in seconds, from a number or a date (RFC 9110, 10.2.3); None without one."""
    value = error.response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        if then.tzinfo is None:
            then = then.replace(tzinfo=UTC)
        seconds = (then - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def was_not_billed(error: "openai.APIError") -> bool:
    """Answered with an error, or never sent at all."""
    import httpx2
    import openai

    never_sent = (
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.PoolTimeout,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
    )
    return isinstance(error, openai.APIStatusError) or isinstance(error.__cause__, never_sent)


def was_too_slow(error: "openai.APIError") -> bool:
    """Answered, but the end of the answer did not come in its time."""
    from rag_platform.llm.bounded_http import AnswerTooSlow

    return isinstance(error.__cause__, AnswerTooSlow)


def tokens_of(usage: Any, name: str) -> int | None:
    """A number of tokens in the `usage` of an answer; None where it says none, or nonsense."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


def shown(text: str, *, key: str, sent: Iterable[str] = (), most: int = 200) -> str:
    """What a service says, in one line, cut, without the key and without what it was sent."""
    if key:
        text = text.replace(key, "(key)")
    return _without(" ".join(text.split()), " ".join(" ".join(sent).split()), most=most)


def _without(text: str, sent: str, *, most: int, length: int = 24) -> str:
    """The text, cut, with dots for every run of characters that also stands in what was sent."""
    text = text[: most + length]  # a run that begins before the cut is still seen as one
    hidden = bytearray(len(text))
    for start in range(len(text) - length + 1):
        if text[start : start + length] in sent:
            hidden[start : start + length] = b"\1" * length
    kept = "".join("\0" if hide else char for char, hide in zip(text, hidden, strict=True))[:most]
    return "...".join(part for part in kept.split("\0") if part) if any(hidden) else kept


def one_line(text: str, *, most: int = 300) -> str:
    """The text in one line, cut."""
    return " ".join(text.split())[:most]
