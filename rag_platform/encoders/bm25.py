"""Sparse vectors for keyword search: BM25 as the vector engine itself defines it.

The engine multiplies by the inverse document frequency at query time (its modifier `idf`), so the
weights here hold the frequency of a term in its passage only. Encoding holds the interpreter's
lock: threads gain nothing.
"""

import operator
import re
from functools import cache
from typing import Any

from rag_platform.encoders.base import SparseEncoder
from rag_platform.encoders.languages import code, detect, guesses
from rag_platform.errors import PlatformError
from rag_platform.storage.vectors.base import SparseVector

AUTO = "auto"
_VERSION = 1
_AUTO_VERSION = 1
# Terms of a passage on average: of a chunk of 400 tokens, where the engine has a whole document in
# mind. Chosen on half of the queries of Cranfield and SciFact.
_AVERAGE_TERMS = 128
# Han, kana, and their extensions: written without spaces, so the engine would see whole sentences
# as one term. Overlapping pairs of characters are the usual stand-in for words. They also
# find what the engine's own segmentation makes part of a longer word.
_UNSPACED = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]+"
)

# The languages that the engine has stop words for, most of them with a stemmer, under its names.
_ENGINE = {
    "ar": "arabic",
    "az": "azerbaijani",
    "bn": "bengali",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "he": "hebrew",
    "hu": "hungarian",
    "id": "indonesian",
    "it": "italian",
    "ja": "japanese",
    "kk": "kazakh",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sl": "slovene",
    "sv": "swedish",
    "tg": "tajik",
    "tr": "turkish",
    "zh": "chinese",
}
# What a text is taken for whose language is not known, or unknown to the engine: names, code and
# borrowed words in it are mostly English.
_DEFAULT = "en"
# Their own words have no endings, but there is English between them.
_WITH_ENGLISH = frozenset({"ja", "zh"})
# Written without spaces, and the engine knows their words.
_SEGMENTED = frozenset({"th"})

# A query is also read as if it were in another language that it may be in: names in it then find
# documents in that language too. At this weight that costs nothing in a query's own language
# (nDCG@10 within .003 in twelve), and Spanish questions find more in English (.588 to .664).
_OTHER_READING = 0.3
_POSSIBLE = 0.05


class UnknownLanguage(PlatformError):
    """The engine has no stop words for the language asked for."""


def sparse_encoder(language: str) -> SparseEncoder:
    """The encoder of a recipe: `auto` for each text's own language, or one language for all."""
    return MultilingualBm25() if language == AUTO else Bm25Encoder(language)


class Bm25Encoder(SparseEncoder):
    """Words in lower case without the language's stop words, stemmed where it has a stemmer.

    Text in another language is still found by its exact words. Chinese and Japanese are indexed by
    pairs of characters, whatever the language. Titles are left out.
    """

    def __init__(self, language: str = "english") -> None:
        import qdrant_edge

        config = qdrant_edge.Bm25Config(language=language, tokenizer=qdrant_edge.TokenizerType.Word)
        try:
            self._model = qdrant_edge.Bm25(config)
        except ValueError as error:
            raise UnknownLanguage(
                f"bm25: language {language!r} is not one of the engine's. "
                "Write it in full and in English, such as english or german, or auto"
            ) from error
        self._language = language
        self.fingerprint = f"qdrant-bm25:{_VERSION}:{language}:word"

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew in another process."""
        return Bm25Encoder, (self._language,)

    def passage(self, text: str, *, title: str = "", language: str = "") -> SparseVector:
        """Terms of `text` weighted by saturated frequency and length."""
        return _vector(self._model.embed_document(_spaced(text)))

    def query(self, text: str, *, language: str = "") -> SparseVector:
        """Each distinct term of `text` with weight 1."""
        return _vector(self._model.embed_query(_spaced(text)))


class MultilingualBm25(SparseEncoder):
    """Every text with the stop words, the stemmer and the word breaks of its own language.

    A passage is in the language of its document. What a query is in is detected where it is not
    said. All vectors share one space: a term has the same index in every language.
    """

    fingerprint = f"qdrant-bm25-auto:{_AUTO_VERSION}"

    def passage(self, text: str, *, title: str = "", language: str = "") -> SparseVector:
        """Terms of the title and of `text`, weighted by saturated frequency and length."""
        whole = f"{title}\n{text}" if title else text
        return _vector(_model(_rules_of(language)).embed_document(_spaced(whole)))

    def query(self, text: str, *, language: str = "") -> SparseVector:
        """Each distinct term with weight 1, and with less the terms it has in another language.

        In a text of uncertain language all that it may be in count alike.
        """
        certain = code(language) or detect(text)
        possible = [found for found, likely in guesses(text) if likely >= _POSSIBLE]
        others = dict.fromkeys(map(_rules_of, [*possible, _DEFAULT]))
        spaced = _spaced(text)
        weight = _OTHER_READING if certain else 1.0
        terms = {at: weight for rules in others for at in _model(rules).embed_query(spaced).indices}
        if certain:
            own = _model(_rules_of(certain)).embed_query(spaced)
            terms |= dict.fromkeys(own.indices, 1.0)
        return SparseVector(list(terms), list(terms.values()))


def _rules_of(language: str) -> str:
    """The code of the language by whose rules a text in `language` is taken apart."""
    known = code(language)
    return known if known in _ENGINE or known in _SEGMENTED else _DEFAULT


@cache
def _model(rules: str) -> Any:
    import qdrant_edge as engine

    words = engine.TokenizerType.Multilingual if rules in _SEGMENTED else engine.TokenizerType.Word
    name = _ENGINE.get(rules, _ENGINE[_DEFAULT])
    if rules not in _WITH_ENGLISH:
        config = engine.Bm25Config(language=name, tokenizer=words, avg_len=_AVERAGE_TERMS)
        return engine.Bm25(config)
    own = getattr(engine.Language, name.capitalize())
    return engine.Bm25(
        engine.Bm25Config(
            tokenizer=words,
            avg_len=_AVERAGE_TERMS,
            stopwords=engine.StopwordsSet(languages={own, engine.Language.English}),
            stemmer=engine.SnowballParams(engine.SnowballLanguage.English),
        )
    )


def _vector(found: Any) -> SparseVector:
    return SparseVector(list(found.indices), list(found.values))


def _spaced(text: str) -> str:
    if text.isascii():
        return text
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
    return _UNSPACED.sub(_pairs, text)


def _pairs(run: re.Match[str]) -> str:
    found = run.group()
    pairs = map(operator.add, found, found[1:]) if len(found) > 1 else found
    return f" {' '.join(pairs)} "
