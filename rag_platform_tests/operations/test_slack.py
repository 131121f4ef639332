"""Messages on Slack, against a server that answers as Slack does."""

import logging
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.operations import slack
from rag_platform.operations.notifications import ChannelRefused, ChannelUnavailable, error_line
from rag_platform.operations.slack import SlackChannel, text_for_slack
from rag_platform.storage.outbox import Message
from rag_platform_tests.servers.ports import free_ports
from rag_platform_tests.servers.slack import (
    CHANNEL,
    TOKEN,
    WEBHOOK_PATH,
    Fault,
    SlackServer,
    failing,
)

AT = 1_795_700_000.0  # 2026-11-26 13:33:20 UTC


def message(text: str = "Something happened\nlook at <it>") -> Message:
    return Message(1, "key", AT, text)


def bot(server: SlackServer, **rules: Any) -> SlackChannel:
    return SlackChannel(**{"token": TOKEN, "channel": CHANNEL, "base_url": server.base_url} | rules)


def hook(server: SlackServer) -> SlackChannel:
    return SlackChannel(webhook_url=server.webhook_url)


@pytest.mark.parametrize("make", [bot, hook])
def test_a_message_arrives_as_plain_text(make: Any) -> None:
    with SlackServer() as server:
        make(server).send(message())
    [post] = server.posts
    assert post.path == (WEBHOOK_PATH if make is hook else "/api/chat.postMessage")
    expected = {
        "text": "Something happened\nlook at &lt;it&gt;\n2026-11-26 13:33 UTC",
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }
    assert post.body == (expected if make is hook else {**expected, "channel": CHANNEL})


# Texts are data


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a & b &amp; <c>", "a &amp; b &amp;amp; &lt;c&gt;"),
        ("<!channel> <@U123> <http://a|b>", "&lt;!channel&gt; &lt;@U123&gt; &lt;http://a|b&gt;"),
        ("@channel @HERE @everyone", "@\u2060channel @\u2060HERE @\u2060everyone"),
        ("ops@hereford.example @channels", "ops@hereford.example @channels"),
        ("a\x07b\u202e\nc", "a\\x07b\\u202e\nc"),
    ],
)
def test_nothing_in_a_text_calls_or_links(text: str, shown: str) -> None:
    assert text_for_slack(message(text)) == f"{shown}\n2026-11-26 13:33 UTC"


@given(st.text(alphabet=st.sampled_from("ab&<>@ \n\u00e9") | st.characters(), max_size=30))
def test_what_slack_reads_as_markup_never_comes_from_a_text(text: str) -> None:
    shown = text_for_slack(message(text))
    assert not {"<", ">"} & set(shown)
    rest = shown.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert "&" not in rest
    for word in ("channel", "here", "everyone"):
        assert f"@{word}" not in text_for_slack(message(f"{text}@{word} {text}")).lower()


