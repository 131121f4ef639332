"""Ways to look at a message: its words, its letters, and embeddings of it."""

import functools
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from rag_platform.training.trainers.kernel import Floats

if TYPE_CHECKING:
    from rag_platform.encoders.wordllama import WordLlamaEmbedder

# Of a longer message the rest is not looked at.
MAX_CHARACTERS = 2_000
# Marks are words too: "2 weeks?" asks for something.
_WORD = r"(?u)\b\w+\b|[^\w\s]"
_OPTIONS: dict[str, dict[str, Any]] = {
    "words": {"ngram_range": (1, 2), "token_pattern": _WORD},
    # Letters that are in many messages tell nothing and take the most time.
    "letters": {"analyzer": "char_wb", "ngram_range": (2, 5), "min_df": 2, "max_df": 0.1},
}


def clean(text: str) -> str:
    """One form for characters that look alike, and blanks for those that cannot be seen.

    Empty for a text with nothing to be seen.
    """
    normal = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS])[:MAX_CHARACTERS]
    seen = "".join(
        " " if unicodedata.category(character)[0] == "C" else character for character in normal
    )
    return " ".join(seen.split())


class Vocabulary(BaseModel):
    """The terms of texts, and how much each counts: its inverse document frequency.

    `kind` is `words` (one or two in a row) or `letters` (two to five, inside words).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    terms: tuple[str, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, kind: str, texts: Sequence[str]) -> "Vocabulary":
        """The terms of these texts; none where they have none in common."""
        vectorizer = _vectorizer(kind)
        try:
            vectorizer.fit(texts)
        except ValueError:
            # Nothing is left of the terms when the rare and the frequent ones are taken away.
            return cls(kind=kind, terms=(), weights=())
        terms = tuple(vectorizer.get_feature_names_out().tolist())
        return cls(kind=kind, terms=terms, weights=tuple(vectorizer.idf_.tolist()))

    def vectors(self, texts: Sequence[str]) -> Any:
        """TF-IDF as a sparse array (texts, terms), float32; rows have unit length, or are zero."""
        from scipy.sparse import csr_array

        if not self.terms:
            return csr_array((len(texts), 0), dtype=np.float32)
        vectors: Any = csr_array(self._fitted.transform(texts))
        return vectors

    @functools.cached_property
    def _fitted(self) -> Any:
        vectorizer = _vectorizer(self.kind, vocabulary=self.terms)
        vectorizer.idf_ = np.array(self.weights, np.float32)
        return vectorizer


def _vectorizer(kind: str, **more: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **_OPTIONS[kind], **more)


@dataclass(frozen=True)
class Embedding:
    """A way to embed: texts that are not empty to vectors (texts, dimension) of unit length.

    `weight` is how much it counts in the likeness of two messages, beside 1 for words.
    """

    weight: float
    embed: Callable[[Sequence[str]], Floats]

    def vectors(self, texts: Sequence[str]) -> Floats:
        """As `embed`, with zeros for empty texts."""
        filled = [text for text in texts if text]
        # An empty batch tells the dimension, too.
        found = self.embed(filled or ["?"])
        vectors: Floats = np.zeros((len(texts), found.shape[1]), np.float32)
        if filled:
            vectors[[at for at, text in enumerate(texts) if text]] = found
        return vectors


def wordllama(texts: Sequence[str]) -> Floats:
    """The vectors of the platform's own embedder."""
    return _wordllama().embed_passages(texts)


@functools.cache
def _wordllama() -> "WordLlamaEmbedder":
    from rag_platform.encoders.wordllama import WordLlamaEmbedder

    return WordLlamaEmbedder()
