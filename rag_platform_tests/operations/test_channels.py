"""The channels of the settings: which there are, what is wrong with them, and a try."""

import socket
from typing import Any

import pytest

from rag_platform.operations.channels import channels_of, check_channels, try_channels
from rag_platform.operations.slack import SlackChannel
from rag_platform.settings_training import MailSettings, NotificationSettings, SlackSettings
from rag_platform_tests.servers.slack import TOKEN, SlackServer
from rag_platform_tests.servers.smtp import SmtpServer

HOOK = {"SLACK_WEBHOOK_URL": "https://localhost/services/T/B/secret-path"}
BOT = {"SLACK_BOT_TOKEN": TOKEN}


def slack(**rules: Any) -> NotificationSettings:
    return NotificationSettings(slack=SlackSettings(**{"base_url": "https://localhost"} | rules))


def mail(**rules: Any) -> NotificationSettings:
    plain = {"host": "localhost", "sender": "a@b.c", "recipients": ("d@e.f",)}
    return NotificationSettings(mail=MailSettings(**plain | rules))


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Localhost is all that has an address."""

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in ("localhost", "127.0.0.1"):
            raise socket.gaierror(-2, "Name or service not known")
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_the_log_is_always_there() -> None:
    assert [channel.name for channel in channels_of(NotificationSettings(), {})] == ["log"]
    both = NotificationSettings(slack=SlackSettings(), mail=mail().mail)
    assert [channel.name for channel in channels_of(both, {})] == ["log", "slack", "mail"]


@pytest.mark.parametrize(
    ("settings", "environ", "problem"),
    [
        (NotificationSettings(), {}, None),
        (slack(), HOOK, None),
        (slack(channel="#a"), BOT, None),
        (slack(), {}, "Set SLACK_WEBHOOK_URL or SLACK_BOT_TOKEN"),
        (slack(), {"SLACK_WEBHOOK_URL": " \n"}, "Set SLACK_WEBHOOK_URL or SLACK_BOT_TOKEN"),
        (slack(), BOT, "without a channel"),
        (slack(), {"SLACK_WEBHOOK_URL": "hooks/secret-path"}, "is no address"),
        (slack(channel="#a", base_url="https://slack.invalid"), BOT, "known for slack.invalid"),
        (slack(), {"SLACK_WEBHOOK_URL": "https://h.invalid/secret-path"}, "known for h.invalid"),
        (mail(), {}, None),
        (mail(username="u"), {"SMTP_PASSWORD": "p"}, None),
        (mail(username="u"), {}, "Set SMTP_PASSWORD"),
        (mail(host="mail.invalid"), {}, "no address is known for mail.invalid"),
        (mail(recipients=("a@b.c", "nobody")), {}, "'nobody' is no mail address"),
        (mail(sender="a@b.c\nBcc: x@y.z"), {}, "is no mail address"),
    ],
)
def test_what_is_wrong_is_said_without_sending(
    settings: NotificationSettings, environ: dict[str, str], problem: str | None
) -> None:
    found = check_channels(settings, environ)
    assert len(found) == (problem is not None)
    for line in found:
        assert str(problem) in line
        assert "\n" not in line
        assert "secret-path" not in line
        assert TOKEN not in line


def test_what_would_go_in_clear_text_is_said() -> None:
    [first, _] = check_channels(slack(), {"SLACK_WEBHOOK_URL": "http://h.invalid/services/x"})
    assert "in clear text" in first
    login = mail(host="m.invalid", username="u", security="none")
    [first, _] = check_channels(login, {"SMTP_PASSWORD": "p"})
    assert "in clear text" in first
    assert check_channels(slack(), {"SLACK_WEBHOOK_URL": "http://127.0.0.1/services/x"}) == []


def test_a_try_says_what_is_wrong_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with SlackServer() as slacks, SmtpServer() as mails:
        settings = NotificationSettings(
            slack=SlackSettings(channel="#other", base_url=slacks.base_url),
            mail=mail(host="127.0.0.1", port=mails.port, security="none").mail,
        )
        found = try_channels(channels_of(settings, BOT))
        assert found["log"] is found["mail"] is None
        assert str(found["slack"]).startswith("channel_not_found. ")
        assert mails.subjects == ["Test"]
        assert isinstance(channels_of(settings, {"SLACK_WEBHOOK_URL": "x"})[1], SlackChannel)
        hook = {"SLACK_WEBHOOK_URL": f"{slacks.webhook_url}\n", "SLACK_BOT_TOKEN": TOKEN}
        assert try_channels(channels_of(settings, hook))["slack"] is None
