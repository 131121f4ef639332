"""What goes into a parser and what comes out: hints and limits, a parsed document or a failure."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_METADATA_ENTRIES: Final = 32
MAX_METADATA_KEY: Final = 64
MAX_METADATA_VALUE: Final = 500


class Kind(StrEnum):
    """The formats that have a parser; the value is the canonical media type."""

    MARKDOWN = "text/markdown"
    HTML = "text/html"
    TEXT = "text/plain"
    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


class Reason(StrEnum):
    """Why a document has no text; stable codes that go into the dead letters."""

    UNSUPPORTED = "unsupported"
    ENCRYPTED = "encrypted"
    CORRUPT = "corrupt"
    TOO_LARGE = "too_large"
    INFLATES = "inflates"
    TOO_MANY_PAGES = "too_many_pages"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    NEEDS_OCR = "needs_ocr"
    WORKER_DIED = "worker_died"
    HOSTILE_XML = "hostile_xml"


@dataclass(frozen=True)
class Hints:
    """What the source says of a document: its name (for the extension) and a media type.

    Both are only hints: the content decides where it is clear.
    """

    name: str = ""
    media_type: str = ""


@dataclass(frozen=True)
class ParseLimits:
    """Bounds of one document: bytes in, bytes after inflating, pages, seconds, MiB of memory."""

    max_bytes: int = 50_000_000
    max_inflated_bytes: int = 200_000_000
    max_pages: int = 2_000
    parse_seconds: float = 60.0
    parse_memory_mb: int = 1_024


@dataclass(frozen=True)
class Parsed:
    """A parsed document.

    `text` is Markdown-like Unicode: NFC, `\\n` line ends, no NUL. `page_starts[i]` is the
    character offset at which page i+1 begins; empty where the format has no pages. `title` is
    empty where the content names none. `metadata` is small and bounded.
    """

    text: str
    title: str
    media_type: str
    page_starts: tuple[int, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ParseFailure:
    """Why a document could not be parsed: a code, and one line for a person."""

    reason: Reason
    detail: str


class ParseRefused(Exception):
    """Raised inside the parsers; becomes a `ParseFailure`."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.failure = ParseFailure(reason, detail)


def bounded_metadata(entries: dict[str, str]) -> dict[str, str]:
    """At most 32 non-empty entries, keys up to 64 and values up to 500 characters, one line each.

    The order is kept; what exceeds a bound is cut, never an error.
    """
    bounded: dict[str, str] = {}
    for key, value in entries.items():
        key = " ".join(key.split())[:MAX_METADATA_KEY]
        value = " ".join(value[: 4 * MAX_METADATA_VALUE].split())[:MAX_METADATA_VALUE]
        if key and value and len(bounded) < MAX_METADATA_ENTRIES:
            bounded[key] = value
    return bounded
