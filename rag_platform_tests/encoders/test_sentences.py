"""Sentences of prose, and what is none."""

from hypothesis import given
from hypothesis import strategies as st

from rag_platform.encoders.sentences import one_line, paragraphs, sentences


def test_abbreviations_initials_and_numbers_end_no_sentence() -> None:
    text = 'Mr. J. R. Smith of the U.S. paid 3.5 million. "Why?" he asked. Nobody knew!'
    assert sentences(text) == [
        "Mr. J. R. Smith of the U.S. paid 3.5 million.",
        '"Why?" he asked.',
        "Nobody knew!",
    ]


def test_lines_of_a_paragraph_are_joined_and_list_items_stand_alone() -> None:
    text = (
        "A sentence that\ngoes on. Another.\n\n- first item\n- second item\n  continued\n1. third"
    )
    assert sentences(text) == [
        "A sentence that goes on.",
        "Another.",
        "first item",
        "second item continued",
        "third",
    ]


def test_markup_is_no_prose() -> None:
    text = (
        "# A heading.\n\nKept one.\n\n```python\ncode. Code.\n```\n\n| a. | b. |\n\n"
        "<div>Tag.</div>\n<!-- hidden. Hidden. -->\n    indented(code). Code.\n\n---\n\n"
        "[link]: https://x.org\n~~~\n```\nstill code.\n~~~\nKept two."
    )
    assert sentences(text) == ["Kept one.", "Kept two."]


def test_an_indented_line_goes_on_with_its_paragraph() -> None:
    assert sentences("It began\n    and ended.") == ["It began and ended."]


def test_texts_in_small_letters_and_in_chinese_have_sentences() -> None:
    assert sentences("the first one.  and the second one. ok") == [
        "the first one.",
        "and the second one.",
        "ok",
    ]
    assert sentences("今天下雨。明天呢。好\uff01") == ["今天下雨。", "明天呢。", "好\uff01"]


def test_a_small_letter_goes_on_where_the_text_has_capitals() -> None:
    assert sentences("He said etc. and so on... then left. She Stayed.") == [
        "He said etc. and so on... then left.",
        "She Stayed.",
    ]


def test_nothing_comes_of_nothing() -> None:
    assert sentences("") == sentences("\n \n") == sentences("# Only a heading") == []


@given(st.text(alphabet="aB.!? \n\"'|#-`<>。1", max_size=300))
def test_a_sentence_stands_in_the_text_as_it_is(text: str) -> None:
    whole = one_line(text)
    for paragraph in paragraphs(text):
        assert all(one_line(line) in whole for line in paragraph.split("\n"))
    joined = [one_line(each) for each in paragraphs(text)]
    found = sentences(text)
    assert all(any(sentence in each for each in joined) for sentence in found)
    assert "".join("".join(found).split()) == "".join("".join(joined).split())
