"""From a clean document to chunks: text, offsets, heading path, page and size in tokens."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rag_platform.documents.sources.selection import Patterns
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

CHUNKER_VERSION = 2
SMALLEST = 32  # tokens; below it single words would not fit

Strategy = Literal["fixed", "recursive", "semantic", "document", "clause"]


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
    least alike; `document` begins a chunk at every heading and is recursive below; `clause` begins
    one at every numbered clause, too. All but `fixed` depend on the text near a cut only, so that
    an edit changes the chunks around it, and leave tables and code blocks whole where these fit.
    Each chunk repeats up to `overlap` tokens of the one before, from the start of a line or
    sentence where one is in reach; nothing is repeated across a heading, except by `fixed`.

    Documents whose keys a pattern of `rules` takes are cut by its strategy; the first one counts.
    """

    def __init__(
        self,
        strategy: Strategy,
        max_tokens: int,
        *,
        overlap: int = 0,
        embedder: Embedder | None = None,
        rules: Sequence[tuple[str, Strategy]] = (),
    ) -> None:
        if max_tokens < SMALLEST or not 0 <= 2 * overlap < max_tokens:
            raise InvalidChunker(
                f"chunker: max_tokens {max_tokens}, overlap {overlap}; take at least {SMALLEST} "
                "tokens and an overlap under half of them"
            )
        self._made_of = (strategy, max_tokens, overlap, embedder, tuple(rules))
        self._rules = [
            (Patterns((pattern,)), Chunker(other, max_tokens, overlap=overlap, embedder=embedder))
            for pattern, other in rules
        ]
        self._strategy = strategy
        self._cutter = _cutter(strategy, embedder)
        self._max = max_tokens
        self._overlap = overlap
        self._least = (max_tokens - overlap) // 2
        self._small = max_tokens // 8
        self._tokenizer = reference_tokenizer()
        parts = [f"chunker:{CHUNKER_VERSION}", strategy, str(max_tokens), str(overlap)]
        parts.append(self._tokenizer.identity)
        if embedder is not None and "semantic" in (strategy, *(other for _, other in rules)):
            parts.append(embedder.fingerprint)
        if rules:
            parts.append(json.dumps([list(rule) for rule in rules]))
        self.fingerprint: str = ":".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew in another process: what a tokenizer remembers does not travel."""
        return _make, self._made_of

    def chunk(self, text: str, page_starts: Sequence[int] = (), *, key: str = "") -> list[Chunk]:
        """The chunks of a document in order; none for a text without words.

        `page_starts[i]` is the offset in `text` at which page i + 1 begins; `key` is the
        document's, by which a rule may take it.
        """
        for patterns, chunker in self._rules:
            if key in patterns:
                return chunker.chunk(text, page_starts)
        spans = self._tokenizer.spans(text, longest=self._small)
        if not len(spans.starts):
            return []
        document = Document(text, spans, clauses=self._strategy == "clause")
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
        if self._strategy not in ("document", "clause"):
            yield 0, length
            return
        alone = self._strategy == "clause"
        starts = document.spans.starts
        headings = document.structure.headings
        edges = np.searchsorted(starts, np.array([h.start for h in headings], np.int32)).tolist()
        first, level = 0, 0
        for edge, heading in zip(edges, headings, strict=True):
            size = document.tokens_between(first, edge - 1) if edge > first else 0
            # A small section stays with the next one, if that is beside or below it; a clause
            # only with what is below it.
            is_beside = alone and heading.level == level
            if size >= self._small or heading.level < level or (is_beside and size):
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
        return end if self._strategy == "fixed" else self._around_block(document, begin, new, end)

    def _around_block(self, document: Document, begin: int, new: int, end: int) -> int:
        """The cut before word `end`, moved out of a table or code block that would fit whole."""
        block = document.block_at(end)
        if block is None or self._exceeds(document, *block):
            return end
        first, after = block
        if first <= new:  # it begins this chunk
            return end if self._exceeds(document, begin, after) else after
        heading = document.heading_of(first)
        if new < heading < first and not self._exceeds(document, heading, after):
            return heading
        return first

    def _overlap_start(self, document: Document, previous: int, new: int) -> int:
        """The word from which the chunk that is new at word `new` repeats the one before."""
        strengths, totals = document.strengths, document.spans.totals
        fixed = self._strategy == "fixed"
        if not self._overlap or (strengths[new] >= Break.HEADING and not fixed):
            return new
        # What is repeated must leave room for a block that is to stay whole.
        block = None if fixed else document.block_at(new + 1)
        whole = block is not None and block[0] == new and not self._exceeds(document, *block)
        far = max(document.word_after(int(totals[new - 1]) - self._overlap), previous + 1)
        for least in (Break.WORD,) if fixed else (Break.PROTECTED_LINE, Break.WORD):
            for k in ((strengths[far:new] >= least).nonzero()[0] + far).tolist():
                # A wide gap before the new words may leave no room for them.
                fits = self._tokens(document, k, new) <= self._overlap
                reach = block[1] if whole and block else new + 1
                if fits and not self._exceeds(document, k, reach):
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


def _make(
    strategy: Strategy,
    max_tokens: int,
    overlap: int,
    embedder: Embedder | None,
    rules: Sequence[tuple[str, Strategy]],
) -> Chunker:
    return Chunker(strategy, max_tokens, overlap=overlap, embedder=embedder, rules=rules)


def _cutter(strategy: Strategy, embedder: Embedder | None) -> Cutter:
    if strategy == "fixed":
        return LastThatFits()
    if strategy == "semantic":
        if embedder is None:
            raise InvalidChunker("chunker: semantic needs an embedder to compare sentences with")
        return SubjectChange(embedder)
    return StrongestBreak()
