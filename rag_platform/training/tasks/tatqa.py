"""Exact match and F1 as TAT-QA defines them: numbers count with their scale.

The measures of Zhu et al., "TAT-QA: A Question Answering Benchmark on a Hybrid of Tabular and
Textual Content in Finance" (ACL 2021, section 5.2), which are those of DROP (Dua et al., 2019)
with the scale taken in, by the rules of the data set's published evaluation. An answer is written
as one text: its parts in order of their spelling, each number as its value with four digits, every
other part with the scale after it. Exact match compares these texts, without articles, case and
punctuation; F1 is that of their sets of words. Of numbers that are calculated or counted, F1 is
exact match. A single number without a scale may also be a share where the answer is in percent.
"""

import math
import re
import string
from collections.abc import Sequence

CALCULATED = ("arithmetic", "count")

_FACTORS = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_PERCENT = 0.01
_AROUND_NUMBERS = dict.fromkeys(map(ord, "'\"\\$€£¥%(),[]"))
_PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_FIRST = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)|[+-]?\.[0-9]+")
_NEGATIVE = re.compile(r"\([0-9.\s]+\)")
_IN_PERCENT = re.compile(r"[0-9.\s]+%")
_WITH_WORD = re.compile(r"[0-9.]+\s?[a-zA-Z]+")


def exact_match_and_f1(
    answers: Sequence[str], scale: str, right: Sequence[str], right_scale: str, kind: str
) -> tuple[float, float]:
    """Both measures, from 0 to 1, of an answer against the right one, which is of this `kind`."""
    if not answers or not right:
        return 0.0, 0.0
    wanted = _written(right, right_scale)
    said = [_written(answers, scale)]
    if len(answers) == 1 and not scale and "%" not in answers[0]:
        number = _number(answers[0])
        if number is not None:
            said.append(f"{number:.4f}")
    exact, f1 = max(_compared(each, wanted) for each in said)
    return exact, exact if kind in CALCULATED else f1


def _compared(said: str, wanted: str) -> tuple[float, float]:
    said, wanted = _normalized(said), _normalized(wanted)
    ours, theirs = set(said.split()), set(wanted.split())
    same = len(ours & theirs)
    precision = same / len(ours) if ours else 1.0
    recall = same / len(theirs) if theirs else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return float(said == wanted), round(f1, 2)


def _written(answers: Sequence[str], scale: str) -> str:
    written = []
    for answer in sorted(answers):
        number = _number(answer)
        if number is not None:
            factor = 1 if "%" in answer else _factor(scale)
            digits = number if "%" in answer else round(number, 2)
            written.append(f"{digits * factor:.4f}")
        else:
            written.append(f"{answer} {scale}" if scale else answer)
    return " ".join(written)


def _normalized(text: str) -> str:
    """Without articles, case, punctuation; numbers by their value."""
    tokens = []
    for token in text.lower().split(" "):
        number = _number(token)
        if number is None and not _is_number(token):
            number = _number(token := token.translate(_PUNCTUATION))
        tokens.append(token if number is None else str(number))
    return " ".join(_ARTICLES.sub(" ", " ".join(tokens)).split())


def _factor(word: str) -> float:
    word = word.lower()
    for name, factor in _FACTORS.items():
        if name in word:
            return factor
    return _PERCENT if "percent" in word else 1


def _is_number(text: str) -> bool:
    """Whether a text is a number, with a scale after it or without."""
    tokens = text.translate(_AROUND_NUMBERS).split()
    try:
        return (
            bool(tokens)
            and not math.isnan(float(tokens[0]))
            and (len(tokens) == 1 or _factor(tokens[1]) != 1)
        )
    except ValueError:
        return False


def _number(text: str) -> float | None:
    """The value of a number, to four digits: `(134)` is negative, `12%` and `1.2 million` count.

    None for what is no number, and for one that begins with its point.
    """
    if not _is_number(text):
        return None
    first = _FIRST.search(text.translate(_AROUND_NUMBERS))
    if first is None or first[1] is None:
        return None
    value: float = float(first[1]) if "." in first[1] else int(first[1])
    scaled = _WITH_WORD.search(text)
    value *= _factor(scaled[0]) if scaled else 1
    value *= -1 if _NEGATIVE.search(text.strip()) else 1
    value *= _PERCENT if _IN_PERCENT.search(text.strip()) else 1
    return round(value, 4)
