"""Vectors of short texts, by the local embedder that needs no network."""

import functools
from collections.abc import Sequence

from rag_platform.encoders.base import Embedder, Vectors
from rag_platform.encoders.sentences import one_line
from rag_platform.encoders.wordllama import WordLlamaEmbedder

_NOTHING = "."  # stands for a text without tokens, which has no vector


@functools.cache
def _embedder() -> Embedder:
    return WordLlamaEmbedder()


def embed(texts: Sequence[str]) -> Vectors:
    """Unit vectors of `texts`, each taken as one line, float32 (len(texts), 256)."""
    return _embedder().embed_passages([one_line(text) or _NOTHING for text in texts])
