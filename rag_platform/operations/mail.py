"""Messages by mail: one connection a message, encrypted as the settings say or not at all.

There is no way back to plain text: a server that no longer offers STARTTLS gets neither password
nor message. Certificates are verified against the machine's, or those of SSL_CERT_FILE.
"""

import base64
import contextlib
import hashlib
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import getaddresses
from typing import Literal

from rag_platform.operations.notifications import (
    Channel,
    ChannelRefused,
    ChannelUnavailable,
    error_line,
    logger,
)
from rag_platform.operations.terminal import printable
from rag_platform.storage.outbox import Message

Security = Literal["starttls", "tls", "none"]

_TIMEOUT_S = 10.0
# A server may look at a message before it answers for it, and whoever hangs up meanwhile sends it
# twice: RFC 5321, 4.5.3.2.6, asks for ten minutes. The deliverer's limit comes before this one.
_ACCEPT_S = 60.0
_QUIT_S = 2.0
_LONGEST_SUBJECT = 150
_LONGEST_BODY = 100_000
# Seven bits, so that every server takes it; line ends as SMTP has them.
_POLICY = policy.SMTP.clone(cte_type="7bit")


class MailChannel(Channel):
    """Sends to all recipients by one SMTP server. Addresses may have names: `Name <a@b.c>`."""

    name = "mail"

    def __init__(
        self,
        host: str,
        port: int,
        *,
        security: Security,
        sender: str,
        recipients: Sequence[str],
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._security = security
        self._sender = sender
        self._recipients = recipients
        self._login = (username, password or "") if username else None
        self._where = f"{host}:{port}"
        self.secrets = _secrets(username or "", password) if password else ()

    def send(self, message: Message) -> None:
        sender = address(self._sender)
        recipients = [address(each) for each in self._recipients]
        mail = mail_of(message, sender, recipients).as_bytes(policy=_POLICY)
        if self._login and not all(self._login):
            raise ChannelUnavailable("SMTP_PASSWORD is not set. Set it, and restart")
        handed_over = False
        try:
            with self._connection() as smtp:
                self._check(smtp.mail(sender.addr_spec), "check notifications.mail.sender")
                refused = self._name_recipients(smtp, recipients)
                assert smtp.sock is not None
                smtp.sock.settimeout(_ACCEPT_S)
                handed_over = True
                self._check(smtp.data(mail), "it is the message", of_channel=False)
        except smtplib.SMTPNotSupportedError as error:
            said = f"{self._where}: {error} Check notifications.mail.security and username"
            raise ChannelRefused(said, of_channel=True) from error
        except smtplib.SMTPAuthenticationError as error:
            self._check(_reply(error), "check notifications.mail.username and SMTP_PASSWORD")
        except smtplib.SMTPResponseException as error:
            self._check(_reply(error), "ask who runs the server", of_channel=not handed_over)
        except ssl.SSLError as error:
            said = getattr(error, "verify_message", "") or error.reason or str(error)
            raise ChannelUnavailable(
                f"{self._where}: {said}. Check notifications.mail.security and the server's "
                "certificate; SSL_CERT_FILE may name others to trust"
            ) from error
        except (smtplib.SMTPException, OSError) as error:
            text = f"{self._where}: {error}"
            raise ChannelUnavailable(text, may_have_arrived=handed_over) from error
        else:
            for each, said in refused.items():
                line = error_line(ChannelRefused(said), self.secrets)
                logger.error("mail: %s got no copy: %s", each, line)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[smtplib.SMTP]:
        trust = ssl.create_default_context()
        # Without its own name, smtplib asks the DNS for it, without any limit of time.
        own = socket.gethostname()
        own = own if "." in own else "[127.0.0.1]"
        if self._security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, own, timeout=_TIMEOUT_S, context=trust
            )
        else:
            smtp = smtplib.SMTP(self._host, self._port, own, timeout=_TIMEOUT_S)
        try:
            if self._security == "starttls":
                smtp.starttls(context=trust)
            if self._login:
                smtp.login(*self._login)
            else:
                smtp.ehlo_or_helo_if_needed()
            yield smtp
            # The message is accepted: what goes wrong from here on is of no interest.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                assert smtp.sock is not None
                smtp.sock.settimeout(_QUIT_S)
                smtp.quit()
        finally:
            smtp.close()

    def _name_recipients(self, smtp: smtplib.SMTP, recipients: Sequence[Address]) -> dict[str, str]:
        """What was said about those that the server does not take; one has to be taken."""
        replies = {each.addr_spec: smtp.rcpt(each.addr_spec) for each in recipients}
        refused = {each: reply for each, reply in replies.items() if reply[0] >= 300}
        if len(refused) == len(replies):
            # One that may pass is worth another try.
            self._check(min(refused.values()), "check notifications.mail.recipients")
        return {each: f"{code} {_text(said)}" for each, (code, said) in refused.items()}

    def _check(self, reply: tuple[int, bytes], advice: str, *, of_channel: bool = True) -> None:
        """Raise what the server's answer means, where it is no consent."""
        code, said = reply
        if 200 <= code < 300:
            return
        text = f"{self._where}: {code} {_text(said)}"
        if code >= 500:
            raise ChannelRefused(f"{text} ({advice})", of_channel=of_channel)
        raise ChannelUnavailable(f"{text} ({advice})")


def mail_of(message: Message, sender: Address, recipients: Sequence[Address]) -> EmailMessage:
    """The mail; the same message gives the same Message-ID, whoever sends it how often."""
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    mail["To"] = recipients
    mail["Subject"] = printable(" ".join(message.subject.split()))[:_LONGEST_SUBJECT]
    mail["Date"] = datetime.fromtimestamp(message.at, UTC)
    # Platforms that share a mailbox may share keys too, so the time is part of it.
    digest = hashlib.sha256(f"{message.key} {message.at!r}".encode()).hexdigest()[:32]
    mail["Message-ID"] = f"<{digest}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # no answers by machines, RFC 3834
    text = "\n".join(printable(line) for line in message.text.strip().splitlines())
    mail.set_content(text[:_LONGEST_BODY])
    return mail


def address(written: str) -> Address:
    """An address of the settings; raises `ChannelRefused`."""
    found = getaddresses([written])
    name, spec = found[0] if len(found) == 1 else ("", "")
    if not re.fullmatch(r"[!-?A-~]+@[!-?A-~]+", spec) or printable(written) != written:
        said = f"{printable(written)!r} is no mail address"
        raise ChannelRefused(f"{said}. Correct notifications.mail and restart", of_channel=True)
    return Address(display_name=name, addr_spec=spec)


def _reply(error: smtplib.SMTPResponseException) -> tuple[int, bytes]:
    said = error.smtp_error
    return error.smtp_code, said if isinstance(said, bytes) else said.encode()


def _text(said: bytes) -> str:
    return " ".join(said.decode("utf-8", "replace").split())[:200]


def _secrets(username: str, password: str) -> tuple[str, ...]:
    """The password, also as it goes over the line: a server may repeat what it refuses."""
    plain = f"\0{username}\0{password}"
    return (password, *(base64.b64encode(each.encode()).decode() for each in (plain, password)))
