"""What a clean document (Markdown or plain text) says about where it may be cut."""

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from rag_platform.encoders.tokenizer import Spans

_SENTENCE_END = re.compile(
    r"""(?:[.!?…]["'”’)\]*_]{0,4}\s+|[。！？．][」』”’）]{0,4}\s*)(?=\S)"""
)
_LONGEST_TITLE = 200


class Break(IntEnum):
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


@dataclass(slots=True)
class _Lines:
    """What the lines of a document are, by the offset of their first character."""

    breaks: list[tuple[int, int]] = field(default_factory=list)  # (offset, strength)
    protected: list[tuple[int, int]] = field(default_factory=list)  # [begin, end) of code, tables
    headings: list[Heading] = field(default_factory=list)


class Structure:
    """The strength of the break before each word, and the headings.

    `strengths[k]` belongs to word k of the spans; `headings` are in order.
    """

    def __init__(self, text: str, spans: Spans) -> None:
        lines = _read_lines(text)
        self.headings = lines.headings
        self._heading_starts = [heading.start for heading in lines.headings]
        self.strengths = np.full(len(spans.starts), Break.WORD, np.int8)
        self.strengths[1:][spans.starts[1:] == spans.ends[:-1]] = Break.CHARACTER
        self.strengths[spans.inside] = Break.INSIDE
        at = np.fromiter((end.end() for end in _SENTENCE_END.finditer(text)), np.int32)
        self._mark(spans, at, np.full(len(at), Break.SENTENCE, np.int8))
        for begin, end in lines.protected:
            first, last = np.searchsorted(spans.starts, np.array([begin, end], np.int32))
            np.minimum(
                self.strengths[first:last], Break.WORD, out=self.strengths[first:last]
            )
        offsets, strengths = zip(*lines.breaks, strict=True) if lines.breaks else ((), ())
        self._mark(spans, np.array(offsets, np.int32), np.array(strengths, np.int8))

    def path_at(self, offset: int) -> str:
        """The path of headings in force at a character of the text; empty before the first."""
        k = bisect_right(self._heading_starts, offset)
        return self.headings[k - 1].path if k else ""

    def _mark(self, spans: Spans, at: NDArray[np.int32], strengths: NDArray[np.int8]) -> None:
        """Set the strength of the words that begin exactly at the offsets `at`."""
        if not len(spans.starts) or not len(at):
            return
        words = np.minimum(np.searchsorted(spans.starts, at), len(spans.starts) - 1)
        exact = spans.starts[words] == at
        self.strengths[words[exact]] = strengths[exact]


def _read_lines(text: str) -> _Lines:
    lines = _Lines()
    titles: list[tuple[int, str]] = []
    fence, previous, table = "", "", -1
    blank = True
    for begin, line in _lines_with_offsets(text):
        if not line:
            blank = True
            continue
        end = begin + len(line)
        level = 0 if fence else _heading_level(line)
        if table >= 0 and (blank or not line.startswith("|")):
            lines.protected.append((table, begin))
            table = -1
        if fence or table >= 0:
            strength = int(Break.PROTECTED_LINE)
        elif _heading_level(previous):
            strength = int(Break.WORD)  # a heading stays with what it heads
        elif level:
            strength = Break.HEADING + 6 - level
        else:
            strength = int(Break.PARAGRAPH if blank else Break.LINE)
        lines.breaks.append((begin, strength))
        if level:
            titles = [title for title in titles if title[0] < level]
            titles.append((level, _title(line)))
            path = " > ".join(title for _, title in titles if title)
            lines.headings.append(Heading(begin, level, path))
        if fence:
            lines.protected.append((begin, end))
            fence = "" if line.startswith(fence) and not line.strip(fence[0]).strip() else fence
            line = ""  # what follows a comment in code does not follow a heading
        elif line.startswith(("```", "~~~")):
            fence = line[: len(line) - len(line.lstrip(line[0]))]
        elif line.startswith("|") and table < 0:
            table = end
        previous, blank = line[:8], False
    if table >= 0:
        lines.protected.append((table, len(text)))
    return lines


def _lines_with_offsets(text: str) -> Iterator[tuple[int, str]]:
    """Each line without the whitespace around it, and where it begins."""
    lines = text.split("\n")
    starts = itertools.accumulate((len(line) + 1 for line in lines), initial=0)
    for start, line in zip(starts, lines, strict=False):
        bare = line.lstrip()
        yield start + len(line) - len(bare), bare.rstrip()


def _heading_level(line: str) -> int:
    """1 to 6 for `# Title` to `###### Title`, else 0."""
    if not line.startswith("#"):
        return 0
    level = len(line) - len(line.lstrip("#"))
    return level if level <= 6 and line[level : level + 1] in ("", " ", "\t") else 0


def _title(line: str) -> str:
    title = line.strip("#").strip()
    return title.partition(" {#")[0][:_LONGEST_TITLE]
