"""Categories without examples, and a confidence that means something."""

import math

import numpy as np
import pytest

from rag_platform.enrichment.nlp.categories import (
    FEW_WORDS,
    TEMPERATURE,
    WORD_SHARE,
    classify,
    scores,
)
from rag_platform.enrichment.nlp.vectors import embed

LABELS = {
    "billing": "invoices, payments and refunds",
    "cards": "debit and credit cards, lost or stolen",
    "loans": "mortgages and loans, interest and repayment",
}
TEXTS = {
    "billing": "I was sent the same invoice twice and want a refund of my payment.",
    "cards": "My credit card was stolen on the train, please block the card.",
    "loans": "What is the interest on a mortgage of twenty years, and the repayment?",
}


@pytest.mark.parametrize("label", LABELS)
def test_a_text_gets_the_label_that_it_is_about(label: str) -> None:
    found, confidence = classify(TEXTS[label], LABELS)
    assert found == label
    assert confidence > 0.8


def test_the_confidence_is_the_softmax_of_the_scores() -> None:
    text = TEXTS["cards"]
    known = scores(text, LABELS)
    powers = [math.exp(score / TEMPERATURE) for score in known]
    found, confidence = classify(text, LABELS)
    assert confidence == pytest.approx(max(powers) / sum(powers))
    assert found == list(LABELS)[int(np.argmax(known))]


def test_a_score_is_the_cosine_and_a_share_for_each_word_of_the_label() -> None:
    # Two distinct words, "fraud" twice; only the first label has the word.
    labels = {"fraud": "", "weather": ""}
    text = "fraud alarm fraud"
    cosines = embed(["fraud", "weather"]) @ embed([text])[0]
    share = WORD_SHARE * math.log(2) * 2 / (2 + 1.5)
    few = 2 / (2 + FEW_WORDS)
    wanted = [(cosines[0] + share) * few, cosines[1] * few]
    assert scores(text, labels) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("text", ["", " ", "12 % -- 7", "ok", "\x00", "\ud800"])
def test_a_text_without_words_says_nothing(text: str) -> None:
    assert classify(text, LABELS)[1] == pytest.approx(1 / 3, abs=0.05)


def test_a_text_about_something_else_does_not_pass_the_gate() -> None:
    text = "Simmer the onions in butter, add the rice and stir until the stock is taken up."
    assert classify(text, LABELS)[1] < 0.8


def test_only_the_start_is_read() -> None:
    start = TEXTS["cards"] + " " * 2_000
    assert classify(start + TEXTS["loans"] * 9, LABELS) == classify(start, LABELS)


def test_labels_may_go_by_their_names_alone() -> None:
    labels = dict.fromkeys(["sports", "music"], "")
    assert classify("The team won the match and the championship.", labels)[0] == "sports"
    assert classify("The orchestra played a symphony of the composer.", labels)[0] == "music"
