"""Where texts lie: a few figures of each text, by which two sets of texts can be told apart."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.drift.columns import Floats, Numbers

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.encoders.wordllama import WordLlamaEmbedder

# Texts of a column that are looked at: half of them find the axes, half are measured along them.
SAMPLE = 4_000
POINTS = 100
_MAX_CHARACTERS = 2_000
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Texts:
    """The centre of texts in an embedding, the axes along which they differ most, and how texts
    of the same origin lie: their length, distance from the centre, place along each axis, and how
    much of them lies off the axes.

    Axes are found on other texts than those that are measured: along axes of their own, texts lie
    wider than any others (and new ones would seem to differ).
    """

    center: Floats
    axes: Floats
    measures: dict[str, Numbers]

    @classmethod
    def of(cls, texts: "pd.Series[str]", axes: int) -> Self:
        """Of texts without missing ones; `axes` is how many are kept."""
        texts = sample(texts)
        vectors = embedded(texts)
        first, second = vectors[::2], vectors[1::2]
        center = np.round(first.mean(axis=0), _DIGITS)
        _, _, found = np.linalg.svd(first - center, full_matrices=False)
        kept = np.round(found[:axes], _DIGITS)
        measured = measures(texts.iloc[1::2], second, center, kept)
        return cls(center, kept, {name: Numbers.of(v, POINTS) for name, v in measured.items()})

    def measured(self, texts: "pd.Series[str]") -> dict[str, Floats]:
        """The same figures of other texts."""
        texts = sample(texts)
        return measures(texts, embedded(texts), self.center, self.axes)

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return {
            "center": self.center.tolist(),
            "axes": self.axes.tolist(),
            "measures": {name: numbers.as_json() for name, numbers in self.measures.items()},
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """What `as_json` gave."""
        measures = {name: Numbers.from_json(each) for name, each in told["measures"].items()}
        return cls(np.array(told["center"]), np.array(told["axes"]), measures)


def sample(texts: "pd.Series[str]") -> "pd.Series[str]":
    """At most `SAMPLE` of the texts, in a random order that is always the same."""
    order = np.random.default_rng(len(texts)).permutation(len(texts))
    return texts.iloc[order[:SAMPLE]]


def embedded(texts: "pd.Series[str]") -> Floats:
    """Unit vectors of texts that are not empty."""
    cut = [text[:_MAX_CHARACTERS] for text in texts]
    return np.asarray(_embedder().embed_passages(cut), np.float64)


@functools.cache
def _embedder() -> "WordLlamaEmbedder":
    from rag_platform.encoders.wordllama import WordLlamaEmbedder

    return WordLlamaEmbedder()


def measures(
    texts: "pd.Series[str]", vectors: Floats, center: Floats, axes: Floats
) -> dict[str, Floats]:
    """The figures of each text, by name."""
    apart = vectors - center
    places: NDArray[np.float64] = apart @ axes.T
    off = np.sqrt(np.maximum((apart**2).sum(axis=1) - (places**2).sum(axis=1), 0))
    length = np.log1p(texts.str.count(r"\S+").to_numpy(np.float64))
    found = {"length": length, "distance": 1 - vectors @ _unit(center), "off the axes": off}
    return found | {f"axis {at + 1}": places[:, at] for at in range(places.shape[1])}


def _unit(vector: Floats) -> Floats:
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm else vector
