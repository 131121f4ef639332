"""Invariants 16, 17 and 22: an embedder that fails, a store that drifts, vectors that are wrong."""

import contextlib
import shutil

import numpy as np
import pytest
import sqlalchemy as sa

from rag_platform.encoders.validation import InvalidEmbedding
from rag_platform.indexing.embeddings import passage_key
from rag_platform.indexing.progress import unfinished_windows
from rag_platform.storage.schema import memo
from rag_platform.storage.vectors.base import Collection, Point, PointsRefused, SparseVector
from rag_platform_tests.conformance.conftest import in_memory
from rag_platform_tests.conformance.corpus import article
from rag_platform_tests.conformance.embedders import EmbedderDown, Fault
from rag_platform_tests.conformance.harness import SOURCE, V1, WINDOWS, World, assert_same
from rag_platform_tests.copies import sparse

FIRST, SECOND, THIRD = WINDOWS[:3]
START = "guide/start.md"


@contextlib.contextmanager
def opened(world: World, index: str = V1):
    """The collection of an index, to be tampered with."""
    version = world.platform.version(index)
    with world.platform.vectors.open(
        index, dimension=version.embedder.dimension, fingerprint=version.fingerprint
    ) as collection:
        yield collection


def test_16_embedder_down_while_updating(synced: World) -> None:
    before = synced.contents()
    old = synced.chunk_texts(START)[5]
    synced.folder.write(START, article(11, count=6))
    synced.folder.remove("notes/short.txt")
    synced.folder.write("extra.md", article(12, count=6))
    embedder = synced.embedders["wordllama"]
    embedder.fault, embedder.spare = "down", 1
    for _ in range(2):
        with pytest.raises(EmbedderDown):
            synced.sync(SECOND)
        assert_same(synced.contents(), before)
        assert synced.addresses(old) == (START,)
    # Time goes on without hiding what is owed.
    synced.sync(THIRD)
    assert unfinished_windows(synced.platform.catalog, SOURCE, [V1]) == [SECOND]
    embedder.fault = None
    with synced.counted() as texts:
        synced.replay([SECOND])
    assert len(texts) == 2 * 12 - 8  # one batch of eight was durable
    assert unfinished_windows(synced.platform.catalog, SOURCE, [V1]) == []
    synced.check()
    assert synced.addresses(old) == ()


def _wiped(world: World) -> None:
    world.platform.vectors.drop(V1)


def _lost_points(world: World) -> None:
    with opened(world) as collection:
        collection.delete([point for point, _ in collection.ids()][::3])


def _foreign_points(world: World) -> None:
    known = next(iter(world.contents().values()))[0]
    dense, sparse = np.ones(256, np.float32), SparseVector([1], [1.0])
    alien = "00000000-0000-0000-0000-00000000000"
    with opened(world) as collection:
        collection.upsert(
            [
                Point(f"{alien}1", dense, sparse, known | {"doc_id": f"{alien}9"}),
                Point(f"{alien}2", dense, sparse, known | {"text": "never written by us"}),
            ]
        )


def _changed_payload(world: World) -> None:
    point, (payload, vector) = next(iter(world.contents().items()))
    changed = payload | {"text": "tampered"}
    with opened(world) as collection:
        dense = np.frombuffer(vector, np.float32)
        collection.upsert([Point(point, dense, SparseVector([1], [1.0]), changed)])


def _old_content_back(world: World) -> None:
    """A store restored from a backup of before the last window."""
    before = world.contents()
    world.folder.write(START, article(11, count=6))
    world.folder.remove("guide/install.md")
    world.sync(SECOND)
    now = world.contents()
    with opened(world) as collection:
        collection.delete(list(now.keys() - before.keys()))
        collection.upsert(
            [
                Point(point, np.frombuffer(vector, np.float32), SparseVector([1], [1.0]), payload)
                for point, (payload, vector) in before.items()
                if point not in now
            ]
        )


def _changed_vector(world: World) -> None:
    point, (payload, _) = next(iter(world.contents().items()))
    with opened(world) as collection:
        wrong = np.eye(1, 256, dtype=np.float32)[0]
        collection.upsert([Point(point, wrong, SparseVector([1], [1.0]), payload)])


