"""PDF text, page offsets, and PDFs that give none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.documents.parsing.pdf import parse_pdf
from rag_platform.documents.parsing.result import ParseLimits, ParseRefused, Reason
from rag_platform_tests.documents.parsing.samples import pdf

LIMITS = ParseLimits()


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
    assert refusal(data) in (Reason.CORRUPT, Reason.NEEDS_OCR)


def test_not_a_pdf_at_all() -> None:
    assert refusal(b"%PDF-1.4 and nothing else") == Reason.CORRUPT


def test_too_many_pages_and_too_much_text() -> None:
    assert refusal(pdf("a", "b", "c"), ParseLimits(max_pages=2)) == Reason.TOO_MANY_PAGES
    assert parse_pdf(pdf("a", "b"), ParseLimits(max_pages=2)).text == "a\n\nb"
    assert refusal(pdf("text " * 15), ParseLimits(max_inflated_bytes=50)) == Reason.INFLATES


def test_drawings_without_text_need_ocr_and_an_empty_page_is_an_empty_document() -> None:
    assert refusal(pdf("", "", rectangle=True)) == Reason.NEEDS_OCR
    empty = parse_pdf(pdf("", ""), LIMITS)
    assert (empty.text, empty.page_starts) == ("", (0, 0))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1_400), st.binary(min_size=1, max_size=8))
def test_damage_anywhere_is_text_or_a_refusal(position: int, damage: bytes) -> None:
    data = bytearray(pdf("one", "two"))
    data[position : position + len(damage)] = damage
    try:
        parsed = parse_pdf(bytes(data), LIMITS)
    except ParseRefused:
        return
    assert parsed == parse_pdf(bytes(data), LIMITS)
