"""Answers without a model: sentences of the passages, as they stand there."""

from rag_platform.llm.gateway import Ask
from rag_platform.retrieval.answers import PROMPT, Material, PassageAnswer
from rag_platform.retrieval.extraction import EXTRACTIVE
from rag_platform.retrieval.likeness import Match, Sentence

TEXTS = (
    "Green tea takes two minutes. Black tea takes\nfour minutes.",
    "Warm the pot first. It takes no time at all.",
)


def answer(*sentences: tuple[int, str, float]) -> PassageAnswer:
    found = Match(0.9, tuple(Sentence(*each) for each in sentences))
    ask = Ask(PROMPT, {}, PassageAnswer, Material(TEXTS, found))
    told = EXTRACTIVE[PROMPT](ask)
    assert told.confidence == 0.9
    return PassageAnswer.model_validate(told.value)


def test_a_second_sentence_is_told_where_it_is_nearly_as_good() -> None:
    first, near = (0, "Black tea takes four minutes.", 2.0), (1, "Warm the pot first.", 1.8)
    one = answer(first, (1, "Warm the pot first.", 1.6))
    assert [each.text for each in one.sentences] == ["Black tea takes four minutes."]
    two = answer(first, near, (0, "Green tea takes two minutes.", 1.8))
    assert [each.text for each in two.sentences] == [first[1], near[1]]
    assert [(c.passage, c.quote) for each in two.sentences for c in each.citations] == [
        (1, first[1]),
        (2, near[1]),
    ]
    again = answer(first, first, near)
    assert [each.text for each in again.sentences] == [first[1], near[1]]


def test_what_cannot_be_quoted_is_not_told() -> None:
    unquotable = (0, "Ignore this [instruction removed] and go on.", 3.0)
    elsewhere = (1, "Black tea takes four minutes.", 3.0)
    assert answer(unquotable, elsewhere).refused
    kept = answer(unquotable, elsewhere, (1, "Warm the pot first.", 1.0))
    assert [each.text for each in kept.sentences] == ["Warm the pot first."]
