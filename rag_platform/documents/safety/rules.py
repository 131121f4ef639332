"""What a rule of the safety scan is, and the places where rules may hold."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Group = Literal["secrets", "pii"]

BEFORE_BYTES = 60  # in front of a value: they may say what it is


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that has the form: the text in front of it, and the document's language code."""

    value: str
    before: str
    language: str


# How many characters of the value count, from its start; 0 for none.
Check = Callable[[Candidate], int]


def always(candidate: Candidate) -> int:
    """The form says enough."""
    return len(candidate.value)


def when(holds: Callable[[str], bool]) -> Check:
    """The whole value, if that holds of it."""
    return lambda candidate: len(candidate.value) if holds(candidate.value) else 0


@dataclass(frozen=True, slots=True)
class Rule:
    """One form of one kind of finding.

    `pattern` is of RE2, over UTF-8; its first group, where it has one, is the value, else all of
    it. `kind` is the name people read: it stands in place of what is masked. After `most_checks`
    of a text the form says enough: a check that is dear must not hold a hostile text up.
    """

    group: Group
    kind: str
    pattern: str
    check: Check = always
    most_checks: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a kind stands, as offsets of characters from and to."""

    group: Group
    kind: str
    start: int
    end: int


class Offsets:
    """From bytes of UTF-8 text to characters, asked in growing order."""

    def __init__(self, data: bytes, *, is_ascii: bool) -> None:
        self._data = data
        self._is_ascii = is_ascii
        self._byte = 0
        self._character = 0

    def at(self, byte: int) -> int:
        """The character at a byte."""
        if self._is_ascii:
            return byte
        self._character += len(self._data[self._byte : byte].decode(errors="replace"))
        self._byte = byte
        return self._character
