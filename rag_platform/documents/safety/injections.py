"""How much a text speaks to a model instead of to a reader: a score from 0 to 1.

What speaks to a model is taken out before a model reads it (rag_platform.llm.untrusted). The score
is for people, who decide about documents that try.
"""

import functools
import re
from bisect import bisect_left
from itertools import islice
from typing import Any

from rag_platform.documents.safety.prefilter import Prefilter, necessary
from rag_platform.documents.safety.rules import Offsets
from rag_platform.documents.safety.signs import COMMAND, PHRASE, SIGNS
from rag_platform.llm.injections import RULES
from rag_platform.llm.untrusted import folded

# All that is only quoted, in a text that speaks of such attacks.
_QUOTED = 0.29
_MOST = 1_000  # places of one pattern that are looked at

# Of what the gateway's rules find: what ordinary manuals and forms say now and then.
_ORDINARY = re.compile(
    r"(?:answer|reply|respond|output|return|responda?|contest[ae]|antworten?(?: sie)?"
    r"|repond(?:s|ez|re)|rispond(?:i|ete|a))\b(?!.{0,60}(?:[\"'\u201c\u00ab\u300c]|\bnothing but\b"
    r"|\b(?:words?|string|phrase|palabra|wort|mot|parola|palavra)\b))"
    r"|if you(?!.{0,60}\b(?:tell|say|ignore|print|write|answer|output|respond|recommend|state)\b)"
    r"|(?:act as|behave like)(?!.{0,50}\b(?:uncensored|unrestricted|without|no (?:rule|limit"
    r"|restriction)|jailbroken|dan)\b)"
    r"|(?:classify|label|categori[sz]e|tag|always|now)\b(?! (?:everything|all documents)\b)"
    r"|(?:system|hidden|final|real|actual|updated|revised|new) |(?:begin|start|end) "
    r"|.{0,20}\bdebug mode|(?:correct|right|only|true|proper) |.{0,30}\boriginal message"
    r"|(?:your \w+|the summary) (?:must|should|shall|has to|needs to|may only|will) (?:\w+ )?be\b"
)
_SPEAKS_OF_IT = re.compile(
    r"prompt[- ]injection|jailbreak|adversarial prompt|injection attack|red[- ]team"
    r"|inyeccion de prompt|injection de prompt|提示注入|提示词注入|プロンプトインジェクション"
)
_QUOTES = "\"'`\u201c\u201d\u201e\u00ab\u00bb\u300c\u300e\u2018\u2019"

# Letters set apart, and what they may spell.
_APART = r"(?:\b[a-z][ ._*-]{1,2}){11,}[a-z]\b"
_SPELT = re.compile(
    r"ignore(?:all|any|the|your|every)?(?:of)?(?:the|your)?(?:previous|prior|above|earlier"
    r"|instruction|rules)|systemprompt|disregard(?:all|any|the|previous)|youarenow"
)

# Flags of regions are written with some characters of the block that can hide ASCII text.
_TAGS = re.compile("[\U000e0020-\U000e007e]{8,}")
_TAG_BYTES = "\U000e0020".encode()[:2]


def injection_score(text: str) -> float:
    """How surely a text holds instructions to a model, from 0 to 1, in steps of a thousandth.

    From 0.5 on it holds one that is meant for nobody else. Takes time linear in the length.
    """
    plain = folded(text)
    data = plain.encode(errors="replace")
    concealed = tagged(text) if _TAG_BYTES in data else ""
    if concealed:
        plain += "\n" + folded(concealed)
        data = plain.encode(errors="replace")
    rules, signs = _prefilters()
    hits = rules.hits(data) + [len(RULES) + number for number in signs.hits(data)]
    if not hits and not concealed:
        return 0.0
    weights = [COMMAND] if concealed else []
    places = sorted(place for number in hits for place in _places(number, plain, data))
    quotes = _Quotes(plain) if _SPEAKS_OF_IT.search(plain) else None
    last = -1
    for start, end, weight in places:
        if quotes is not None and quotes.hold(start):
            weight = _QUOTED
        if start >= last:
            weights.append(weight)
        else:  # two signs in one place are one
            weights[-1] = max(weights[-1], weight)
        last = max(last, end)
    return _joined(weights)


def _joined(weights: list[float]) -> float:
    """Independent signs add up as probabilities do; more of a kind say no more."""
    doubt = 1.0
    for weight, most in ((COMMAND, 5), (PHRASE, 5), (_QUOTED, 1)):
        doubt *= (1 - weight) ** min(weights.count(weight), most)
    return round(1 - doubt, 3)


def tagged(text: str) -> str:
    """ASCII text that is hidden in characters of the block of tags, which show nothing."""
    return "\n".join(
        "".join(chr(ord(character) - 0xE0000) for character in run) for run in _TAGS.findall(text)
    )


_PATTERNS = (*(sign.pattern for sign in SIGNS), _APART)


@functools.cache
def _prefilters() -> tuple[Prefilter, Prefilter]:
    """For the rules and for the signs."""
    rules = [necessary(rule.pattern.pattern) for rule in RULES]
    return Prefilter(rules, together=12), Prefilter([necessary(each) for each in _PATTERNS])


@functools.cache
def _compiled(number: int) -> Any:
    import re2

    return re2.compile(_PATTERNS[number])


def _places(number: int, plain: str, data: bytes) -> list[tuple[int, int, float]]:
    """Where a pattern of the prefilter matches, and what that weighs; nowhere, if it was wrong."""
    if number < len(RULES):
        spans = [found.span() for found in islice(RULES[number].found(plain), _MOST)]
        return [(a, b, _weight(plain[a:b], plain[b : b + 60])) for a, b in spans]
    number -= len(RULES)
    offsets = Offsets(data, is_ascii=len(data) == len(plain))
    places = []
    for found in islice(_compiled(number).finditer(data), _MOST):
        start, end = offsets.at(found.start()), offsets.at(found.end())
        if number < len(SIGNS):
            places.append((start, end, SIGNS[number].weight))
        elif _SPELT.search(re.sub("[^a-z]", "", plain[start:end])):
            places.append((start, end, COMMAND))
    return places


def _weight(found: str, after: str) -> float:
    """What a match of the gateway's rules weighs; one that goes on in the next paragraph less."""
    return PHRASE if "\n\n" in found or _ORDINARY.match(found + after) else COMMAND


class _Quotes:
    """Where a text quotes: in quotation marks, and in blocks of code."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._fences = [fence.start() for fence in re.finditer("```", text)]

    def hold(self, start: int) -> bool:
        """Whether what begins there is quoted."""
        before = self._text[max(0, start - 8) : start].rstrip(" *_([")
        return before.endswith(tuple(_QUOTES)) or bisect_left(self._fences, start) % 2 == 1
