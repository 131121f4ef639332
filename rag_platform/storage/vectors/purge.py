"""Leaving nothing of deleted points in the files of a collection.

The embedded engine keeps them in two places: in a segment, until enough of its points are deleted
for the segment to be written anew, and in its log, until that has grown so far that the old part
is dropped. Both are brought about here.
"""

import contextlib
import json
from pathlib import Path

from rag_platform.storage.locks import exclusive
from rag_platform.storage.vectors.base import VectorStore
from rag_platform.storage.vectors.edge import EdgeVectorStore

# The log is made of pieces of 32 MiB. A write this large begins a new one, and what is two pieces
# back is dropped once it has reached the segments.
_FILL_BYTES = 20_000_000
_FILLS = 4
_NOBODY = "00000000-0000-0000-0000-000000000000"


def purge(store: VectorStore, name: str) -> bool:
    """Rewrite what holds deleted points of a collection; False where the store is a server, which
    does so in its own time. Takes about as long as indexing the collection."""
    if not isinstance(store, EdgeVectorStore):
        return False
    folder = store.root / name
    lock = store.root / f"{name}.lock"
    with exclusive(lock, timeout_s=store.lock_timeout_s, purpose=f"vector collection {name}"):
        if folder.exists():
            _rewrite_segments(folder / "engine")
            _renew_log(folder / "engine")
    return True


def _rewrite_segments(engine: Path) -> None:
    """Every segment with a deleted point; by the engine's own rules it waits for many of them."""
    import qdrant_edge as edge

    settings = engine / "edge_config.json"
    _set(settings, deleted_threshold=0.0, vacuum_min_vector_number=0)
    try:
        with contextlib.closing(edge.EdgeShard.load(str(engine))) as shard:
            shard.optimize()
            shard.flush()
    finally:
        _set(settings, deleted_threshold=None, vacuum_min_vector_number=None)


def _renew_log(engine: Path) -> None:
    """Write so much that changes nothing that the log drops what it had."""
    import qdrant_edge as edge

    condition = edge.FieldCondition(key="doc_id", match=edge.MatchAny([_NOBODY]))
    nobody = edge.Filter(must=[condition])
    with contextlib.closing(edge.EdgeShard.load(str(engine))) as shard:
        for _ in range(_FILLS):
            filler = {"filler": " " * _FILL_BYTES}
            shard.update(edge.UpdateOperation.set_payload_by_filter(nobody, filler))
        shard.flush()


def _set(settings: Path, **rules: float | None) -> None:
    """Rules of the optimizer; None for the engine's own."""
    written = json.loads(settings.read_bytes())
    written["optimizers"] = {**(written.get("optimizers") or {}), **rules}
    fresh = settings.with_name(settings.name + ".new")
    # As the engine writes it.
    fresh.write_text(json.dumps(written, separators=(",", ":")), encoding="utf-8")
    fresh.replace(settings)
