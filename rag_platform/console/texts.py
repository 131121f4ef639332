"""Texts from outside as pages show them: cut to a bounded length, with places in them marked."""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Characters of a text that are shown at a time.
WINDOW = 20_000
# Of a passage's surroundings, characters before it.
_BEFORE = 4_000

# What a browser acts on instead of showing it: control characters but tab and line feed, those
# that turn the direction of writing, and lone surrogates, which no page can be encoded with.
_ACTED_ON = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: object) -> str:
    """A text of the same length in which every character is shown as one."""
    return _ACTED_ON.sub("\ufffd", str(text))


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a text, from `start` up to `end`, and what it is."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text that is shown in one way; `page` is the number of the page that begins with
    it."""

    text: str
    start: int
    mark: Mark | None = None
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Characters `start` up to `end` of a text with `size` of them."""

    pieces: Sequence[Piece]
    start: int
    end: int
    size: int

    @property
    def before(self) -> int | None:
        """Where the excerpt before this one begins; None at the beginning."""
        return max(0, self.start - WINDOW) if self.start else None

    @property
    def after(self) -> int | None:
        """Where the next excerpt begins; None at the end."""
        return self.end if self.end < self.size else None


def excerpt(
    text: str, *, at: int = 0, marks: Iterable[Mark] = (), page_starts: Sequence[int] = ()
) -> Excerpt:
    """The text from `at` on, as far as `WINDOW` goes. Marks that overlap an earlier one are left
    out."""
    start = min(max(at, 0), max(len(text) - 1, 0))
    end = min(start + WINDOW, len(text))
    kept: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark.start, -mark.end)):
        if mark.start >= (kept[-1].end if kept else start) and mark.start < mark.end <= end:
            kept.append(mark)
    pages = {at: number for number, at in enumerate(page_starts, 1) if start <= at < end}
    edges = {edge for mark in kept for edge in (mark.start, mark.end)}
    pieces = []
    left = deque(kept)
    for begin, stop in pairwise(sorted({start, end, *pages, *edges})):
        while left and left[0].end <= begin:
            left.popleft()
        mark_here = left[0] if left and left[0].start <= begin else None
        pieces.append(Piece(plain(text[begin:stop]), begin, mark_here, pages.get(begin)))
    return Excerpt(pieces, start, end, len(text))


def around(size: int, start: int, end: int) -> int:
    """Where an excerpt begins that shows a passage of a text of this size, with what is before it;
    0 where the whole text fits."""
    if end <= WINDOW:
        return 0
    return max(0, min(start - _BEFORE, size - WINDOW))


def named(text: str, names: Mapping[str, Iterable[str]]) -> list[Mark]:
    """Where names stand in a text as whole words, by kind of name, whatever their case."""
    kinds: dict[str, str] = {}
    for kind, values in names.items():
        for value in values:
            if value.strip():
                kinds.setdefault(value.strip().lower(), kind)
    if not kinds:
        return []
    longest_first = sorted(kinds, key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    found = re.finditer(rf"(?<!\w)(?:{pattern})(?!\w)", text, re.IGNORECASE)
    return [
        Mark(one.start(), one.end(), kinds[one[0].lower()])
        for one in found
        if one[0].lower() in kinds
    ]
