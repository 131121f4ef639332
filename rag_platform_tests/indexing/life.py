"""Small index versions and what decides about them, without a pipeline."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa

from rag_platform.encoders.base import Embedder, SparseEncoder, Vectors
from rag_platform.indexing.gate import Gate
from rag_platform.indexing.promotion import Promotions
from rag_platform.indexing.reconcile import ReconcileReport
from rag_platform.indexing.retirement import Retirement
from rag_platform.retrieval.evaluation import ALL, Evaluation, Slice, record
from rag_platform.retrieval.search import Searcher
from rag_platform.settings_indexes import PromotionSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.objects import open_store
from rag_platform.storage.outbox import Outbox
from rag_platform.storage.schema import index_promotions, index_versions
from rag_platform.storage.vectors.base import Point, SparseVector, VectorStore


class Compass(Embedder):
    """Every query points the same way."""

    name = fingerprint = "compass"
    dimension, batch_size, paid = 2, 8, False

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return np.array([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Vectors:
        return np.array([1.0, 0.0], np.float32)


class OneWord(SparseEncoder):
    """Every text is the same word."""

    fingerprint = "one word"

    def passage(self, text: str, *, title: str = "", language: str = "") -> SparseVector:
        return self.query(text)

    def query(self, text: str, *, language: str = "") -> SparseVector:
        return SparseVector([1], [1.0])


@contextmanager
def opened(vectors: VectorStore, index: str) -> Iterator[Searcher]:
    """An index for searching."""
    with vectors.open_existing(index) as collection:
        yield Searcher(collection, embedder=Compass(), sparse=OneWord())


RECIPE: dict[str, Any] = {"dimension": 2, "fingerprint": "f"}


@dataclass
class Life:
    """A catalog and a store with versions in it; `v1` is live by default."""

    catalog: Catalog
    vectors: VectorStore
    indexes: Sequence[str] = ("v1", "v2", "v3")
    golden: Sequence[str] = ()
    digest: str = "d"  # of the golden queries as they are now
    rules: PromotionSettings = field(default_factory=PromotionSettings)
    drifted: set[str] = field(default_factory=set)
    objects: Any = field(default_factory=lambda: open_store("memory://"))

    def build(self, index: str, points: int = 3) -> None:
        """A version with a collection of some points, which say whose they are."""
        row = {"name": index, "fingerprint": "f", "recipe": {}, "created_at": 1.0}
        with self.catalog.begin() as connection:
            self.catalog.upsert(connection, index_versions, [row])
        with self.vectors.open(index, **RECIPE) as collection:
            collection.upsert([point(index, number) for number in range(points)])

    def evaluate(
        self, index: str, scores: Sequence[float], *, golden: str = "g", **more: Any
    ) -> None:
        """Say what the version got for each query of a set."""
        found: dict[str, Any] = {
            "index": index,
            "golden": golden,
            "digest": "d",
            "points": 3,
            "at": 0.0,
            "slices": {ALL: Slice(len(scores), {"ndcg@10": float(np.mean(scores))})},
            "queries": [str(number) for number in range(len(scores))],
            "scores": {"ndcg@10": list(scores)},
        }
        record(self.catalog, Evaluation(**(found | more)))

    @property
    def promotions(self) -> Promotions:
        """As another process has them."""
        gate = Gate(
            self.catalog,
            self.vectors,
            sources=["manuals"],
            golden=dict.fromkeys(self.golden, lambda: self.digest),
            rules=self.rules,
            reconcile=lambda index: ReconcileReport(index, drifted=int(index in self.drifted)),
        )
        return Promotions(
            self.catalog,
            gate,
            Outbox(self.catalog),
            indexes=self.indexes,
            default="v1",
            rules=self.rules,
        )

    def retirement(self, challenger: str | None = None) -> Retirement:
        """What retires versions."""
        return Retirement(
            self.catalog, self.vectors, self.objects, default="v1", challenger=challenger
        )

    def actions(self) -> list[tuple[str, str, str]]:
        """What happened: action, index, and what was live then."""
        rows = index_promotions
        with self.catalog.read() as connection:
            found = connection.execute(
                sa.select(rows.c.action, rows.c.index_name, rows.c.live).order_by(rows.c.id)
            )
            return [tuple(row) for row in found]

    def kept_until(self) -> dict[str, float | None]:
        """When each version may be retired."""
        with self.catalog.read() as connection:
            rows = connection.execute(sa.select(index_versions))
            return {row.name: row.keep_until for row in rows}


def point(index: str, number: int) -> Point:
    """A point that search can find, and that says which version it is of."""
    text = f"text {number} of {index}"
    payload = {
        "doc_id": f"00000000-0000-0000-0000-00000000000{number}",
        "text_hash": f"{index} {number}",
        "text": text,
        "source": "manuals",
        "uri": f"file:///{number}",
        "key": str(number),
        "title": index,
        "heading": "",
        "page": None,
        "start": 0,
        "end": len(text),
        "language": "en",
    }
    angle = number / 10
    dense = np.array([np.cos(angle), np.sin(angle)], np.float32)
    identity = f"00000000-0000-0000-0000-0000000000{number:02d}"
    return Point(identity, dense, SparseVector([1], [1.0]), payload)
