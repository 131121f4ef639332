"""What is left of deleted points in the engine's files: nothing, once they are purged."""

import uuid
from pathlib import Path

import numpy as np

from rag_platform.storage.vectors.base import Point, SparseVector
from rag_platform.storage.vectors.edge import EdgeVectorStore
from rag_platform.storage.vectors.purge import purge

MARKER = "Zwiebelfisch"


def points(count: int, text: str, first: int) -> list[Point]:
    dice = np.random.default_rng(first)
    return [
        Point(
            str(uuid.UUID(int=first + number)),
            dice.standard_normal(8).astype(np.float32),
            SparseVector([number], [1.0]),
            {"doc_id": f"{text}-{number}", "text": f"{text} {number}", "key": text},
        )
        for number in range(1, count + 1)
    ]


def files_with(root: Path, text: str) -> list[str]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return [path.name for path in paths if text.encode() in path.read_bytes()]


def test_nothing_is_left_of_deleted_points(tmp_path: Path) -> None:
    store = EdgeVectorStore(tmp_path)
    erased, kept = points(5, MARKER, 0), points(200, "kept", 1_000)
    with store.open("docs_v1", dimension=8, fingerprint="f") as collection:
        collection.upsert([*kept, *erased])
        collection.delete([point.id for point in erased])
        collection.optimize()
        before = collection.vectors([point.id for point in kept])
    assert files_with(tmp_path, MARKER), "the engine left nothing by itself: no need to purge"
    settings = (tmp_path / "docs_v1/engine/edge_config.json").read_bytes()
    assert purge(store, "docs_v1")
    assert files_with(tmp_path, MARKER) == []
    assert (tmp_path / "docs_v1/engine/edge_config.json").read_bytes() == settings
    # It goes on as before: nothing is lost, and what is written counts.
    with store.open("docs_v1", dimension=8, fingerprint="f") as collection:
        after = collection.vectors([point.id for point in kept])
        assert after.keys() == before.keys()
        assert all(np.array_equal(after[one], before[one]) for one in before)
        assert collection.present(["kept-7"]) == {"kept-7": {kept[6].id: kept[6].payload}}
        collection.delete([kept[0].id])
        collection.upsert(points(1, "new", 5_000))
        assert collection.count() == 200
    with store.open("docs_v1", dimension=8, fingerprint="f") as collection:
        assert collection.count() == 200
    assert purge(store, "nobody")
