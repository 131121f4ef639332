"""Which parser takes a document, by its content first, and the fingerprint of each parser."""

import re
from functools import cache
from importlib.metadata import version
from typing import Final

from rag_platform.documents.parsing.result import (
    Hints,
    Kind,
    Parsed,
    ParseFailure,
    ParseLimits,
    ParseRefused,
    Reason,
)
from rag_platform.documents.parsing.text import BOMS, looks_binary

PARSER_VERSION: Final = 1
LIBRARIES: Final = {
    Kind.MARKDOWN: ("pyyaml", "charset-normalizer", "ftfy"),
    Kind.HTML: ("lxml", "charset-normalizer", "ftfy"),
    Kind.TEXT: ("charset-normalizer", "ftfy"),
    Kind.PDF: ("pypdfium2",),
    Kind.DOCX: ("lxml",),
}
EXTENSIONS: Final = {
    "md": Kind.MARKDOWN,
    "markdown": Kind.MARKDOWN,
    "mdx": Kind.MARKDOWN,
    "mkd": Kind.MARKDOWN,
    "htm": Kind.HTML,
    "html": Kind.HTML,
    "xhtml": Kind.HTML,
    "txt": Kind.TEXT,
    "text": Kind.TEXT,
    "rst": Kind.TEXT,
    "log": Kind.TEXT,
    "adoc": Kind.TEXT,
    "asciidoc": Kind.TEXT,
    "org": Kind.TEXT,
    "csv": Kind.TEXT,
    "tsv": Kind.TEXT,
    "pdf": Kind.PDF,
    "docx": Kind.DOCX,
    "docm": Kind.DOCX,
}
MEDIA_TYPES: Final = {
    **{kind.value: kind for kind in Kind},
    "text/x-markdown": Kind.MARKDOWN,
    "application/xhtml+xml": Kind.HTML,
}
BINARY_SIGNATURES: Final = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE file (old Office format, or encrypted Office)"),
    (b"{\\rtf", "RTF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"%!PS", "PostScript"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x7fELF", "a program"),
)
HTML_START: Final = re.compile(
    rb"\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,2000}?-->\s*)*"
    rb"<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)

PDF_HEADER_WINDOW: Final = 1024
ZIP_TAIL: Final = 1 << 20


def detect(data: bytes, hints: Hints) -> Kind:
    """The format of a document; raises `ParseRefused` (unsupported, corrupt).

    Looks at bytes only and opens no archive, so it is safe outside a worker.
    """
    extension = _extension(hints.name)
    if b"%PDF-" in data[:PDF_HEADER_WINDOW]:
        start = data[:PDF_HEADER_WINDOW].lstrip()
        if start.startswith(b"%PDF-") or extension == "pdf" or looks_binary(data):
            return Kind.PDF
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _zip_kind(data, extension)
    for signature, name in BINARY_SIGNATURES:
        if data.startswith(signature):
            raise ParseRefused(Reason.UNSUPPORTED, f"{name}; no parser takes it")
    hinted = _hinted(hints, extension)
    if HTML_START.match(data[:8192]) and hinted is not Kind.MARKDOWN:
        return Kind.HTML
    if hinted in (Kind.PDF, Kind.DOCX):
        name = hinted.name
        raise ParseRefused(Reason.CORRUPT, f"named as {name} but the content is no {name}")
    has_bom = any(data.startswith(bom) for bom, _ in BOMS)
    if not has_bom and b"\x00" not in data[:4096] and looks_binary(data):
        raise ParseRefused(Reason.UNSUPPORTED, "binary content of an unknown format")
    if hinted is None and not extension and (has_bom or b"\x00" not in data[:4096]):
        return Kind.TEXT  # README, LICENSE
    if hinted is None:
        name = f"the extension .{extension[:20]}" if extension else "a name without extension"
        raise ParseRefused(Reason.UNSUPPORTED, f"no parser for {name}, nor for what it holds")
    return hinted


def parse(data: bytes, kind: Kind, limits: ParseLimits) -> Parsed | ParseFailure:
    """Parse in this process. Meant for a worker: nothing here bounds time or memory."""
    if len(data) > limits.max_bytes:
        return ParseFailure(
            Reason.TOO_LARGE, f"{len(data):,} bytes; the limit is {limits.max_bytes:,}"
        )
    try:
        return _parse(data, kind, limits)
    except ParseRefused as refused:
        return refused.failure


def _parse(data: bytes, kind: Kind, limits: ParseLimits) -> Parsed:
    match kind:
        case Kind.MARKDOWN:
            from rag_platform.documents.parsing.markdown import parse_markdown

            return parse_markdown(data)
        case Kind.TEXT:
            from rag_platform.documents.parsing.text import parse_text

            return parse_text(data)
        case Kind.HTML:
            from rag_platform.documents.parsing.html import parse_html

            return parse_html(data)
        case Kind.PDF:
            from rag_platform.documents.parsing.pdf import parse_pdf

            return parse_pdf(data, limits)
        case Kind.DOCX:
            from rag_platform.documents.parsing.docx import parse_docx

            return parse_docx(data, limits)


@cache
def fingerprint(kind: Kind) -> str:
    """Everything but the bytes that the text of a format depends on, for use in a memo key.

    Limits are not part of it: they decide whether there is a result, never which, so remember
    results and not failures.
    """
    libraries = " ".join(f"{name}={version(name)}" for name in LIBRARIES[kind])
    return f"parse/{PARSER_VERSION} {kind.value} {libraries}"


def _extension(name: str) -> str:
    base = name.rpartition("/")[2]
    return base.rpartition(".")[2].lower() if "." in base else ""


def _hinted(hints: Hints, extension: str) -> Kind | None:
    """The format by extension, else by media type; None where both name something else."""
    media_type = hints.media_type.partition(";")[0].strip().lower()
    return EXTENSIONS.get(extension) or MEDIA_TYPES.get(media_type)


def _zip_kind(data: bytes, extension: str) -> Kind:
    """What a zip archive holds, by the member names in its central directory."""
    directory = data[-ZIP_TAIL:]
    if b"word/" in directory and b"[Content_Types].xml" in directory:
        return Kind.DOCX
    if extension in ("docx", "docm"):
        return Kind.DOCX  # its parser says what is wrong with it
    for marker, name in (
        (b"xl/", "an Excel workbook"),
        (b"ppt/", "a PowerPoint file"),
        (b"application/epub", "an EPUB book"),
        (b"application/vnd.oasis", "an OpenDocument file"),
    ):
        if marker in directory or marker in data[:200]:
            raise ParseRefused(Reason.UNSUPPORTED, f"{name}; no parser takes it")
    raise ParseRefused(Reason.UNSUPPORTED, "a zip archive; no parser takes it")
