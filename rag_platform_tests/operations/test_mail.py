"""Messages by mail, against a server with and without encryption, login and patience."""

import base64
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.operations import mail
from rag_platform.operations.mail import MailChannel, address, mail_of
from rag_platform.operations.notifications import ChannelRefused, ChannelUnavailable, error_line
from rag_platform.storage.outbox import Message
from rag_platform_tests.servers.ports import free_ports
from rag_platform_tests.servers.smtp import (
    PASSWORD,
    USER,
    Certificates,
    SmtpServer,
    certificates,
)

AT = 1_795_700_000.0  # 2026-11-26 13:33:20 UTC
SENDER = "Platform <platform@example.org>"
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

ANN, BOB = "ann@example.org", "Bob B. <bob@example.org>"


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusted(trust: Certificates, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    """The authority of the test servers, trusted by this process."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trust.authority))
    return trust


def message(text: str = "Something happened\nlook at it", key: str = "key") -> Message:
    return Message(1, key, AT, text)


def channel(server: SmtpServer, **rules: Any) -> MailChannel:
    host = rules.pop("host", "localhost")
    plain = {"security": "none", "sender": SENDER, "recipients": [ANN, BOB]}
    return MailChannel(host, rules.pop("port", server.port), **(plain | rules))


LOGIN = {"username": USER, "password": PASSWORD}


# Delivery


def test_a_mail_as_it_arrives() -> None:
    with SmtpServer() as server:
        channel(server).send(message("Something h\u00e4ppened\nlook <here> & there"))
    [mail] = server.mails
    assert mail.sender == "platform@example.org"
    assert mail.recipients == ["ann@example.org", "bob@example.org"]
    assert mail.content.isascii()
    assert max(map(len, mail.content.split(b"\r\n"))) <= 78
    found = mail.message
    assert found["From"] == SENDER
    assert found["To"] == 'ann@example.org, "Bob B." <bob@example.org>'
    assert found["Subject"] == "Something h\u00e4ppened"
    assert found["Date"].datetime.timestamp() == AT
    assert found["Auto-Submitted"] == "auto-generated"
    assert found.get_content_type() == "text/plain"
    body = found.get_content().replace("\r\n", "\n")
    assert body == "Something h\u00e4ppened\nlook <here> & there\n"


@pytest.mark.parametrize("login", [{}, LOGIN])
@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_every_kind_of_server(
    security: Literal["none", "starttls", "tls"], login: dict[str, str], trusted: Certificates
) -> None:
    with SmtpServer(security=security, trust=trusted, login=bool(login)) as server:
        channel(server, security=security, **login).send(message())
    [mail] = server.mails
    assert mail.encrypted is (security != "none")
    assert mail.user == login.get("username")


def test_the_message_id_is_that_of_the_message() -> None:
    def id_of(text: str, key: str, at: float) -> str:
        found = mail_of(Message(1, key, at, text), address(SENDER), [address(ANN)])
        return str(found["Message-ID"])

    first = id_of("text", "key", AT)
    assert first == id_of("text", "key", AT)
    assert first.endswith("@example.org>")
    assert len({first, id_of("text", "other", AT), id_of("text", "key", AT + 1e-6)}) == 3


@given(st.text(max_size=60))
def test_no_text_makes_headers(text: str) -> None:
    found = mail_of(message(f"{text}\r\nBcc: x@y.z"), address(SENDER), [address(ANN)])
    head = found.as_bytes(policy=mail._POLICY).partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    assert names == [
        *(b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted"),
        *(b"Content-Type", b"Content-Transfer-Encoding", b"MIME-Version"),
    ]


def test_hostile_texts_arrive_whole() -> None:
    text = f"a\rBcc: x@y.z\x00 {'s' * 300}\n.\nMAIL FROM:<x@y.z>\n{'l' * 2000}\n\u202etxt\n"
    with SmtpServer() as server:
        channel(server).send(message(text))
    [found] = [mail.message for mail in server.mails]
    assert found["Bcc"] is None
    assert len(found["Subject"]) == 150
    lines = found.get_content().splitlines()
    assert lines[1:4] == [f"Bcc: x@y.z\\x00 {'s' * 300}", ".", "MAIL FROM:<x@y.z>"]
    assert lines[4:] == ["l" * 2000, "\\u202etxt"]


# Certificates and encryption


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_an_unknown_authority_gets_nothing(
    security: Literal["starttls", "tls"], trust: Certificates
) -> None:
    with (
        SmtpServer(security=security, trust=trust, login=True) as server,
        pytest.raises(ChannelUnavailable, match="SSL_CERT_FILE") as caught,
    ):
        channel(server, security=security, **LOGIN).send(message())
    assert "unable to get local issuer certificate" in str(caught.value)
    assert not caught.value.may_have_arrived
    assert server.mails == []


def test_another_host_than_the_certificates_gets_nothing(
    trusted: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = socket.getaddrinfo

    def look_up(host: str, *more: Any, **options: Any) -> Any:
        return found("127.0.0.1" if host == "mail.example.org" else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with (
        SmtpServer(security="tls", trust=trusted) as server,
        pytest.raises(ChannelUnavailable, match="Hostname mismatch"),
    ):
        channel(server, host="mail.example.org", security="tls").send(message())
    assert server.mails == []


def test_a_server_that_drops_starttls_gets_neither_password_nor_mail() -> None:
    with SmtpServer() as server, pytest.raises(ChannelRefused, match="STARTTLS") as caught:
        channel(server, security="starttls", **LOGIN).send(message())
    assert caught.value.of_channel
    assert server.mails == []


def test_tls_where_there_is_none() -> None:
    with (
        SmtpServer() as server,
        pytest.raises(ChannelUnavailable, match="security and the server's certificate"),
    ):
        channel(server, security="tls").send(message())


# Refusals


def test_a_wrong_password_is_refused_and_not_told() -> None:
    with SmtpServer(login=True) as server:
        wrong = channel(server, username=USER, password="wrong-one")
        with pytest.raises(ChannelRefused, match=r"535 .*SMTP_PASSWORD") as caught:
            wrong.send(message())
    assert caught.value.of_channel
    assert "wrong-one" not in str(caught.value)


def test_without_a_password_it_waits_for_one() -> None:
    with (
        SmtpServer(login=True) as server,
        pytest.raises(ChannelUnavailable, match="SMTP_PASSWORD is not set"),
    ):
        channel(server, username=USER).send(message())


def test_a_login_that_nobody_asks_for() -> None:
    with (
        SmtpServer() as server,
        pytest.raises(ChannelRefused, match="AUTH extension not supported"),
    ):
        channel(server, **LOGIN).send(message())


@pytest.mark.parametrize(
    ("command", "answer", "of_channel", "advice"),
    [
        ("MAIL", "550 not you", True, "notifications.mail.sender"),
        ("RCPT", "550 no such user", True, "notifications.mail.recipients"),
        ("DATA", "554 spam", False, "it is the message"),
    ],
)
def test_what_cannot_heal_is_refused(
    command: str, answer: str, of_channel: bool, advice: str
) -> None:
    with SmtpServer() as server:
        server.always[command] = answer
        with pytest.raises(ChannelRefused, match=answer) as caught:
            channel(server).send(message())
    assert caught.value.of_channel is of_channel
    assert advice in str(caught.value)


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
def test_what_may_pass_is_said_so(command: str) -> None:
    with SmtpServer() as server:
        server.answers[command] = deque(["451 later"] * (2 if command == "RCPT" else 1))
        with pytest.raises(ChannelUnavailable, match="451 later"):
            channel(server).send(message())
        channel(server).send(message())
    assert len(server.mails) == 1


def test_one_refused_recipient_keeps_nobody_else_from_the_mail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with SmtpServer() as server:
        server.answers["RCPT"] = deque(["550 no such user"])
        channel(server).send(message())
        assert [mail.recipients for mail in server.mails] == [["bob@example.org"]]
        assert caplog.record_tuples[-1] == (
            "rag_platform.notifications",
            logging.ERROR,
            "mail: ann@example.org got no copy: 550 no such user",
        )
        # Where one may be taken later, all is tried again.
        server.answers["RCPT"] = deque(["550 no such user", "450 full"])
        with pytest.raises(ChannelUnavailable, match="450 full"):
            channel(server).send(message())


@pytest.mark.parametrize(
    "written",
    [
        "nobody",
        "a@b.c\nBcc: x@y.z",
        "a@b.c, d@e.f",
        "a b@c.d",
        "\u00e4@b.c",
        "a@b.c\r",
        "<a@b.c> x@y.z",
    ],
)
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(ChannelRefused, match=r"is no mail address\. Correct") as caught:
        address(written)
    assert caught.value.of_channel
    assert "\n" not in str(caught.value)


# Outages and slow servers


@contextmanager
def talking(*lines: bytes) -> Iterator[int]:
    """A server that says these lines, whatever it hears, and then nothing; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            connection, _ = listening.accept()
            with connection:
                for line in lines:
                    connection.sendall(line)
                    connection.recv(1 << 16)
                connection.recv(1 << 16)

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(5)


def test_a_server_that_is_away() -> None:
    [port] = free_ports(1)
    away = MailChannel("localhost", port, security="none", sender=SENDER, recipients=[ANN])
    with pytest.raises(ChannelUnavailable, match=f"localhost:{port}: .*refused") as caught:
        away.send(message())
    assert not caught.value.may_have_arrived


@pytest.mark.parametrize(
    ("lines", "may_have_arrived"),
    [
        ([], False),
        ([b"220 hello\r\n"], False),
        ([b"220 hello\r\n", b"250 you\r\n", b"250 from\r\n", b"250 to\r\n"], True),
        ([b"220 a\r\n", b"250 b\r\n", b"250 c\r\n", b"250 d\r\n", b"354 go\r\n"], True),
    ],
)
def test_a_server_that_falls_silent(
    lines: list[bytes], may_have_arrived: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(mail, "_ACCEPT_S", 0.2)
    started = time.monotonic()
    with talking(*lines) as port:
        silent = MailChannel("127.0.0.1", port, security="none", sender=SENDER, recipients=[ANN])
        with pytest.raises(ChannelUnavailable, match="timed out") as caught:
            silent.send(message())
    assert time.monotonic() - started < 3
    assert caught.value.may_have_arrived is may_have_arrived


@pytest.mark.parametrize("greeting", [b"554 no service\r\n", b"421 later\r\n", b"SSH-2.0-x\r\n"])
def test_a_server_that_is_no_mail_server(greeting: bytes) -> None:
    with talking(greeting) as port:
        other = MailChannel("127.0.0.1", port, security="none", sender=SENDER, recipients=[ANN])
        expected = ChannelRefused if greeting[:1] == b"5" else ChannelUnavailable
        with pytest.raises(expected, match=r"no service|later|127\.0\.0\.1"):
            other.send(message())


def test_time_to_look_at_a_mail_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_TIMEOUT_S", 0.2)
    with SmtpServer() as server:
        server.wait_s = 0.8
        channel(server).send(message())
    assert len(server.mails) == 1


def test_what_goes_wrong_after_the_mail_was_taken_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mail, "_QUIT_S", 0.1)
    lines = [b"220 a\r\n", b"250 b\r\n", b"250 c\r\n", b"250 d\r\n", b"354 go\r\n", b"250 ok\r\n"]
    with talking(*lines) as port:
        rude = MailChannel("127.0.0.1", port, security="none", sender=SENDER, recipients=[ANN])
        rude.send(message())


# Secrets


def test_a_password_that_the_server_repeats_is_hidden() -> None:
    plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    said = ChannelRefused(f"535 {PASSWORD} {plain} {base64.b64encode(PASSWORD.encode()).decode()}")
    with SmtpServer() as server:
        assert error_line(said, channel(server, **LOGIN).secrets) == "535 *** *** ***"
