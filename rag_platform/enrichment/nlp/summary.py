"""A summary made of sentences of the text itself: central ones, early ones, ones that name much."""

from collections.abc import Sequence

import numpy as np

from rag_platform.enrichment.nlp.vectors import embed
from rag_platform.enrichment.schemas import MAX_SUMMARY_CHARS, cut_at_word

MAX_SENTENCES = 3
_CONSIDERED = 200
_MAX_CHARS = MAX_SUMMARY_CHARS // MAX_SENTENCES - 1
_MIN_WORDS = 5

# Weights beside the cosine to the whole text: standing first, each of up to three named entities,
# and the cosine to the title.
_POSITION = 0.25
_NAME = 0.08
_TITLE = 0.25
_NEAREST = 0.8  # two sentences are no nearer to each other than this cosine


def summarize(title: str, sentences: Sequence[str], names: Sequence[str] = ()) -> str:
    """At most three of the first 200 `sentences`, as they are written and in their order.

    Without any of a fitting length, the start of the first one, cut at a word; empty without text.
    """
    fitting = [each for each in sentences[:_CONSIDERED] if _fits(each)]
    if not fitting:
        return cut_at_word(sentences[0], _MAX_CHARS) if sentences else ""
    vectors = embed([*fitting, title])
    vectors, lead = vectors[:-1], vectors[-1]
    middle = vectors.sum(axis=0)
    scores = vectors @ middle / max(float(np.linalg.norm(middle)), 1e-9)
    scores += _POSITION / (1 + np.arange(len(fitting)))
    scores += _TITLE * (vectors @ lead) if title.strip() else 0
    wanted = [name.casefold() for name in names]
    scores += [_NAME * min(3, _named(sentence, wanted)) for sentence in fitting]
    chosen: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if all(vectors[index] @ vectors[other] < _NEAREST for other in chosen):
            chosen.append(index)
        if len(chosen) == MAX_SENTENCES:
            break
    return " ".join(fitting[index] for index in sorted(chosen))


def _fits(sentence: str) -> bool:
    return len(sentence) <= _MAX_CHARS and sentence.count(" ") + 1 >= _MIN_WORDS


def _named(sentence: str, names: Sequence[str]) -> int:
    text = sentence.casefold()
    return sum(name in text for name in names)
