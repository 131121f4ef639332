import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.llm.routing import WEIGHTS, Step, chain_of, complexity, tier_of

PLAIN: dict[str, Any] = {"type": "object", "properties": {"summary": {"type": "string"}}}


def part(name: str, text: str, schema: dict[str, Any] = PLAIN) -> float:
    return complexity(text, schema).parts[name]


@given(st.text(max_size=400))
def test_a_score_is_the_weighted_mean_of_parts_from_0_to_1(text: str) -> None:
    found = complexity(text, PLAIN)
    assert set(found.parts) == set(WEIGHTS)
    assert all(0 <= value <= 1 for value in found.parts.values())
    mean = sum(WEIGHTS[name] * value for name, value in found.parts.items())
    assert found.score == pytest.approx(mean)
    assert 0 <= found.score <= 1
    assert complexity(text, PLAIN) == found


def test_weights_add_up() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("length", "value"), [(0, 0), (1, 0), (256, 0), (512, 1 / 7), (4096, 4 / 7), (32_768, 1)]
)
def test_length_counts_by_doublings(length: int, value: float) -> None:
    assert part("length", "x" * length) == pytest.approx(value)


def test_a_million_characters_are_measured_by_their_start() -> None:
    start = "Running text without much in it. " * 1_300
    assert complexity(start + "{}[]" * 250_000, PLAIN) == complexity(start + "x" * 1_000, PLAIN)


def test_fields_and_choices_of_the_answer() -> None:
    labels = [str(number) for number in range(6)]
    nested = {
        "type": "object",
        "properties": {
            "label": {"type": "string", "enum": labels},
            "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
        },
        "$defs": {"Item": {"type": "object", "properties": {"a": {}, "b": {}}}},
    }
    assert part("fields", "", PLAIN) == 0
    assert part("fields", "", nested) == pytest.approx((2 + 6 + 2 - 1) / 15)


def test_names_and_numbers() -> None:
    assert part("names", "nothing of the kind in these ten words of text") == 0
    # 4 of 10 words: all of the scale.
    assert part("names", "on 3 May Anna met the man of the Bank") == pytest.approx(1)
    # 2 of 10: a third of it.
    assert part("names", "then Anna went to the old house of the Millers") == pytest.approx(1 / 3)


def test_structure() -> None:
    assert part("structure", "one line\nand another\n") == 0
    assert part("structure", "# Title\ntext\ntext\ntext") == pytest.approx(0.5)
    assert part("structure", "# Title\n- item\n| a | b |\n1. first\ntext") == 1


def test_long_words() -> None:
    assert part("vocabulary", "short words only are in this one here now") == 0
    assert part("vocabulary", "notwithstanding x y z a b c d e f") == pytest.approx(1 / 3)


def test_symbols() -> None:
    assert part("symbols", "Plain; text, with (some) punctuation - and 'quotes'.") == 0
    assert part("symbols", "{}<>" * 5 + "a" * 80) == 1


def test_scripts() -> None:
    assert part("scripts", "only latin, même avec accents") == 0
    assert part("scripts", "日本語のテキスト") == 0  # kanji and kana are written together
    assert part("scripts", "a" * 90 + "я" * 10) == pytest.approx(0.5)
    assert part("scripts", string.digits) == 0


def test_easy_and_hard_requests_are_told_apart() -> None:
    easy = "The card was lost on the way home and a new one is needed soon. " * 5
    clause = (
        "## 4.{n} Liability\n- The Contractor, Miller & Sons GmbH, indemnifies the Customer\n"
        "- notwithstanding Clause 12.{n}: EUR 1,250,000 (31 December 2024)\n"
        "| Party | Share % | § |\n"
    )
    hard = "".join(clause.replace("{n}", str(number)) for number in range(150))
    many = {"type": "object", "properties": {str(number): {} for number in range(10)}}
    assert complexity(easy, PLAIN).score < 0.25
    assert complexity(hard, many).score > 0.6


@pytest.mark.parametrize(
    ("score", "threshold", "tiers", "tier"),
    [
        (0.49, 0.5, "ab", "a"),
        (0.5, 0.5, "ab", "b"),
        (1.0, 0.5, "ab", "b"),
        (0.9, 0.5, "a", "a"),
        (0.0, 0.0, "ab", "b"),
        (1.0, 1.0, "ab", "b"),
        (0.99, 1.0, "ab", "a"),
        (0.39, 0.4, "abcd", "a"),
        (0.4, 0.4, "abcd", "b"),
        (0.59, 0.4, "abcd", "b"),
        (0.61, 0.4, "abcd", "c"),
        (0.81, 0.4, "abcd", "d"),
        (1.0, 0.4, "abcd", "d"),
    ],
)
def test_tiers(score: float, threshold: float, tiers: str, tier: str) -> None:
    assert tier_of(score, list(tiers), threshold) == tier


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2), st.floats(0, 1), st.integers(1, 6))
def test_more_complexity_never_means_a_cheaper_tier(
    scores: list[float], threshold: float, count: int
) -> None:
    tiers = [str(number) for number in range(count)]
    low, high = sorted(scores)
    assert tier_of(low, tiers, threshold) <= tier_of(high, tiers, threshold)


def test_a_chain_has_each_model_once() -> None:
    tiers = {"small": "m1", "middle": "m1", "large": "m2", "own": "m3"}
    fallbacks = {"large": ("own", "small", "middle"), "small": ("middle",)}
    assert chain_of("large", tiers, fallbacks) == [
        Step("large", "m2"),
        Step("own", "m3"),
        Step("small", "m1"),
    ]
    assert chain_of("small", tiers, fallbacks) == [Step("small", "m1")]
    assert chain_of("own", tiers, fallbacks) == [Step("own", "m3")]
