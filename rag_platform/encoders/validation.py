"""The last look at vectors before anything stores them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_platform.encoders.base import Vectors
from rag_platform.errors import PlatformError


class InvalidEmbedding(PlatformError):
    """An embedder gave something that must not reach an index; `positions` are those of the texts,
    where it is about some."""

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.positions = tuple(positions)

    def __reduce__(self) -> tuple[Any, ...]:
        """As a process tells another."""
        return type(self), (str(self), self.positions)


def validate(vectors: NDArray[Any], *, expected: int, dimension: int) -> Vectors:
    """`vectors` as float32, or InvalidEmbedding: shape (expected, dimension), finite, not zero."""
    if vectors.ndim != 2 or vectors.shape[0] != expected:
        raise InvalidEmbedding(
            f"embeddings: shape {vectors.shape} for {expected} texts; nothing was stored. "
            "Check the embedder's answer and run again"
        )
    if vectors.shape[1] != dimension:
        raise InvalidEmbedding(
            f"embeddings: {vectors.shape[1]} dimensions, the index has {dimension}; nothing was "
            "stored. Check the model and its dimensions in the index's settings"
        )
    with np.errstate(over="ignore"):  # what does not fit becomes infinity, and is refused
        checked = vectors.astype(np.float32, copy=False)
        squares = np.einsum("ij,ij->i", checked, checked)
    _refuse(np.logical_not(np.isfinite(squares)), "NaN or infinity")
    _refuse(squares == 0.0, "zero norm")
    return checked


def _refuse(wrong: NDArray[Any], what: str) -> None:
    positions = np.flatnonzero(wrong)
    if not len(positions):
        return
    shown = ", ".join(map(str, positions[:5].tolist())) + (", ..." if len(positions) > 5 else "")
    raise InvalidEmbedding(
        f"embeddings: {what} in {len(positions)} of {len(wrong)} vectors, at position {shown}; "
        "nothing was stored. Look at these texts (empty, or not text?) and at the embedder",
        positions.tolist(),
    )
