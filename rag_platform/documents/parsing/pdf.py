"""PDF page by page: the text layer that people see, and OCR where a page is a picture."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rag_platform.documents.parsing.blocks import join_pages
from rag_platform.documents.parsing.hidden import Survey, remove_hidden, survey
from rag_platform.documents.parsing.ocr import PageReader, page_ranges
from rag_platform.documents.parsing.result import (
    Kind,
    Parsed,
    ParseLimits,
    ParseRefused,
    Progress,
    Reason,
    bounded_metadata,
    no_progress,
)
from rag_platform.documents.parsing.text import normalise

if TYPE_CHECKING:
    from PIL.Image import Image

PDF_DATE: Final = re.compile(r"D?:?(\d{4})(\d\d)?(\d\d)?")
# PDFium marks a hyphen at the end of a line with one of these and drops the line end.
LINE_HYPHEN: Final = re.compile("[\x02\ufffe](?:\r?\n)?")
INFO: Final = {"Author": "author", "Subject": "description", "Keywords": "keywords"}
POINTS_PER_INCH: Final = 72
# A page with fewer characters than this, mostly covered by pictures, is a picture with a stamp.
STAMP_LETTERS: Final = 100
PICTURE_SHARE: Final = 0.5


class PageText(NamedTuple):
    """What the text layer of a page shows, the characters (without blanks) that it hides, and
    whether the page is a picture."""

    text: str
    hidden: int
    is_picture: bool


def parse_pdf(data: bytes, limits: ParseLimits, progress: Progress = no_progress) -> Parsed:
    """The text of every page. Pages with text keep it; pages that are pictures are read by OCR.

    Metadata: `pages`, `pages_without_text`, `unreadable_pages`, `hidden_characters` (hidden text
    is left out), and what `PageReader.metadata` says. Refuses: `encrypted`, `corrupt`,
    `too_many_pages`, `inflates` (more text than allowed); and where no page has text `needs_ocr`
    (pictures, and no engine to read them) and `timeout` (reading took too long).
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
        return _parsed(document, limits, progress)
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


def _parsed(document: Any, limits: ParseLimits, progress: Progress) -> Parsed:
    pages = _Pages(document, PageReader(limits.ocr), progress)
    text, starts = join_pages(pages.texts(), limits)
    if len(pages.broken) == len(starts):
        raise ParseRefused(Reason.CORRUPT, "no page of the PDF can be read")
    if not text:
        pages.reader.refuse_unread()
    metadata = _metadata(document)
    title = metadata.pop("title", "")
    metadata |= {
        "pages_without_text": page_ranges(pages.silent) if text else "",
        "unreadable_pages": page_ranges(pages.broken),
        "hidden_characters": str(pages.hidden or ""),
        **pages.reader.metadata(),
    }
    return Parsed(text, title, Kind.PDF, starts, bounded_metadata(metadata))


@dataclass
class _Pages:
    """The pages of a document as they are read, and what was found on the way."""

    document: Any
    reader: PageReader
    progress: Progress
    broken: list[int] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)
    hidden: int = 0

    def texts(self) -> Iterator[str]:
        """The text of each page, from the first."""
        import pypdfium2

        pages = len(self.document)
        for number in range(1, pages + 1):
            try:
                text = self._text(number)
            except pypdfium2.PdfiumError:
                self.broken.append(number)
                text = ""
            if not text:
                self.silent.append(number)
            yield text
            self.progress(number, pages)

    def _text(self, number: int) -> str:
        page = self.document[number - 1]
        try:
            layer = _text_layer(page)
            self.hidden += layer.hidden
            if not layer.is_picture:
                return layer.text
            rules = self.reader.rules
            read = self.reader.text(number, lambda: _draw(page, rules.dpi, rules.max_pixels))
            return _with_stamp(layer.text, read)
        finally:
            page.close()


def _text_layer(page: Any) -> PageText:
    objects = survey(page)
    text = _visible(page)
    hidden = 0
    if (objects.gone or objects.suspects) and remove_hidden(page, objects):
        everything, text = text, _visible(page)
        hidden = max(0, _letters(everything) - _letters(text))
    return PageText(text, hidden, _is_picture(text, objects))


def _is_picture(text: str, objects: Survey) -> bool:
    if not text:
        return objects.objects > 0
    return len(text) < STAMP_LETTERS and objects.picture_share >= PICTURE_SHARE


def _visible(page: Any) -> str:
    textpage = page.get_textpage()
    try:
        text = textpage.get_text_range()
    finally:
        textpage.close()
    lines = normalise(LINE_HYPHEN.sub("", text)).split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def _letters(text: str) -> int:
    return len(_squeezed(text))


def _squeezed(text: str) -> str:
    return "".join(text.split()).lower()


def _with_stamp(stamp: str, read: str) -> str:
    """Both the little that a page says and what its picture says, each line once."""
    known = _squeezed(stamp)
    lines = [line for line in read.split("\n") if not known or _squeezed(line) not in known]
    return "\n\n".join(part for part in (stamp, "\n".join(lines).strip()) if part)


def _draw(page: Any, dpi: int, max_pixels: int) -> "Image":
    """The page in greys as it is seen, at most `max_pixels` large."""
    width, height = page.get_size()
    scale = min(dpi / POINTS_PER_INCH, math.sqrt(max_pixels / max(1.0, width * height)))
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        drawn: Image = bitmap.to_pil().convert("L")
        return drawn
    finally:
        bitmap.close()


def _metadata(document: Any) -> dict[str, str]:
    info = document.get_metadata_dict(skip_empty=True)
    found = {name: normalise(info[key]) for key, name in INFO.items() if key in info}
    found["title"] = " ".join(normalise(info.get("Title", "")).split())[:500]
    for key, name in (("CreationDate", "date"), ("ModDate", "modified")):
        if date := PDF_DATE.match(info.get(key, "")):
            found[name] = "-".join(part for part in date.groups() if part)
    found["pages"] = str(len(document))
    return found
