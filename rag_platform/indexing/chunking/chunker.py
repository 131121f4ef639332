"""From a clean document to chunks: text, offsets, heading path, page and size in tokens."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rag_platform.encoders.base import Embedder
from rag_platform.encoders.tokenizer import reference_tokenizer
from rag_platform.errors import PlatformError
from rag_platform.indexing.chunking.cuts import (
    Cutter,
    Document,
    LastThatFits,
    StrongestBreak,
    SubjectChange,
)
from rag_platform.indexing.chunking.structure import Break

CHUNKER_VERSION = 1
SMALLEST = 32  # tokens; below it single words would not fit

Strategy = Literal["fixed", "recursive", "semantic", "document"]


class InvalidChunker(PlatformError):
    """Parameters that no document could be cut by."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `text` is exactly document[start:end].

    `heading` is the path of headings ("A > B") and `page` the page (from 1; None without pages) at
    the start of what is new in it, after the overlap; `tokens` is its size on its own.
    """

    text: str
    start: int
    end: int
    heading: str
    page: int | None
    tokens: int


class Chunker:
    """Cuts documents into chunks of at most `max_tokens` of the reference tokenizer.

    `fixed` fills every chunk; `recursive` ends it at the strongest break in the second half of its
    room (heading, paragraph, line, sentence, word); `semantic` where neighbouring sentences are
    least alike; `document` begins a chunk at every heading and is recursive below. All but `fixed`
    depend on the text near a cut only, so that an edit changes the chunks around it. Each chunk
    repeats up to `overlap` tokens of the one before, from the start of a line or sentence where
    one is in reach; nothing is repeated across a heading, except by `fixed`.
    """

    def __init__(
        self,
        strategy: Strategy,
        max_tokens: int,
        *,
        overlap: int = 0,
        embedder: Embedder | None = None,
    ) -> None:
        if max_tokens < SMALLEST or not 0 <= 2 * overlap < max_tokens:
            raise InvalidChunker(
                f"chunker: max_tokens {max_tokens}, overlap {overlap}; take at least {SMALLEST} "
                "tokens and an overlap under half of them"
            )
        self._made_of = (strategy, max_tokens, overlap, embedder)
        self._strategy = strategy
        self._cutter = _cutter(strategy, embedder)
        self._max = max_tokens
        self._overlap = overlap
        self._least = (max_tokens - overlap) // 2
        self._small = max_tokens // 8
        self._tokenizer = reference_tokenizer()
        parts = [f"chunker:{CHUNKER_VERSION}", strategy, str(max_tokens), str(overlap)]
        parts.append(self._tokenizer.identity)
        if strategy == "semantic" and embedder is not None:
            parts.append(embedder.fingerprint)
        self.fingerprint = ":".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew in another process: what a tokenizer remembers does not travel."""
        return _make, self._made_of

    def chunk(self, text: str, page_starts: Sequence[int] = ()) -> list[Chunk]:
        """The chunks of a document in order; none for a text without words.

        `page_starts[i]` is the offset in `text` at which page i + 1 begins.
        """
        spans = self._tokenizer.spans(text, longest=self._small)
        if not len(spans.starts):
            return []
        document = Document(text, spans)
        self._cutter.prepare(document)
        chunks = []
        for first, last in self._sections(document):
            for begin, new, end in self._cut(document, first, last):
                start, stop = int(spans.starts[begin]), int(spans.ends[end - 1])
                fresh = int(spans.starts[new])
                chunks.append(
                    Chunk(
                        text=text[start:stop],
                        start=start,
                        end=stop,
                        heading=document.structure.path_at(fresh),
                        page=bisect_right(page_starts, fresh) or None,
                        tokens=self._tokens(document, begin, end),
                    )
                )
        return chunks

    def _sections(self, document: Document) -> Iterator[tuple[int, int]]:
        """The runs of words [first, last) that are cut on their own."""
        length = len(document.strengths)
        if self._strategy != "document":
            yield 0, length
            return
        starts = document.spans.starts
        headings = document.structure.headings
        edges = np.searchsorted(starts, np.array([h.start for h in headings], np.int32)).tolist()
        first, level = 0, 0
        for edge, heading in zip(edges, headings, strict=True):
            size = document.tokens_between(first, edge - 1) if edge > first else 0
            # A small section stays with the next one, if that is beside or below it.
            if size >= self._small or heading.level < level:
                yield first, edge
                first = edge
            level = heading.level
        yield first, length

    def _cut(self, document: Document, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Chunks of the words [first, last): where each begins, where it is new, where it ends."""
        begin = new = first
        while True:
            end = self._end(document, begin, new, last)
            yield begin, new, end
            if end == last:
                return
            begin, new = self._overlap_start(document, begin, end), end

    def _end(self, document: Document, begin: int, new: int, last: int) -> int:
        totals = document.spans.totals
        room = self._max - self._alone(document, begin) + int(totals[begin])
        high = max(document.word_after(room), new + 1)
        end = last
        if high < last:
            low = document.word_after(int(totals[new]) + self._least)
            kept = document.word_after(int(totals[last - 1]) - self._small)
            if low < kept:
                high = min(high, kept)  # leave no crumb at the end
            end = self._cutter.choose(document, min(max(low, new + 1), high), high)
        while end > new + 1 and self._exceeds(document, begin, end):
            end -= 1
        return end

    def _overlap_start(self, document: Document, previous: int, new: int) -> int:
        """The word from which the chunk that is new at word `new` repeats the one before."""
        strengths, totals = document.strengths, document.spans.totals
        fixed = self._strategy == "fixed"
        if not self._overlap or (strengths[new] >= Break.HEADING and not fixed):
            return new
        far = max(document.word_after(int(totals[new - 1]) - self._overlap), previous + 1)
        for least in (Break.WORD,) if fixed else (Break.PROTECTED_LINE, Break.WORD):
            for k in ((strengths[far:new] >= least).nonzero()[0] + far).tolist():
                # A wide gap before the new words may leave no room for them.
                fits = self._tokens(document, k, new) <= self._overlap
                if fits and not self._exceeds(document, k, new + 1):
                    return int(k)
        return new

    def _tokens(self, document: Document, begin: int, end: int) -> int:
        """The tokens of words [begin, end) as a text of their own."""
        inside = document.spans.inside
        if inside[begin] or (end < len(inside) and inside[end]):
            starts, ends = document.spans.starts, document.spans.ends
            return self._tokenizer.count(document.text[int(starts[begin]) : int(ends[end - 1])])
        return self._alone(document, begin) + document.tokens_between(begin, end - 1)

    def _exceeds(self, document: Document, begin: int, end: int) -> bool:
        return self._tokens(document, begin, end) > self._max

    def _alone(self, document: Document, word: int) -> int:
        """The tokens of a word that begins a text, where a space is put before it."""
        starts, ends = document.spans.starts, document.spans.ends
        return self._tokenizer.count(document.text[int(starts[word]) : int(ends[word])])


def _make(strategy: Strategy, max_tokens: int, overlap: int, embedder: Embedder | None) -> Chunker:
    return Chunker(strategy, max_tokens, overlap=overlap, embedder=embedder)


def _cutter(strategy: Strategy, embedder: Embedder | None) -> Cutter:
    if strategy == "fixed":
        return LastThatFits()
    if strategy == "semantic":
        if embedder is None:
            raise InvalidChunker("chunker: semantic needs an embedder to compare sentences with")
        return SubjectChange(embedder)
    return StrongestBreak()
