"""Local dense vectors: the mean of wordllama's token embeddings, at unit norm.

The same vectors as wordllama's own `embed(norm=True)`, without its padding.
"""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rag_platform.encoders.base import Embedder, Vectors
from rag_platform.encoders.tokenizer import Ints, reference_tokenizer, wordllama_folder
from rag_platform.encoders.validation import validate

_POOLED = 2048  # tokens whose rows are gathered at a time: 2 MB, so that they stay in cache


class WordLlamaEmbedder(Embedder):
    """256 dimensions from the weights in wordllama's wheel; needs no network and no GPU."""

    name = "wordllama"
    dimension = 256
    batch_size = 1024
    paid = False
    per_core = True

    def __init__(self) -> None:
        self._tokenizer = reference_tokenizer()
        weights, digest = _weights()
        self._weights = weights
        self.fingerprint = f"wordllama-mean:1:{digest}:{self._tokenizer.identity}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew in another process."""
        return WordLlamaEmbedder, ()

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 (len(texts), 256); InvalidEmbedding for a text without tokens."""
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        rows = np.empty((_POOLED, self.dimension), np.float32)
        ones = np.ones(_POOLED, np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for ids in _slices(self._tokenizer.ids(text)):
                # "clip" as wordllama does, and because "raise" would copy through a buffer.
                gathered = self._weights.take(ids, axis=0, out=rows[: len(ids)], mode="clip")
                vector += ones[: len(ids)] @ gathered
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, norms, out=vectors, where=norms > 0)
        return validate(vectors, expected=len(texts), dimension=self.dimension)

    def embed_query(self, text: str) -> Vectors:
        """A query is embedded as a passage is: a unit vector, float32 (256,)."""
        query: Vectors = self.embed_passages([text])[0]
        return query


def _slices(ids: Ints) -> Iterator[Ints]:
    return (ids[begin : begin + _POOLED] for begin in range(0, len(ids), _POOLED))


@functools.cache
def _weights() -> tuple[Vectors, str]:
    """The embedding matrix, (32000, 256) float32, and the digest of its file."""
    from safetensors.numpy import load

    written = (wordllama_folder() / "weights" / "l2_supercat_256.safetensors").read_bytes()
    matrix = load(written)["embedding.weight"].astype(np.float32)
    return matrix, hashlib.sha256(written).hexdigest()[:16]
