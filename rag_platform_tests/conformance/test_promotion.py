"""An index version's life: filled beside the live one, promoted, rolled back to, retired."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.documents.clean import CleanDocs
from rag_platform.documents.parsed import ParsedDocs
from rag_platform.documents.raw import RawDocs
from rag_platform.indexing.index_writer import ApplyFigures
from rag_platform.indexing.plan import index_need
from rag_platform.indexing.progress import unfinished_windows
from rag_platform.indexing.retirement import retired
from rag_platform.retrieval.live import live_index
from rag_platform_tests.conformance.corpus import fill
from rag_platform_tests.conformance.harness import (
    BY_HEADING,
    HASHED,
    SMALL,
    SOURCE,
    V1,
    WINDOWS,
    World,
)

FIRST, SECOND, THIRD = WINDOWS[:3]
V2 = "docs_v2"
WHO: dict[str, Any] = {"actor": "ann", "reason": "better"}


def fill_new(world: World, windows: list[str]) -> None:
    """The backfill of the new version: the stages of its own, over the windows that are given."""
    for stage in world.stages(V2):
        for window in windows:
            stage(window)


@pytest.fixture
def engine() -> str:
    """One is enough: the stores' own tests hold the two alike."""
    return "server"


@pytest.fixture
def beside(synced: World) -> World:
    """Two pages in the old version, and a new one in the settings that holds nothing."""
    synced.folder.write("notes/long.txt", "A note on the south gate, which is seldom used.\n")
    synced.folder.remove("notes/short.txt")
    synced.sync(SECOND)
    synced.reopen({V1: SMALL, V2: HASHED}, live=V1)
    return synced


