"""A world of plain numbers to search in: directions on a circle, and two words."""

import uuid
from collections.abc import Sequence

import numpy as np

from rag_platform.encoders.base import Embedder, SparseEncoder, Vectors
from rag_platform.storage.vectors.base import Point, SparseVector

ANGLES = {"north": 0.0, "east": 90.0}  # what a query means, in degrees
TERMS = {"alpha": 1, "beta": 2}


class Compass(Embedder):
    """A query is a direction."""

    name, fingerprint = "wordllama", "compass"
    dimension, batch_size, paid = 2, 8, False

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return np.array([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Vectors:
        return direction(next((ANGLES[word] for word in text.split() if word in ANGLES), 45.0))


class Words(SparseEncoder):
    """A word is a dimension of weight 1."""

    fingerprint = "words"

    def passage(self, text: str, *, title: str = "", language: str = "") -> SparseVector:
        return self.query(text)

    def query(self, text: str, *, language: str = "") -> SparseVector:
        found = sorted({TERMS[word] for word in text.split() if word in TERMS})
        return SparseVector(found, [1.0] * len(found))


def direction(degrees: float) -> Vectors:
    angle = np.radians(degrees)
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def point(text: str, degrees: float, key: str = "", **payload: object) -> Point:
    """A text in a direction, at an address."""
    key = key or f"{text}.md"
    fields = {
        "doc_id": f"doc of {key}",
        "text_hash": f"hash of {text}",
        "text": text,
        "source": "manuals",
        "uri": f"file:///{key}",
        "key": key,
        "title": f"title of {key}",
        "heading": "",
        "page": None,
        "start": 0,
        "end": len(text),
        "language": "en",
    }
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{key}{payload.get('start', 0)}{text}"))
    return Point(identity, direction(degrees), Words().passage(text), fields | payload)