@pytest.mark.parametrize("letter", ["x", "&", "@here "])
def test_a_long_text_is_cut_between_characters(letter: str) -> None:
    shown = text_for_slack(message(letter * 10_000))
    assert 3500 < len(shown) <= 3800
    text, when = shown.split("\u2026\n")
    assert when == "2026-11-26 13:33 UTC"
    if letter == "&":
        assert text == "&amp;" * (len(text) // 5)


# Refusals


@pytest.mark.parametrize(
    ("error", "of_channel", "advice"),
    [
        ("invalid_auth", True, "SLACK_BOT_TOKEN"),
        ("token_revoked", True, "SLACK_BOT_TOKEN"),
        ("missing_scope", True, "chat:write"),
        ("channel_not_found", True, "notifications.slack.channel"),
        ("is_archived", True, "notifications.slack.channel"),
        ("msg_too_long", False, "documentation"),
        ("something_new", False, "documentation"),
    ],
)
def test_what_cannot_heal_is_refused(error: str, of_channel: bool, advice: str) -> None:
    with SlackServer() as server:
        server.faults.append(failing(error))
        with pytest.raises(ChannelRefused) as caught:
            bot(server).send(message())
    assert caught.value.of_channel is of_channel
    assert str(caught.value).startswith(f"{error}. ")
    assert advice in str(caught.value)


def test_the_server_knows_its_token_and_its_channel() -> None:
    with SlackServer() as server:
        with pytest.raises(ChannelRefused, match="invalid_auth"):
            bot(server, token="xoxb-wrong").send(message())
        with pytest.raises(ChannelRefused, match="channel_not_found"):
            bot(server, channel="#other").send(message())
    assert server.posts == []


@pytest.mark.parametrize(
    ("status", "body", "of_channel"),
    [
        (404, "no_service", True),
        (403, "action_prohibited", True),
        (410, "channel_is_archived", True),
        (400, "invalid_payload", False),
    ],
)
def test_a_webhook_that_is_gone_is_refused(status: int, body: str, of_channel: bool) -> None:
    with SlackServer() as server:
        server.faults.append(Fault(status=status, body=body))
        with pytest.raises(ChannelRefused, match=body) as caught:
            hook(server).send(message())
    assert caught.value.of_channel is of_channel
    assert "SLACK_WEBHOOK_URL" in str(caught.value)


# What may pass

SIGN_IN = "<!doctype html><title>Sign in</title>"


@pytest.mark.parametrize("make", [bot, hook])
@pytest.mark.parametrize(
    ("fault", "retry_after_s"),
    [
        (failing("ratelimited", status=429, **{"Retry-After": "30"}), 30.0),
        (Fault(status=429, body="", headers={"retry-after": "7"}), 7.0),
        (Fault(status=429, body="", headers={"Retry-After": "soon"}), None),
        (failing("internal_error", status=500), None),
        (Fault(status=503, body="busy", headers={"Retry-After": "5"}), 5.0),
        (Fault(status=200, body=SIGN_IN), None),
        (Fault(status=407, body=SIGN_IN), None),
        (Fault(status=200, body=""), None),
    ],
)
def test_what_may_pass_is_said_so(make: Any, fault: Fault, retry_after_s: float | None) -> None:
    with SlackServer() as server:
        server.faults.append(fault)
        with pytest.raises(ChannelUnavailable) as caught:
            make(server).send(message())
        assert server.requests == 1, "who asks again, and when, is not for the client"
    assert caught.value.retry_after_s == retry_after_s
    assert not caught.value.may_have_arrived


@pytest.mark.parametrize("make", [bot, hook])
def test_a_server_that_is_away(make: Any) -> None:
    [port] = free_ports(1)
    with SlackServer(port=port) as server:
        channel = make(server)
    with pytest.raises(ChannelUnavailable, match="not reached") as caught:
        channel.send(message())
    assert not caught.value.may_have_arrived


@pytest.mark.parametrize("make", [bot, hook])
def test_a_server_that_says_nothing_may_have_taken_it(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack, "_TIMEOUT_S", 0.3)
    with SlackServer() as server:
        server.faults.append(Fault("hang"))
        started = time.monotonic()
        with pytest.raises(ChannelUnavailable, match="no answer") as caught:
            make(server).send(message())
        assert time.monotonic() - started < 3
    assert caught.value.may_have_arrived
    assert len(server.posts) == 1


def test_without_a_key_it_waits_for_one() -> None:
    for channel in (SlackChannel(), SlackChannel(token=TOKEN), SlackChannel(channel=CHANNEL)):
        with pytest.raises(ChannelUnavailable, match="SLACK_WEBHOOK_URL nor SLACK_BOT_TOKEN"):
            channel.send(message())
    with pytest.raises(ChannelUnavailable, match="is no address"):
        SlackChannel(webhook_url="ftp://hooks/secret path").send(message())


# Secrets


def test_no_secret_is_in_an_error_or_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with SlackServer() as server:
        for channel in (bot(server), hook(server)):
            server.faults += [
                Fault(status=400, body="ok_" + TOKEN.replace("-", "_")),
                Fault(status=400, body=f"no such path as {WEBHOOK_PATH} for {TOKEN}"),
                Fault("reset"),
                failing("invalid_auth"),
            ]
            while server.faults:
                with pytest.raises((ChannelRefused, ChannelUnavailable)) as caught:
                    channel.send(message())
                assert TOKEN not in error_line(caught.value, channel.secrets)
                assert "webhook-secret" not in error_line(caught.value, channel.secrets)
    assert caplog.records == []
    secrets = SlackChannel(webhook_url="https://hooks.slack.com/services/T1/B2/xyz").secrets
    assert error_line(ValueError("at /services/T1/B2/xyz, xyz"), secrets) == (
        "unexpected ValueError: at /***, ***"
    )
