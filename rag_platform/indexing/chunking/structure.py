"""What a clean document (Markdown or plain text) says about where it may be cut."""

import re
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_platform.encoders.tokenizer import Spans
from rag_platform.indexing.chunking.clauses import ITEM, clause_of

_QUOTES = "\u201d\u2019"  # closing
_WIDE_STOPS, _WIDE_CLOSERS = "\u3002\uff01\uff1f\uff0e", "\u300d\u300f\uff09"
_SENTENCE_END = re.compile(
    rf"""(?:[.!?\u2026]["'{_QUOTES})\]*_]{{0,4}}\s+"""
    rf"|[{_WIDE_STOPS}][{_WIDE_CLOSERS}{_QUOTES}]{{0,4}}\s*)(?=\S)"
)
_LONGEST_TITLE = 200


class Break:
    """How strong a cut before a word is; the strongest within reach wins.

    A heading of level n counts HEADING + 6 - n. INSIDE a run of letters or punctuation the tokens
    on both sides may change.
    """

    INSIDE = 0
    CHARACTER = 1
    WORD = 2
    PROTECTED_LINE = 3  # a line of a code block or of a table
    SENTENCE = 4
    LINE = 5
    PARAGRAPH = 6
    HEADING = 7


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading line: where it begins, its level, and its path from the top, `A > B > C`."""

    start: int
    level: int
    path: str


class _Lines:
    """What the lines of a document are; every offset is that of a line's first character.

    With `clauses`, numbered clauses are headings, too, below those of Markdown.
    """

    def __init__(self, text: str, *, clauses: bool) -> None:
        self._clauses = clauses
        self.offsets: list[int] = []
        self.strengths: list[int] = []
        self.protected: list[tuple[int, int]] = []  # [begin, end) of code blocks and tables
        self.blocks: list[tuple[int, int]] = []  # the same with their first line
        self.headings: list[Heading] = []
        self._titles: list[tuple[int, str]] = []
        self._read(text)

    def _read(self, text: str) -> None:
        fence, code, table, block, position = "", 0, -1, 0, 0
        blank, below_heading = True, False
        for line in text.split("\n"):
            begin, position = position, position + len(line) + 1
            bare = line.strip()
            if not bare:
                blank = True
                continue
            first = bare[0]
            begin += line.find(first)
            self.offsets.append(begin)
            strength = Break.PARAGRAPH if blank else Break.LINE
            if table >= 0 and (blank or first != "|"):
                self._close(block, table, begin)
                table = -1
            level = 0
            is_title = False
            if fence:
                strength = Break.PROTECTED_LINE
                if bare.startswith(fence) and not bare.strip(first):
                    self._close(block, code, begin + len(bare))
                    fence = ""
            elif table >= 0:
                strength = Break.PROTECTED_LINE
            elif first == "#":
                level = self._heading(begin, bare)
                is_title = level > 0
            elif first == "|":
                table, block = begin + len(bare), begin
            elif bare.startswith(("```", "~~~")):
                fence, code = bare[: len(bare) - len(bare.lstrip(first))], begin + 1
                block = begin
            elif self._clauses and (clause := clause_of(bare)):
                if clause.level == ITEM:
                    strength = Break.PARAGRAPH
                else:
                    level, is_title = clause.level, clause.is_caption
                    self._title(begin, 6 + level, clause.label)
            if below_heading:
                strength = Break.WORD  # a heading stays with what it heads
            elif level:
                strength = Break.HEADING + 6 - level
            self.strengths.append(strength)
            blank, below_heading = False, is_title
        if fence or table >= 0:
            self._close(block, code if fence else table, len(text))

    def _close(self, block: int, inside: int, end: int) -> None:
        self.blocks.append((block, end))
        self.protected.append((inside, end))

    def _heading(self, begin: int, line: str) -> int:
        """Take up a heading line; its level, 0 if it is none."""
        level = len(line) - len(line.lstrip("#"))
        if level > 6 or line[level : level + 1] not in ("", " ", "\t"):
            return 0
        self._title(begin, level, line.strip("#").strip().partition(" {#")[0][:_LONGEST_TITLE])
        return level

    def _title(self, begin: int, level: int, title: str) -> None:
        self._titles = [upper for upper in self._titles if upper[0] < level]
        self._titles.append((level, title))
        path = " > ".join(title for _, title in self._titles if title)
        self.headings.append(Heading(begin, level, path))


class Structure:
    """The strength of the break before each word, and the headings.

    `strengths[k]` belongs to word k of the spans; `headings` are in order. `blocks` are the words
    [first, end) of each table and code block.
    """

    def __init__(self, text: str, spans: Spans, *, clauses: bool = False) -> None:
        lines = _Lines(text, clauses=clauses)
        self.headings = lines.headings
        self._heading_starts = [heading.start for heading in lines.headings]
        self.strengths = np.full(len(spans.starts), Break.WORD, np.int8)
        self.strengths[1:][spans.starts[1:] == spans.ends[:-1]] = Break.CHARACTER
        self.strengths[spans.inside] = Break.INSIDE
        at = np.fromiter((end.end() for end in _SENTENCE_END.finditer(text)), np.int32)
        self._mark(spans, at, np.full(len(at), Break.SENTENCE, np.int8))
        for begin, end in lines.protected:
            first, last = spans.starts.searchsorted(np.array([begin, end], np.int32))
            np.minimum(self.strengths[first:last], Break.WORD, out=self.strengths[first:last])
        self._mark(spans, np.array(lines.offsets, np.int32), np.array(lines.strengths, np.int8))
        edges = spans.starts.searchsorted(np.array(lines.blocks, np.int32).reshape(-1, 2))
        self.blocks: list[tuple[int, int]] = [(first, end) for first, end in edges.tolist()]

    def path_at(self, offset: int) -> str:
        """The path of headings in force at a character of the text; empty before the first."""
        k = bisect_right(self._heading_starts, offset)
        return self.headings[k - 1].path if k else ""

    def _mark(self, spans: Spans, at: NDArray[np.int32], strengths: NDArray[np.int8]) -> None:
        """Set the strength of the words that begin exactly at the offsets `at`."""
        if not len(spans.starts) or not len(at):
            return
        words = np.minimum(spans.starts.searchsorted(at), len(spans.starts) - 1)
        exact = spans.starts[words] == at
        self.strengths[words[exact]] = strengths[exact]
