"""The channels of the settings: made, looked at by `doctor`, and tried."""

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from rag_platform.operations.delivery import Deliverer, within
from rag_platform.operations.mail import MailChannel, address
from rag_platform.operations.notifications import Channel, ChannelRefused, LogChannel, error_line
from rag_platform.operations.slack import SlackChannel
from rag_platform.settings_training import MailSettings, NotificationSettings, SlackSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Message

_LOOK_UP_S = 5.0
_TRY_S = 30.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_WEBHOOK = "SLACK_WEBHOOK_URL"
_TOKEN = "SLACK_BOT_TOKEN"
_PASSWORD = "SMTP_PASSWORD"


def channels_of(
    settings: NotificationSettings, environ: Mapping[str, str] = os.environ
) -> list[Channel]:
    """The log, and what the settings name. A webhook goes before a bot."""
    channels: list[Channel] = [LogChannel()]
    if slack := settings.slack:
        channels.append(
            SlackChannel(
                webhook_url=_key(environ, _WEBHOOK),
                token=_key(environ, _TOKEN),
                channel=slack.channel,
                base_url=slack.base_url,
            )
        )
    if mail := settings.mail:
        channels.append(
            MailChannel(
                mail.host,
                mail.port,
                security=mail.security,
                sender=mail.sender,
                recipients=mail.recipients,
                username=mail.username,
                password=environ.get(_PASSWORD),
            )
        )
    return channels


def _key(environ: Mapping[str, str], name: str) -> str | None:
    """A key without the line end that a file of secrets likes to add."""
    return environ.get(name, "").strip() or None


def deliverer(settings: NotificationSettings, catalog: Catalog) -> Deliverer:
    """What delivers a catalog's outbox on the channels of the settings."""
    return Deliverer(catalog, channels_of(settings))


def check_channels(
    settings: NotificationSettings, environ: Mapping[str, str] = os.environ
) -> list[str]:
    """What is wrong with the channels, a line each; nothing is sent."""
    problems: list[str] = []
    if settings.slack:
        problems += _slack_problems(settings.slack, environ)
    if settings.mail:
        problems += _mail_problems(settings.mail, environ)
    return problems


def _slack_problems(slack: SlackSettings, environ: Mapping[str, str]) -> Iterator[str]:
    url = _key(environ, _WEBHOOK)
    if not url and not _key(environ, _TOKEN):
        yield f"slack: no key. Set {_WEBHOOK} or {_TOKEN} in the environment"
        return
    if not url and not slack.channel:
        yield f"slack: {_TOKEN} without a channel. Set notifications.slack.channel"
    where = _WEBHOOK if url else "notifications.slack.base_url"
    parts = urlsplit(url or slack.base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield f"slack: {where} is no address that begins with https://"
        return
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        yield f"slack: {where} begins with http://, so the key goes in clear text. Use https://"
    yield from _unknown("slack", parts.hostname, where)


def _mail_problems(mail: MailSettings, environ: Mapping[str, str]) -> Iterator[str]:
    if mail.username and not environ.get(_PASSWORD):
        yield f"mail: no password for {mail.username}. Set {_PASSWORD} in the environment"
    if mail.username and mail.security == "none" and mail.host not in _LOOPBACK:
        yield "mail: the password goes in clear text. Set notifications.mail.security to starttls"
    for written in (mail.sender, *mail.recipients):
        try:
            address(written)
        except ChannelRefused as error:
            yield f"mail: {error}"
    yield from _unknown("mail", mail.host, "notifications.mail.host")


def _unknown(channel: str, host: str, where: str) -> Iterator[str]:
    try:
        within(_LOOK_UP_S, lambda: socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):  # also when it takes too long
        yield f"{channel}: no address is known for {host}. Check {where} and the network"


def try_channels(channels: Sequence[Channel]) -> dict[str, str | None]:
    """Send a message of its own on every channel; what went wrong on each, None for nothing."""
    now = time.time()
    message = Message(0, "test", now, "Test\nThis platform can tell you what happens.")
    return {channel.name: _tried(channel, message) for channel in channels}


def _tried(channel: Channel, message: Message) -> str | None:
    try:
        within(_TRY_S, lambda: channel.send(message))
    except Exception as error:
        return error_line(error, channel.secrets)
    return None
