"""A text in pieces that can each be given to a model: whole paragraphs, code left alone."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Characters of a piece, and from how many on it ends before a heading: what stands under other
# headings keeps its pieces when a paragraph is edited.
MOST = 2_000
_ENOUGH = 400

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]")
_SENTENCE_END = re.compile("[.!?\u3002\uff01\uff1f\u0964]\\s*")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text; `is_prose` where it has words outside code."""

    text: str
    is_prose: bool


def pieces(text: str) -> list[Piece]:
    """The pieces of a text; joined they are the text. Prose comes in at most `MOST` characters.

    The same paragraphs between the same headings make the same pieces, wherever they stand.
    """
    found: list[Piece] = []
    group = ""
    for block, is_prose in _blocks(text):
        full = len(group) + len(block) > MOST
        if group and (full or not is_prose or (_HEADING.match(block) and len(group) >= _ENOUGH)):
            found.append(Piece(group, True))
            group = ""
        if not is_prose:
            found.append(Piece(block, False))
        elif len(block) > MOST:
            found += [Piece(part, True) for part in _cut(block)]
        else:
            group += block
    if group:
        found.append(Piece(group, True))
    return found


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """Paragraphs with the blank lines after them, and blocks of code; whether they are prose."""
    lines: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        marker = _FENCE.match(line)
        if fence:
            lines.append(line)
            if marker and marker[1].startswith(fence) and not line.strip(f" \t\r\n{fence[0]}"):
                yield "".join(lines), False
                lines, fence = [], ""
            continue
        starts = marker or _HEADING.match(line) or (lines and not lines[-1].strip())
        if lines and starts and line.strip():
            yield _block(lines)
            lines = []
        lines.append(line)
        fence = marker[1] if marker else ""
    if lines:
        yield ("".join(lines), False) if fence else _block(lines)


def _block(lines: list[str]) -> tuple[str, bool]:
    block = "".join(lines)
    return block, any(map(str.isalpha, block))


def _cut(block: str) -> Iterator[str]:
    """A long paragraph or table in parts: at the end of a line, a sentence, a word, or anywhere."""
    start = 0
    while len(block) - start > MOST:
        window = block[start : start + MOST]
        ends = [match.end() for match in _SENTENCE_END.finditer(window)]
        ends = [end for end in ends if MOST // 2 < end < MOST]
        line = window.rfind("\n") + 1
        word = window.rfind(" ") + 1
        end = line if line > MOST // 2 else ends[-1] if ends else word or MOST
        yield block[start : start + end]
        start += end
    yield block[start:]
