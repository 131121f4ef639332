"""A mail (RFC 5322, MIME) to Markdown: subject, the people, the text, and mails attached to it."""

import email
import email.errors
import email.header
import email.utils
from collections.abc import Iterator
from email.message import Message
from typing import Final

from rag_platform.documents.parsing.blocks import document
from rag_platform.documents.parsing.html import whole_page
from rag_platform.documents.parsing.result import Kind, Parsed, ParseRefused, Reason
from rag_platform.documents.parsing.text import decode, normalise, words

MAX_PARTS: Final = 1_000
MAX_HEADER: Final = 5_000
SHOWN: Final = ("From", "To", "Cc", "Date")
ENCRYPTED_TYPES: Final = words("multipart/encrypted")
KNOWN_HEADERS: Final = ("from", "to", "subject", "date", "message-id", "received", "mime-version")


def parse_mail(data: bytes) -> Parsed:
    """Subject, sender, recipients, date and text; of alternatives the plain text, else the HTML.

    Attachments are named in the metadata and not read; attached mails are. Refuses: `corrupt`
    (no header of a mail), `encrypted` (S/MIME, PGP/MIME), `inflates` (over 1,000 parts).
    """
    message = email.message_from_bytes(data)
    if not any(message.get(name) for name in KNOWN_HEADERS):
        raise ParseRefused(Reason.CORRUPT, "named as a mail but it has no header of one")
    attachments: list[str] = []
    hidden: list[int] = []
    text = "\n\n".join(_mail(message, attachments, hidden))
    metadata = {
        "title": _header(message, "subject"),
        "author": _header(message, "from"),
        "to": _header(message, "to"),
        "date": _date(message),
        "attachments": ", ".join(attachments),
    }
    return document(Kind.EML, normalise(text).strip(), metadata, hidden=sum(hidden))


def _mail(message: Message, attachments: list[str], hidden: list[int]) -> Iterator[str]:
    if subject := _header(message, "subject"):
        yield f"# {subject}"
    people = [f"{name}: {said}" for name in SHOWN if (said := _header(message, name.lower()))]
    yield "\n".join(people)
    for part in _readable(message, attachments):
        if part.get_content_type() == "message/rfc822":
            for attached in part.get_payload():
                if isinstance(attached, Message):
                    yield from _mail(attached, attachments, hidden)
        elif text := _text(part, hidden):
            yield text


def _readable(message: Message, attachments: list[str]) -> Iterator[Message]:
    """The parts with text and the attached mails, in order, without the others of alternatives."""
    waiting = [message]
    parts = 0
    while waiting:
        part = waiting.pop(0)
        parts += 1
        if parts > MAX_PARTS:
            raise ParseRefused(Reason.INFLATES, f"over {MAX_PARTS:,} parts in a mail; refused")
        kind = part.get_content_type()
        if kind in ENCRYPTED_TYPES or part.get_param("smime-type") == "enveloped-data":
            raise ParseRefused(Reason.ENCRYPTED, "the mail is encrypted; store it decrypted")
        name = part.get_filename()
        if kind == "message/rfc822" and part.is_multipart():
            yield part
        elif part.is_multipart():
            inner = [each for each in part.get_payload() if isinstance(each, Message)]
            waiting[:0] = _best(inner) if kind == "multipart/alternative" else inner
        elif name or part.get_content_disposition() == "attachment":
            attachments.append(" ".join(_decoded(str(name or kind)).split())[:200])
        elif kind in ("text/plain", "text/html"):
            yield part


def _best(alternatives: list[Message]) -> list[Message]:
    """The plain text where it says something, else the last with text, which the sender prefers."""
    for part in alternatives:
        if part.get_content_type() == "text/plain" and _content(part).strip():
            return [part]
    readable = [each for each in alternatives if any(map(_is_text, each.walk()))]
    return (readable or alternatives)[-1:]


def _is_text(part: Message) -> bool:
    return part.get_content_type() in ("text/plain", "text/html") and bool(_content(part).strip())


def _content(part: Message) -> bytes:
    """The bytes of a part as they were before they were encoded for the way."""
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: Message, hidden: list[int]) -> str:
    content = _content(part)
    charset = part.get_content_charset() or ""
    if part.get_content_type() == "text/html":
        text, unseen = whole_page(content, charset)
        hidden.append(unseen)
        return text
    return decode(content, charset=charset).strip()


def _header(message: Message, name: str) -> str:
    """A header as one line of text; empty where there is none or it cannot be read."""
    written = str(message.get(name) or "")[:MAX_HEADER]
    return " ".join(normalise(_decoded(written)).split())


def _decoded(written: str) -> str:
    """Encoded words (RFC 2047) as text."""
    try:
        return str(email.header.make_header(email.header.decode_header(written)))
    except (LookupError, UnicodeError, ValueError, email.errors.HeaderParseError):
        return written


def _date(message: Message) -> str:
    written = str(message.get("date") or "")
    try:
        return email.utils.parsedate_to_datetime(written).isoformat() if written else ""
    except (ValueError, TypeError, OverflowError):
        return " ".join(written.split())
