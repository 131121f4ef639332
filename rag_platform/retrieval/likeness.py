"""How likely it is that passages answer a question, and which of their sentences do.

The score of a search is relative to the best that it found, and cosines of other embedders are on
other scales. So a question is compared anew, always in the same way and in this process: by the
cosine of wordllama's vectors, and by the share of the question's terms that are there, as the
multilingual BM25 sees terms. What both are worth depends on the language; the other sentences found
say what is usual. benchmarks/answers.py has the figures.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from rag_platform.encoders.base import Embedder, SparseEncoder
from rag_platform.encoders.bm25 import MultilingualBm25
from rag_platform.encoders.languages import detect
from rag_platform.encoders.sentences import one_line, sentences

# Fitted by logistic regression on questions of XQuAD in twelve languages, whose article was in the
# index or was not (the articles that the benchmark does not report).
SLOPE = 5.65
MIDDLE = 1.92

# Terms are compared by the rules of one language, where the question's is not known by these.
_DEFAULT = "en"
# Fewer sentences than these do not say what is usual: the rest counts as unlike the question.
_FEW = 4
_MOST_SENTENCES = 400
_LONGEST_SENTENCE = 1_000


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, or a row of a table, of the passage with this place, from 0.

    `score` says how like the question it and its passage are, 0 to 4.
    """

    passage: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Match:
    """How likely it is, from 0 to 1, that the answer is there; the sentences, best first."""

    likeness: float
    sentences: tuple[Sentence, ...]


NO_MATCH = Match(0.0, ())


def match(question: str, passages: Sequence[str]) -> Match:
    """Compare a question with passages. One without a telling word matches nothing."""
    encoder = _sparse()
    language = detect(question) or _DEFAULT
    wanted = _terms(encoder, question, language)
    units = [(place, text) for place, passage in enumerate(passages) for text in _units(passage)]
    units = units[:_MOST_SENTENCES]
    if not wanted or not units:
        return NO_MATCH
    texts = [*passages, *(text for _, text in units)]
    cosines = _embedder().embed_passages(texts) @ _embedder().embed_query(question)
    held = [
        len(wanted.intersection(encoder.passage(text, language=language).indices)) / len(wanted)
        for text in texts
    ]
    scores = np.maximum(cosines, 0.0) + held
    of_passages, of_units = scores[: len(passages)], scores[len(passages) :]
    found = [
        Sentence(place, text, float(of_passages[place] + score))
        for (place, text), score in zip(units, of_units, strict=True)
    ]
    others = np.sort(of_units)[:-1]
    usual = float(others.sum()) / max(len(others), _FEW)
    total = 2 * float(of_passages.max()) + float(of_units.max()) - 2 * usual
    likeness = 1 / (1 + math.exp(-SLOPE * (total - MIDDLE)))
    return Match(likeness, tuple(sorted(found, key=lambda each: -each.score)))


def _terms(encoder: SparseEncoder, question: str, language: str) -> set[int]:
    """The terms of the question in its own language; readings in others weigh less."""
    found = encoder.query(question, language=language)
    return {at for at, value in zip(found.indices, found.values, strict=True) if value == 1.0}


def _units(passage: str) -> Iterator[str]:
    """Sentences of the prose, and rows of tables."""
    rows = (one_line(line) for line in passage.split("\n") if line.lstrip().startswith("|"))
    for text in (*sentences(passage), *rows):
        if any(map(str.isalnum, text[:_LONGEST_SENTENCE])):
            yield text[:_LONGEST_SENTENCE]


@cache
def _embedder() -> Embedder:
    from rag_platform.encoders.wordllama import WordLlamaEmbedder

    return WordLlamaEmbedder()


@cache
def _sparse() -> SparseEncoder:
    return MultilingualBm25()
