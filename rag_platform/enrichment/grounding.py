"""Grounding: of the entities that a model names, only those that the document does name.

A person, an organization or a date must stand in the text; what was invented, or asked for by an
instruction that the text no longer holds, is dropped and counted. A topic is an abstraction and
may use other forms of words: it must be short and share the beginning of a word with the text.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rag_platform.enrichment.nlp.dates import find_dates
from rag_platform.enrichment.nlp.words import STOP_WORDS
from rag_platform.enrichment.schemas import Entities
from rag_platform.llm.untrusted import REMOVED_INSTRUCTION, REMOVED_MARK

MAX_TOPIC_CHARS = 60
MAX_TOPIC_WORDS = 6
_BEGINNING = 5  # letters in which two forms of a word agree, in most languages

# With the role header that an instruction had, as neutralizing leaves it.
_MARKS = re.compile(
    r"(?:^[ \t>*_-]{0,8}(?:system|assistant|developer|human|user)[ \t*_]{0,4} -[ \t]*)?"
    rf"(?:{re.escape(REMOVED_INSTRUCTION)}|{re.escape(REMOVED_MARK)})",
    re.IGNORECASE | re.MULTILINE,
)
_WORD = re.compile(r"[^\W_]+")
# Scripts that do not part their words: Thai to Tibetan, Khmer, Chinese, Japanese.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1780-\u17ff\u2e80-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff]"
)
_NO_TOPIC = re.compile(r"[<>{}@\\]|://|www\.", re.IGNORECASE)
_ISO_PART = re.compile(r"\d{4}(?:-\d\d)?")


@dataclass(frozen=True, slots=True)
class Grounded:
    """The entities that stand in the text, and those of each kind that do not.

    What was dropped is hostile text: count it, and show it nowhere.
    """

    kept: Entities
    dropped: dict[str, tuple[str, ...]]

    @property
    def dropped_count(self) -> int:
        return sum(map(len, self.dropped.values()))


def grounded(entities: Entities, text: str) -> Grounded:
    """Hold `entities` against `text`: all that the model was given, neutralized as it was.

    Names are compared by their words, whatever their case, accents and punctuation. A date may
    stand in any form; it may be less precise than in the text, never more; it is kept as ISO 8601
    where it can be. Of more precise dates that lack the year, the year must stand in the text too.
    """
    text = without_marks(text)
    place = _Text(text)
    kept = {
        "people": [name for name in entities.people if place.holds(name)],
        "organizations": [name for name in entities.organizations if place.holds(name)],
        "topics": [
            topic for topic in entities.topics if _is_phrase(topic) and place.is_about(topic)
        ],
    }
    dates = {date: _grounded_date(date, place) for date in entities.dates}
    kept["dates"] = [value for value in dates.values() if value]
    said = entities.model_dump()
    dropped = {
        name: _lost(said[name], kept[name]) for name in ("people", "organizations", "topics")
    }
    dropped["dates"] = tuple(date for date, value in dates.items() if not value)
    return Grounded(Entities(**kept), {name: lost for name, lost in dropped.items() if lost})


def without_marks(text: str) -> str:
    """Neutralized text with a paragraph's end where something was taken out."""
    return _MARKS.sub("\n\n", text)


class _Text:
    """A text that is asked what it holds."""

    def __init__(self, text: str) -> None:
        self._words = f" {_words(text)} "
        self._unspaced = self._words.replace(" ", "") if _UNSPACED.search(text) else ""
        self.dates = {reading for date in find_dates(text) for reading in date.readings}

    def holds(self, name: str) -> bool:
        words = _words(name)
        if not words:
            return False
        if _UNSPACED.search(name):
            return words.replace(" ", "") in self._unspaced
        return f" {words} " in self._words

    def is_about(self, topic: str) -> bool:
        """Whether a word of the topic, in whatever form, stands in the text."""
        words = _words(topic)
        if _UNSPACED.search(topic):
            run = words.replace(" ", "")
            return any(run[at : at + 2] in self._unspaced for at in range(max(1, len(run) - 1)))
        telling = [word for word in words.split() if len(word) > 2 and word not in STOP_WORDS]
        if not telling:  # such as AI, or the UK
            return self.holds(topic)
        return any(f" {word[:_BEGINNING]}" in self._words for word in telling)


def _words(text: str) -> str:
    """The words of a text in small letters without accents, parted by single spaces."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(each for each in decomposed if not unicodedata.combining(each))
    return " ".join(_WORD.findall(text.casefold()))


def _lost(said: Iterable[str], kept: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in said if name not in kept)


def _grounded_date(written: str, place: _Text) -> str | None:
    """The date in its plainest form, or None where the text does not have it."""
    found = find_dates(written)
    if _ISO_PART.fullmatch(written):
        readings: tuple[str, ...] = (written,)
        value = written
    elif len(found) == 1 and len(found[0].written) >= len(written.rstrip(".")):
        readings, value = found[0].readings, found[0].value
    else:
        readings, value = (), written
    if any(_has_date(reading, place) for reading in readings):
        return value
    # "Q3 2024", "last Tuesday": as written, but no bare small number.
    if place.holds(written) and not re.fullmatch(r"\W*\d{1,3}\W*", written):
        return value
    return None


def _has_date(reading: str, place: _Text) -> bool:
    if any(known == reading or known.startswith(f"{reading}-") for known in place.dates):
        return True
    if reading.startswith("--"):
        return any(known.endswith(reading[1:]) and len(known) == 10 for known in place.dates)
    return f"-{reading[4:]}" in place.dates and place.holds(reading[:4])


def _is_phrase(topic: str) -> bool:
    short = len(topic) <= MAX_TOPIC_CHARS and len(topic.split()) <= MAX_TOPIC_WORDS
    return short and not _NO_TOPIC.search(topic)
