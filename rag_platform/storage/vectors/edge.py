"""The embedded vector store: the Qdrant engine in this process, one folder per collection.

    root/docs_v1/recipe.json    dimension and fingerprint
    root/docs_v1/engine/        the engine's own files
    root/docs_v1.lock           held while the collection is open, by one process at a time

A collection is made under `docs_v1.new` and renamed when complete, so a kill in between leaves
only something that the next opening throws away.

Every write goes to the engine's log before it returns, and the log is replayed on opening: a
kill loses nothing that was acknowledged. The files are synced to the disk every few batches and
on closing, so a power cut may lose the last of them; reconciling finds that.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.storage.locks import exclusive
from rag_platform.storage.vectors.base import (
    CANDIDATES,
    DENSE,
    INDEXED_FIELDS,
    MARK,
    SPARSE,
    Collection,
    Hit,
    Payload,
    Point,
    SparseVector,
    VectorStore,
    VectorStoreError,
    missing_collection,
    refuse_other_recipe,
)

if TYPE_CHECKING:
    import qdrant_edge

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
# The engine maps sparse files of 32 MiB; on a full disk touching them kills the process with
# SIGBUS instead of raising. So writing stops while a few of them still fit.
DISK_RESERVE = 256 * 1024 * 1024
# Bounds what an opening must replay from the log: about a second's worth.
_SYNC_EVERY_BATCHES = 10
# Below this many KiB of vectors (some 50,000 of 256 dimensions) a flat scan is as fast as an
# HNSW graph, which takes a minute and a gigabyte to build at twice that.
_GRAPH_FROM_KIB = 50_000
# More values than a collection has points.
_EVERY = 2**31


class EdgeVectorStore(VectorStore):
    """Collections in folders under `root`; opening waits `lock_timeout_s` for other holders."""

    def __init__(self, root: Path, *, lock_timeout_s: float = 60.0) -> None:
        self.root = root
        self.lock_timeout_s = lock_timeout_s

    @contextlib.contextmanager
    def open(self, name: str, *, dimension: int, fingerprint: str) -> Iterator[Collection]:
        folder = self._folder(name)
        with self._locked(name):
            if not folder.exists():
                _create(folder, dimension=dimension, fingerprint=fingerprint)
            found = _read_recipe(folder)
            refuse_other_recipe(name, str(self.root), found=found, wanted=(dimension, fingerprint))
            with _opened(folder, dimension=dimension, fingerprint=fingerprint) as collection:
                collection.ensure_indexes()
                yield collection

    @contextlib.contextmanager
    def open_existing(self, name: str) -> Iterator[Collection]:
        folder = self._folder(name)
        if not folder.exists():
            raise missing_collection(name, str(self.root))
        with self._locked(name):
            if not folder.exists():  # dropped while we waited
                raise missing_collection(name, str(self.root))
            dimension, fingerprint = _read_recipe(folder)
            with _opened(folder, dimension=dimension, fingerprint=fingerprint) as collection:
                yield collection

    def names(self) -> list[str]:
        if not self.root.exists():
            return []
        return sorted(
            entry.name
            for entry in self.root.iterdir()
            if entry.is_dir() and _NAME.fullmatch(entry.name)
        )

    def drop(self, name: str) -> None:
        folder = self._folder(name)
        discarded = _unfinished(folder)  # something is left there where a removal was killed
        if not folder.exists() and not discarded.exists():
            return
        with self._locked(name), _reporting(f"dropping {name}", folder):
            # Renamed first: a kill during the removal must not leave half a collection.
            shutil.rmtree(discarded, ignore_errors=True)
            if folder.exists():
                folder.rename(discarded)
                shutil.rmtree(discarded)

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise VectorStoreError(
                f"collection name {name!r} is not allowed: letters, digits, _ and - only, at "
                "most 100. Rename the index in platform.yaml."
            )
        return self.root / name

    def _locked(self, name: str) -> contextlib.AbstractContextManager[None]:
        return exclusive(
            self.root / f"{name}.lock",
            timeout_s=self.lock_timeout_s,
            purpose=f"vector collection {name}",
        )


class EdgeCollection(Collection):
    """A collection whose lock this process holds; safe to use from several threads."""

    batch_size = 1000

    def __init__(
        self,
        shard: "qdrant_edge.EdgeShard",
        folder: Path,
        *,
        dimension: int,
        fingerprint: str,
    ) -> None:
        super().__init__(folder.name, dimension=dimension, fingerprint=fingerprint)
        self._shard = shard
        self._folder = folder
        self._batches_unsynced = 0

    def ensure_indexes(self) -> None:
        """An index on every field that filters use."""
        with _reporting("indexing fields", self._folder):
            _ensure_indexes(self._shard)

    def count(self) -> int:
        import qdrant_edge as edge

        with _reporting("counting", self._folder):
            return self._shard.count(edge.CountRequest(exact=True))

    def marks(self) -> dict[str, int]:
        import qdrant_edge as edge

        with _reporting("counting marks", self._folder):
            hits = self._shard.facet(edge.FacetRequest(MARK, limit=_EVERY, exact=True)).hits
        # The engine keeps values that no point has any more.
        return {str(hit.value): hit.count for hit in hits if hit.count}

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        with _reporting("reading vectors", self._folder):
            records = self._shard.retrieve(list(ids), with_payload=False, with_vector=[DENSE])
        return {
            str(record.id): np.asarray(_named(record.vector)[DENSE], dtype=np.float32)
            for record in records
        }

    def optimize(self) -> None:
        """Rebuild what is worth rebuilding; the engine never does so by itself.

        Deleted points keep their disk, memory and a share of each scan until then. Takes
        seconds where there are only leavings to clear, and a minute or more where the
        collection is large enough for a graph: call it after a bulk load, in its own step.
        """
        _require_space(self._folder)
        with _reporting("optimizing", self._folder):
            self._shard.optimize()
            self._shard.flush()
        self._batches_unsynced = 0

    def _write(self, points: Sequence[Point]) -> None:
        import qdrant_edge as edge

        with _reporting("writing points", self._folder):
            operation = edge.UpdateOperation.upsert_points(
                [
                    edge.Point(
                        point.id,
                        {
                            # A list converts three times faster than an array.
                            DENSE: point.dense.tolist(),
                            SPARSE: edge.SparseVector(point.sparse.indices, point.sparse.values),
                        },
                        point.payload,
                    )
                    for point in points
                ]
            )
            self._apply(operation)

    def _remove(self, ids: Sequence[str]) -> None:
        import qdrant_edge as edge

        with _reporting("deleting points", self._folder):
            self._apply(edge.UpdateOperation.delete_points(list(ids)))

    def _describe(self, payloads: Mapping[str, Payload]) -> None:
        import qdrant_edge as edge

        with _reporting("writing payloads", self._folder):
            overwrite = edge.UpdateOperation.overwrite_payload
            self._apply(*(overwrite([point], payload) for point, payload in payloads.items()))

    def _mark(self, marks: Mapping[str, str]) -> None:
        import qdrant_edge as edge

        with _reporting("marking points", self._folder):
            self._apply(
                *(
                    edge.UpdateOperation.set_payload_by_filter(_only(doc_id), {MARK: mark})
                    for doc_id, mark in marks.items()
                )
            )

    def _apply(self, *operations: "qdrant_edge.UpdateOperation") -> None:
        """One batch."""
        _require_space(self._folder)
        for operation in operations:
            self._shard.update(operation)
        self._batches_unsynced += 1
        if self._batches_unsynced >= _SYNC_EVERY_BATCHES:
            self._shard.flush()
            self._batches_unsynced = 0

    def _scroll(
        self,
        filters: Mapping[str, list[str]],
        *,
        fields: list[str] | None,
        page: int = Collection.page_size,
    ) -> Iterator[tuple[str, Payload]]:
        import qdrant_edge as edge

        offset: Any = None
        while True:
            request = edge.ScrollRequest(
                offset=offset,
                limit=page,
                filter=_filter(filters),
                with_payload=True if fields is None else fields,
                with_vector=False,
            )
            with _reporting("reading points", self._folder):
                records, offset = self._shard.scroll(request)
            for record in records:
                yield str(record.id), record.payload or {}
            if offset is None:
                return

    def _nearest(
        self,
        dense: np.ndarray,
        limit: int,
        filters: Mapping[str, list[str]],
        without: Sequence[str],
    ) -> list[Hit]:
        return self._query(dense.tolist(), DENSE, limit, _filter(filters, without))

    def _nearest_sparse(
        self,
        sparse: SparseVector,
        limit: int,
        filters: Mapping[str, list[str]],
        without: Sequence[str],
    ) -> list[Hit]:
        import qdrant_edge as edge

        vector = edge.SparseVector(sparse.indices, sparse.values)
        return self._query(vector, SPARSE, limit, _filter(filters, without))

    def _query(
        self, vector: Any, using: str, limit: int, condition: "qdrant_edge.Filter | None"
    ) -> list[Hit]:
        import qdrant_edge as edge

        request = edge.QueryRequest(
            query=edge.Query.Nearest(vector, using=using),
            limit=limit,
            filter=condition,
            params=edge.SearchParams(hnsw_ef=CANDIDATES),
            with_payload=True,
        )
        with _reporting("searching", self._folder):
            points = self._shard.query(request)
        return [Hit(str(point.id), point.score, _shown(point.payload)) for point in points]


def _create(folder: Path, *, dimension: int, fingerprint: str) -> None:
    import qdrant_edge as edge

    unfinished = _unfinished(folder)
    with _reporting("making the collection", folder):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _require_space(unfinished)
        config = edge.EdgeConfig(
            vectors={
                # Cold: paged in as scans need it. The default reads it all at each opening.
                DENSE: edge.EdgeVectorParams(
                    size=dimension, distance=edge.Distance.Cosine, memory=edge.Memory.Cold
                )
            },
            sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=_GRAPH_FROM_KIB),
            wal_enabled=True,
        )
        shard = edge.EdgeShard.create(str(unfinished / "engine"), config)
        try:
            _ensure_indexes(shard)
            shard.flush()
        finally:
            shard.close()
        with (unfinished / "recipe.json").open("w", encoding="utf-8") as file:
            json.dump({"dimension": dimension, "fingerprint": fingerprint}, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(folder)


def _ensure_indexes(shard: "qdrant_edge.EdgeShard") -> None:
    """An index on every field that filters use; also on a collection made before there were all."""
    import qdrant_edge as edge

    known = shard.info().payload_schema
    for field in (*INDEXED_FIELDS, MARK):
        if field not in known:
            shard.update(
                edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Keyword)
            )


def _unfinished(folder: Path) -> Path:
    """Where a collection is made and unmade; a dot keeps it apart from every name."""
    return folder.with_name(folder.name + ".new")


@contextlib.contextmanager
def _opened(folder: Path, *, dimension: int, fingerprint: str) -> Iterator[EdgeCollection]:
    import qdrant_edge as edge

    with _reporting("opening", folder):
        # Opening replays the log, which writes a little even where only a search follows.
        _require_space(folder, DISK_RESERVE // 8)
        shard = edge.EdgeShard.load(str(folder / "engine"))
    try:
        yield EdgeCollection(shard, folder, dimension=dimension, fingerprint=fingerprint)
    finally:
        with _reporting("closing", folder):
            shard.close()


def _read_recipe(folder: Path) -> tuple[int, str]:
    path = folder / "recipe.json"
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
        return int(recipe["dimension"]), str(recipe["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VectorStoreError(
            f"collection {folder.name}: {path} cannot be read ({error}). Remove {folder} and run "
            "rag-platform reconcile --repair; remembered embeddings are not paid for again."
        ) from error


def _require_space(folder: Path, needed: int | None = None) -> None:
    needed = DISK_RESERVE if needed is None else needed
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise VectorStoreError(
            f"disk full: {free // 2**20} MiB free for {folder}, {needed // 2**20} MiB "
            "needed for the vector engine. Free some space and run again."
        )


@contextlib.contextmanager
def _reporting(doing: str, folder: Path) -> Iterator[None]:
    """Give the engine's errors, which are plain `Exception`s, a place and an advice."""
    try:
        yield
    except VectorStoreError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise VectorStoreError(
            f"{doing} in {folder} failed: {reason}. Check the folder's space and permissions; if "
            "it is damaged, remove it and run rag-platform reconcile --repair."
        ) from error


def _filter(
    filters: Mapping[str, list[str]], without: Sequence[str] = ()
) -> "qdrant_edge.Filter | None":
    import qdrant_edge as edge

    if not filters and not without:
        return None
    return edge.Filter(
        must=[
            edge.FieldCondition(key=field, match=edge.MatchAny(values))
            if values
            else edge.IsEmptyCondition(field)
            for field, values in filters.items()
        ],
        must_not=[edge.FieldCondition(key="text_hash", match=edge.MatchAny(list(without)))]
        if without
        else None,
    )


def _only(doc_id: str) -> "qdrant_edge.Filter":
    import qdrant_edge as edge

    return edge.Filter(must=[edge.FieldCondition(key="doc_id", match=edge.MatchAny([doc_id]))])


def _shown(payload: Payload | None) -> Payload:
    payload = payload or {}
    payload.pop(MARK, None)
    return payload


def _named(vector: Any) -> dict[str, Any]:
    if not isinstance(vector, dict):
        raise VectorStoreError("the vector engine returned a point without named vectors")
    return vector