@pytest.mark.parametrize(
    "tamper",
    [
        _wiped,
        _lost_points,
        _foreign_points,
        _changed_payload,
        _old_content_back,
        _changed_vector,
    ],
)
def test_17_a_store_that_drifted_is_found_and_repaired(synced: World, tamper) -> None:
    tamper(synced)
    with synced.counted() as texts:
        found = synced.platform.reconciler(V1).run(repair=False)
        assert not found.agrees
        synced.platform.reconciler(V1).run(repair=True)
        synced.check()
        assert synced.platform.reconciler(V1).run(repair=False).agrees
    assert texts == []


def test_17_nothing_drifted(synced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("reconcile wrote where nothing had drifted")

    monkeypatch.setattr(Collection, "_check", refused)
    report = synced.platform.reconciler(V1).run(repair=True)
    assert report.agrees
    assert (report.drifted, report.repaired, report.documents) == (0, 0, 7)


def test_17_a_sync_after_a_wipe_is_repaired_too(synced: World) -> None:
    _wiped(synced)
    synced.folder.write("extra.md", article(12))
    done = synced.sync(SECOND)
    assert f"{V1} disagrees with the catalog" in synced.problems(SECOND, done)
    synced.platform.reconciler(V1).run(repair=True)
    synced.check()


@in_memory
def test_22_wrong_vectors_never_reach_an_index(synced: World) -> None:
    before, remembered = synced.contents(), _remembered(synced)
    synced.folder.write("extra.md", article(12))
    faults: tuple[Fault, ...] = ("nan", "infinite", "zero", "dimension", "count")
    for fault in faults:
        synced.embedders["wordllama"].fault = fault
        with pytest.raises(InvalidEmbedding):
            synced.sync(SECOND)
        for stage in synced.stages(V1)[2:]:  # whoever goes on regardless
            stage(SECOND)
        assert_same(synced.contents(), before)
        assert _remembered(synced) == remembered
    synced.embedders["wordllama"].fault = None
    synced.sync(SECOND)
    synced.check()


@in_memory
@pytest.mark.parametrize("value", [b"\0" * 1024, b"\0\0\xc0\x7f" * 256, b"\0\0\x80\x3f" * 255])
def test_22_wrong_vectors_in_the_memo_never_reach_an_index(synced: World, value: bytes) -> None:
    """Zero, NaN and too short, as a damaged or tampered database might hold."""
    synced.folder.write("extra.txt", text := "The east gate has a lock of its own.")
    embedder = synced.embedders["wordllama"]
    synced.platform.memo.put_many({passage_key(embedder, text): value})
    before = synced.contents()
    with pytest.raises(PointsRefused):
        synced.sync(SECOND)
    assert_same(synced.contents(), before)


def _remembered(world: World) -> int:
    with world.platform.catalog.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(memo)) or 0


def test_17_a_state_folder_moved_to_another_disk(synced: World) -> None:
    """Its files have other times and inodes, so the pages are worked out anew, for nothing."""
    home, moved = synced.root / "home", synced.root / "moved"
    synced.platform.close()
    shutil.copytree(home, moved, copy_function=sparse)
    shutil.rmtree(home)
    moved.rename(home)
    synced.reopen()
    synced.check()
    _wiped(synced)
    with synced.counted() as texts:
        report = synced.platform.reconciler(V1).run(repair=True)
        assert report.agrees or report.unrepaired == report.drifted == 6
        synced.replay([FIRST])
        assert synced.platform.reconciler(V1).run(repair=True).agrees
    synced.check()
    assert texts == []


def test_15_a_run_that_ends_between_documents_and_index_is_not_forgotten(world: World) -> None:
    """Killed after clean_docs, before anything of any index; the day after comes another page."""
    parts = world.platform
    world.sync(FIRST)
    world.folder.write("late.md", article(7))
    parts.raw(SOURCE).run(SECOND)
    world.snapshot.take()
    parts.parsed(SOURCE).run(SECOND)
    parts.clean(SOURCE).run(SECOND)
    world.reopen()
    world.folder.write("later.md", article(8))
    world.sync(THIRD)
    assert unfinished_windows(world.platform.catalog, SOURCE, [V1]) == [SECOND]
    world.run(SECOND)
    assert unfinished_windows(world.platform.catalog, SOURCE, [V1]) == []
    world.check()
