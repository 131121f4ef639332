"""Invariant 15: killed at any instant and run again, one batch at most is paid twice."""

import contextlib
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rag_platform_tests.conformance.corpus import article, broken_pdf, fill, web_page
from rag_platform_tests.conformance.harness import (
    BATCH,
    ENGINES,
    SMALL,
    V1,
    WINDOWS,
    World,
    assert_same,
)
from rag_platform_tests.conformance.killing import POINTS, tripped
from rag_platform_tests.conformance.model import Point
from rag_platform_tests.conformance.runner import log_texts, on_disk_server, run
from rag_platform_tests.copies import sparse
from rag_platform_tests.forks import FORKS

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess as Run

FIRST, SECOND = WINDOWS[:2]
COLD, WARM = "cold", "warm"


class Scene:
    """One folder; a state folder as it was before, and how the run to be killed ends unkilled."""

    def __init__(self, root: Path, engine: str) -> None:
        self.root = root
        self.engine = engine
        self._made = 0
        (root / "cold").mkdir()
        with self.opened("cold") as world:
            fill(world.folder)
        with self.opened("warm") as world:
            world.run(FIRST)
        _edit(world)
        self.snapshot = world.snapshot
        self.passages: dict[tuple[str, str], int] = {}
        self.contents: dict[str, Point] = {}
        self.texts = {start: self._undisturbed(start) for start in (COLD, WARM)}

    @contextlib.contextmanager
    def opened(self, home: str) -> Iterator[World]:
        """A world on one of the state folders, closed at the end so that others may open it."""
        with contextlib.ExitStack() as stack:
            vectors = None
            if self.engine == "server":
                vectors, client = on_disk_server(self.root / home / "qdrant")
                stack.callback(client.close)
            world = World(self.root, engine="embedded", vectors=vectors, home=home)
            stack.callback(world.platform.close)
            yield world

    def copy(self, start: str) -> str:
        """A state folder of its own, as before the run."""
        self._made += 1
        home = f"home-{self._made}"
        shutil.copytree(self.root / start, self.root / home, copy_function=sparse)
        return home

    def _undisturbed(self, start: str) -> int:
        """The number of texts that the run embeds; counts the passages of every point."""
        home = self.copy(start)
        with self.opened(home) as world, contextlib.ExitStack() as stack:
            counters = {
                point: stack.enter_context(tripped(point, 0, after=False, act=lambda: None))
                for point in POINTS
            }
            world.snapshot.documents = dict(self.snapshot.documents)
            world.run(SECOND)
            self.passages |= {(start, point): c.passed for point, c in counters.items()}
            world.check()
            self.contents = world.contents()
            self.snapshot = world.snapshot
            return len(world.embedders["wordllama"].texts)

    def start(self, home: str, kill: tuple[str, int, str] | None = None) -> "Run":
        """The run as a process that has loaded everything."""
        ready = FORKS.Event()
        how = {"home": home, "engine": self.engine, "kill": kill, "ready": ready}
        process = FORKS.Process(target=run, args=(self.root, [SECOND], {V1: SMALL}), kwargs=how)
        process.start()
        assert ready.wait(120)
        return process

    def check_after(self, home: str, start: str) -> None:
        """Run again: all as without the kill, for one batch more at most."""
        with self.opened(home) as world:
            log_texts(world)
            world.snapshot = self.snapshot
            done = world.run(SECOND)
            assert_same(world.contents(), self.contents)
            page = world.page(SECOND)
            assert page.sums
            # The broken PDF is one in ten, which is allowed.
            assert world.problems(SECOND, done) == []
            again = world.run(SECOND)
            assert again.writes() == 0
            assert world.platform.reconciler(V1).run(repair=False).agrees
        paid = (self.root / home / "embedded.log").read_text(encoding="ascii").split()
        assert len(set(paid)) == self.texts[start]
        assert len(paid) <= self.texts[start] + BATCH
        shutil.rmtree(self.root / home)


