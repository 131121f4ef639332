"""The answers' schemas: what a model may write, and what is kept of it."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rag_platform.encoders.sentences import one_line
from rag_platform.enrichment.schemas import (
    MAX_NAME_CHARS,
    MAX_SUMMARY_CHARS,
    Entities,
    Summary,
    classification_schema,
    cut_at_word,
    distinct,
)
from rag_platform.llm.structured import strict_schema

NONE: dict[str, list[str]] = {"people": [], "organizations": [], "dates": [], "topics": []}


def test_names_come_out_once_on_one_line_and_without_what_does_not_show() -> None:
    told = ["  Jane\n Smith ", "JANE SMITH", "Acme\u200b\x00 Inc\ud800", "", " \t", "\u202e"]
    found = Entities(**NONE | {"people": told})
    assert found.people == ["Jane Smith", "Acme Inc"]


def test_lists_and_names_are_bounded() -> None:
    many = [f"name {number}" for number in range(100)]
    found = Entities(people=many, organizations=many, dates=many, topics=many)
    kept = [len(found.people), len(found.organizations), len(found.dates), len(found.topics)]
    assert kept == [30, 30, 30, 8]
    assert found.topics == many[:8]
    long = Entities(**NONE | {"people": ["a" * 121, "b" * 120]})
    assert long.people == ["b" * 120]


def test_a_summary_is_one_line_cut_at_a_word() -> None:
    assert Summary(summary="One.\n\n  Two.\x07").summary == "One. Two."
    assert Summary(summary="").summary == ""
    cut = Summary(summary="word " * 1_000).summary
    # 240 words with 239 spaces are 1,199 characters.
    assert cut == "word " * 239 + "word…"


@pytest.mark.parametrize(
    "answer",
    [
        {"people": [], "organizations": [], "dates": []},
        NONE | {"places": []},
        NONE | {"people": "Jane"},
        NONE | {"people": [1]},
        NONE | {"people": None},
    ],
)
def test_another_form_is_refused(answer: Any) -> None:
    with pytest.raises(ValidationError):
        Entities.model_validate(answer)


def test_an_error_does_not_show_the_answer() -> None:
    with pytest.raises(ValidationError) as caught:
        Summary.model_validate({"summary": 1, "said": "a secret of the document"})
    assert "secret" not in str(caught.value)


def test_a_category_is_one_of_the_labels() -> None:
    schema = classification_schema({"billing": "", "cards": "lost and stolen cards"})
    assert schema(label="cards").label == "cards"
    with pytest.raises(ValidationError):
        schema(label="Cards")
    with pytest.raises(ValidationError):
        schema.model_validate({"label": "cards", "reason": "because"})
    with pytest.raises(ValueError, match="needs labels"):
        classification_schema({})


def test_the_same_labels_have_the_same_type() -> None:
    schema = classification_schema({"a": "", "b": ""})
    assert classification_schema({"a": "meaning", "b": ""}) is schema
    assert classification_schema({"b": "", "a": ""}) is not schema


def test_the_schemas_are_strict() -> None:
    for schema in (Entities, Summary, classification_schema({"a": "", "b": ""})):
        strict = strict_schema(schema)
        assert strict["additionalProperties"] is False
        assert strict["required"] == list(strict["properties"])
    assert strict["properties"]["label"]["enum"] == ["a", "b"]


@given(st.lists(st.text(max_size=200), max_size=60), st.integers(0, 40))
def test_distinct_names_are_bounded_and_stay_as_they_are(names: list[str], most: int) -> None:
    found = distinct(names, most)
    assert len(found) <= most
    assert all(0 < len(name) <= MAX_NAME_CHARS for name in found)
    assert not {"Cc", "Cf", "Cs"} & set(map(unicodedata.category, "".join(found)))
    assert len({name.casefold() for name in found}) == len(found)
    assert distinct(found, most) == found


@given(st.text(), st.integers(1, 50))
def test_a_cut_text_is_the_start_of_the_whole(text: str, most: int) -> None:
    line = one_line(text)
    cut = cut_at_word(line, most)
    assert len(cut) <= most
    assert line.startswith(cut.removesuffix("…")) or cut == line


@given(st.text())
def test_any_text_makes_a_summary_that_can_be_sent(text: str) -> None:
    summary = Summary(summary=text).summary
    assert len(summary) <= MAX_SUMMARY_CHARS
    summary.encode()
    assert Summary(summary=summary).summary == summary
