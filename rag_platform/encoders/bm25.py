"""Sparse vectors for keyword search: BM25 as the vector engine itself defines it.

The engine multiplies by the inverse document frequency at query time (its modifier `idf`), so the
weights here hold the frequency of a term in its passage only. Encoding holds the interpreter's
lock: threads gain nothing.
"""

import operator
import re
from typing import Any

from rag_platform.encoders.base import SparseEncoder
from rag_platform.errors import PlatformError
from rag_platform.storage.vectors.base import SparseVector

_VERSION = 1
# Han, kana, and their extensions: written without spaces, so the engine would see whole sentences
# as one term. Overlapping pairs of characters are the usual stand-in for words.
_UNSPACED = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]+"
)


class UnknownLanguage(PlatformError):
    """The engine has no stop words for the language asked for."""


class Bm25Encoder(SparseEncoder):
    """Words in lower case without the language's stop words, stemmed where it has a stemmer.

    Text in another language is still found by its exact words. Chinese and Japanese are indexed by
    pairs of characters, whatever the language.
    """

    def __init__(self, language: str = "english") -> None:
        import qdrant_edge

        config = qdrant_edge.Bm25Config(language=language, tokenizer=qdrant_edge.TokenizerType.Word)
        try:
            self._model = qdrant_edge.Bm25(config)
        except ValueError as error:
            raise UnknownLanguage(
                f"bm25: language {language!r} is not one of the engine's. "
                "Write it in full and in English, such as english or german"
            ) from error
        self._language = language
        self.fingerprint = f"qdrant-bm25:{_VERSION}:{language}:word"

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew in another process."""
        return Bm25Encoder, (self._language,)

    def passage(self, text: str) -> SparseVector:
        """Terms of `text` weighted by saturated frequency and length."""
        vector = self._model.embed_document(_spaced(text))
        return SparseVector(list(vector.indices), list(vector.values))

    def query(self, text: str) -> SparseVector:
        """Each distinct term of `text` with weight 1."""
        vector = self._model.embed_query(_spaced(text))
        return SparseVector(list(vector.indices), list(vector.values))


def _spaced(text: str) -> str:
    return text if text.isascii() else _UNSPACED.sub(_pairs, text)


def _pairs(run: re.Match[str]) -> str:
    found = run.group()
    pairs = map(operator.add, found, found[1:]) if len(found) > 1 else found
    return f" {' '.join(pairs)} "
