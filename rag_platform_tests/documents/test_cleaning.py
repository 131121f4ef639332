"""Cleaning: what goes, what stays, and where the pages begin afterwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.documents.cleaning import Unusable, clean, quality, title_of


def pages_of(text: str, starts: tuple[int, ...]) -> list[str]:
    ends = (*starts[1:], len(text))
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def joined(pages: list[str]) -> tuple[str, tuple[int, ...]]:
    starts = tuple(sum(len(page) for page in pages[:n]) for n in range(len(pages)))
    return "".join(pages), starts


def test_invisible_characters_are_removed_and_counted() -> None:
    hidden = "\u200b\u200d\u2060\ufeff\u00ad\u202e\U000e0041"
    found = clean(f"Pay{hidden} the bill.")
    assert (found.text, found.hidden) == ("Pay the bill.", 7)
    assert clean("Zwölf Äpfel").hidden == 0


def test_control_characters_and_space_at_the_ends_are_removed() -> None:
    found = clean("\n\na\x00b\x1b[1m  \t\n\n\n\n\nc\x85d \fe  \n \n")
    assert found.text == "ab[1m\n\ncd\ne"
    assert (found.page_starts, found.hidden) == ((), 0)


def test_indentation_and_single_blank_lines_stay() -> None:
    text = "a:\n    b\n\tc\n\nd"
    assert clean(text).text == text


def test_nothing_is_left_of_nothing() -> None:
    for text in ("", " \n\n ", "\x00"):
        found = clean(text)
        assert (found.text, found.quality) == ("", 0.0)
    assert clean("", (0,)).page_starts == (0,)


def test_running_heads_and_page_numbers_are_removed() -> None:
    bodies = ["Alpha body.", "Beta body.", "Gamma body.", "Delta body."]
    text, starts = joined(
        [f"ACME manual\n\n{body}\n\nPage {n} of 4\n" for n, body in enumerate(bodies, start=1)]
    )
    found = clean(text, starts)
    assert found.text == "Alpha body.\n\nBeta body.\n\nGamma body.\n\nDelta body."
    # 11 + 2, then 10 + 2, then 11 + 2.
    assert found.page_starts == (0, 13, 25, 38)


def test_only_a_number_that_goes_with_the_page_is_a_page_number() -> None:
    pages = [
        f"{n} - ACME 7 of 9\nTotal {n * n} of {n}\n{n}.5 {n * n}.5\n" for n in (11, 12, 13, 14)
    ]
    text, starts = joined(pages)
    found = clean(text, starts)
    assert "ACME" not in found.text
    assert [line for line in found.text.split("\n") if line] == [
        line for n in (11, 12, 13, 14) for line in (f"Total {n * n} of {n}", f"{n}.5 {n * n}.5")
    ]


def test_sheets_slides_and_chapters_have_no_running_heads() -> None:
    text, starts = joined(
        [f"# Chapter {n}\n\n| Month | Sales |\n| {n} | {n} |\n" for n in range(5)]
    )
    assert clean(text, starts, printed=False).text.count("| Month | Sales |") == 5
    assert "# Chapter 3" in clean(text, starts, printed=False).text


def test_a_line_on_half_of_the_pages_or_of_three_pages_stays() -> None:
    text, starts = joined(["Head\nA\n", "Head\nB\n", "C\n", "D\n"])
    assert clean(text, starts).text.count("Head") == 2
    text, starts = joined(["Head\nA\n", "Head\nB\n", "Head\nC\n"])
    assert clean(text, starts).text.count("Head") == 3


def test_a_running_line_in_the_middle_of_a_page_stays() -> None:
    body = "\n".join(f"line {chr(97 + n)}" for n in range(3))
    middle = f"{body}\nACME\n{body}"
    text, starts = joined(
        [f"ACME\n{n}x\n{n}y\n{middle}\n{n}z\n{n}w\n{n}v\n" for n in ("p", "q", "r", "s")]
    )
    found = clean(text, starts)
    assert [page.count("ACME") for page in pages_of(found.text, found.page_starts)] == [1, 1, 1, 1]


def test_pages_without_text_keep_their_place() -> None:
    text, starts = joined(["\n", "One\u200b.\n\n", "  \n", "Two.", " "])
    found = clean(text, starts)
    assert found.text == "One.\n\nTwo."
    assert found.page_starts == (0, 0, 6, 6, 10)


WORDS = st.text(alphabet="ab \n\t\u200b\x00\fé", max_size=30)


@given(st.lists(WORDS, min_size=1, max_size=7))
def test_page_starts_grow_and_pages_keep_their_own_letters(pages: list[str]) -> None:
    marked = [f"\n{chr(65 + n)}{page}{chr(65 + n)}\n" for n, page in enumerate(pages)]
    text, starts = joined(marked)
    found = clean(text, starts)
    assert len(found.page_starts) == len(pages)
    assert list(found.page_starts) == sorted(found.page_starts)
    assert found.page_starts[0] == 0
    for number, page in enumerate(pages_of(found.text, found.page_starts)):
        assert set(page) & set("ABCDEFG") <= {chr(65 + number)}
    assert not set(found.text) & set("\u200b\x00\f")


@given(WORDS)
def test_clean_text_is_clean(text: str) -> None:
    once = clean(text).text
    assert clean(once).text == once


def test_garbled_text_is_refused() -> None:
    with pytest.raises(Unusable, match="6 of 100 characters cannot be decoded") as refused:
        clean("\ufffd" * 6 + "a" * 94)
    assert refused.value.reason == "garbled"
    assert clean("\ufffd" * 5 + "a" * 95).text.startswith("\ufffd")


def test_quality_is_the_share_of_letters_digits_and_common_marks() -> None:
    assert quality("Two words, 3 marks!") == 1.0
    assert quality("ab¤¤") == 0.5
    assert quality("¤¤") == 0.0
    assert quality(" \n") == 0.0
    assert quality("größe 水") == 1.0


def test_titles() -> None:
    assert title_of("Own  title\n", "# Heading", "a/b.md") == "Own title"
    assert title_of("", "text\n## Heading  two \n", "a/b.md") == "Heading two"
    assert title_of("", "#hashtag\ntext", "a/b c.md") == "b c.md"
    assert title_of("A\u200bB\x00\x1b", "", "k") == "AB"
    assert len(title_of("x" * 500, "", "k")) == 300
