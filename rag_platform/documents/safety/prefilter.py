"""Many patterns looked for in one pass over a text: which of them may match at all."""

import re
from collections.abc import Sequence
from typing import Any

# Room for the states of the automaton, which is built as texts need it. A text that needs more
# makes it slower, and never wrong.
_MEMORY = 64 << 20


class Prefilter:
    """Patterns of RE2, compiled to automata; looking takes time linear in the text.

    Of patterns with long gaps only a few go `together`: the states of an automaton are what its
    patterns have read so far, in all combinations, and it slows down when they do not fit.
    """

    def __init__(self, patterns: Sequence[str], *, together: int = 100) -> None:
        starts = range(0, len(patterns), together)
        self._sets = [(start, _automaton(patterns[start : start + together])) for start in starts]

    def hits(self, data: bytes) -> list[int]:
        """The numbers of the patterns that match somewhere in UTF-8 text, in order."""
        return [start + n for start, each in self._sets for n in sorted(each.Match(data) or ())]


def _automaton(patterns: Sequence[str]) -> Any:
    import re2

    options = re2.Options()
    options.max_mem = _MEMORY
    options.never_capture = True
    automaton = re2.Set.SearchSet(options)
    for pattern in patterns:
        automaton.Add(pattern)
    automaton.Compile()
    return automaton


_LOOK = re.compile(r"\(\?<?[=!]")
_GAP = re.compile(r"\{0,\d{2,}\}\??")


def necessary(pattern: str) -> str:
    """A pattern of RE2 that matches wherever one of Python does, and perhaps elsewhere.

    What RE2 has not is left out: looking ahead and behind. A word may hold any letter, and a gap
    may be of any length.
    """
    parts: list[str] = []
    position, in_class = 0, False
    while position < len(pattern):
        if not in_class and _LOOK.match(pattern, position):
            position = _closing(pattern, position)
            continue
        size = 2 if pattern[position] == "\\" else 1
        part = pattern[position : position + size]
        position += size
        if part == "\\u":
            part, position = rf"\x{{{pattern[position : position + 4]}}}", position + 4
        elif part == "\\w" and not in_class:
            part = r"[\w\x{80}-\x{10FFFF}]"
        elif part == "\\Z":
            part = r"\z"
        elif part in "[]":
            in_class = part == "["
        parts.append(part)
    return _GAP.sub("*", "".join(parts))


def _closing(pattern: str, position: int) -> int:
    """Where the group that opens at `position` is over."""
    depth, in_class = 0, False
    while True:
        character = pattern[position]
        if character == "\\":
            position += 1
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        else:
            depth += (character == "(") - (character == ")")
        position += 1
        if depth == 0:
            return position
