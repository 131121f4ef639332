"""Which rows are held back, and which unit belongs to which share: by hashes, so for ever."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_RANGE = 2.0**64


def point(text: str, salt: str) -> float:
    """Where a text falls between 0 and 1: evenly, and for ever the same under one salt."""
    digest = hashlib.sha256(f"{salt}\0{text}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / _RANGE


def points(texts: "pd.Series[Any]", salt: str) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """`point` of each text."""
    return np.fromiter((point(str(text), salt) for text in texts), np.float64, len(texts))


def held_back(groups: "pd.Series[Any]", share: float) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which rows belong to the share of groups that is held back."""
    return points(groups, "holdout") < share
