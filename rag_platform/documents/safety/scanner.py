"""Finding secrets and personal data in a text, and masking them."""

import functools
from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from rag_platform.documents.safety.personal import PII_RULES
from rag_platform.documents.safety.prefilter import Prefilter
from rag_platform.documents.safety.rules import (
    BEFORE_BYTES,
    Candidate,
    Finding,
    Group,
    Offsets,
    Rule,
)
from rag_platform.documents.safety.secrets import SECRET_RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

# Secrets first: of two findings that overlap the one that comes first in this order counts.
RULES: tuple[Rule, ...] = (*SECRET_RULES, *PII_RULES)


def scan(text: str, *, groups: Collection[Group], language: str = "") -> list[Finding]:
    """What stands in a text, in order and without overlap.

    `language` is the text's ISO 639-1 code: it tells where phone numbers without a country code
    may be from. Runs in time linear in the length of the text.
    """
    data = text.encode(errors="replace")
    numbers = [number for number in _prefilter().hits(data) if RULES[number].group in groups]
    found = [
        (start, end, number) for number in numbers for start, end in _spans(data, number, language)
    ]
    offsets = Offsets(data, is_ascii=len(data) == len(text))
    return [
        Finding(RULES[number].group, RULES[number].kind, offsets.at(start), offsets.at(end))
        for start, end, number in _without_overlap(found)
    ]


def mask(
    text: str, findings: Sequence[Finding], starts: Sequence[int] = ()
) -> tuple[str, tuple[int, ...]]:
    """A text with its findings replaced, and where its pages begin then."""
    if not findings:
        return text, tuple(starts)
    parts, position = [], 0
    ends, shifts = [], []
    for finding in findings:
        label = f"[{finding.kind} removed]"
        parts += [text[position : finding.start], label]
        position = finding.end
        ends.append(finding.end)
        shifts.append(len(label) - (finding.end - finding.start))
    masked = "".join([*parts, text[position:]])
    return masked, _moved(starts, findings, list(accumulate(shifts)))


def _moved(
    starts: Sequence[int], findings: Sequence[Finding], shifts: Sequence[int]
) -> tuple[int, ...]:
    """Offsets after masking; `shifts` are those behind each finding. An offset inside a finding
    goes to its end."""
    moved, number = [], 0
    for start in starts:
        while number < len(findings) and findings[number].end <= start:
            number += 1
        if number < len(findings) and findings[number].start < start:
            start = findings[number].end
            moved.append(start + shifts[number])
        else:
            moved.append(start + (shifts[number - 1] if number else 0))
    return tuple(moved)


@functools.cache
def _prefilter() -> Prefilter:
    return Prefilter([rule.pattern for rule in RULES])


@functools.cache
def _compiled(number: int) -> Any:
    import re2

    return re2.compile(RULES[number].pattern)


def _spans(data: bytes, number: int, language: str) -> "Iterator[tuple[int, int]]":
    """Where one rule holds, in bytes."""
    rule, pattern = RULES[number], _compiled(number)
    position = checked = 0
    # Not finditer: what a check leaves of a match may begin another.
    while (found := pattern.search(data, position)) is not None:
        start, end = found.span(1 if pattern.groups else 0)
        candidate = Candidate(
            value=data[start:end].decode(errors="ignore"),
            before=data[max(0, start - BEFORE_BYTES) : start].decode(errors="ignore"),
            language=language,
        )
        checked += 1
        is_dear = rule.most_checks is not None and checked > rule.most_checks
        taken = len(candidate.value) if is_dear else rule.check(candidate)
        if taken:
            end = start + len(candidate.value[:taken].encode())
            yield start, end
        position = max(end, found.start() + 1)


def _without_overlap(found: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The spans in order of where they stand; of two that overlap the one of the earlier rule."""
    kept: list[tuple[int, int, int]] = []
    for start, end, number in sorted(found):
        while kept and start < kept[-1][1] and number < kept[-1][2]:
            kept.pop()
        if not kept or start >= kept[-1][1]:
            kept.append((start, end, number))
    return kept
