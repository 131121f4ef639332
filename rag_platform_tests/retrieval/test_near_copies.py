"""Passages of near copies as one result."""

from typing import Any

from rag_platform.retrieval.near_copies import near_groups

TEXT = " ".join(f"word{number}" for number in range(60))
NEAR = TEXT.replace("word59", "other")  # one of 58 shingles differs: 57 of 59
FAR = TEXT.replace("word30", "other").replace("word50", "other")  # six differ: 52 of 64


def groups(k: int, *rows: tuple[str, str, str | None]) -> list[list[str]]:
    """Rows of name, text and canonical document, best first; a name twice stands twice."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, text, canonical in rows:
        payload = {"text": text} | ({"canonical": canonical} if canonical else {})
        found.setdefault(name, []).append(payload)
    return near_groups(found, found.__getitem__, k)


def test_alike_passages_of_one_group_are_one() -> None:
    assert groups(9, ("a", TEXT, "d"), ("b", NEAR, "d")) == [["a", "b"]]
    assert groups(9, ("b", NEAR, "d"), ("a", TEXT, "d")) == [["b", "a"]]


def test_others_are_not() -> None:
    assert groups(9, ("a", TEXT, "d"), ("b", NEAR, "e")) == [["a"], ["b"]]
    assert groups(9, ("a", TEXT, None), ("b", NEAR, None)) == [["a"], ["b"]]
    assert groups(9, ("a", TEXT, "d"), ("b", FAR, "d")) == [["a"], ["b"]]


def test_a_text_that_stands_in_two_groups_belongs_to_both() -> None:
    rows = (("a", TEXT, "d"), ("a", TEXT, "e"), ("b", NEAR, "e"), ("c", FAR, "d"))
    assert groups(9, *rows) == [["a", "b"], ["c"]]


def test_merged_passages_do_not_count_and_may_come_late() -> None:
    rows = (("a", TEXT, "d"), ("b", NEAR, "d"), ("c", FAR, "d"), ("e", "last words", None))
    assert groups(2, *rows) == [["a", "b"], ["c"]]
    late = (("a", TEXT, "d"), ("e", "last words", None), ("b", NEAR, "d"))
    assert groups(1, *late) == [["a", "b"]]
    assert groups(0, *late) == []
