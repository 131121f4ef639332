"""What goes into a parser and what comes out: hints and limits, a parsed document or a failure."""

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Final

MAX_METADATA_ENTRIES: Final = 32
MAX_METADATA_KEY: Final = 64
MAX_METADATA_VALUE: Final = 500


# Called with (pages done, pages in all) when a page is done: a sign of life.
Progress = Callable[[int, int], None]


class Kind(StrEnum):
    """The formats that have a parser; the value is the media type of the parsed document."""

    MARKDOWN = "text/markdown"
    HTML = "text/html"
    TEXT = "text/plain"
    PDF = "application/pdf"
    PNG = "image/png"
    JPEG = "image/jpeg"
    TIFF = "image/tiff"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
    XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    ODT = "application/vnd.oasis.opendocument.text"
    EPUB = "application/epub+zip"
    RTF = "application/rtf"
    EML = "message/rfc822"


IMAGES: Final = frozenset({Kind.PNG, Kind.JPEG, Kind.TIFF})
MAY_BE_PICTURES: Final = IMAGES | {Kind.PDF}


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
class OcrRules:
    """How pages without text are read.

    `engine` is `tesseract`, `rapidocr` or `off`; `languages` are Tesseract's names; a page is
    drawn at `dpi` with at most `max_pixels`, may take `page_seconds`, and counts as empty when
    its mean confidence (0 to 1) is below `min_confidence`.
    """

    engine: str = "tesseract"
    languages: tuple[str, ...] = ("eng",)
    dpi: int = 200
    max_pixels: int = 40_000_000
    page_seconds: float = 30.0
    min_confidence: float = 0.3


@dataclass(frozen=True)
class ParseLimits:
    """Bounds of one document: bytes in, bytes after inflating, pages, seconds, MiB of memory; and
    the rules by which its pictures are read."""

    max_bytes: int = 50_000_000
    max_inflated_bytes: int = 200_000_000
    max_pages: int = 2_000
    parse_seconds: float = 60.0
    parse_memory_mb: int = 1_024
    ocr: OcrRules = OcrRules()


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

    def frozen(self) -> bytes:
        """As the memo keeps it."""
        return zlib.compress(json.dumps(asdict(self)).encode(), 1)

    @staticmethod
    def thawed(value: bytes) -> "Parsed":
        """The document that `frozen` made bytes of."""
        fields = json.loads(zlib.decompress(value))
        return Parsed(**fields | {"page_starts": tuple(fields["page_starts"])})


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


def no_progress(_done: int, _pages: int) -> None:
    """For whoever waits without watching."""


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
