"""Text of a PDF that nobody sees is left out and counted; what can be seen stays."""

import io
from collections.abc import Callable

import pytest
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from rag_platform.documents.parsing.pdf import parse_pdf
from rag_platform.documents.parsing.result import OcrRules, ParseLimits
from rag_platform_tests.documents.parsing.samples import picture

WITHOUT_OCR = ParseLimits(ocr=OcrRules(engine="off"))


def page_of(draw: Callable[[Canvas], None]) -> bytes:
    """One page of 400 x 400 points: a visible line, and what `draw` adds."""
    buffer = io.BytesIO()
    page = Canvas(buffer, pagesize=(400, 400), invariant=True)
    page.drawString(40, 350, "What everybody reads")
    draw(page)
    page.showPage()
    page.save()
    return buffer.getvalue()


def invisible(page: Canvas) -> None:
    layer = page.beginText(40, 200)
    layer.setTextRenderMode(3)
    layer.textOut("secret")
    page.drawText(layer)


def invisible_over_writing(page: Canvas) -> None:
    layer = page.beginText(40, 350)
    layer.setTextRenderMode(3)
    layer.textOut("secret")
    page.drawText(layer)


def white_on_white(page: Canvas) -> None:
    page.setFillColorRGB(1, 1, 1)
    page.drawString(40, 200, "secret")


def almost_white(page: Canvas) -> None:
    page.setFillColorRGB(0.96, 0.96, 1)
    page.drawString(40, 200, "secret")


def transparent(page: Canvas) -> None:
    page.setFillAlpha(0.02)
    page.drawString(40, 200, "secret")


def off_the_page(page: Canvas) -> None:
    page.drawString(40, -200, "secret")


def too_small(page: Canvas) -> None:
    page.setFont("Helvetica", 0.4)
    page.drawString(40, 200, "secret")


def scaled_down(page: Canvas) -> None:
    page.scale(0.01, 0.01)
    page.drawString(4000, 20000, "secret")


def hidden_in_a_form(page: Canvas) -> None:
    page.beginForm("form")
    page.setFillColorRGB(1, 1, 1)
    page.drawString(0, 0, "secret")
    page.endForm()
    page.translate(40, 200)
    page.doForm("form")


@pytest.mark.parametrize(
    "draw",
    [
        invisible,
        invisible_over_writing,
        white_on_white,
        almost_white,
        transparent,
        off_the_page,
        too_small,
        scaled_down,
        hidden_in_a_form,
    ],
)
def test_hidden_text_is_left_out_and_counted(draw: Callable[[Canvas], None]) -> None:
    parsed = parse_pdf(page_of(draw), WITHOUT_OCR)
    assert parsed.text == "What everybody reads"
    assert parsed.metadata["hidden_characters"] == "6"


def white_on_black(page: Canvas) -> None:
    page.rect(30, 190, 200, 40, fill=1)
    page.setFillColorRGB(1, 1, 1)
    page.drawString(40, 200, "shown")


def white_on_black_in_a_form(page: Canvas) -> None:
    page.beginForm("form")
    white_on_black(page)
    page.endForm()
    page.translate(100, -50)
    page.doForm("form")


def outlined(page: Canvas) -> None:
    layer = page.beginText(40, 200)
    layer.setTextRenderMode(1)
    layer.textOut("shown")
    page.drawText(layer)


def small_print(page: Canvas) -> None:
    page.setFont("Helvetica", 4)
    page.drawString(40, 200, "shown")


def over_a_picture(page: Canvas) -> None:
    """As scanners do it: the words invisible over their picture."""
    page.drawImage(ImageReader(picture("shown")), 20, 100, 400, 130)
    layer = page.beginText(40, 195)
    layer.setTextRenderMode(3)
    layer.textOut("shown")
    page.drawText(layer)


@pytest.mark.parametrize("rotation", [0, 90])
@pytest.mark.parametrize(
    "draw", [white_on_black, white_on_black_in_a_form, outlined, small_print, over_a_picture]
)
def test_what_can_be_seen_stays(draw: Callable[[Canvas], None], rotation: int) -> None:
    def turned(page: Canvas) -> None:
        page.setPageRotation(rotation)
        draw(page)

    parsed = parse_pdf(page_of(turned), WITHOUT_OCR)
    assert sorted(parsed.text.split()) == ["What", "everybody", "reads", "shown"]
    assert "hidden_characters" not in parsed.metadata
