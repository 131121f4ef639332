"""A mail server on the loopback: in clear text, with STARTTLS or TLS, with a login and a script."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
import threading
import time
import warnings
from collections import deque
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from rag_platform_tests.servers.ports import free_ports

USER = "platform"
PASSWORD = "mail-secret-0815"


@dataclass(frozen=True)
class Mail:
    """A mail that was taken, and when."""

    at: float
    sender: str
    recipients: list[str]
    content: bytes
    encrypted: bool
    user: str | None

    @property
    def message(self) -> EmailMessage:
        """It, parsed."""
        found = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found


class SmtpServer:
    """The server as a context manager; leaving it is an outage, entering it again the end of one.

    `answers` holds for a command (MAIL, RCPT or DATA) what to say, an entry a command, and then all
    is well; `always` what to say every time. A mail answered with 2xx is taken. `wait_s` is how
    long it looks at a mail that it has taken before it says so. `hold` names a mail by its number,
    from 1 on: the server stops before or after it has taken that one, and sets `held`.
    """

    def __init__(
        self,
        *,
        security: Literal["none", "starttls", "tls"] = "none",
        trust: "Certificates | None" = None,
        login: bool = False,
    ) -> None:
        [self.port] = free_ports(1)
        self.mails: list[Mail] = []
        self.answers: dict[str, deque[str]] = {}
        self.always: dict[str, str] = {}
        self.wait_s = 0.0
        self.hold: tuple[int, Literal["before", "after"]] | None = None
        self.held = threading.Event()
        self.lock = threading.Lock()
        self._security = security
        self._context = trust.context if trust else None
        self._login = login
        self._controller: Controller | None = None

    def __enter__(self) -> "SmtpServer":
        options: dict[str, Any] = {}
        if self._security == "starttls":
            options |= {"tls_context": self._context, "require_starttls": True}
        if self._login:
            options |= {
                "auth_required": True,
                "authenticator": _authenticate,
                "auth_require_tls": self._security == "starttls",
            }
        context = self._context if self._security == "tls" else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a login without encryption is what a test is about
            self._controller = Controller(
                self, hostname="127.0.0.1", port=self.port, ssl_context=context, **options
            )
            self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._controller is not None
        self._controller.stop(no_assert=True)

    @property
    def subjects(self) -> list[str]:
        """Of every mail that was taken."""
        with self.lock:
            return [str(mail.message["Subject"]) for mail in self.mails]

    def _say(self, command: str) -> str | None:
        with self.lock:
            script = self.answers.get(command)
            return script.popleft() if script else self.always.get(command)

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Scripted or welcome."""
        said = self._say("MAIL")
        if said is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return said or "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Scripted or welcome."""
        said = self._say("RCPT")
        if said is None:
            envelope.rcpt_tos.append(address)
        return said or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Scripted or taken."""
        said = self._say("DATA")
        if said is not None:
            return said
        number = len(self.mails) + 1
        if self.hold == (number, "before"):
            return await self._stop()
        content = envelope.original_content or b""
        user = session.auth_data.login.decode() if session.auth_data else None
        mail = Mail(
            *(time.time(), envelope.mail_from or "", list(envelope.rcpt_tos), content),
            encrypted=session.ssl is not None or self._security == "tls",
            user=user,
        )
        with self.lock:
            self.mails.append(mail)
        if self.hold == (number, "after"):
            return await self._stop()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(self.wait_s)
        return "250 taken"

    async def _stop(self) -> str:
        self.hold = None
        self.held.set()
        await asyncio.sleep(60)
        return "451 later"


def _authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
) -> AuthResult:
    sound = isinstance(data, LoginPassword) and data.password == PASSWORD.encode()
    return AuthResult(success=sound, handled=False, auth_data=data)


@dataclass(frozen=True)
class Certificates:
    """A new authority (`authority` is its file), and a server's context with a certificate of it
    for localhost and 127.0.0.1.
    """

    authority: Path
    context: ssl.SSLContext


def certificates(folder: Path) -> Certificates:
    """Make an authority and a certificate, valid for an hour, in a folder."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def builder(name: str, key: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("Test authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - hour)
            .not_valid_after(now + hour)
        )

    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = (
        builder("Test authority", authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (
        builder("localhost", key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    authority_file, server_file = folder / "authority.pem", folder / "server.pem"
    authority_file.write_bytes(authority.public_bytes(pem))
    server_file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + leaf.public_bytes(pem)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server_file)
    return Certificates(authority_file, context)
