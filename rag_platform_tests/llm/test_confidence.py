import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from rag_platform.llm.confidence import (
    NO_CONFIDENCE,
    Confidence,
    agreement,
    token_probability,
    value_span,
)


def tokens(*parts: tuple[str, float]) -> dict[str, Any]:
    return {"content": [{"token": text, "logprob": math.log(p)} for text, p in parts]}


def spoken(text: str, field: str = "label") -> str | None:
    span = value_span(text, field)
    return None if span is None else text.encode()[span[0] : span[1]].decode()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"label": "loans"}', 'loans"'),
        ('{"reason":"label","label":"loans","x":1}', 'loans"'),
        ('{"a": {"label": "inner"}, "label": "outer"}', 'outer"'),
        ('{"a": "\\"label\\": \\"x\\"", "label": "b"}', 'b"'),
        ('{"label": "a", "label": "b"}', 'b"'),
        ('{ "label" : 0.25 }', "0.25"),
        ('{"label": ["a", "b"]}', '["a", "b"]'),
        ('```json\n{"label": "loans"}\n```', 'loans"'),
        ('{"ключ": "ё", "label": "日本"}', '日本"'),
        ('{"other": "loans"}', None),
        ('{"label": "loans', None),
        ('{"label"', None),
        ("[1, 2]", None),
        ("", None),
        ("{" * 100_000, None),
    ],
)
def test_where_a_value_stands(text: str, value: str | None) -> None:
    assert spoken(text) == value


FIELDS = st.dictionaries(
    st.text(max_size=6),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=6,
    ),
    min_size=1,
    max_size=5,
)


@given(FIELDS, st.booleans(), st.sampled_from([None, 2]))
def test_any_value_is_found_where_it_stands(
    fields: dict[str, Any], escaped: bool, indent: int | None
) -> None:
    text = json.dumps(fields, ensure_ascii=escaped, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    for name, value in fields.items():
        found = spoken(text, name)
        assert found is not None
        assert json.loads(('"' if isinstance(value, str) else "") + found) == value


@given(st.text(max_size=60), st.text(max_size=3))
def test_any_text_is_harmless(text: str, field: str) -> None:
    if all(not "\ud800" <= char <= "\udfff" for char in text):
        value_span(text, field)


def test_the_probability_is_that_of_the_tokens_of_the_value() -> None:
    text = '{"label": "loans", "reason": "because"}'
    given_tokens = tokens(
        ('{"', 0.5), ("label", 0.5), ('":', 0.5), (' "', 0.5), ("lo", 0.9), ("ans", 0.8),
        ('",', 0.7), (' "reason": "because"}', 0.1),
    )  # fmt: skip
    found = token_probability(given_tokens, text, "label")
    assert found is not None
    assert found.method == "token_probability"
    assert found.value == pytest.approx(0.9 * 0.8 * 0.7)


def test_an_answer_within_other_words_has_the_probability_of_its_own_value() -> None:
    parts = (
        ('<think>{"label":"a"}', 0.1), ("</think>", 0.1), ('{"label":"', 0.1),
        ("b", 0.8), ('"}', 0.9), (" So much for that.", 0.1),
    )  # fmt: skip
    found = token_probability(tokens(*parts), "".join(text for text, _ in parts), "label")
    assert found is not None
    assert found.value == pytest.approx(0.8 * 0.9)


def test_tokens_that_hold_more_than_the_value_count() -> None:
    found = token_probability(
        tokens(('{"label":', 0.5), ('"cards"}', 0.6)), '{"label":"cards"}', "label"
    )
    assert found is not None
    assert found.value == pytest.approx(0.6)


def test_characters_over_several_tokens() -> None:
    text = '{"label":"日"}'
    raw = text.encode()
    parts = [raw[:11], raw[11:12], raw[12:]]
    logprobs = {
        "content": [
            {"token": "?", "bytes": list(part), "logprob": math.log(p)}
            for part, p in zip(parts, (0.9, 0.5, 0.8), strict=True)
        ]
    }
    found = token_probability(logprobs, text, "label")
    assert found is not None
    # The first byte of the value is in the first token.
    assert found.value == pytest.approx(0.9 * 0.5 * 0.8)


TEXT = '{"label":"a"}'
GOOD = {"token": TEXT, "logprob": -0.5}


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        [],
        {},
        {"content": None},
        {"content": []},
        {"content": {"0": GOOD}},
        {"content": [None]},
        {"content": [{"token": TEXT}]},
        {"content": [GOOD, GOOD]},
        {"content": [{"token": "else", "logprob": -0.5}]},
        {"content": [GOOD | {"logprob": "high"}]},
        {"content": [GOOD | {"logprob": math.nan}]},
        {"content": [GOOD | {"logprob": math.inf}]},
        {"content": [GOOD | {"logprob": 0.7}]},
        {"content": [GOOD | {"logprob": True}]},
        {"content": [GOOD | {"logprob": -(10**400)}]},
        {"content": [GOOD | {"bytes": [1, 2, 999]}]},
        {"content": [GOOD | {"bytes": ["a"]}]},
        {"content": [GOOD | {"token": "\ud800"}]},
        {"content": [GOOD | {"token": 7}]},
    ],
)
def test_odd_probabilities_are_none(logprobs: Any) -> None:
    assert token_probability(logprobs, TEXT, "label") is None


@pytest.mark.parametrize(
    ("logprob", "value"),
    [(0, 1.0), (-0.0, 1.0), (1e-9, 1.0), (-1, math.exp(-1)), (-9999.0, 0.0), (-math.inf, 0.0)],
)
def test_the_ends_of_the_scale(logprob: float, value: float) -> None:
    found = token_probability({"content": [GOOD | {"logprob": logprob}]}, TEXT, "label")
    assert found == Confidence(pytest.approx(value), "token_probability")  # type: ignore[arg-type]


class Answer(BaseModel):
    label: str
    topics: list[str] = []


def test_agreement_is_the_share_of_samples_that_say_the_same() -> None:
    answer = Answer(label="Loans and  credit")
    samples = [Answer(label="loans and credit"), Answer(label="cards"), None, answer]
    assert agreement(answer, samples, "label") == Confidence(0.5, "agreement")
    assert agreement(answer, [None], "label") == Confidence(0.0, "agreement")
    same = [Answer(label="x", topics=[])]
    assert agreement(answer, same, "topics") == Confidence(1.0, "agreement")


def test_without_samples_nothing_tells() -> None:
    assert agreement(Answer(label="x"), [], "label") == NO_CONFIDENCE == Confidence(None, "none")
