"""Texts as pages show them: bounded, harmless, with places in them marked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.console import texts
from rag_platform.console.texts import Mark, around, excerpt, named, plain


def test_a_plain_text_has_the_same_length() -> None:
    assert plain("a\tb\nc") == "a\tb\nc"
    assert plain("\x1b[31m\u202e\r\ud800é\u2066") == "\ufffd[31m\ufffd\ufffd\ufffdé\ufffd"
    # Joiners are part of words and signs.
    assert plain("\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f52c") == (
        "\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f52c"
    )
    assert plain(7) == "7"


def test_marks_and_pages_cut_a_text() -> None:
    marks = [Mark(8, 9, "late"), Mark(2, 5, "kept"), Mark(4, 7, "overlaps"), Mark(9, 99, "beyond")]
    found = excerpt("0123456789", marks=marks, page_starts=[0, 4])
    assert [(p.text, p.mark.kind if p.mark else None, p.page) for p in found.pieces] == [
        ("01", None, 1),
        ("23", "kept", None),
        ("4", "kept", 2),
        ("567", None, None),
        ("8", "late", None),
        ("9", None, None),
    ]
    assert (found.before, found.after) == (None, None)
    assert excerpt("").pieces == []


@given(
    text=st.text(max_size=60),
    at=st.integers(-5, 70),
    marks=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=5),
    pages=st.lists(st.integers(0, 60), max_size=4),
)
def test_pieces_are_the_text_whatever_is_marked(
    text: str, at: int, marks: list[tuple[int, int]], pages: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "WINDOW", 20)
        found = excerpt(
            text, at=at, marks=[Mark(a, b, "x") for a, b in marks], page_starts=sorted(pages)
        )
    assert "".join(piece.text for piece in found.pieces) == plain(text[found.start : found.end])
    assert found.end - found.start <= 20
    for piece in found.pieces:
        if piece.mark:
            assert piece.mark.start <= piece.start < piece.mark.end <= found.end


def test_an_excerpt_around_a_passage_shows_it() -> None:
    assert around(100_000, 50, 90) == 0
    assert around(20_500, 19_990, 20_400) == 500
    at = around(100_000, 50_000, 51_000)
    assert at == 46_000
    [mark] = [
        p.mark
        for p in excerpt("x" * 100_000, at=at, marks=[Mark(50_000, 51_000, "passage")]).pieces
        if p.mark
    ]
    assert (mark.start, mark.end) == (50_000, 51_000)


def test_names_are_found_as_whole_words() -> None:
    found = named(
        "Ann met ann-Lee (Anna) and Bo Li; C++ by Ann.",
        {"people": ["ann", "Bo Li", " "], "topics": ["Bo", "C++", "a.*"]},
    )
    assert [(mark.start, mark.end, mark.kind) for mark in found] == [
        (0, 3, "people"),
        (8, 11, "people"),
        (27, 32, "people"),
        (34, 37, "topics"),
        (41, 44, "people"),
    ]
    assert named("anything", {"people": []}) == []
