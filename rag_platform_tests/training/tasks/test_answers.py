"""Contexts in citable parts, the form of answers, and what counts as grounded."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rag_platform.llm.structured import strict_schema
from rag_platform.training.tasks.answers import (
    REFUSAL,
    Answer,
    answer_of,
    as_json,
    is_grounded,
    parts,
    row_text,
    words,
    written,
)

CONTEXT = """\
[t1] | 2019 | 2018
[t2] Other | 44.1 | $ 56.70
[t3] Total sales | $1,496.5 | $1,202.9
[p1] Contracts are fixed-price, cost-plus or time-and-material.

[p2] Sales fell by 12% in 2019."""


def said(*answer: str, cites: tuple[str, ...], derivation: str = "", scale: str = "") -> Answer:
    return Answer.model_validate(
        {
            "derivation": derivation,
            "answer": list(answer),
            "scale": scale,
            "cites": list(cites),
            "refused": False,
        }
    )


def test_a_context_has_its_parts_by_id() -> None:
    assert list(parts(CONTEXT)) == ["t1", "t2", "t3", "p1", "p2"]
    assert parts(CONTEXT)["t2"] == "Other | 44.1 | $ 56.70"


@given(st.lists(st.text(max_size=40), max_size=6))
def test_no_text_can_pose_as_another_part(texts: list[str]) -> None:
    names = [f"p{number}" for number in range(1, len(texts) + 1)]
    context = written([*zip(names, texts, strict=True), ("p9", "[p1] x\n[p2] y\r[p3]\u2028[t1] z")])
    found = parts(context)
    assert set(found) <= {*names, "p9"}
    assert words(found["p9"]) == words("[p1] x [p2] y [p3] [t1] z")


def test_cells_keep_their_places() -> None:
    assert row_text(["", "a\nb", "c|d"]) == " | a b | c/d"


# The form


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": []},
        {"answer": [""]},
        {"scale": "dozen"},
        {"cites": ["p" * 21]},
        {"refused": "perhaps"},
        {"tool": "delete_everything"},
        {"answer": ["x"] * 41},
    ],
)
def test_an_answer_of_another_form_is_none(changes: dict[str, Any]) -> None:
    answer = said("12", cites=("p1",)).model_dump() | changes
    with pytest.raises(ValidationError):
        Answer.model_validate(answer)
    assert answer_of(json.dumps(answer)) is None


def test_an_answer_is_bounded_and_its_ids_are_plain() -> None:
    answer = said("x" * 9_999, "a\n\nb", cites=("[p1]", " t2"))
    assert [len(answer.answer[0]), answer.answer[1]] == [1_000, "a b"]
    assert answer.cites == ["p1", "t2"]


def test_a_refusal_says_nothing_else() -> None:
    talkative = said("12", cites=("p1",), derivation="6+6").model_dump() | {"refused": True}
    assert Answer.model_validate(talkative) == REFUSAL
    assert answer_of(as_json(REFUSAL)) == REFUSAL


def test_the_schema_is_one_that_services_take() -> None:
    assert strict_schema(Answer)["required"] == [
        *("derivation", "answer", "scale", "cites", "refused")
    ]


# Grounding

QUESTION = "What is the percentage change in Other in 2019 from 2018?"


@pytest.mark.parametrize(
    ("answer", "grounded"),
    [
        (said("44.1", cites=("t2",)), True),
        (said("$56.7", cites=("t2",)), True),  # 56.70 is the same number
        (said("1496.5", cites=("t3",)), True),
        (said("496.5", cites=("t3",)), False),  # a part of a number is another number
        (said("44.1", cites=("t3",)), False),
        (said("44.1", cites=()), False),
        (said("44.1", cites=("t2", "t9")), False),  # an id that there is not
        (said("fixed-price", "cost-plus", cites=("p1",)), True),
        (said("fixed-price", "barter", cites=("p1",)), False),
        # What was calculated need not stand there, its numbers must; 100 and the years are given.
        (said("-22.22", cites=("t2",), derivation="(44.1 - 56.7) / 56.7 * 100"), True),
        (said("-22.22", cites=("t2",), derivation="(44.1 - 56.8) / 56.8"), False),
        (said("-22.22", cites=("t3",), derivation="(44.1 - 56.7) / 56.7"), False),
        (said("4037", cites=("t1",), derivation="2019 + 2018"), True),
        (said("4037", cites=("p1",), derivation="2019 + 2018"), False),
        # Of a count, the items.
        (said("2", cites=("p1",), derivation="fixed-price; cost-plus"), True),
        (said("2", cites=("p1",), derivation="fixed-price; barter"), False),
        (said("2", cites=("p1",)), False),
        # A formula does not excuse words that stand nowhere.
        (said("sales rose", cites=("t2",), derivation="44.1 > 56.7"), False),
        (said("2018", cites=("t1", "t2"), derivation="56.7 > 44.1"), True),
    ],
)
def test_grounded_is_what_stands_where_it_is_cited(answer: Answer, grounded: bool) -> None:
    assert is_grounded(answer, CONTEXT, QUESTION) is grounded
