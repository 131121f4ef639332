"""What the errors of an OpenAI-compatible service mean: pass, wait, pay or give up."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openai

QUOTA = "insufficient_quota"


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later: not with a quota used up, nor a bad request."""
    import openai

    if isinstance(error, openai.APIConnectionError):
        return True
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
        except ValueError:
            return None
        if then.tzinfo is None:
            then = then.replace(tzinfo=UTC)
        seconds = (then - datetime.now(UTC)).total_seconds()
    return None if math.isnan(seconds) else max(0.0, seconds)


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


def one_line(text: str, *, most: int = 300) -> str:
    """The text in one line, cut."""
    return " ".join(text.split())[:most]
