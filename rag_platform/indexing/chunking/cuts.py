"""Where a document is cut: the choice among the breaks within reach, for each strategy."""

import itertools
from abc import ABC, abstractmethod
from bisect import bisect_left
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from rag_platform.encoders.base import Embedder
from rag_platform.encoders.tokenizer import Spans
from rag_platform.indexing.chunking.structure import Break, Structure

_BEFORE, _AFTER = 24, 40  # characters around a break that decide between equal breaks
_NEIGHBOURS = 3  # sentences on each side that a semantic break compares


class Document:
    """A text with its words and its structure."""

    def __init__(self, text: str, spans: Spans, *, clauses: bool = False) -> None:
        self.text = text
        self.spans = spans
        self.structure = Structure(text, spans, clauses=clauses)
        self.strengths = self.structure.strengths
        self.likeness: NDArray[np.float32] = np.empty(0, np.float32)  # set by SubjectChange

    def tokens_between(self, first: int, last: int) -> int:
        """Tokens after the end of word `first` up to the end of word `last`."""
        return int(self.spans.totals[last]) - int(self.spans.totals[first])

    def block_at(self, word: int) -> tuple[int, int] | None:
        """The table or code block that goes on across the break before a word: its [first, end)."""
        blocks = self.structure.blocks
        k = bisect_left(blocks, word, key=lambda block: block[0]) - 1
        return blocks[k] if k >= 0 and blocks[k][0] < word < blocks[k][1] else None

    def heading_of(self, word: int) -> int:
        """The first word of the heading line right above a word; the word itself without one."""
        offset = int(self.spans.starts[word])
        headings = self.structure.headings
        k = bisect_left(headings, offset, key=lambda heading: heading.start) - 1
        if k < 0 or self.text[headings[k].start : offset].strip().count("\n"):
            return word
        return int(self.spans.starts.searchsorted(headings[k].start))

    def word_after(self, total: int) -> int:
        """The first word whose running total is over `total`."""
        return int(self.spans.totals.searchsorted(np.int32(total), side="right"))


class Cutter(ABC):
    """Chooses the end of a chunk among the words [low, high] that may begin the next one."""

    @abstractmethod
    def choose(self, document: Document, low: int, high: int) -> int:
        """The word before which to cut; low <= high, both within the document."""

    def prepare(self, document: Document) -> None:  # noqa: B027  # most have nothing to do
        """Look at a whole document once before its cuts are chosen."""


class LastThatFits(Cutter):
    """Fixed size: the last space between words within reach."""

    def choose(self, document: Document, low: int, high: int) -> int:
        """The largest chunk that ends at a whole word."""
        whole = np.flatnonzero(document.strengths[low : high + 1] >= Break.WORD)
        return low + int(whole[-1]) if len(whole) else high


class StrongestBreak(Cutter):
    """The strongest break; among equals the one whose surroundings have the smallest hash.

    So a cut depends on the text near it and not on where the chunk began: after an edit, the cuts
    soon fall where they fell before.
    """

    def choose(self, document: Document, low: int, high: int) -> int:
        """The strongest break, ties by content."""
        strengths = document.strengths[low : high + 1]
        equals = (strengths == strengths.max()).nonzero()[0] + low
        if len(equals) == 1:
            return int(equals[0])
        starts = document.spans.starts
        positions: list[int] = equals.tolist()
        return min(positions, key=lambda k: _hash_at(document.text, int(starts[k])))


class SubjectChange(Cutter):
    """Semantic: the break between sentences where the text before and after is least alike."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._otherwise = StrongestBreak()

    def prepare(self, document: Document) -> None:
        """Compare the sentences on both sides of every break; 2 means no break."""
        document.likeness = np.full(len(document.strengths), 2.0, np.float32)
        breaks = np.flatnonzero(document.strengths >= Break.SENTENCE)
        breaks = breaks[breaks > 0]
        if not len(breaks):
            return
        edges = [0, *breaks.tolist(), len(document.strengths)]
        spans = document.spans
        sentences = [
            document.text[int(spans.starts[a]) : int(spans.ends[b - 1])]
            for a, b in itertools.pairwise(edges)
        ]
        vectors = self._embedder.embed_passages(sentences)
        before = np.zeros((len(breaks), vectors.shape[1]), np.float32)
        after = np.zeros_like(before)
        for distance in range(min(_NEIGHBOURS, len(breaks))):
            # Break i lies between sentences i and i + 1.
            before[distance:] += vectors[: len(breaks) - distance]
            after[: len(breaks) - distance] += vectors[1 + distance :]
        norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        document.likeness[breaks] = np.einsum("ij,ij->i", before, after) / np.maximum(norms, 1e-12)

    def choose(self, document: Document, low: int, high: int) -> int:
        """The least alike neighbours; without a sentence's end within reach, as StrongestBreak."""
        likeness = document.likeness[low : high + 1]
        if likeness.min() > 1.5:
            return self._otherwise.choose(document, low, high)
        return low + int(likeness.argmin())


def _hash_at(text: str, offset: int) -> bytes:
    around = text[max(0, offset - _BEFORE) : offset + _AFTER]
    return blake2b(around.encode("utf-8", "surrogatepass"), digest_size=8).digest()
