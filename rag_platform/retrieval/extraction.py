"""Answers without a model: the sentences of the passages that are most like the question.

What a passage says to do is words like any other: it is neither followed nor, once it was taken
out of the text, quoted.
"""

from collections.abc import Iterator
from typing import Any

from rag_platform.llm.gateway import Ask, Extractive, ExtractiveAnswer
from rag_platform.llm.untrusted import REMOVED_INSTRUCTION, REMOVED_MARK
from rag_platform.retrieval.answers import PROMPT, Material, PassageAnswer, Quote, Said
from rag_platform.retrieval.grounding import located

# A further sentence is told where it is nearly as like the question as the first: the two best
# hold the answer to 84 % of English questions, the best alone to 72 % (benchmarks/answers.py).
_MOST_TOLD = 2
_NEARLY = 0.85


def passage_answer(ask: Ask[Any]) -> ExtractiveAnswer:
    """The best sentences of the `Material` in the context; a refusal where none can be quoted."""
    material: Material = ask.context
    told = list(_told(material))
    answer = PassageAnswer(refused=not told, sentences=told)
    return ExtractiveAnswer(answer.model_dump(), material.match.likeness)


def _told(material: Material) -> Iterator[Said]:
    best, told = 0.0, set[str]()
    for sentence in material.match.sentences:
        if len(told) == _MOST_TOLD or sentence.score < _NEARLY * best:
            return
        if REMOVED_INSTRUCTION in sentence.text or REMOVED_MARK in sentence.text:
            continue
        if sentence.text in told or not located(sentence.text, material.passages[sentence.passage]):
            continue
        best = max(best, sentence.score)
        told.add(sentence.text)
        quote = Quote(passage=sentence.passage + 1, quote=sentence.text)
        yield Said(text=sentence.text, citations=[quote])


EXTRACTIVE: dict[str, Extractive] = {PROMPT: passage_answer}
