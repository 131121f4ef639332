"""Invariants 19 and 20: replays in any order, runs that overlap, ranges."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from rag_platform_tests.conformance.conftest import Build
from rag_platform_tests.conformance.corpus import article, broken_pdf, fill
from rag_platform_tests.conformance.embedders import EmbedderDown
from rag_platform_tests.conformance.harness import (
    BY_HEADING,
    ENGINES,
    HASHED,
    SMALL,
    SOURCE,
    V1,
    WINDOWS,
    World,
    assert_same,
)
from rag_platform_tests.conformance.runner import run
from rag_platform_tests.forks import FORKS

PAGES = WINDOWS[:5]
V2 = "docs_v2"


def _day(world: World, number: int) -> None:
    """The changes of one day of a small history."""
    folder = world.folder
    if number == 0:
        fill(folder)
    elif number == 1:
        folder.write("guide/start.md", article(101, count=6))
        folder.remove("notes/short.txt")
    elif number == 2:
        folder.rename("guide/install.md", "guide/setup.md")
        folder.write("guide/start.md", article(102, count=2))
        folder.write("notes/short.txt", "It is back.\n")
        folder.write("broken.pdf", broken_pdf(1))
    elif number == 3:
        folder.remove("guide/start.md", "guide/copy-of-install.md")
        folder.write("reference/pumps.md", "")
    else:
        folder.write("guide/start.md", article(1, count=6))
        folder.remove("broken.pdf")


def _history(world: World) -> World:
    for number, window in enumerate(PAGES):
        _day(world, number)
        world.sync(window)
    return world


@pytest.fixture
def old(build: Build) -> World:
    """Five pages of history in one index."""
    return _history(build())


@pytest.mark.parametrize("seed", [1])
def test_19_old_pages_in_any_order(old: World, seed: int) -> None:
    before = old.contents()
    with old.counted() as texts:
        old.replay(PAGES * 2, random.Random(seed))
    assert texts == []
    assert_same(old.contents(), before)
    old.check()


@pytest.mark.parametrize("seed", [1])
def test_19_a_new_index_from_pages_in_any_order(old: World, seed: int) -> None:
    old.reopen({V1: SMALL, V2: HASHED})
    with old.counted() as texts:
        old.replay(PAGES, random.Random(seed))
    old.check()
    # What no page's documents hold any more is not paid for.
    assert sorted(texts) == sorted(old.snapshot.texts(HASHED))


def test_19_an_old_page_finished_late(build: Build) -> None:
    """A page whose run broke off before embedding is finished after newer pages."""
    world = build()
    fill(world.folder)
    world.embedders["wordllama"].fault = "down"
    with pytest.raises(EmbedderDown):
        world.sync(PAGES[0])
    world.embedders["wordllama"].fault = None
    world.folder.write("guide/start.md", article(101, count=6))
    world.folder.remove("guide/install.md", "notes/short.txt")
    world.sync(PAGES[1])
    with world.counted() as texts:
        world.replay([PAGES[0]])
    world.check()
    # Paid for: what still stands, and not the first text of the document edited since.
    assert set(texts) <= world.snapshot.texts(SMALL)
    assert len(texts) == 8 + 6 + 8  # install's copy, pumps, valves


def test_19_runs_that_overlap(build: Build) -> None:
    world = _history(build())
    world.reopen({V1: SMALL, V2: HASHED, "docs_v3": BY_HEADING})
    _day(world, 1)
    others = [world.another() for _ in range(3)]
    orders = [random.Random(seed).sample(PAGES, len(PAGES)) for seed in range(3)]

    def run(number: int) -> None:
        for window in orders[number]:
            world.run(window, on=others[number])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))
    for other in others:
        other.close()
    world.check()
    for window in PAGES:
        assert world.problems(window) == []


def test_19_processes_that_overlap(build: Build, engine: str) -> None:
    if engine != ENGINES[0]:
        return  # the client's local mode belongs to one process
    world = _history(build())
    given = (world.root, PAGES, {V2: HASHED})
    running = [FORKS.Process(target=run, args=given) for _ in range(2)]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0, 0]
    world.reopen({V1: SMALL, V2: HASHED})
    world.check()


def test_20_a_range_leaves_what_single_runs_leave(build: Build) -> None:
    single, ranged = build(name="single"), build(name="range")
    for world in (single, ranged):
        _history(world)
        world.reopen({V1: SMALL, V2: HASHED})
        _day(world, 1)
    later = WINDOWS[5:7]
    for window in PAGES + later:
        single.run(window)
    ranged.run_range(PAGES + later)
    for world in (single, ranged):
        world.check()
        assert [world.page(window).outcomes for window in (PAGES[-1], *later)] == [
            {"updated": 1, "deleted": 1, "unchanged": 4},
            {"unchanged": 5},
            {"unchanged": 5},
        ]
    for index in single.indexes:
        assert single.contents(index).keys() == ranged.contents(index).keys()
    paid = {
        name: set(single.embedders[name].texts) - set(ranged.embedders[name].texts)
        for name in single.embedders
    }
    # The range asks the source first, and so knows that this note is gone.
    assert paid == {"wordllama": set(), "hash-32": {"It is back."}}
    for world in (single, ranged):
        for one in world.embedders.values():
            assert len(one.texts) == len(set(one.texts))


def test_20_pages_skipped_by_time_are_empty(old: World) -> None:
    old.sync(WINDOWS[9])
    with old.counted() as texts:
        old.run_range(WINDOWS[5:9])
    assert texts == []
    old.check()
    assert [old.page(window).listed for window in WINDOWS[5:9]] == [0, 0, 0, 0]
    assert old.platform.raw(SOURCE).run(WINDOWS[7]).pass_no is None
