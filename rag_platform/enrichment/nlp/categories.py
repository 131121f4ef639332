"""The category of a text by its likeness to the names and meanings of the categories.

No example is needed. The score of a label is the cosine between the text and "name: meaning", plus
a share for each of the label's own words that stands in the text; less of it the fewer words the
text has. The confidence is the softmax of the scores. Its temperature and the share of the words
were fitted once, for all texts and labels, on the development halves of three public sets
(benchmarks/enrichment.py). Labels that have a meaning beside the name are told far better.
"""

import functools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_platform.encoders.base import Vectors
from rag_platform.enrichment.nlp.vectors import embed
from rag_platform.enrichment.nlp.words import stems

# What decides an answer, beside the vectors; a change of any makes other answers.
WORD_SHARE = 0.05
TEMPERATURE = 0.075
FEW_WORDS = 4  # a text of this many distinct words has half of its score
READ_CHARS = 2_000
_SATURATION = 1.5  # how many times a word stands until it counts for half

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Labels:
    """Vectors (n, 256) of n labels, and what each word of theirs adds to the scores (n,)."""

    names: tuple[str, ...]
    vectors: Vectors
    words: Mapping[str, Scores]


def classify(text: str, labels: Mapping[str, str]) -> tuple[str, float]:
    """The best label for the start of `text`, and the share of the confidence that it gets.

    `labels` are names with meanings; an empty meaning leaves the name alone to go by.
    """
    known = _labels(tuple(labels.items()))
    shares = _softmax(_scores(text[:READ_CHARS], known) / TEMPERATURE)
    best = int(shares.argmax())
    return known.names[best], float(shares[best])


def scores(text: str, labels: Mapping[str, str]) -> Scores:
    """The scores of the start of `text`, one per label in their order."""
    return _scores(text[:READ_CHARS], _labels(tuple(labels.items())))


def _scores(text: str, known: _Labels) -> Scores:
    counts = Counter(stems(text))
    found: Scores = (known.vectors @ embed([text])[0]).astype(np.float64)
    for word, count in counts.items():
        if word in known.words:
            found += known.words[word] * (WORD_SHARE * count / (count + _SATURATION))
    found *= len(counts) / (len(counts) + FEW_WORDS)
    return found


def _softmax(values: Scores) -> Scores:
    powers: Scores = np.exp(values - values.max())
    powers /= powers.sum()
    return powers


@functools.lru_cache(maxsize=64)
def _labels(labels: tuple[tuple[str, str], ...]) -> _Labels:
    """A word that only some labels have counts for those, the more the fewer they are."""
    texts = [f"{name}: {meaning}" if meaning else name for name, meaning in labels]
    own = [set(stems(text)) for text in texts]
    spread = Counter(word for words in own for word in words)
    words = {
        word: np.array([word in each for each in own]) * math.log(len(labels) / count)
        for word, count in spread.items()
    }
    return _Labels(tuple(name for name, _ in labels), embed(texts), words)
