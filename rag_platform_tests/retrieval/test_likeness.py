"""Passages that answer a question are told from those that do not."""

import pytest

from rag_platform.retrieval.likeness import NO_MATCH, match

RAINFOREST = (
    "The Amazon rainforest covers most of the Amazon basin of South America. The basin encompasses "
    "seven million square kilometres. Nine nations share it; the majority lies in Brazil."
)
TEA = (
    "Steep green tea for two minutes. Black tea takes four minutes in boiling water.\n\n"
    "| kind | grams |\n| --- | --- |\n| oolong | six |"
)
STEAM = (
    "The boiler heats water under pressure. Steam then drives the piston, and a condenser cools it."
)


def test_a_question_about_the_passages_is_likely_and_another_is_not() -> None:
    passages = [STEAM, TEA, RAINFOREST]
    about = match("How many nations share the Amazon basin?", passages)
    other = match("Who won the football championship of 1998?", passages)
    assert about.likeness > 0.8
    assert other.likeness < 0.1
    assert about.sentences[0].passage == 2


def test_the_best_sentence_comes_first_and_may_be_the_row_of_a_table() -> None:
    found = match("How long does black tea take?", [TEA, STEAM]).sentences
    assert found[0].text == "Black tea takes four minutes in boiling water."
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    row = match("How many grams of oolong?", [TEA, STEAM]).sentences[0]
    assert (row.passage, row.text) == (0, "| oolong | six |")


@pytest.mark.parametrize(
    ("question", "passages", "expected"),
    [
        (
            "Wie viele Länder teilen sich das Amazonasbecken?",
            ["Das Amazonasbecken teilen sich neun Länder.", "Der Kolben wird vom Dampf bewegt."],
            0,
        ),
        ("亚马逊盆地有多少个国家\uff1f", ["蒸汽推动活塞运动。", "亚马逊盆地由九个国家共有。"], 1),
    ],
)
def test_in_other_languages(question: str, passages: list[str], expected: int) -> None:
    assert match(question, passages).sentences[0].passage == expected


def test_a_single_sentence_is_enough() -> None:
    passage = ["The rival steeps black tea for nine minutes."]
    assert match("How long is black tea steeped?", passage).likeness > 0.6
    assert match("Who heats the water of the boiler?", passage).likeness < 0.2


def test_nothing_to_go_by_matches_nothing() -> None:
    assert match("???", [TEA]) == NO_MATCH
    assert match("Which tea?", []) == NO_MATCH
    assert match("Which tea?", ["# Heading"]) == NO_MATCH
    assert match("what is it and how?", ["---", "***"]) == NO_MATCH