def ended(process: "Run") -> int | None:
    """How it ended: zero, or minus the signal."""
    process.join(120)
    return process.exitcode


def _edit(world: World) -> None:
    """A day of changes: some forty new texts, and every other kind of change."""
    folder = world.folder
    folder.write("guide/start.md", article(101, count=6))
    folder.write("handbook.md", article(102, count=12))
    folder.write("reference/valves.html", web_page(4, count=2))
    folder.write("broken.pdf", broken_pdf(1))
    folder.rename("guide/install.md", "guide/setup.md")
    folder.copy("reference/pumps.md", "reference/pumps (copy).md")
    folder.write("notes/a.txt", "A short note.\n")
    folder.write("notes/b.txt", "Another short note.\n")
    folder.remove("notes/short.txt")


@pytest.fixture(scope="module", params=ENGINES)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp(f"kills-{request.param}"), request.param)


def _kill_at(scene: Scene, start: str, point: str, turn: int, when: str) -> None:
    home = scene.copy(start)
    process = scene.start(home, (point, turn, when))
    assert ended(process) == -signal.SIGKILL
    scene.check_after(home, start)


# The turn counts from the end where it is negative: what comes last is not passed often.
@pytest.mark.parametrize(
    ("start", "point", "turn", "when"),
    [
        (COLD, "catalog.commit", 1, "after"),
        (WARM, "catalog.commit", -3, "before"),
        (WARM, "memo.put_many", 3, "before"),
        (COLD, "memo.put_many", 2, "after"),
        (WARM, "page.write", 1, "after"),
        (WARM, "collection.upsert", 1, "before"),
        (WARM, "collection.upsert", 1, "after"),
        (WARM, "collection.delete", 1, "after"),
    ],
)
def test_15_killed_at_a_point(scene: Scene, start: str, point: str, turn: int, when: str) -> None:
    passages = scene.passages[start, point]
    assert passages >= abs(turn)
    _kill_at(scene, start, point, turn if turn > 0 else passages + 1 + turn, when)


embedded = pytest.mark.parametrize("scene", ["embedded"], indirect=True)


@pytest.mark.slow
@embedded
@pytest.mark.parametrize("seed", range(4))
def test_15_killed_at_any_point(scene: Scene, seed: int) -> None:
    dice = random.Random(seed)
    start = dice.choice((COLD, WARM))
    passed = [point for point in POINTS if scene.passages[start, point]]
    point = dice.choice(passed)
    turn = dice.randint(1, scene.passages[start, point])
    _kill_at(scene, start, point, turn, dice.choice(("before", "after")))


@pytest.mark.slow
@embedded
def test_15_killed_at_random_instants(scene: Scene) -> None:
    home = scene.copy(WARM)
    process = scene.start(home)
    began = time.monotonic()
    assert ended(process) == 0
    length = time.monotonic() - began
    dice = random.Random(15)
    killed = 0
    for _ in range(3):
        home = scene.copy(WARM)
        process = scene.start(home)
        time.sleep(dice.uniform(0, length))
        process.kill()
        killed += ended(process) == -signal.SIGKILL
        scene.check_after(home, WARM)
    assert killed


@pytest.mark.slow
@embedded
def test_15_killed_again_and_again(scene: Scene) -> None:
    """Each run gets a little further before it is killed, too."""
    home = scene.copy(COLD)
    kills = 0
    for turn in (1, 1, 2, 2, 1):
        process = scene.start(home, ("memo.put_many", turn, "before"))
        kills += ended(process) == -signal.SIGKILL
    assert kills == 5
    paid = (scene.root / home / "embedded.log").read_text(encoding="ascii").split()
    assert len(paid) - len(set(paid)) <= kills * BATCH
    with scene.opened(home) as world:
        world.run(SECOND)
        assert_same(world.contents(), scene.contents)
