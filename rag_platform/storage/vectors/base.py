"""The vector store port: collections of points, each with a dense and a sparse vector.

A collection belongs to one index recipe and refuses any other. Its points carry the payload
that search and reconciling need; every point names its document under `doc_id`.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rag_platform.errors import PlatformError

DENSE = "dense"
SPARSE = "bm25"
# The payload fields that people may filter by.
FILTER_FIELDS = (
    *("doc_id", "text_hash", "source", "language", "key"),
    *("label", "topics", "people", "organizations", "author"),
)
# Those that searches are limited by besides; the stores keep an index on each.
INDEXED_FIELDS = (*FILTER_FIELDS, "tenant", "acl")

# What a point says of its whole document: the beginning of the digest that the catalog has of it.
# A count of points by mark tells what a collection holds of each document without reading a point.
# Belongs to the stores: no payload that they give back shows it.
MARK = "mark"

# Candidates that a graph keeps while it looks for the nearest (hnsw_ef). Of a million passages it
# finds 94 % of the ten nearest with so many, 82 % with Qdrant's own 100 (benchmarks/scale.py).
CANDIDATES = 512

Payload = dict[str, Any]
Filters = Mapping[str, str | Sequence[str]]


class VectorStoreError(PlatformError):
    """The vector store cannot do what it was asked; `transient` where it may do so later."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class PointsRefused(VectorStoreError):
    """A point does not fit its collection; nothing of the call was written."""


class RecipeMismatch(PlatformError):
    """The collection was built by another recipe than the one it is opened with."""


class CollectionMissing(PlatformError):
    """A reader asked for a collection that was never built."""


