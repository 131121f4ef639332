"""Reconciling: what is counted, what is repaired, and what cannot be."""

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import sqlalchemy as sa

from rag_platform.indexing.digests import digest_of
from rag_platform.indexing.reconcile import ReconcileReport, _is_turn
from rag_platform.indexing.retirement import Retired
from rag_platform.storage.measures import (
    RECONCILE_DRIFTED,
    RECONCILE_ORPHANS,
    RECONCILE_UNREPAIRED,
    RECONCILED_AT,
    Measures,
)
from rag_platform.storage.schema import index_documents, index_promotions, memo
from rag_platform.storage.vectors.base import MARK, Collection, Point, SparseVector, mark_of
from rag_platform_tests.conformance.harness import V1, WINDOWS, World
from rag_platform_tests.copies import sparse

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")

FIRST, SECOND = WINDOWS[:2]


def fill(world: World, count: int = 3) -> None:
    for number in range(count):
        world.folder.write(f"{number}.md", f"This is the text number {number}.")
    world.sync(FIRST)


def open_index(world: World) -> AbstractContextManager[Collection]:
    index = world.platform.version(V1)
    return world.platform.vectors.open(
        V1, dimension=index.embedder.dimension, fingerprint=index.fingerprint
    )


def remove(world: World, key: str) -> None:
    """Points of a document vanish from the store."""
    points = [point for point, (payload, _) in world.contents().items() if payload["key"] == key]
    with open_index(world) as collection:
        collection.delete(points)


def kept(world: World) -> tuple[float, ...]:
    """What metrics are told of the last run: drifted, left so, points of nobody."""
    measures = Measures(world.platform.catalog)
    (at,) = measures.read(RECONCILED_AT)
    assert at.labels == {"index": V1}
    assert time.time() - at.total < 60
    found = (RECONCILE_DRIFTED, RECONCILE_UNREPAIRED, RECONCILE_ORPHANS)
    return tuple(series.total for measure in found for series in measures.read(measure))


def test_nothing_built_yet(world: World) -> None:
    report = world.platform.reconciler(V1).run(repair=False)
    assert (report.documents, report.points, report.agrees) == (0, 0, True)
    assert world.platform.reconciler(V1).run(repair=True).agrees
    # Who looks makes nothing: a challenger without a collection leaves its searches to what is
    # live, an empty one would answer them with nothing.
    assert world.platform.vectors.names() == []


def test_what_is_gone_altogether_is_told_and_not_made_anew(world: World) -> None:
    fill(world)
    world.platform.vectors.drop(V1)
    report = world.platform.reconciler(V1).run(repair=False)
    assert (report.documents, report.drifted, report.agrees) == (3, 3, False)
    assert world.platform.vectors.names() == []
    assert world.platform.reconciler(V1).run(repair=True).agrees
    world.check()


def test_found_without_repair_and_repaired_with_it(world: World) -> None:
    fill(world)
    remove(world, "1.md")
    report = world.platform.reconciler(V1).run(repair=False)
    assert (report.documents, report.drifted, report.repaired, report.points) == (3, 1, 0, 2)
    assert not report.agrees
    assert kept(world) == (1, 1, 0)
    with world.counted() as texts:
        report = world.platform.reconciler(V1).run(repair=True)
    assert texts == []
    assert (report.drifted, report.repaired, report.unrepaired, report.points) == (1, 1, 0, 3)
    assert report.agrees
    assert kept(world) == (1, 0, 0)
    world.check()
    assert world.platform.reconciler(V1).run(repair=False).drifted == 0
    assert kept(world) == (0, 0, 0)


def test_what_nobody_owns_is_removed(world: World) -> None:
    fill(world)
    index = world.platform.version(V1)
    payload = {"doc_id": str(uuid.uuid4()), "text_hash": "x", "text": "stranger"}
    vector = index.embedder.embed_query("stranger")
    with open_index(world) as collection:
        collection.upsert([Point(str(uuid.uuid4()), vector, SparseVector([], []), payload)])
    report = world.platform.reconciler(V1).run(repair=False)
    assert (report.orphan_points, report.drifted, report.agrees) == (1, 0, False)
    assert kept(world) == (0, 0, 1)
    report = world.platform.reconciler(V1).run(repair=True)
    assert (report.orphan_points, report.points, report.agrees) == (0, 3, True)
    world.check()


def test_what_is_not_stored_any_more_cannot_be_repaired(world: World) -> None:
    fill(world)
    remove(world, "1.md")
    with world.platform.catalog.begin() as connection:
        connection.execute(sa.delete(memo))
    report = world.platform.reconciler(V1).run(repair=True)
    assert (report.drifted, report.repaired, report.unrepaired) == (1, 0, 1)
    assert not report.agrees


