"""Small documents made for the tests."""

import io
import zipfile

import pytest
from PIL import Image, ImageDraw
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from rag_platform.documents.parsing.ocr import missing
from rag_platform.documents.parsing.result import OcrRules

needs_tesseract = pytest.mark.skipif(bool(missing(OcrRules())), reason=missing(OcrRules()))
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def pdf(*pages: str, password: str = "", title: str = "", rectangle: bool = False) -> bytes:
    """A PDF with a line of text on each page; an empty string makes an empty page."""
    buffer = io.BytesIO()
    encryption = StandardEncryption(password) if password else None
    canvas = Canvas(buffer, encrypt=encryption, invariant=True)
    canvas.setTitle(title)
    canvas.setAuthor("A. Writer")
    for page in pages:
        if rectangle:
            canvas.rect(100, 100, 50, 50, fill=1)
        for number, line in enumerate(page.splitlines()):
            canvas.drawString(72, 720 - 20 * number, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def picture(*lines: str, size: tuple[int, int] = (800, 260), letters: int = 34) -> Image.Image:
    """Lines of dark writing on white."""
    image = Image.new("L", size, 255)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((40, 40 + 2 * letters * number), line, fill=20, font_size=letters)
    return image


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def scan(*pages: Image.Image | str, stamp: str = "", invisible: str = "") -> bytes:
    """A PDF whose pages are pictures (a string makes a page of text), 2 dots a point; `stamp` is
    visible and `invisible` is not, both lie over the picture's upper left."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, invariant=True)
    for page in pages:
        canvas.setPageSize((400, 400))
        if isinstance(page, str):
            canvas.drawString(40, 300, page)
        else:
            width, height = page.size[0] / 2, page.size[1] / 2
            canvas.setPageSize((width, height))
            canvas.drawImage(ImageReader(page), 0, 0, width, height)
            canvas.setFont("Helvetica", 8)
            canvas.drawString(10, height - 10, stamp)
            layer = canvas.beginText(20, height - 32)
            layer.setTextRenderMode(3)
            layer.textOut(invisible)
            canvas.drawText(layer)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def docx_of(document_xml: bytes, **parts: bytes) -> bytes:
    """A minimal DOCX around a document part; other parts by name under word/."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", document_xml)
        for name, content in parts.items():
            archive.writestr(f"word/{name}.xml", content)
    return buffer.getvalue()


def word_body(inner: str, prologue: str = "") -> bytes:
    """document.xml with this content in its body."""
    return f'{prologue}<w:document xmlns:w="{WORD}"><w:body>{inner}</w:body></w:document>'.encode()


def word_paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"
