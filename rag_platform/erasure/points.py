"""Documents in the collections of the vector store: of every index version that it holds."""

from collections.abc import Collection as Some
from collections.abc import Iterator, Sequence

from rag_platform.settings_values import DEFAULT_TENANT
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.vectors.base import VectorStore
from rag_platform.storage.vectors.purge import purge

_BATCH = 200


def count(vectors: VectorStore, doc_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many points each collection has of each document."""
    found: dict[str, dict[str, int]] = {}
    for name in vectors.names():
        with vectors.open_existing(name) as collection:
            present = collection.present(doc_ids)
        found[name] = {doc_id: len(points) for doc_id, points in present.items()}
    return found


def remove(catalog: Catalog, vectors: VectorStore, doc_ids: Sequence[str]) -> None:
    """Delete the points of documents, as the only writer of each collection."""
    for name in vectors.names():
        with (
            catalog.exclusive(f"index-{name}"),
            vectors.open_existing(name) as collection,
        ):
            present = collection.present(doc_ids)
            collection.delete([point for points in present.values() for point in points])


def passages_elsewhere(
    vectors: VectorStore, hashes: Some[str], *, tenant: str, without: Some[str]
) -> Iterator[str]:
    """Those of the passages, by hash, that other documents of a tenant have in any collection."""
    ordered = sorted(hashes)
    for name in vectors.names():
        with vectors.open_existing(name) as collection:
            for start in range(0, len(ordered), _BATCH):
                batch = ordered[start : start + _BATCH]
                for payload in collection.payloads({"text_hash": batch}):
                    is_theirs = payload.get("tenant", DEFAULT_TENANT) == tenant
                    if is_theirs and payload["doc_id"] not in without:
                        yield payload["text_hash"]


def purge_all(catalog: Catalog, vectors: VectorStore) -> list[str]:
    """Leave nothing of deleted points in the files of any collection; returns remarks on those
    where that is left to a server."""
    remarks = []
    for name in vectors.names():
        with catalog.exclusive(f"index-{name}"):
            if not purge(vectors, name):
                remarks.append(f"points {name}: Qdrant drops deleted ones in its own time")
    return remarks
