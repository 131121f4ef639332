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
    Progress,
    Reason,
    no_progress,
)
from rag_platform.documents.parsing.text import BOMS, looks_binary

PARSER_VERSION: Final = 3
LIBRARIES: Final = {
    Kind.MARKDOWN: ("pyyaml", "charset-normalizer", "ftfy"),
    Kind.HTML: ("lxml", "charset-normalizer", "ftfy"),
    Kind.TEXT: ("charset-normalizer", "ftfy"),
    Kind.PDF: ("pypdfium2",),
    Kind.PNG: ("pillow",),
    Kind.JPEG: ("pillow",),
    Kind.TIFF: ("pillow",),
    Kind.DOCX: ("lxml",),
    Kind.PPTX: ("lxml",),
    Kind.XLSX: ("lxml",),
    Kind.ODT: ("lxml",),
    Kind.EPUB: ("lxml", "charset-normalizer", "ftfy"),
    Kind.RTF: (),
    Kind.EML: ("lxml", "charset-normalizer", "ftfy"),
}
_EXTENSIONS: Final = {
    Kind.MARKDOWN: "md markdown mdx mkd",
    Kind.HTML: "htm html xhtml",
    Kind.TEXT: "txt text rst log adoc asciidoc org csv tsv",
    Kind.PDF: "pdf",
    Kind.PNG: "png",
    Kind.JPEG: "jpg jpeg",
    Kind.TIFF: "tif tiff",
    Kind.DOCX: "docx docm",
    Kind.PPTX: "pptx pptm ppsx",
    Kind.XLSX: "xlsx xlsm",
    Kind.ODT: "odt",
    Kind.EPUB: "epub",
    Kind.RTF: "rtf",
    Kind.EML: "eml",
}
EXTENSIONS: Final = {name: kind for kind, names in _EXTENSIONS.items() for name in names.split()}
MEDIA_TYPES: Final = {
    **{kind.value: kind for kind in Kind},
    "text/x-markdown": Kind.MARKDOWN,
    "application/xhtml+xml": Kind.HTML,
    "text/rtf": Kind.RTF,
}
# Formats that are text all through: any content may be one. The others show what they are.
TEXTUAL: Final = frozenset({Kind.MARKDOWN, Kind.HTML, Kind.TEXT, Kind.EML})
SIGNATURES: Final = (
    (b"{\\rtf", Kind.RTF),
    (b"\x89PNG\r\n\x1a\n", Kind.PNG),
    (b"\xff\xd8\xff", Kind.JPEG),
    (b"II*\x00", Kind.TIFF),
    (b"MM\x00*", Kind.TIFF),
    (b"II+\x00", Kind.TIFF),
    (b"MM\x00+", Kind.TIFF),
)
OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ENCRYPTED_STREAM: Final = "EncryptedPackage".encode("utf-16-le")
BINARY_SIGNATURES: Final = (
    (b"GIF8", "a GIF image"),
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
# What the members of a zip archive tell; the first that is found counts.
ZIP_MEMBERS: Final = (
    (b"word/", Kind.DOCX),
    (b"ppt/presentation.xml", Kind.PPTX),
    (b"xl/workbook.xml", Kind.XLSX),
)
ZIPPED: Final = frozenset({Kind.DOCX, Kind.PPTX, Kind.XLSX, Kind.ODT, Kind.EPUB})
OPEN_DOCUMENT: Final = b"mimetypeapplication/vnd.oasis.opendocument."
HTML_START: Final = re.compile(
    rb"\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,2000}?-->\s*)*"
    rb"<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)

MIN_WORDS: Final = 3
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
    if data.startswith(OLE):
        raise _ole(data)
    for signature, kind in SIGNATURES:
        if data.startswith(signature):
            return kind
    for signature, name in BINARY_SIGNATURES:
        if data.startswith(signature):
            raise ParseRefused(Reason.UNSUPPORTED, f"{name}; no parser takes it")
    hinted = _hinted(hints, extension)
    if HTML_START.match(data[:8192]) and hinted not in (Kind.MARKDOWN, Kind.EML):
        return Kind.HTML
    if hinted is not None and hinted not in TEXTUAL:
        name = hinted.name
        raise ParseRefused(Reason.CORRUPT, f"named as {name} but the content is no {name}")
    has_bom = any(data.startswith(bom) for bom, _ in BOMS)
    if not has_bom and b"\x00" not in data[:4096] and looks_binary(data):
        raise ParseRefused(Reason.UNSUPPORTED, "binary content of an unknown format")
    if hinted is not None:
        return hinted
    if extension:
        name = f"the extension .{extension[:20]}"
        raise ParseRefused(Reason.UNSUPPORTED, f"no parser for {name}, nor for what it holds")
    if (has_bom or b"\x00" not in data[:4096]) and len(data[:4096].split()) >= MIN_WORDS:
        return Kind.TEXT  # README, LICENSE
    raise ParseRefused(
        Reason.UNSUPPORTED, "a name without extension, and the content does not read as text"
    )


def _ole(data: bytes) -> ParseRefused:
    if ENCRYPTED_STREAM in data:
        return ParseRefused(
            Reason.ENCRYPTED, "the Office file needs a password; store it without one"
        )
    return ParseRefused(
        Reason.UNSUPPORTED,
        "an old Office file (doc, xls, ppt, msg); save it as docx, xlsx, pptx, eml or PDF",
    )


def parse(
    data: bytes, kind: Kind, limits: ParseLimits, progress: Progress = no_progress
) -> Parsed | ParseFailure:
    """Parse in this process. Meant for a worker: nothing here bounds time or memory.

    `progress` is told of each page of the formats that take long for one.
    """
    if len(data) > limits.max_bytes:
        return ParseFailure(
            Reason.TOO_LARGE, f"{len(data):,} bytes; the limit is {limits.max_bytes:,}"
        )
    try:
        return _parse(data, kind, limits, progress)
    except ParseRefused as refused:
        return refused.failure


def _parse(data: bytes, kind: Kind, limits: ParseLimits, progress: Progress) -> Parsed:
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

            return parse_pdf(data, limits, progress)
        case Kind.PNG | Kind.JPEG | Kind.TIFF:
            from rag_platform.documents.parsing.image import parse_image

            return parse_image(data, kind, limits, progress)
        case Kind.DOCX:
            from rag_platform.documents.parsing.docx import parse_docx

            return parse_docx(data, limits)
        case Kind.PPTX:
            from rag_platform.documents.parsing.pptx import parse_pptx

            return parse_pptx(data, limits)
        case Kind.XLSX:
            from rag_platform.documents.parsing.xlsx import parse_xlsx

            return parse_xlsx(data, limits)
        case Kind.ODT:
            from rag_platform.documents.parsing.odt import parse_odt

            return parse_odt(data, limits)
        case Kind.EPUB:
            from rag_platform.documents.parsing.epub import parse_epub

            return parse_epub(data, limits)
        case Kind.RTF:
            from rag_platform.documents.parsing.rtf import parse_rtf

            return parse_rtf(data)
        case Kind.EML:
            from rag_platform.documents.parsing.mail import parse_mail

            return parse_mail(data)


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
    """What a zip archive holds, by its first member and the names in its central directory."""
    if data[30:].startswith(OPEN_DOCUMENT):
        if data[30 + len(OPEN_DOCUMENT) :].startswith(b"text"):
            return Kind.ODT
        raise ParseRefused(
            Reason.UNSUPPORTED, "an OpenDocument file that is no text; save it as xlsx or pptx"
        )
    if b"application/epub+zip" in data[:200]:
        return Kind.EPUB
    directory = data[-ZIP_TAIL:]
    if b"[Content_Types].xml" in directory:
        for marker, kind in ZIP_MEMBERS:
            if marker in directory:
                return kind
    hinted = EXTENSIONS.get(extension)
    if hinted in ZIPPED:
        return hinted  # its parser says what is wrong with it
    raise ParseRefused(Reason.UNSUPPORTED, "a zip archive; no parser takes it")
