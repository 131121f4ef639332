"""PDF with a text layer, page by page, with the offset of each page."""

import re
from typing import Any, Final

from rag_platform.documents.parsing.result import (
    Kind,
    Parsed,
    ParseLimits,
    ParseRefused,
    Reason,
    bounded_metadata,
)
from rag_platform.documents.parsing.text import normalise

PAGE_BREAK: Final = "\n\n"
PDF_DATE: Final = re.compile(r"D?:?(\d{4})(\d\d)?(\d\d)?")
# PDFium marks a hyphen at the end of a line with one of these and drops the line end.
LINE_HYPHEN: Final = re.compile("[\x02\ufffe](?:\r?\n)?")
INFO: Final = {"Author": "author", "Subject": "description", "Keywords": "keywords"}


def parse_pdf(data: bytes, limits: ParseLimits) -> Parsed:
    """The text of every page.

    Refuses: `encrypted`, `corrupt`, `too_many_pages`, `inflates` (more text than allowed),
    `needs_ocr` (pages with content but no text layer at all).
    """
    document = _open(data)
    try:
        pages = len(document)
        if pages > limits.max_pages:
            raise ParseRefused(
                Reason.TOO_MANY_PAGES, f"{pages:,} pages; the limit is {limits.max_pages:,}"
            )
        if pages == 0:
            raise ParseRefused(Reason.CORRUPT, "the PDF has no pages")
        return _parsed(document, pages, limits)
    finally:
        document.close()


def _open(data: bytes) -> Any:
    import pypdfium2
    from pypdfium2 import raw

    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        code = raw.FPDF_GetLastError()
        if code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY) or "assword" in str(error):
            raise ParseRefused(
                Reason.ENCRYPTED, "the PDF needs a password; store it without one"
            ) from error
        raise ParseRefused(Reason.CORRUPT, f"not readable as PDF: {error}") from error


def _parsed(document: Any, pages: int, limits: ParseLimits) -> Parsed:
    import pypdfium2

    parts: list[str] = []
    starts: list[int] = []
    offset = 0
    drawn = False
    silent: list[int] = []
    broken: list[int] = []
    for number in range(pages):
        try:
            text, has_content = _page_text(document, number)
        except pypdfium2.PdfiumError:
            broken.append(number + 1)
            text, has_content = "", False
        if not text:
            silent.append(number + 1)
        drawn = drawn or has_content
        starts.append(offset)
        parts.append(text)
        offset += len(text) + len(PAGE_BREAK)
        if offset > limits.max_inflated_bytes:
            raise ParseRefused(
                Reason.INFLATES,
                f"over {limits.max_inflated_bytes:,} characters by page {number + 1}",
            )
    if len(broken) == pages:
        raise ParseRefused(Reason.CORRUPT, "no page of the PDF can be read")
    metadata = _metadata(document)
    title = metadata.pop("title", "")
    if len(silent) == pages:
        if drawn or broken:
            raise ParseRefused(Reason.NEEDS_OCR, "no text layer; OCR is not enabled")
        return Parsed("", title, Kind.PDF, tuple(0 for _ in starts), bounded_metadata(metadata))
    if silent:
        metadata["pages_without_text"] = ", ".join(map(str, silent[:100]))
    if broken:
        metadata["unreadable_pages"] = ", ".join(map(str, broken[:100]))
    return Parsed(
        PAGE_BREAK.join(parts), title, Kind.PDF, tuple(starts), bounded_metadata(metadata)
    )


def _page_text(document: Any, number: int) -> tuple[str, bool]:
    """The text of a page, and whether anything at all is drawn on it."""
    from pypdfium2 import raw

    page = document[number]
    try:
        textpage = page.get_textpage()
        try:
            text = textpage.get_text_range()
        finally:
            textpage.close()
        has_content = raw.FPDFPage_CountObjects(page) > 0
    finally:
        page.close()
    lines = normalise(LINE_HYPHEN.sub("", text)).split("\n")
    return "\n".join(line.rstrip() for line in lines).strip(), has_content


def _metadata(document: Any) -> dict[str, str]:
    info = document.get_metadata_dict(skip_empty=True)
    found = {name: normalise(info[key]) for key, name in INFO.items() if key in info}
    found["title"] = " ".join(normalise(info.get("Title", "")).split())[:500]
    for key, name in (("CreationDate", "date"), ("ModDate", "modified")):
        if date := PDF_DATE.match(info.get(key, "")):
            found[name] = "-".join(part for part in date.groups() if part)
    found["pages"] = str(len(document))
    return found
