"""Stores to test, and points made of plain numbers."""

import uuid
from pathlib import Path

import numpy as np
import pytest

from rag_platform.storage.vectors.base import Point, SparseVector, VectorStore
from rag_platform.storage.vectors.edge import EdgeVectorStore
from rag_platform.storage.vectors.server import ServerVectorStore

DIMENSION = 4


def point_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def make_point(
    number: int,
    *,
    doc_id: str = "doc",
    dense: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0),
    terms: dict[int, float] | None = None,
    **payload: object,
) -> Point:
    terms = {1: 1.0} if terms is None else terms
    return Point(
        id=point_id(number),
        dense=np.array(dense, dtype=np.float32),
        sparse=SparseVector(list(terms), list(terms.values())),
        payload={"doc_id": doc_id, **payload},
    )


def in_memory_server() -> ServerVectorStore:
    from qdrant_client import QdrantClient

    return ServerVectorStore(
        "http://in-memory:6333", client_factory=lambda: QdrantClient(":memory:")
    )


@pytest.fixture(autouse=True)
def _new_collections_are_copies() -> None:
    """Here they are made."""


@pytest.fixture(params=["edge", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> VectorStore:
    if request.param == "edge":
        return EdgeVectorStore(tmp_path / "vectors", lock_timeout_s=5)
    return in_memory_server()
