"""Pieces: nothing lost, code left alone, and an edit changes those near it only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.documents.pieces import MOST, Piece, pieces

LINES = st.sampled_from(
    [
        *("", "\n", "  \n", "# Title\n", "## Part\n", "```\n", "~~~\n", "````py\n"),
        *("| a | b |\n", "- item\n", "12 34\n", "words " * 40 + "\n", "a b. " * 900 + "\n"),
        *("x" * 4_500, "\u4e2d\u6587\u3002" * 900),
    ]
)


@given(st.lists(LINES, max_size=30).map("".join))
def test_joined_they_are_the_text(text: str) -> None:
    found = pieces(text)
    assert "".join(piece.text for piece in found) == text
    assert all(piece.text for piece in found)
    assert all(len(piece.text) <= MOST for piece in found if piece.is_prose)


def test_code_is_no_prose() -> None:
    text = "Before.\n\n```py\nprint('a')\n\n# not a heading\n```\nAfter.\n"
    assert pieces(text) == [
        Piece("Before.\n\n", True),
        Piece("```py\nprint('a')\n\n# not a heading\n```\n", False),
        Piece("After.\n", True),
    ]


def test_code_that_does_not_end_is_no_prose() -> None:
    assert pieces("~~~\nx = 1\n```\n\nnever closed") == [
        Piece("~~~\nx = 1\n```\n\nnever closed", False)
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "---\n", "1 | 2\n\n3 | 4"])
def test_without_letters_nothing_is_prose(text: str) -> None:
    assert not any(piece.is_prose for piece in pieces(text))


def test_short_paragraphs_go_together() -> None:
    text = "# Title\n\nOne.\n\nTwo.\n\n## Part\n\nThree."
    assert pieces(text) == [Piece(text, True)]


def test_an_edit_leaves_the_pieces_under_other_headings() -> None:
    parts = [f"## Part {n}\n\n{'Some words here. ' * 40}\n\n" for n in range(5)]
    before = pieces("".join(parts))
    assert [piece.text for piece in before] == parts
    parts[1] += "One more paragraph.\n\n"
    assert [piece.text for piece in pieces("".join(parts))] == parts


def test_a_long_paragraph_is_cut_after_a_sentence() -> None:
    sentence = "These are nine words, and they make a sentence. "
    found = pieces(sentence * 100)
    assert all(piece.text.endswith("sentence. ") for piece in found)
    assert len(found) == 3


def test_a_long_table_is_cut_between_rows() -> None:
    rows = "".join(f"| row {n} | {'cell ' * 10}|\n" for n in range(100))
    assert all(piece.text.startswith("| row") for piece in pieces(rows))
    assert all(piece.text.endswith("|\n") for piece in pieces(rows))