def test_documents_without_chunks_and_those_that_went(world: World) -> None:
    world.folder.write("empty.md", "")
    fill(world)
    world.folder.remove("2.md")
    world.sync(SECOND)
    report = world.platform.reconciler(V1).run(repair=False)
    # Three texts, one of them gone, and one that never had a chunk.
    assert (report.documents, report.points) == (4, 2)
    assert (report.drifted, report.orphan_points) == (0, 0)


def test_agreement_is_part_of_the_report() -> None:
    assert ReconcileReport("i").as_json()["agrees"] is True
    assert ReconcileReport("i", drifted=2, repaired=1, unrepaired=1).as_json()["agrees"] is False
    assert ReconcileReport("i", orphan_points=1).agrees is False


def look(world: World, *, repair: bool = False) -> ReconcileReport:
    """By marks alone, on a day on which it is no document's turn to be read in full."""
    return world.platform.reconciler(V1).run(repair=repair, full=False, today=day_of_nobody(world))


def day_of_nobody(world: World) -> int:
    with world.platform.catalog.read() as connection:
        ids = connection.execute(sa.select(index_documents.c.doc_id)).scalars()
        turns = {int(doc_id[:8], 16) % 128 for doc_id in ids}
    return next(day for day in range(128) if day not in turns)


def marks(world: World) -> dict[str, int]:
    with open_index(world) as collection:
        return collection.marks()


def vouched_for(world: World) -> World:
    """Three documents whose marks vouch for them."""
    fill(world)
    world.platform.reconciler(V1).run(repair=True)
    assert sum(marks(world).values()) == 3
    assert look(world) == ReconcileReport(V1, documents=3, points=3)
    return world


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[World]:
    """Such documents, in the client's in-memory mode: what marks do is the same in all stores."""
    world = World(tmp_path / "world", engine="server", quick=True)
    yield vouched_for(world)
    world.platform.close()


def test_nothing_is_read_where_nothing_drifted(marked: World) -> None:
    assert look(marked).read == 0
    # On its day a document is read in full.
    doc_id = next(iter(marked.contents().values()))[0]["doc_id"]
    today = int(doc_id[:8], 16)
    report = marked.platform.reconciler(V1).run(repair=False, full=False, today=today)
    assert report.read >= 1
    assert marked.platform.reconciler(V1).run(repair=False, full=True).read == 3


def test_lost_points_are_found_without_reading(marked: World) -> None:
    remove(marked, "1.md")
    report = look(marked)
    assert (report.drifted, report.read, report.points, report.agrees) == (1, 0, 2, False)
    with marked.counted() as texts:
        report = look(marked, repair=True)
    assert (texts, report.repaired, report.agrees) == ([], 1, True)
    assert look(marked) == ReconcileReport(V1, documents=3, points=3)
    marked.check()


def test_a_wiped_collection_is_rebuilt_from_the_memo(marked: World) -> None:
    marked.platform.vectors.drop(V1)
    with marked.counted() as texts:
        report = look(marked, repair=True)
    assert (texts, report.drifted, report.repaired, report.points) == ([], 3, 3, 3)
    marked.check()
    assert look(marked) == ReconcileReport(V1, documents=3, points=3)


@pytest.mark.parametrize("mark", [{}, {MARK: "of nobody"}, {MARK: "of another"}])
def test_points_of_nobody_are_found_whatever_they_carry(
    marked: World, mark: dict[str, str]
) -> None:
    if mark.get(MARK) == "of another":
        mark = {MARK: next(iter(marks(marked)))}
    payload = {"doc_id": str(uuid.uuid4()), "text_hash": "x", "text": "stranger"} | mark
    vector = marked.platform.version(V1).embedder.embed_query("stranger")
    with open_index(marked) as collection:
        collection.upsert([Point(str(uuid.uuid4()), vector, SparseVector([], []), payload)])
    assert (look(marked).orphan_points, look(marked).drifted) == (1, 0)
    report = look(marked, repair=True)
    assert (report.orphan_points, report.points, report.agrees) == (0, 3, True)
    assert look(marked) == ReconcileReport(V1, documents=3, points=3)


def test_a_point_too_many_of_a_known_document(marked: World) -> None:
    payload, _ = next(iter(marked.contents().values()))
    vector = marked.platform.version(V1).embedder.embed_query("too many")
    with open_index(marked) as collection:
        collection.upsert([Point(str(uuid.uuid4()), vector, SparseVector([], []), dict(payload))])
    report = look(marked)
    assert (report.drifted, report.read, report.orphan_points) == (1, 2, 0)
    assert look(marked, repair=True).agrees
    marked.check()
    assert look(marked) == ReconcileReport(V1, documents=3, points=3)


