"""How long reconciling takes, and how many points it reads: made points in the embedded engine.

    python benchmarks/reconcile.py [POINTS]

Ten points a document, vectors of 8 dimensions, 200 characters of text. Prints JSON: seconds of the
process's CPU and of the clock, and what was found, where nothing drifted, where one document of a
thousand lost a point, and for a reading in full.
"""

import hashlib
import json
import resource
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from rag_platform.encoders.base import Embedder, SparseEncoder, Vectors
from rag_platform.indexing.digests import digest_of
from rag_platform.indexing.reconcile import Reconciler
from rag_platform.indexing.version import IndexVersion
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo
from rag_platform.storage.objects import open_store
from rag_platform.storage.pages import PageStore
from rag_platform.storage.schema import index_documents
from rag_platform.storage.vectors.base import MARK, Point, SparseVector, mark_of
from rag_platform.storage.vectors.edge import EdgeVectorStore

INDEX = "docs_v1"
CHUNKS = 10
DIMENSION = 8
DOCUMENTS_AT_ONCE = 500


class Made(Embedder):
    """Vectors are made here; nothing is embedded."""

    name = fingerprint = "made"
    dimension, batch_size, paid = DIMENSION, 8, False

    def embed_passages(self, texts: Any) -> Vectors:
        raise NotImplementedError

    def embed_query(self, text: str) -> Vectors:
        raise NotImplementedError


class NoWords(SparseEncoder):
    """No terms at all."""

    fingerprint = "none"

    def passage(self, text: str, *, title: str = "", language: str = "") -> SparseVector:
        return SparseVector([], [])

    def query(self, text: str, *, language: str = "") -> SparseVector:
        return SparseVector([], [])


class Cut:
    """A chunker that is never asked."""

    fingerprint = "none"


def made(points: int) -> Iterator[tuple[dict[str, Any], list[Point]]]:
    """Documents: the row of the catalog, and its points with their mark."""
    random = np.random.default_rng(0)
    for number in range(points // CHUNKS):
        doc_id = str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))
        payloads = {
            str(uuid.uuid5(uuid.UUID(doc_id), str(chunk))): {
                "doc_id": doc_id,
                "text_hash": hashlib.sha256(f"{number} {chunk}".encode()).hexdigest()[:32],
                "text": f"{number} {chunk} ".ljust(200, "x"),
                "source": "made",
                "title": str(number),
                "language": "en",
            }
            for chunk in range(CHUNKS)
        }
        digest = digest_of(payloads)
        row = {
            "index_name": INDEX,
            "doc_id": doc_id,
            "source": "made",
            "seq": number + 1,
            "claimed": number + 1,
            "window": "w",
            "pass_no": 1,
            "chunks": CHUNKS,
            "digest": digest,
        }
        mark = {MARK: mark_of(digest)}
        yield (
            row,
            [
                Point(
                    point,
                    random.normal(size=DIMENSION).astype(np.float32),
                    SparseVector([number % 1_000], [1.0]),
                    payload | mark,
                )
                for point, payload in payloads.items()
            ],
        )


def main() -> None:
    """Build, reconcile three times, print."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        catalog = Catalog(f"sqlite:///{home}/catalog.db", lock_folder=home / "locks")
        vectors = EdgeVectorStore(home / "vectors")
        version = IndexVersion(INDEX, Cut(), Made(), NoWords())  # type: ignore[arg-type]
        found: dict[str, Any] = {"points": wanted}
        with _timed(found, "build"), _open(vectors, version) as collection:
            rows: list[dict[str, Any]] = []
            points: list[Point] = []
            for row, own in made(wanted):
                rows.append(row)
                points += own
                if len(rows) == DOCUMENTS_AT_ONCE:
                    _write(catalog, collection, rows, points)
                    rows, points = [], []
            _write(catalog, collection, rows, points)
        reconciler = Reconciler(
            version,
            {},
            catalog=catalog,
            memo=Memo(catalog),
            pages=PageStore(open_store("memory://")),
            vectors=vectors,
        )
        with _timed(found, "nothing drifted"):
            found["nothing drifted"] = reconciler.run(repair=False, full=False, today=1).as_json()
        with _open(vectors, version) as collection:
            ids = [point for point, _ in collection.ids()]
            collection.delete(ids[:: CHUNKS * 1_000])
        with _timed(found, "drifted"):
            found["drifted"] = reconciler.run(repair=False, full=False, today=1).as_json()
        with _timed(found, "in full"):
            found["in full"] = reconciler.run(repair=False, full=True).as_json()
        found["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps(found, indent=1))


def _open(vectors: EdgeVectorStore, version: IndexVersion) -> Any:
    return vectors.open(INDEX, dimension=DIMENSION, fingerprint=version.fingerprint)


def _write(
    catalog: Catalog, collection: Any, rows: list[dict[str, Any]], points: list[Point]
) -> None:
    if rows:
        collection.upsert(points)
        with catalog.begin() as connection:
            connection.execute(sa.insert(index_documents), rows)


class _timed:
    """Seconds of a block, on the clock and of this process."""

    def __init__(self, found: dict[str, Any], name: str) -> None:
        self._found, self._name = found, name

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        clock, cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        self._found[f"{self._name}, seconds"] = {"clock": round(clock, 2), "cpu": round(cpu, 2)}


if __name__ == "__main__":
    main()
