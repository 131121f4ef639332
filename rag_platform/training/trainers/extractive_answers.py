"""Answers to questions about a text without a model: the best row or sentence, or a refusal.

Rows and sentences are ranked by the words of the question that they hold, rare ones first, and by
the likeness of their vectors. What a text says to do is words like any other. A text that lacks too
much of the question is refused.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rag_platform.encoders.base import Embedder
from rag_platform.training.tasks.answers import REFUSAL, Answer, one_line, parts, words
from rag_platform.training.trainers.extractive_tables import Table

# Raised whenever the same question and text would have another answer.
VERSION = "1"

# Found on the development split of TAT-QA: the share of the question's words, by weight, that the
# text must hold, and how much likeness, and being a row, count beside the words.
LEAST_HELD = 0.5
LIKENESS = 0.5
ROW = 0.1

READ_CHARS = 40_000
MAX_CANDIDATES = 400
MAX_SENTENCE = 2_000

_SENTENCE = re.compile(r"(?<=[.;!?])\s+(?=[A-Z(•])")
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")
_HOW_MUCH = re.compile(
    r"^how (?:much|many|long)|\b(?:amount|percentage|rate|value|total|cost|number|average)\b", re.I
)
_FIGURE = re.compile(
    r"[$€£]?\b[0-9][0-9,]*(?:\.[0-9]+)?"
    r"(?:%| (?:thousand|million|billion|percent|years|months|days)\b)?"
)
_DATE = re.compile(
    r"(?:\b(?:Jan|Febr)uary |\b(?:March|April|May|June|July|August) "
    r"|\b(?:Septem|Octo|Novem|Decem)ber )?(?:[0-9]{1,2}, )?\b(?:19|20)[0-9]{2}\b"
)
# What stands between the words that a question shares with a sentence and what is said of them.
_LINK = re.compile(
    r"\b(?:is|are|was|were|has|have|had|will|would|may|can|consists? of|includes?|comprises?|"
    r"represents?|relates? to|means?|due to|because|based on|according to|by)\b[:,]?\s+",
    re.I,
)
# Words that every text has, and those for what is to be done with figures.
_STOP_WORDS = (
    "a an and are as at be been being between both by can company did do does due each for from "
    "had has have how if in into is it its many much of on or per respective respectively s t than "
    "that the their there these they this those to under was were what when where which who why "
    "will with year years fiscal fy amount amounts average change changes decrease decreased "
    "difference greater higher highest increase increased larger largest lower lowest mean percent "
    "percentage proportion ratio smaller smallest table value values"
)
_STOP = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, slots=True)
class Found:
    """An answer, and how much of the question the text holds, from 0 to 1."""

    answer: Answer
    held: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A row by its label, or a sentence, and the part that it stands in."""

    part: str
    text: str
    is_row: bool


def extract(question: str, context: str) -> Found:
    """An answer drawn from the text, or a refusal."""
    named = parts(context[:READ_CHARS])
    rows = {name: text for name, text in named.items() if name.startswith("t")}
    prose = {name: text for name, text in named.items() if name not in rows}
    table = Table(rows, " ".join(prose.values()))
    candidates = [*_candidates(table, prose)][:MAX_CANDIDATES]
    asked = {term for term in _terms(question) if not _YEAR.fullmatch(term)}
    if not candidates or not asked:
        return Found(REFUSAL, 0.0)
    terms = [_terms(each.text) for each in candidates]
    weights = _weights(asked, terms)
    held = _share(weights, _terms(" ".join(named.values())))
    if held < LEAST_HELD:
        return Found(REFUSAL, held)
    likeness = _likeness(question, [each.text for each in candidates])
    scores = [
        _share(weights, own) + LIKENESS * like + ROW * each.is_row
        for each, own, like in zip(candidates, terms, likeness, strict=True)
    ]
    for place in sorted(range(len(scores)), key=lambda place: -scores[place]):
        each = candidates[place]
        if not each.is_row:
            return Found(_from_sentence(question, asked, each), held)
        if answer := table.answer(each.part, question):
            return Found(answer, held)
    return Found(REFUSAL, held)


def _candidates(table: Table, prose: Mapping[str, str]) -> Iterator[_Candidate]:
    for name, label in table.labels.items():
        yield _Candidate(name, label, True)
    for name, text in prose.items():
        for sentence in _SENTENCE.split(text):
            yield _Candidate(name, sentence[:MAX_SENTENCE], False)


def _from_sentence(question: str, asked: set[str], sentence: _Candidate) -> Answer:
    """A figure or a date, where the question asks for one; else what is said of its words."""
    text = sentence.text.strip(" .;") or sentence.text
    given = set(words(question).split())
    said = None
    if _HOW_MUCH.search(question):
        figures = (each[0] for each in _FIGURE.finditer(text))
        said = next((each for each in figures if words(each) not in given), None)
    elif question.lower().startswith("when") and (date := _DATE.search(text)):
        said = date[0]
    answer = said or _said_of(asked, text)
    return Answer(derivation="", answer=[answer], scale="", cites=[sentence.part], refused=False)


def _said_of(asked: set[str], text: str) -> str:
    """The rest of a sentence behind the words of the question, or all of it."""
    links = ((text[: link.start()], text[link.end() :]) for link in _LINK.finditer(text))
    return next((after for before, after in links if after and _terms(before) & asked), text)


def _terms(text: str) -> set[str]:
    """The telling words of a text, without the endings of plurals."""
    return {_stem(word) for word in words(text).split() if word not in _STOP}


def _stem(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _weights(asked: set[str], terms: Sequence[set[str]]) -> dict[str, float]:
    """The words of the question; rare ones tell more."""
    counts = Counter(term for own in terms for term in own & asked)
    return {term: math.log(1 + len(terms) / (1 + counts[term])) for term in sorted(asked)}


def _share(weights: Mapping[str, float], held: set[str]) -> float:
    total = math.fsum(weights.values())
    return math.fsum(weight for term, weight in weights.items() if term in held) / total


def _likeness(question: str, texts: Sequence[str]) -> list[float]:
    """The cosine of each text's vector and the question's."""
    vectors = _embedder().embed_passages([one_line(text) or "." for text in (question, *texts)])
    return [float(value) for value in vectors[1:] @ vectors[0]]


@functools.cache
def _embedder() -> Embedder:
    from rag_platform.encoders.wordllama import WordLlamaEmbedder

    return WordLlamaEmbedder()