def test_a_collection_of_an_older_day(world: World, tmp_path: Path) -> None:
    """Restored from a backup that was made before the last page."""
    marked = vouched_for(world)
    folder, kept = marked.home / "vectors" / V1, tmp_path / "kept"
    shutil.copytree(folder, kept, copy_function=sparse)
    marked.folder.write("0.md", "This is another text number 0.")
    marked.folder.remove("1.md")
    marked.folder.write("3.md", "This is the text number 3.")
    marked.sync(SECOND)
    assert look(marked, repair=True).agrees
    shutil.rmtree(folder)
    shutil.copytree(kept, folder, copy_function=sparse)
    report = look(marked)
    # Changed and new documents differ, the removed one is back, the untouched one is vouched for.
    assert (report.drifted, report.orphan_points, report.read) == (2, 1, 1)
    with marked.counted() as texts:
        assert look(marked, repair=True).agrees
    assert texts == []
    marked.check()


def test_what_cannot_be_repaired_is_not_vouched_for(marked: World) -> None:
    (point, (payload, _)), *_ = marked.contents().items()
    with open_index(marked) as collection:
        collection.set_payloads({point: payload | {"title": "changed by hand"}})
    with marked.platform.catalog.begin() as connection:
        connection.execute(sa.delete(memo))
    for _ in range(2):
        report = look(marked, repair=True)
        assert (report.drifted, report.repaired, report.unrepaired) == (1, 0, 1)


def test_vectors_turned_by_hand_are_found_on_their_day(marked: World) -> None:
    (point, (payload, _)), *_ = marked.contents().items()
    vector = marked.platform.version(V1).embedder.embed_query("something else")
    mark = {MARK: mark_of(digest_of({point: payload}))}
    with open_index(marked) as collection:
        collection.upsert([Point(point, vector, SparseVector([], []), payload | mark)])
    assert look(marked).drifted == 0
    today = int(payload["doc_id"][:8], 16)
    reconciler = marked.platform.reconciler(V1)
    assert reconciler.run(repair=False, full=False, today=today).drifted == 1
    assert reconciler.run(repair=True, full=False, today=today).repaired == 1
    assert reconciler.run(repair=False, full=True).agrees
    assert look(marked) == ReconcileReport(V1, documents=3, points=3)
    marked.check()


def test_every_document_has_its_turn_within_128_days() -> None:
    ids = [str(uuid.UUID(int=number << 96)) for number in range(0, 2**32, 2**32 // 1_000)]
    for doc_id in ids:
        assert sum(_is_turn(doc_id, day) for day in range(128)) == 1


def test_a_killed_writer_is_left_to_its_run(marked: World) -> None:
    """A document that is claimed and not recorded is neither drifted nor an orphan."""
    with marked.platform.catalog.begin() as connection:
        connection.execute(sa.update(index_documents).values(claimed=index_documents.c.claimed + 1))
    report = look(marked)
    assert (report.documents, report.drifted, report.orphan_points) == (0, 0, 0)


def test_a_retired_version_is_not_made_anew(marked: World) -> None:
    with marked.platform.catalog.begin() as connection:
        row = {"at": 0.0, "action": "retired", "index_name": V1, "live": "other"}
        row |= {"previous": "other", "actor": "a", "reason": "r", "facts": {}}
        connection.execute(sa.insert(index_promotions), row)
    marked.platform.vectors.drop(V1)
    with pytest.raises(Retired, match="docs_v1"):
        marked.platform.reconciler(V1).run(repair=True)
    assert marked.platform.vectors.names() == []


def test_a_version_retired_while_its_lock_is_waited_for_stays_gone(
    marked: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = marked.platform.catalog
    exclusive = catalog.exclusive

    def after_a_retirement(name: str, **more: float) -> AbstractContextManager[None]:
        if name == f"index-{V1}":
            monkeypatch.undo()
            with catalog.begin() as connection:
                row = {"at": 0.0, "action": "retired", "index_name": V1, "live": "other"}
                row |= {"previous": "other", "actor": "a", "reason": "r", "facts": {}}
                connection.execute(sa.insert(index_promotions), row)
            marked.platform.vectors.drop(V1)
        return exclusive(name, **more)

    monkeypatch.setattr(catalog, "exclusive", after_a_retirement)
    with pytest.raises(Retired, match="docs_v1"):
        marked.platform.reconciler(V1).run(repair=True)
    assert marked.platform.vectors.names() == []
