"""Messages on Slack, by an incoming webhook or by a bot.

The address of a webhook is a secret as a whole. Texts are data: Slack is told not to read them as
markup, and what it reads all the same (`&`, `<`, `>` and the words that call a whole channel) is
written so that it means nothing. https://docs.slack.dev/messaging/formatting-message-text
"""

import http.client
import logging
import re
import ssl
import urllib.error
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rag_platform.operations.notifications import Channel, ChannelRefused, ChannelUnavailable
from rag_platform.operations.terminal import printable
from rag_platform.storage.outbox import Message

if TYPE_CHECKING:
    from slack_sdk.errors import SlackApiError

_TIMEOUT_S = 10
# Slack cuts at 40,000 characters and recommends 4,000.
_LONGEST = 3800
_CALLS = re.compile(r"@(?=(?:channel|here|everyone)\b)", re.IGNORECASE)
_WORD_JOINER = "\u2060"

_WRONG_TOKEN = frozenset(
    {
        "access_denied",
        "account_inactive",
        "ekm_access_denied",
        "invalid_auth",
        "missing_scope",
        "no_permission",
        "not_allowed_token_type",
        "not_authed",
        "org_login_required",
        "token_expired",
        "token_revoked",
    }
)
_WRONG_CHANNEL = frozenset(
    {"channel_not_found", "is_archived", "not_in_channel", "restricted_action"}
)
_PASSING = frozenset(
    {
        "fatal_error",
        "internal_error",
        "rate_limited",
        "ratelimited",
        "request_timeout",
        "rollup_error",
        "service_unavailable",
    }
)
# What is wrong with one message, when a webhook says so.
_OF_MESSAGE = frozenset({"invalid_payload", "msg_too_long", "no_text", "too_many_attachments"})


class SlackChannel(Channel):
    """Posts to Slack: to the webhook where there is one, else as the bot to its channel."""

    name = "slack"
    interval_s = 1.0  # Slack's limit for each channel

    def __init__(
        self,
        *,
        webhook_url: str | None = None,
        token: str | None = None,
        channel: str | None = None,
        base_url: str = "https://slack.com/api",
    ) -> None:
        self._webhook_url = webhook_url
        self._token = token
        self._channel = channel
        self._base_url = base_url
        self.secrets = _secrets(webhook_url, token)

    def send(self, message: Message) -> None:
        body = {
            "text": text_for_slack(message),
            "mrkdwn": False,
            "link_names": False,
            "unfurl_links": False,
            "unfurl_media": False,
        }
        try:
            if self._webhook_url:
                if not re.fullmatch(r"https?://[^\s/]+/\S+", self._webhook_url):
                    raise ChannelUnavailable("SLACK_WEBHOOK_URL is no address. Correct it, restart")
                self._post_webhook(self._webhook_url, body)
            elif self._token and self._channel:
                self._post_bot(self._token, self._channel, body)
            else:
                raise ChannelUnavailable(
                    "neither SLACK_WEBHOOK_URL nor SLACK_BOT_TOKEN with "
                    "notifications.slack.channel is set. Set one, and restart"
                )
        except urllib.error.URLError as error:  # the request did not get out as a whole
            raise ChannelUnavailable(f"not reached ({error.reason})") from error
        except (OSError, http.client.HTTPException) as error:
            said = f"no answer ({type(error).__name__}: {error})"
            raise ChannelUnavailable(said, may_have_arrived=True) from error

    def _post_webhook(self, url: str, body: dict[str, Any]) -> None:
        from slack_sdk.webhook import WebhookClient

        answer = WebhookClient(
            url, timeout=_TIMEOUT_S, ssl=_trust(), retry_handlers=[], logger=_silent()
        ).send_dict(body)
        code = answer.body.strip()
        if answer.status_code == 200 and code == "ok":
            return
        _raise_passing(answer.status_code, code, answer.headers)
        raise ChannelRefused(
            f"{answer.status_code} {code}. Make a new webhook, set SLACK_WEBHOOK_URL and restart",
            of_channel=code not in _OF_MESSAGE,
        )

    def _post_bot(self, token: str, channel: str, body: dict[str, Any]) -> None:
        from slack_sdk import WebClient
        from slack_sdk.errors import SlackApiError

        client = WebClient(
            token,
            self._base_url,
            timeout=_TIMEOUT_S,
            ssl=_trust(),
            retry_handlers=[],
            logger=_silent(),
        )
        try:
            client.chat_postMessage(channel=channel, **body)
        except SlackApiError as error:
            raise _refusal(error) from error


def text_for_slack(message: Message) -> str:
    """The text of a message as Slack shows it word by word, at most 3,800 characters."""
    lines = [printable(line) for line in message.text.strip().splitlines()]
    written = datetime.fromtimestamp(message.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    text = "\n".join([*lines, written])
    shown = _escaped(text)
    while len(shown) > _LONGEST:
        text = text[: len(text) * _LONGEST // len(shown) - 20]
        shown = f"{_escaped(text)}\u2026\n{written}"
    return shown


def _escaped(text: str) -> str:
    quiet = _CALLS.sub(f"@{_WORD_JOINER}", text)
    return quiet.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _refusal(error: "SlackApiError") -> ChannelRefused:
    """What the Web API's error means; raises what may pass."""
    response = error.response
    code = str(response.get("error", "unknown"))
    _raise_passing(response.status_code, code, response.headers)
    if code in _WRONG_TOKEN:
        advice = "Set SLACK_BOT_TOKEN to the token of a bot with the scope chat:write, and restart"
    elif code in _WRONG_CHANNEL:
        advice = "Set notifications.slack.channel to one that the bot was invited to, and restart"
    else:
        advice = "See the errors of chat.postMessage in Slack's documentation"
    return ChannelRefused(f"{code}. {advice}", of_channel=code in _WRONG_TOKEN | _WRONG_CHANNEL)


def _raise_passing(status: int, code: str, headers: Mapping[str, str]) -> None:
    """Raise what may pass by itself: Slack is busy or broken, or did not answer at all."""
    is_slack = re.fullmatch(r"[a-z0-9_]{1,60}", code) is not None
    said = f"{status} {code}" if is_slack else f"answered {status}, not in Slack's form"
    if not is_slack or status in (408, 429) or status >= 500 or code in _PASSING:
        raise ChannelUnavailable(said, retry_after_s=_retry_after(headers))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    for name, value in headers.items():
        if name.lower() == "retry-after" and re.fullmatch(r"\d{1,9}", value):
            return float(value)
    return None


def _secrets(webhook_url: str | None, token: str | None) -> tuple[str, ...]:
    path = urlsplit(webhook_url).path.strip("/") if webhook_url else ""
    parts = (webhook_url, path, path.rpartition("/")[2], token)
    return tuple(part for part in parts if part)


def _trust() -> ssl.SSLContext:
    """The machine's certificates, or those of SSL_CERT_FILE."""
    return ssl.create_default_context()


def _silent() -> logging.Logger:
    """The client's own log would hold requests with their secrets."""
    return logging.Logger("slack", logging.CRITICAL + 1)
