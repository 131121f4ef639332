"""Dead letters by window, on both databases."""

import pytest

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.letters import MAX_LETTERS, Letter, WindowLetters, shown

ONE, TWO = "2026-06-09", "2026-06-10"


@pytest.fixture
def letters(shared: Catalog) -> WindowLetters:
    return WindowLetters(shared, "rides")


def test_each_run_replaces_those_of_its_window_and_stage(letters: WindowLetters) -> None:
    first = [Letter("a#2", "range", "x"), Letter("a#1", "range", "y")]
    letters.replace("raw", ONE, first, fingerprint="f")
    letters.replace("raw", TWO, [Letter("b#1", "range", "z")], fingerprint="f")
    letters.replace("other", ONE, [Letter("a#1", "range", "w")], fingerprint="f")
    letters.replace("raw", ONE, [Letter("a#2", "missing", "now")], fingerprint="f")
    assert letters.of("raw", ONE) == [Letter("a#2", "missing", "now")]
    assert letters.of("raw", TWO) == [Letter("b#1", "range", "z")]
    assert letters.of("other", ONE) == [Letter("a#1", "range", "w")]
    letters.replace("raw", ONE, [], fingerprint="f")
    assert letters.of("raw", ONE) == []


def test_an_item_is_of_one_window(letters: WindowLetters) -> None:
    letters.replace("raw", ONE, [Letter("a#1", "range", "x")], fingerprint="f")
    letters.replace("raw", TWO, [Letter("a#1", "range", "x")], fingerprint="f")
    assert (letters.of("raw", ONE), len(letters.of("raw", TWO))) == ([], 1)


def test_many_and_hostile_ones(letters: WindowLetters) -> None:
    many = [Letter(f"a\x00\ud800#{n}", "range", "x" * 5_000) for n in range(MAX_LETTERS + 1)]
    letters.replace("raw", ONE, many, fingerprint="f")
    found = letters.of("raw", ONE)
    assert len(found) == MAX_LETTERS
    assert found[0].item == "a ?#0"
    assert len(found[0].detail) == 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("two\nlines\tand  spaces ", "two lines and spaces"),
        ("\u202eturned\u2028", "turned"),
        ("é \U0001f695", "é \U0001f695"),
        ("y" * 400, "y" * 299 + "…"),
    ],
)
def test_shown(text: str, expected: str) -> None:
    assert shown(text) == expected
