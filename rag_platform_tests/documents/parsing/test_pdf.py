"""PDF text, page offsets, pages that are pictures, and PDFs that give nothing."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from rag_platform.documents.parsing.pdf import parse_pdf
from rag_platform.documents.parsing.result import OcrRules, ParseLimits, ParseRefused, Reason
from rag_platform_tests.documents.parsing.samples import needs_tesseract, pdf, picture, scan

LIMITS = ParseLimits()
WITHOUT_OCR = ParseLimits(ocr=OcrRules(engine="off"))


def refusal(data: bytes, limits: ParseLimits = LIMITS) -> Reason:
    with pytest.raises(ParseRefused) as refused:
        parse_pdf(data, limits)
    return refused.value.failure.reason


def test_pages_start_where_page_starts_says() -> None:
    parsed = parse_pdf(pdf("First page\nsecond line", "", "Third page", title="Terms"), LIMITS)
    assert parsed.text == "First page\nsecond line\n\n\n\nThird page"
    assert parsed.page_starts == (0, 24, 26)
    assert parsed.text[parsed.page_starts[2] :] == "Third page"
    assert parsed.title == "Terms"
    assert parsed.metadata["author"] == "A. Writer"
    assert parsed.metadata["date"].startswith("2000-01-01")
    assert parsed.metadata["pages"] == "3"
    assert parsed.metadata["pages_without_text"] == "2"


def test_encrypted() -> None:
    assert refusal(pdf("secret", password="pass")) == Reason.ENCRYPTED


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_never_crashes(share: float) -> None:
    whole = pdf("one", "two", "three")
    data = whole[: int(len(whole) * share)]
    assert refusal(data, WITHOUT_OCR) in (Reason.CORRUPT, Reason.NEEDS_OCR)


def test_not_a_pdf_at_all() -> None:
    assert refusal(b"%PDF-1.4 and nothing else") == Reason.CORRUPT


def test_too_many_pages_and_too_much_text() -> None:
    assert refusal(pdf("a", "b", "c"), ParseLimits(max_pages=2)) == Reason.TOO_MANY_PAGES
    assert parse_pdf(pdf("a", "b"), ParseLimits(max_pages=2)).text == "a\n\nb"
    assert refusal(pdf("text " * 15), ParseLimits(max_inflated_bytes=50)) == Reason.INFLATES


def test_an_empty_page_is_an_empty_document() -> None:
    empty = parse_pdf(pdf("", ""), LIMITS)
    assert (empty.text, empty.page_starts) == ("", (0, 0))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1_400), st.binary(min_size=1, max_size=8))
def test_damage_anywhere_is_text_or_a_refusal(position: int, damage: bytes) -> None:
    data = bytearray(pdf("one", "two"))
    data[position : position + len(damage)] = damage
    try:
        parsed = parse_pdf(bytes(data), WITHOUT_OCR)
    except ParseRefused:
        return
    assert parsed == parse_pdf(bytes(data), WITHOUT_OCR)


SCANNED = picture("Reading matter of a page", "that was scanned")
SCANNED_TEXT = "Reading matter of a page\nthat was scanned"


def squeezed(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if line)


@needs_tesseract
def test_pictures_among_pages_with_text_are_read() -> None:
    data = scan("Native text", SCANNED, "More native text")
    seen: list[tuple[int, int]] = []
    parsed = parse_pdf(data, LIMITS, lambda page, pages: seen.append((page, pages)))
    first, second, third = parsed.page_starts
    assert parsed.text[first:second].strip() == "Native text"
    assert squeezed(parsed.text[second:third]) == SCANNED_TEXT
    assert parsed.text[third:] == "More native text"
    assert parsed.metadata["ocr_pages"] == "2"
    assert 0.8 < float(parsed.metadata["ocr_confidence"]) <= 1
    assert seen == [(1, 3), (2, 3), (3, 3)]


@needs_tesseract
def test_a_scan_with_a_stamp_is_read_and_its_stamp_kept_once() -> None:
    parsed = parse_pdf(scan(SCANNED, stamp="COPY 0042"), LIMITS)
    assert squeezed(parsed.text).replace("\n", " ") == f"COPY 0042 {SCANNED_TEXT}".replace(
        "\n", " "
    )
    assert parsed.text.count("0042") == 1


def test_a_scan_with_its_own_text_layer_is_not_read_again() -> None:
    words = "Reading matter of a page that was scanned and more of it than a stamp would have, "
    parsed = parse_pdf(scan(SCANNED, invisible=words * 2), WITHOUT_OCR)
    assert parsed.text.startswith("Reading matter of a page that was scanned")
    assert "needs_ocr" not in parsed.metadata


def test_pictures_wait_for_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    with pytest.raises(ParseRefused, match="install tesseract-ocr-eng"):
        parse_pdf(scan(SCANNED), LIMITS)
    parsed = parse_pdf(scan(SCANNED, "Native text", SCANNED), LIMITS)
    assert parsed.text.strip() == "Native text"
    assert parsed.metadata["needs_ocr"] == "1, 3"


def test_drawings_wait_too() -> None:
    assert refusal(pdf("", "", rectangle=True), WITHOUT_OCR) == Reason.NEEDS_OCR


@needs_tesseract
def test_a_page_as_large_as_a_wall_is_drawn_within_the_limit() -> None:
    wall = Canvas(buffer := io.BytesIO(), pagesize=(14_400, 14_400))
    wall.drawImage(ImageReader(Image.new("L", (10, 10), 0)), 0, 0, 5_000, 5_000)
    wall.showPage()
    wall.save()
    limits = ParseLimits(ocr=OcrRules(max_pixels=40_000))
    assert parse_pdf(buffer.getvalue(), limits).metadata["ocr_pages"] == "1"
