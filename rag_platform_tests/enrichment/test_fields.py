"""Fields: what is missing, what may be corrected, and a digest that order does not change."""

from typing import Any

import pytest

from rag_platform.enrichment.fields import (
    FieldsRefused,
    corrections,
    digest_of,
    missing_of,
    published_of,
)


def test_missing_fields() -> None:
    full = {"title": "T", "language": "en", "summary": "S", "label": "loans"}
    assert missing_of(full) == []
    assert missing_of(full | {"summary": "", "language": None}) == ["language", "summary"]
    assert missing_of({}) == ["title", "language", "summary", "label"]


def test_the_digest_is_of_the_values() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
    assert digest_of({"a": "\ud800"}) == digest_of({"a": "\ud800"})


def test_only_published_fields_leave() -> None:
    assert "characters" not in published_of({"characters": 3, "label": "loans"})


def test_corrections_that_fit() -> None:
    values = {"topics": [" tax "], "date": "2024-05", "language": "de", "author": "Ann"}
    assert corrections(values) == values | {"topics": ["tax"]}
    assert corrections({}) == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label": "x"}, "field 'label': Extra inputs are not permitted."),
        ({"quality": 1}, "field 'quality': Extra inputs are not permitted."),
        ({"topics": "tax"}, "field 'topics': Input should be a valid list."),
        ({"topics": ["t"] * 9}, "field 'topics': List should have at most 8 items"),
        ({"people": [""]}, "field 'people.0': String should have at least 1 character."),
        ({"date": "yesterday"}, "field 'date': String should match pattern"),
        ({"language": "English"}, "field 'language': String should match pattern"),
        ({"summary": "x" * 1_201}, "field 'summary': String should have at most 1200 characters."),
    ],
)
def test_corrections_that_do_not(values: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldsRefused) as refused:
        corrections(values)
    assert str(refused.value).startswith(message)
    assert "yesterday" not in str(refused.value)
