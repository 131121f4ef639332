"""Texts as sets of shingles, to tell how alike they are, and MinHash to find those that may be.

A shingle is three words in a row, whatever their case and what stands between them; in scripts that
write without spaces, three characters. Sets are kept as hashes of 32 bits, so their likeness is
exact but for one pair of shingles in four billion.
"""

import hashlib
import re
from functools import lru_cache

import numpy as np

# Part of what is derived from shingles: a change here makes all of it anew.
SHINGLES_VERSION = 1
SIZE = 3

Shingles = np.ndarray  # uint32, sorted, none twice, never empty

# Thai, Lao, Burmese, Khmer, kana, Han.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_PUNCTUATION = (
    "!-/:-@\\[-`{-~\u00a1-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf"
    "\u2000-\u206f\u3000-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_TOKENS = re.compile(f"[{_SPACELESS}]|[^\\s{_PUNCTUATION}{_SPACELESS}]+")

# Odd numbers without a pattern (the golden ratio's and those of splitmix64's finalizer).
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)
_PERMUTATIONS = 128
# How often a pair that is just alike enough may be missed.
_MISSED = 1e-6
_MOST_ROWS = 8
_BLOCK = 4096  # shingles at once


def shingles(text: str) -> Shingles:
    """The shingles of a text. A text of fewer words is one shingle."""
    lowered = text.lower()
    tokens = _TOKENS.findall(lowered) or [lowered.strip()]
    words = np.fromiter(map(_word, tokens), np.uint64, len(tokens))
    count = len(words) - SIZE + 1
    if count < 1:
        return np.array([_word(" ".join(tokens)) >> 32], dtype=np.uint32)
    rolled = np.zeros(count, np.uint64)
    for place, factor in enumerate(_FACTORS):
        rolled += words[place : place + count] * factor
    return np.unique((_mixed(rolled) >> np.uint64(32)).astype(np.uint32))


def jaccard(a: Shingles, b: Shingles) -> float:
    """The share of the shingles of both that they have in common, 0 to 1."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)


def packed(found: Shingles) -> bytes:
    """Four bytes each, in order."""
    return found.astype("<u4").tobytes()


def unpacked(content: bytes) -> Shingles:
    """What was packed."""
    return np.frombuffer(content, dtype="<u4").astype(np.uint32)


def bands(found: Shingles, threshold: float) -> dict[int, int]:
    """The bands of the MinHash signature, number to value (64 bits, signed).

    Of two texts whose likeness is at least the threshold, but for one pair in a million, some band
    has the same value (Broder 1997; banding as in Leskovec, Rajaraman, Ullman, Mining of Massive
    Datasets, section 3.4). Numbers differ between thresholds that are cut into bands otherwise.
    """
    rows = band_rows(threshold)
    smallest = _signature(found)
    used = len(smallest) // rows * rows
    cut = smallest[:used].reshape(-1, rows)
    values = np.zeros(len(cut), np.uint64)
    for row in range(rows):
        values = _mixed(values * _FACTORS[0] + cut[:, row])
    signed = values.view(np.int64).tolist()
    return {rows * 1000 + number: value for number, value in enumerate(signed)}


def band_rows(threshold: float) -> int:
    """The most rows of a band with which so few pairs at the threshold are missed."""
    fitting = (
        rows
        for rows in range(_MOST_ROWS, 0, -1)
        if (1 - threshold**rows) ** (_PERMUTATIONS // rows) <= _MISSED
    )
    return next(fitting, 1)


@lru_cache(1 << 16)
def _word(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _mixed(values: np.ndarray) -> np.ndarray:
    """Each bit of the result depends on each bit of the value (half of splitmix64's finalizer)."""
    mixed: np.ndarray = (values ^ (values >> np.uint64(30))) * _FACTORS[1]
    mixed ^= mixed >> np.uint64(29)
    return mixed


def _signature(found: Shingles) -> np.ndarray:
    """The smallest value of the shingles under each of the permutations, uint64 below 2**32."""
    smallest = np.full(_PERMUTATIONS, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(found), _BLOCK):
        block = found[start : start + _BLOCK].astype(np.uint64)[:, None]
        drawn = (block * _MULTIPLIERS + _OFFSETS) >> np.uint64(32)
        smallest = np.minimum(smallest, drawn.min(axis=0))
    return smallest


def _drawn(name: str) -> np.ndarray:
    """Numbers of 64 bits that are the same for ever."""
    content = hashlib.shake_128(name.encode()).digest(8 * _PERMUTATIONS)
    return np.frombuffer(content, dtype="<u8").astype(np.uint64)


_MULTIPLIERS = _drawn("multipliers") | np.uint64(1)
_OFFSETS = _drawn("offsets")