@dataclass(frozen=True, slots=True)
class SparseVector:
    """A sparse vector: `values[i]` stands at dimension `indices[i]` (uint32, no repeats)."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Point:
    """One searchable chunk. `id` is a UUID, `dense` float32 of shape (dimension,)."""

    id: str
    dense: np.ndarray
    sparse: SparseVector
    payload: Payload


@dataclass(frozen=True, slots=True)
class Hit:
    """A found point. `score` grows with likeness; scales of the two legs do not compare."""

    id: str
    score: float
    payload: Payload


class Collection(ABC):
    """An open collection. Writes have survived a kill of this process once they return."""

    batch_size: int
    page_size = 1000

    def __init__(self, name: str, *, dimension: int, fingerprint: str) -> None:
        self.name = name
        self.dimension = dimension
        self.fingerprint = fingerprint

    def upsert(self, points: Sequence[Point]) -> None:
        """Add points, or replace those of the same id, in batches.

        Raises `PointsRefused`, before anything is written, for a point without `doc_id`, or
        whose vector has a wrong dimension, a value that is not finite, or no length.
        """
        for point in points:
            self._check(point)
        for start in range(0, len(points), self.batch_size):
            self._write(points[start : start + self.batch_size])

    def delete(self, ids: Sequence[str]) -> None:
        """Remove points; ids that are not there are passed over."""
        for start in range(0, len(ids), self.batch_size):
            self._remove(ids[start : start + self.batch_size])

    def set_payloads(self, payloads: Mapping[str, Payload]) -> None:
        """Replace the payloads of points, by id; their vectors stay as they are."""
        items = list(payloads.items())
        for start in range(0, len(items), self.batch_size):
            self._describe(dict(items[start : start + self.batch_size]))

    def present(self, doc_ids: Sequence[str]) -> dict[str, dict[str, Payload]]:
        """For each document its points, id to payload; empty for one that has none."""
        found: dict[str, dict[str, Payload]] = {doc_id: {} for doc_id in doc_ids}
        wanted = list(found)
        for start in range(0, len(wanted), self.batch_size):
            filters = {"doc_id": wanted[start : start + self.batch_size]}
            for point_id, payload in self._scroll(filters, fields=None):
                payload.pop(MARK, None)
                found[payload["doc_id"]][point_id] = payload
        return found

    def payloads(self, filters: Filters, *, most: int | None = None) -> Iterator[Payload]:
        """The payloads of all points that match, or of the `most` first ones by id; a page in
        memory at a time."""
        wanted = _value_lists(filters)
        if wanted is not None:
            for _, payload in itertools.islice(
                self._scroll(wanted, fields=None, page=most or self.page_size), most
            ):
                payload.pop(MARK, None)
                yield payload

    def ids(self) -> Iterator[tuple[str, str]]:
        """(point id, doc_id) of every point, a page in memory at a time."""
        for point_id, payload in self._scroll({}, fields=["doc_id"]):
            yield point_id, payload["doc_id"]

    def strays(self, marks: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(point id, doc_id) of the points with one of these marks, and of those without any."""
        for start in range(0, len(marks), self.batch_size):
            filters = {MARK: list(marks[start : start + self.batch_size])}
            for point_id, payload in self._scroll(filters, fields=["doc_id"]):
                yield point_id, payload["doc_id"]
        for point_id, payload in self._scroll({MARK: []}, fields=["doc_id"]):
            yield point_id, payload["doc_id"]

    def set_marks(self, marks: Mapping[str, str]) -> None:
        """Give all points of documents their mark; `marks` is by doc_id."""
        items = list(marks.items())
        for start in range(0, len(items), self.batch_size):
            self._mark(dict(items[start : start + self.batch_size]))

    def nearest(
        self,
        dense: np.ndarray,
        limit: int,
        filters: Filters | None = None,
        *,
        without: Sequence[str] = (),
    ) -> list[Hit]:
        """The points whose dense vectors are most alike by cosine, best first.

        `dense` is float32 of shape (dimension,). `filters` maps payload fields to the value,
        or the values, one of which the field must equal. Points `without` are those with other
        texts than these, by `text_hash`.
        """
        if dense.shape != (self.dimension,):
            raise PointsRefused(
                f"collection {self.name}: query vector of shape {dense.shape}, expected "
                f"({self.dimension},). Encode queries with the index's own embedder."
            )
        wanted = _value_lists(filters)
        return [] if wanted is None else self._nearest(dense, limit, wanted, without)

    def nearest_sparse(
        self,
        sparse: SparseVector,
        limit: int,
        filters: Filters | None = None,
        *,
        without: Sequence[str] = (),
    ) -> list[Hit]:
        """The points that share weighted terms with the query (BM25 with IDF), best first."""
        wanted = _value_lists(filters)
        if wanted is None or not sparse.indices:
            return []
        return self._nearest_sparse(sparse, limit, wanted, without)

    def optimize(self) -> None:
        """Reclaim what deleted points left and index a large collection.

        For stores that do so on their own there is nothing to do.
        """
        return

    @abstractmethod
    def count(self) -> int:
        """How many points there are, exactly."""

    @abstractmethod
    def marks(self) -> dict[str, int]:
        """How many points carry each mark, exactly; from the index of the field, not the points."""

    @abstractmethod
    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Dense vectors as stored: float32, scaled to length 1. Missing ids are left out."""

    @abstractmethod
    def _write(self, points: Sequence[Point]) -> None: ...

    @abstractmethod
    def _remove(self, ids: Sequence[str]) -> None: ...

    @abstractmethod
    def _describe(self, payloads: Mapping[str, Payload]) -> None: ...

    @abstractmethod
    def _mark(self, marks: Mapping[str, str]) -> None: ...

    @abstractmethod
    def _scroll(
        self, filters: Mapping[str, list[str]], *, fields: list[str] | None, page: int = page_size
    ) -> Iterator[tuple[str, Payload]]:
        """Every matching point with these payload fields, or all of them, page by page, by id.

        A field without accepted values must be absent.
        """

    @abstractmethod
    def _nearest(
        self,
        dense: np.ndarray,
        limit: int,
        filters: Mapping[str, list[str]],
        without: Sequence[str],
    ) -> list[Hit]: ...

    @abstractmethod
    def _nearest_sparse(
        self,
        sparse: SparseVector,
        limit: int,
        filters: Mapping[str, list[str]],
        without: Sequence[str],
    ) -> list[Hit]: ...

    def _check(self, point: Point) -> None:
        problem = None
        if point.dense.shape != (self.dimension,):
            problem = f"a vector of shape {point.dense.shape}, expected ({self.dimension},)"
        elif not 0.0 < (norm := float(np.dot(point.dense, point.dense))) < math.inf:
            problem = f"a vector that has no direction (squared length {norm})"
        elif len(point.sparse.indices) != len(point.sparse.values):
            problem = "a sparse vector with unequal numbers of indices and values"
        elif not math.isfinite(sum(point.sparse.values)):
            problem = "a sparse vector with a value that is not finite"
        elif not isinstance(point.payload.get("doc_id"), str):
            problem = "a payload without doc_id"
        if problem is not None:
            raise PointsRefused(
                f"collection {self.name}: point {point.id} has {problem}; nothing written. "
                "Check the encoder of this index."
            )


class VectorStore(ABC):
    """The collections of one store. Names come from settings, never from documents."""

    @abstractmethod
    def open(
        self, name: str, *, dimension: int, fingerprint: str
    ) -> AbstractContextManager[Collection]:
        """Open for writing; made when missing. Raises `RecipeMismatch` for another recipe's."""

    @abstractmethod
    def open_existing(self, name: str) -> AbstractContextManager[Collection]:
        """Open what is there, whatever its recipe. Raises `CollectionMissing`."""

    @abstractmethod
    def names(self) -> list[str]:
        """The collections that exist, sorted."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Remove a collection and all its points; one that is missing is passed over."""


def mark_of(digest: str) -> str:
    """The mark of a document whose points have this digest; long enough to tell all apart."""
    return digest[:16]


def refuse_other_recipe(
    name: str, where: str, *, found: tuple[int, str], wanted: tuple[int, str]
) -> None:
    """Raise `RecipeMismatch` unless (dimension, fingerprint) are the same."""
    if found != wanted:
        raise RecipeMismatch(
            f"collection {name} in {where} was built with dimension {found[0]}, recipe "
            f"{found[1][:12]}; asked for dimension {wanted[0]}, recipe {wanted[1][:12]}. "
            "Give the changed recipe an index name of its own, or drop this collection."
        )


def missing_collection(name: str, where: str) -> CollectionMissing:
    """The error for a reader that came too early."""
    return CollectionMissing(
        f"collection {name} is not in {where}. Build it: rag-platform sync SOURCE; or, "
        "where it has been before: rag-platform reconcile --repair."
    )


def _value_lists(filters: Filters | None) -> dict[str, list[str]] | None:
    """Filters as field -> accepted values; None when one accepts nothing."""
    lists = {
        field: [value] if isinstance(value, str) else list(value)
        for field, value in (filters or {}).items()
    }
    return lists if all(lists.values()) else None
