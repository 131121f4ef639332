"""Which model is asked: a complexity score from what can be measured, and a chain of fallbacks.

The score is the weighted mean of these parts, each from 0 to 1 and measured on the first 40,000
characters of the request's variables; no model is asked for it.

| part | weight | 0 at | 1 at |
|---|--:|---|---|
| length | 0.30 | 256 characters or fewer | 32,768 characters, evenly by doublings |
| fields | 0.15 | one field in the answer | 16 fields and choices |
| names | 0.15 | 10 in 100 words are numbers or begin with a capital | 40 in 100 |
| structure | 0.15 | running text | half of the lines are headings, list items, rows or code |
| vocabulary | 0.10 | no long words (10 letters and more) | 30 in 100 words |
| symbols | 0.05 | letters, digits and plain punctuation | 15 in 100 characters are others |
| scripts | 0.10 | one script | 20 in 100 letters are not of the main script |
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

WEIGHTS = {
    "length": 0.30,
    "fields": 0.15,
    "names": 0.15,
    "structure": 0.15,
    "vocabulary": 0.10,
    "symbols": 0.05,
    "scripts": 0.10,
}

_MEASURED = 40_000
_WORD = re.compile(r"[^\W_]+(?:['\u2019.,-][^\W_]+)*")
_STRUCTURED = re.compile(r"\s*(?:#{1,6}\s|[-*+\u2022]\s|\d{1,3}[.)]\s|\||```|\w[\w .-]{0,40}:\s*$)")
_SYMBOL = re.compile(r"[^\w\s.,;:!?'\"()\u2019\u201c\u201d\u2013-]|_")
_LATIN = re.compile(r"[A-Za-z]")
_ENOUGH = 10_000


@dataclass(frozen=True, slots=True)
class Complexity:
    """How hard a request looks, from 0 to 1, and the parts that this is made of."""

    score: float
    parts: Mapping[str, float]

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value:.2f}" for name, value in self.parts.items())
        return f"{self.score:.2f} ({parts})"


@dataclass(frozen=True, slots=True)
class Step:
    """A model of a chain, and the tier that it stands for."""

    tier: str
    model: str


def complexity(text: str, schema: Mapping[str, Any]) -> Complexity:
    """The score of a request: `text` is all of its variables, `schema` is that of the answer."""
    text = text[:_MEASURED]
    words = _WORD.findall(text)
    lines = [line for line in text.splitlines() if line.strip()]
    parts = {
        "length": (math.log2(max(len(text), 1)) - 8) / 7,
        "fields": (_choices(schema) - 1) / 15,
        "names": (_share(sum(map(_is_name, words)), len(words)) - 0.1) / 0.3,
        "structure": _share(sum(map(_is_structured, lines)), len(lines)) / 0.5,
        "vocabulary": _share(sum(len(word) >= 10 for word in words), len(words)) / 0.3,
        "symbols": _share(len(_SYMBOL.findall(text)), len(text)) / 0.15,
        "scripts": _other_scripts(text) / 0.2,
    }
    parts = {name: min(1.0, max(0.0, value)) for name, value in parts.items()}
    return Complexity(sum(WEIGHTS[name] * value for name, value in parts.items()), parts)


def tier_of(score: float, tiers: Sequence[str], threshold: float) -> str:
    """The tier for a score, of `tiers` with the cheapest first.

    Below the threshold it is the first; from there to 1 the others have equal parts.
    """
    if score < threshold or len(tiers) == 1:
        return tiers[0]
    others = tiers[1:]
    place = (score - threshold) / (1 - threshold) if threshold < 1 else 1.0
    return others[min(int(place * len(others)), len(others) - 1)]


def chain_of(
    tier: str, tiers: Mapping[str, str], fallbacks: Mapping[str, Sequence[str]]
) -> list[Step]:
    """The tier's model and then those of its fallbacks, each model once."""
    steps: dict[str, Step] = {}
    for name in (tier, *fallbacks.get(tier, ())):
        steps.setdefault(tiers[name], Step(name, tiers[name]))
    return list(steps.values())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _is_name(word: str) -> bool:
    return word[0].isdigit() or word[0].isupper()


def _is_structured(line: str) -> bool:
    return _STRUCTURED.match(line) is not None


def _choices(schema: Any) -> int:
    """The fields of an answer and the values to choose from, wherever they stand in its schema."""
    if isinstance(schema, list):
        return sum(map(_choices, schema))
    if not isinstance(schema, dict):
        return 0
    own = len(schema.get("enum", ())) + len(schema.get("properties", ()))
    inner = {key: value for key, value in schema.items() if key not in ("enum", "required")}
    return own + sum(map(_choices, inner.values()))


def _other_scripts(text: str) -> float:
    """The share of letters that are not of the script that most are of, in a first part."""
    text = text[:_ENOUGH]
    if text.isascii():
        return 0.0
    scripts = Counter(_script(char) for char in text if not char.isascii() and char.isalpha())
    scripts["LATIN"] += len(_LATIN.findall(text))
    return 1 - _share(max(scripts.values()), scripts.total()) if scripts.total() else 0.0


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """The script by the letter's name; Japanese and Korean are written with several at once."""
    script = unicodedata.name(letter, "UNKNOWN").split()[0]
    return "CJK" if script in ("HIRAGANA", "KATAKANA", "HANGUL") else script
