"""Small documents made for the tests."""

import io
import zipfile

from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

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
