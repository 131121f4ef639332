"""Reconciling: what is counted, what is repaired, and what cannot be."""

import uuid
from contextlib import AbstractContextManager

import sqlalchemy as sa

from rag_platform.indexing.reconcile import ReconcileReport
from rag_platform.storage.schema import memo
from rag_platform.storage.vectors.base import Collection, Point, SparseVector
from rag_platform_tests.conformance.harness import V1, WINDOWS, World

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


def test_nothing_built_yet(world: World) -> None:
    report = world.platform.reconciler(V1).run(repair=False)
    assert (report.documents, report.points, report.agrees) == (0, 0, True)


def test_found_without_repair_and_repaired_with_it(world: World) -> None:
    fill(world)
    remove(world, "1.md")
    report = world.platform.reconciler(V1).run(repair=False)
    assert (report.documents, report.drifted, report.repaired, report.points) == (3, 1, 0, 2)
    assert not report.agrees
    with world.counted() as texts:
        report = world.platform.reconciler(V1).run(repair=True)
    assert texts == []
    assert (report.drifted, report.repaired, report.unrepaired, report.points) == (1, 1, 0, 3)
    assert report.agrees
    world.check()
    assert world.platform.reconciler(V1).run(repair=False).drifted == 0


def test_what_nobody_owns_is_removed(world: World) -> None:
    fill(world)
    index = world.platform.version(V1)
    payload = {"doc_id": str(uuid.uuid4()), "text_hash": "x", "text": "stranger"}
    vector = index.embedder.embed_query("stranger")
    with open_index(world) as collection:
        collection.upsert([Point(str(uuid.uuid4()), vector, SparseVector([], []), payload)])
    report = world.platform.reconciler(V1).run(repair=False)
    assert (report.orphan_points, report.drifted, report.agrees) == (1, 0, False)
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
