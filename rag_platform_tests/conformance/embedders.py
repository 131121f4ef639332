"""Embedders for tests: one that counts and fails on request, one made of hashes."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from rag_platform.encoders.base import Embedder, Vectors
from rag_platform.errors import PlatformError
from rag_platform.llm.budget import BudgetExceeded

Fault = Literal["down", "budget", "nan", "infinite", "zero", "dimension", "count"]


class EmbedderDown(PlatformError):
    """The embedder cannot be reached."""


class CountingEmbedder(Embedder):
    """Passes on to a real embedder, and counts.

    `texts` are all passages embedded, in order, `calls` the sizes of the calls. After `spare`
    further calls `fault` strikes, and every time from then on. `watch` sees each call's texts
    before they are embedded.
    """

    def __init__(self, inner: Embedder, *, batch_size: int = 8) -> None:
        self._inner = inner
        self.name = inner.name
        self.dimension = inner.dimension
        self.fingerprint = inner.fingerprint
        self.paid = inner.paid
        self.batch_size = batch_size
        self.fault: Fault | None = None
        self.spare = 0
        self.watch: Callable[[Sequence[str]], None] = lambda texts: None
        self.calls: list[int] = []
        self.texts: list[str] = []
        self.queries = 0

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        fault = self._due_fault()
        if fault == "down":
            raise EmbedderDown("embedder: no answer")
        if fault == "budget":
            raise BudgetExceeded("embedder: the budget is spent")
        self.watch(texts)
        vectors = self._inner.embed_passages(texts)
        if fault is not None:
            return _spoilt(vectors, fault)
        self.calls.append(len(texts))
        self.texts.extend(texts)
        return vectors

    def embed_query(self, text: str) -> Vectors:
        self.queries += 1
        return self._inner.embed_query(text)

    def _due_fault(self) -> Fault | None:
        if self.fault is None:
            return None
        if self.spare:
            self.spare -= 1
            return None
        return self.fault


class HashEmbedder(Embedder):
    """Vectors that depend on the text's hash only: another model of another dimension."""

    name = "hash"
    batch_size = 8
    paid = False

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.fingerprint = f"hash:{dimension}"

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            digest = hashlib.shake_256(text.encode()).digest(self.dimension)
            row[:] = np.frombuffer(digest, np.uint8).astype(np.float32) - 127.5
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self.embed_passages([text])[0]
        return vector


def _spoilt(vectors: Vectors, fault: Fault) -> Vectors:
    spoilt = vectors.copy()
    if fault == "nan":
        spoilt[-1, 0] = np.nan
    elif fault == "infinite":
        spoilt[-1, 0] = np.inf
    elif fault == "zero":
        spoilt[-1] = 0.0
    elif fault == "dimension":
        spoilt = spoilt[:, :-1]
    elif fault == "count":
        spoilt = spoilt[:-1]
    return spoilt
