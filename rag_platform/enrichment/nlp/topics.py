"""Topics: the key phrases of a document, by how often they stand and how near they come to it."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from rag_platform.enrichment.nlp.vectors import embed
from rag_platform.enrichment.nlp.words import STOP_WORDS, stem
from rag_platform.enrichment.schemas import MAX_TOPICS

_MAX_PHRASE = 3
_MAX_CANDIDATES = 48
_STEMS = 8  # so many distinct words make for one topic more
_NEAREST = 0.65  # two topics are no nearer to each other than this cosine
# Weights, in units of a cosine: how often a phrase stands, each word more, that the title has it.
_FREQUENCY = 0.1
_WORD = 0.1
_TITLE = 0.15

_Stems = tuple[str, ...]

_TOKEN = re.compile(r"[^\W_][\w'\u2019+#-]*|[^\w\s]")


def topics(title: str, sentences: Sequence[str], *, without: Sequence[str] = ()) -> list[str]:
    """At most 8 key phrases in small letters, the best first; none with a name of `without`.

    Candidates are runs of two or three words between function words and punctuation, and words and
    parts of runs that stand more than once. The most frequent are ranked by the cosine to the
    document, and those too near to a better one are left out. A short text has fewer topics.
    """
    counts, written = _candidates([title, *sentences])
    names = [name.lower() for name in without]
    often = sorted(counts, key=lambda key: -counts[key] * len(key))
    keys = [key for key in often if not _is_part(written[key], names)][:_MAX_CANDIDATES]
    if not keys:
        return []
    most = min(MAX_TOPICS, 2 + len({stem for key in counts for stem in key}) // _STEMS)
    vectors = embed([*(written[key] for key in keys), " ".join([title, *sentences])])
    phrases, document = vectors[:-1], vectors[-1]
    lead = title.lower()
    scores = [
        near
        + _FREQUENCY * math.log(counts[key])
        + _WORD * len(key)
        + _TITLE * (written[key] in lead)
        for near, key in zip((phrases @ document).tolist(), keys, strict=True)
    ]
    chosen: list[int] = []
    for index in sorted(range(len(keys)), key=lambda index: -scores[index]):
        if all(phrases[index] @ phrases[other] < _NEAREST for other in chosen):
            chosen.append(index)
        if len(chosen) == most:
            break
    return [written[keys[index]] for index in chosen]


def _candidates(texts: Sequence[str]) -> tuple[Counter[_Stems], dict[_Stems, str]]:
    """How often each phrase stands, by the stems of its words, and its first spelling."""
    counts: Counter[_Stems] = Counter()
    written: dict[_Stems, str] = {}
    whole: set[_Stems] = set()
    for text in texts:
        for run in _runs(text):
            stemmed = tuple(map(stem, run))
            if len(run) > 1:
                whole.add(stemmed)
            for begin in range(len(run)):
                for end in range(begin + 1, min(begin + _MAX_PHRASE, len(run)) + 1):
                    key = stemmed[begin:end]
                    counts[key] += 1
                    if key not in written:
                        written[key] = " ".join(run[begin:end])
    # A phrase that never stands without a longer one around it says less than that one.
    inner = {part for key in counts for part in (key[1:], key[:-1]) if counts[part] == counts[key]}
    for key in [key for key in counts if key in inner or not (counts[key] > 1 or key in whole)]:
        del counts[key]
    return counts, written


def _runs(text: str) -> Iterator[list[str]]:
    """The words in small letters between function words, numbers and punctuation."""
    run: list[str] = []
    for token in _TOKEN.findall(text):
        word = token.lower().rstrip("'\u2019-")
        if word.endswith(("'s", "\u2019s")):
            word = word[:-2]
        if _says_something(word):
            run.append(word)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _says_something(word: str) -> bool:
    """Not so function words, fragments, numbers, unbroken runs of writing, and masks ("xxxx")."""
    sized = 3 <= len(word) <= 30
    return sized and word not in STOP_WORDS and word[0].isalpha() and len(set(word)) > 1


def _is_part(phrase: str, names: Sequence[str]) -> bool:
    return any(phrase in name or name in phrase for name in names)
