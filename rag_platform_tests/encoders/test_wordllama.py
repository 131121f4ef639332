import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_platform.encoders.validation import InvalidEmbedding
from rag_platform.encoders.wordllama import WordLlamaEmbedder

TEXTS = [
    "How do I start the collector?",
    "word",
    "Ein Satz über Straßen.",
    "收集器如何启动\uff1f",
    "def f(x):\n    return x + 1\n",
    "</s> a literal marker <unk>",
    "long text, of many more tokens than are pooled at once. " * 400,
]


@functools.cache
def library() -> Any:
    """The library itself; its import sets the root logger up, which is put back."""
    handlers, level = logging.root.handlers[:], logging.root.level
    import wordllama

    logging.root.handlers[:], logging.root.level = handlers, level
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)


def test_same_vectors_as_the_library() -> None:
    ours = WordLlamaEmbedder().embed_passages(TEXTS)
    theirs = library().embed(TEXTS, norm=True)
    assert ours.dtype == np.float32
    assert ours.shape == (len(TEXTS), 256)
    assert np.linalg.norm(ours, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    assert (ours * theirs).sum(axis=1).min() > 0.99999


def test_a_vector_does_not_depend_on_its_batch() -> None:
    embedder = WordLlamaEmbedder()
    together = embedder.embed_passages(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.array_equal(embedder.embed_query(text), vector)


def test_texts_without_tokens_are_refused_by_position() -> None:
    with pytest.raises(InvalidEmbedding, match="zero norm in 2 of 4 vectors, at position 1, 3;"):
        WordLlamaEmbedder().embed_passages(["a", "", "b", ""])


def test_no_texts() -> None:
    assert WordLlamaEmbedder().embed_passages([]).shape == (0, 256)


def test_the_fingerprint_is_stable_and_names_weights_and_tokenizer() -> None:
    fingerprint = WordLlamaEmbedder().fingerprint
    assert fingerprint == WordLlamaEmbedder().fingerprint
    kind, version, weights, *tokenizer = fingerprint.split(":")
    assert (kind, version) == ("wordllama-mean", "1")
    assert len(weights) == 16
    assert len(tokenizer[-1]) == 16
