"""The ports of the encoders: text to dense vectors and text to sparse vectors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rag_platform.storage.vectors.base import SparseVector

Vectors = NDArray[np.float32]


class Embedder(ABC):
    """Turns passages and queries into dense vectors of unit norm.

    `name` is for people; `fingerprint` names all that changes a vector (model, weights,
    parameters); `batch_size` is how many texts make one durable batch; `paid` says whether
    a call costs money; `per_core`, whether a large batch is faster in shares, a process for each
    core.
    """

    name: str
    dimension: int
    fingerprint: str
    batch_size: int
    paid: bool
    per_core: bool = False

    @abstractmethod
    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """The vectors of `texts`, float32 of shape (len(texts), dimension).

        Raises InvalidEmbedding when a text has no valid vector.
        """

    @abstractmethod
    def embed_query(self, text: str) -> Vectors:
        """The vector of a query, float32 of shape (dimension,)."""


class SparseEncoder(ABC):
    """Turns passages and queries into sparse vectors; `fingerprint` as an Embedder's.

    `language` is an ISO 639-1 code, "" where it is not known.
    """

    fingerprint: str

    @abstractmethod
    def passage(self, text: str, *, title: str = "", language: str = "") -> SparseVector:
        """The weights of the terms of a passage and its document's title; empty without any."""

    @abstractmethod
    def query(self, text: str, *, language: str = "") -> SparseVector:
        """The weights of a query's terms; empty when the text has none."""
