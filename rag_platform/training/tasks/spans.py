"""Named entities in a text: where they begin and end, and how they are written as JSON."""

import functools
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rag_platform.training.errors import UnusableData

# No blank stands before these tokens, and none after those.
_CLOSING = frozenset([*")]}.,;:!?%", "'s", "\u2019s", "n't", "'re", "'ve", "'ll", "'d", "'m"])
_OPENING = frozenset("([{$£€#")


class Span(NamedTuple):
    """Positions of characters, the end exclusive (or of tokens, where tokens are spoken of)."""

    start: int
    end: int
    label: str


class BadSpans(Exception):
    """Entities that cannot be: why, in words without content."""


def checked(text: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """The spans in order, each once and without blanks at its ends.

    Raises `BadSpans` for one that is empty or outside the text, and for two that overlap.
    """
    found = sorted({_bare(text, span) for span in spans})
    for before, after in itertools.pairwise(found):
        if after.start < before.end:
            raise BadSpans("two entities overlap")
    return tuple(found)


def _bare(text: str, span: Span) -> Span:
    start, end, label = span
    if not 0 <= start < end <= len(text):
        raise BadSpans("an entity is empty or lies outside the text")
    label = label.strip()
    if not label or len(label) > 60 or not label.isprintable():
        raise BadSpans("a label is empty, or over 60 characters, or cannot be printed")
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    end -= len(inner) - len(inner.rstrip())
    if start >= end:
        raise BadSpans("an entity is blank")
    return Span(start, end, label)


def joined(tokens: Sequence[str], entities: Iterable[Span]) -> tuple[str, tuple[Span, ...]]:
    """Tokens as a text, and entities over tokens as entities over its characters.

    Raises `BadSpans` for an entity that is empty or goes past the tokens.
    """
    parts: list[str] = []
    starts: list[int] = []
    position = 0
    for at, token in enumerate(tokens):
        if at and token not in _CLOSING and tokens[at - 1] not in _OPENING:
            parts.append(" ")
            position += 1
        starts.append(position)
        parts.append(token)
        position += len(token)
    found = []
    for start, end, label in entities:
        if not 0 <= start < end <= len(tokens):
            raise BadSpans("an entity is empty or lies outside the tokens")
        found.append(Span(starts[start], starts[end - 1] + len(tokens[end - 1]), label))
    return "".join(parts), tuple(found)


def as_text(spans: Iterable[Span], text: str) -> str:
    """A JSON list of objects with `start`, `end`, `label` and `text`, in order."""
    told = [
        {"start": start, "end": end, "label": label, "text": text[start:end]}
        for start, end, label in sorted(spans)
    ]
    return json.dumps(told, ensure_ascii=False)


@functools.lru_cache(maxsize=65_536)
def from_text(written: str) -> frozenset[Span]:
    """The spans that `as_text` wrote. Raises `UnusableData` for what it cannot have written."""
    try:
        return frozenset(_span(**each) for each in json.loads(written))
    except (ValueError, TypeError, RecursionError):
        raise UnusableData(
            "entities: no JSON list of objects with start, end and label; write them so."
        ) from None


def _span(start: int, end: int, label: str, text: str = "") -> Span:
    if type(start) is not int or type(end) is not int or not isinstance(label, str):
        raise TypeError
    return Span(start, end, label)