def test_filled_without_asking_the_source_or_the_parser(
    beside: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = beside.platform.promotions.promote(V2, **WHO)
    assert (refused.action, refused.problems) == ("refused", ["has no collection"])
    parts = beside.platform
    need = needs(beside)
    assert need[V1]["documents"] == 0
    # Seven that stand and one that went.
    assert (need[V2]["documents"], need[V2]["texts"]) == (8, len(beside.snapshot.texts(HASHED)))
    assert need[V2]["cost_usd"] == need[V2]["tokens"] * 2 / 1_000_000
    assert need[V2]["sources"][SOURCE] == {"documents": 8, "first": FIRST, "last": SECOND}
    # A new version is filled by a backfill that somebody plans, not by the way.
    assert unfinished_windows(parts.catalog, SOURCE, [V1, V2]) == []
    # Nothing can be fetched, and nothing is parsed or cleaned any more.
    shutil.rmtree(beside.folder.root)
    for stage in (RawDocs, ParsedDocs, CleanDocs):
        monkeypatch.setattr(stage, "run", None)
    beside.embedders["hash-32"].fault = "budget"
    beside.embedders["hash-32"].spare = 2
    fill_new(beside, [FIRST, SECOND])
    row = beside.platform.promotions.promote(V2, **WHO)
    assert row.action == "refused"
    assert "deferred" in row.problems[0]
    beside.embedders["hash-32"].fault = None
    with beside.counted() as texts:
        fill_new(beside, [FIRST, SECOND])
    # Two batches of eight had been paid for.
    assert len(texts) == need[V2]["texts"] - 16
    beside.check()
    assert needs(beside)[V2]["documents"] == 0
    assert beside.platform.promotions.promote(V2, **WHO).action == "promoted"
    assert live_index(parts.catalog, V1) == V2


def test_what_cannot_be_priced_is_told(
    beside: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Texts that are to be cleaned by other rules first."""
    assert needs(beside)[V2]["texts"] > 0
    assert caplog.text == ""
    monkeypatch.setattr("rag_platform.documents.clean.CLEANING_VERSION", "another")
    assert needs(beside)[V2]["texts"] == 0
    assert f"{SOURCE} {FIRST}: " in caplog.text
    assert f"documents of {V2} are not priced" in caplog.text
    assert f"of {V1}" not in caplog.text


def needs(world: World) -> dict[str, dict[str, Any]]:
    """What each version lacks, at two micro-dollars a token."""
    parts = world.platform
    return {
        index: index_need(
            [parts.chunks(SOURCE, index)],
            catalog=parts.catalog,
            memo=parts.memo,
            price=lambda tokens: tokens * 2,
        ).as_json()
        for index in world.indexes
    }


def test_changes_go_to_both_while_the_new_one_is_filled(beside: World) -> None:
    beside.folder.write("notes/new.txt", "The north gate was painted green.\n")
    beside.folder.write("notes/long.txt", "The south gate is closed for good.\n")
    beside.sync(THIRD)
    beside.check(V1)
    assert beside.search("north gate", index=V2)[0].text == "The north gate was painted green."
    assert beside.platform.promotions.promote(V2, **WHO).action == "refused"
    fill_new(beside, [SECOND, FIRST])  # whatever the order
    beside.check()
    assert beside.platform.promotions.promote(V2, **WHO).action == "promoted"
    # The one that was replaced is kept current, so the way back loses nothing.
    beside.folder.write("notes/new.txt", "The north gate was painted blue.\n")
    beside.sync(THIRD)
    beside.check()
    assert beside.platform.promotions.rollback(**WHO).facts["behind"] == {SOURCE: 0}
    assert live_index(beside.platform.catalog, V1) == V1


def test_a_collection_that_drifted_is_no_candidate(beside: World) -> None:
    beside.replay([FIRST, SECOND])
    point = next(iter(beside.contents(V2)))
    version = beside.platform.version(V2)
    dimension = version.embedder.dimension
    with beside.platform.vectors.open(
        V2, dimension=dimension, fingerprint=version.fingerprint
    ) as collection:
        collection.delete([point])
    row = beside.platform.promotions.promote(V2, **WHO)
    assert (row.action, len(row.problems)) == ("refused", 1)
    assert "1 documents" in row.problems[0]
    with beside.counted() as texts:
        assert beside.platform.reconciler(V2).run(repair=True).agrees
    assert texts == []
    assert beside.platform.promotions.promote(V2, **WHO).action == "promoted"


def test_retired_with_all_it_kept_and_nothing_of_others(beside: World) -> None:
    beside.replay([FIRST, SECOND])
    assert beside.platform.promotions.promote(V2, **WHO).action == "promoted"
    old, new = (stored_parts(beside, index) for index in (V1, V2))
    assert old
    assert new
    assert beside.platform.retirement.run(time.time() + 8 * 86_400) == [V1]
    assert beside.platform.vectors.names() == [V2]
    assert (stored_parts(beside, V1), stored_parts(beside, V2)) == ([], new)
    assert retired(beside.platform.catalog) == {V1}
    # Still in the settings, it is left alone: its stages write nothing.
    beside.folder.write("notes/more.txt", "The west gate is of oak.\n")
    done = beside.sync(THIRD)
    assert done.applied[V1] == ApplyFigures()
    assert beside.platform.vectors.names() == [V2]
    assert stored_parts(beside, V1) == []
    parts = beside.platform
    assert parts.indexes == [V2]
    assert unfinished_windows(parts.catalog, SOURCE, parts.indexes) == []
    beside.check(V2)
    beside.reopen({V2: HASHED})
    beside.folder.write("notes/new.txt", "The north gate was painted green.\n")
    beside.sync(THIRD)
    beside.check()


def stored_parts(world: World, index: str) -> list[str]:
    listed = world.platform.objects.list(prefix=f"pages/{SOURCE}/{index}/")
    return [meta["path"] for batch in listed for meta in batch]


STEPS = ["edit", "fill first", "fill second", "promote", "rollback", "reconcile"]


@pytest.mark.slow
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=8))
def test_whatever_happens_the_live_version_is_whole(tmp_path: Path, steps: list[str]) -> None:
    """Any order of edits, backfills, promotions and ways back: what answers holds everything."""
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    world = World(root, engine="server", indexes={V1: SMALL}, quick=True)
    fill(world.folder)
    world.sync(FIRST)
    world.reopen({V1: SMALL, V2: BY_HEADING}, live=V1)
    world.sync(SECOND)
    for number, step in enumerate(steps):
        if step == "edit":
            world.folder.write("notes/edited.txt", f"The gate was painted {number} times.\n")
            world.sync(SECOND)
        elif step.startswith("fill"):
            fill_new(world, [FIRST if step == "fill first" else SECOND])
        elif step == "promote":
            world.platform.promotions.promote(V2, actor="ann", reason=str(number))
        elif step == "rollback":
            if live_index(world.platform.catalog, V1) == V2:
                world.platform.promotions.rollback(actor="ann", reason=str(number))
        else:
            world.platform.reconciler(V2).run(repair=True)
        world.check(live_index(world.platform.catalog, V1))
    world.platform.close()
