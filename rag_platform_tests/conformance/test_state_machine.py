"""Random histories against a plain model of what must be searchable."""

import random
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rag_platform.indexing.progress import unfinished_windows
from rag_platform.storage.schema import changes
from rag_platform_tests.conformance.corpus import article, broken_pdf, paragraph, web_page
from rag_platform_tests.conformance.embedders import EmbedderDown
from rag_platform_tests.conformance.harness import (
    BATCH,
    BY_HEADING,
    HASHED,
    OVERLAPPING,
    SOURCE,
    WINDOWS,
    World,
)
from rag_platform_tests.conformance.killing import POINTS, Killed, raise_killed, tripped

PLAIN = ["a.md", "b.md", "deep/c.md", "deep/er/d.md", "e.txt"]
WEB = ["page.html", "deep/page.html"]
RECIPES = {"docs_v2": BY_HEADING, "docs_v3": HASHED, "docs_v4": OVERLAPPING}
seeds = st.integers(1, 6)


class History(RuleBasedStateMachine):
    """A folder that changes, runs that succeed, fail, are killed and replayed."""

    engine = "server"

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="history-"))
        self.world = World(self.root, engine=self.engine, quick=True, max_deletion_share=1.0)
        self.folder = self.world.folder
        self.day = 0
        self.spoilt = 0  # runs that may have embedded a batch and lost it
        self.folder.write("a.md", article(1, count=3))
        self.folder.write("copy of a.md", article(1, count=3))
        self.folder.write("page.html", web_page(2, count=2))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.sync()
            self.world.platform.close()
            shutil.rmtree(self.root)

    # What happens to the folder

    @rule(key=st.sampled_from(PLAIN), seed=seeds, count=st.integers(1, 3))
    def write(self, key: str, seed: int, count: int) -> None:
        self.folder.write(key, article(seed, count))

    @rule(key=st.sampled_from(WEB), seed=seeds, count=st.integers(1, 3))
    def write_page(self, key: str, seed: int, count: int) -> None:
        self.folder.write(key, web_page(seed, count))

    @rule(data=st.data(), seed=seeds)
    def edit(self, data: st.DataObject, seed: int) -> None:
        key = self._some(data, suffixes=(".md", ".txt"))
        if key:
            lines = (self.folder.root / key).read_bytes().split(b"\n\n")
            lines[data.draw(st.integers(0, len(lines) - 1))] = paragraph(
                random.Random(seed)
            ).encode()
            self.folder.write(key, b"\n\n".join(lines))

    @rule(data=st.data(), to=st.sampled_from([*PLAIN, "new.md", "deep/new.txt"]))
    def rename(self, data: st.DataObject, to: str) -> None:
        key = self._some(data, suffixes=(".md", ".txt"))
        if key and key != to:
            self.folder.rename(key, to)

    @rule(data=st.data(), to=st.sampled_from([*PLAIN, "new.md", "deep/new.txt"]))
    def copy(self, data: st.DataObject, to: str) -> None:
        key = self._some(data, suffixes=(".md", ".txt"))
        if key and key != to:
            self.folder.copy(key, to)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if key := self._some(data):
            self.folder.remove(key)

    @rule(data=st.data())
    def empty(self, data: st.DataObject) -> None:
        if key := self._some(data, suffixes=(".md", ".txt")):
            self.folder.write(key, "")

    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        if key := self._some(data):
            self.folder.touch(key)

    @rule(data=st.data(), seed=seeds)
    def corrupt(self, data: st.DataObject, seed: int) -> None:
        if key := self._some(data):
            self.folder.write(key, broken_pdf(seed))

    def _some(self, data: st.DataObject, suffixes: tuple[str, ...] = ("",)) -> str | None:
        keys = [key for key in self.folder.names() if key.endswith(suffixes)]
        return data.draw(st.sampled_from(keys)) if keys else None

    # What runs

    @rule()
    def sync_same_day(self) -> None:
        self.sync()

    @precondition(lambda self: self.day < len(WINDOWS) - 1)
    @rule()
    def sync_next_day(self) -> None:
        self.day += 1
        self.sync()

    @rule(seed=st.integers(0, 1000))
    def replay(self, seed: int) -> None:
        """Old pages out of order: nothing comes back, nothing is paid for."""
        dice = random.Random(seed)
        before = {index: self._held(index) for index in self.world.indexes}
        old = [dice.choice(WINDOWS[: self.day + 1]) for _ in range(3)]
        with self.world.counted() as texts:
            for window in old:
                if window != WINDOWS[self.day]:
                    self.world.run(window)
        if not self.spoilt_since_sync:
            assert texts == []
            assert {index: self._held(index) for index in self.world.indexes} == before

    @precondition(lambda self: len(self.world.indexes) < 1 + len(RECIPES))
    @rule(name=st.sampled_from(sorted(RECIPES)), seed=st.integers(0, 1000))
    def add_index(self, name: str, seed: int) -> None:
        """Another recipe beside the others, filled from the pages in any order."""
        self.sync()
        self.world.reopen(self.world.indexes | {name: RECIPES[name]})
        windows = list(WINDOWS[: self.day + 1])
        random.Random(seed).shuffle(windows)
        self._counted_run(windows)
        self.world.check()

    @rule(seed=st.integers(0, 1000))
    def drift_and_reconcile(self, seed: int) -> None:
        self.sync()
        dice = random.Random(seed)
        index = dice.choice(sorted(self.world.indexes))
        version = self.world.platform.version(index)
        if dice.random() < 0.3:
            self.world.platform.vectors.drop(index)
        else:
            with self.world.platform.vectors.open(
                index, dimension=version.embedder.dimension, fingerprint=version.fingerprint
            ) as collection:
                points = [point for point, _ in collection.ids()]
                collection.delete(dice.sample(points, len(points) // 3))
        with self.world.counted() as texts:
            self.world.platform.reconciler(index).run(repair=True)
        assert texts == []
        self.world.check()

    @rule(
        point=st.sampled_from(POINTS),
        turn=st.integers(1, 12),
        after=st.booleans(),
        next_day=st.booleans(),
    )
    def kill(self, point: str, turn: int, after: bool, next_day: bool) -> None:
        self.day = min(self.day + next_day, len(WINDOWS) - 1)
        recorded = self._recorded()
        try:
            with tripped(point, turn, after=after, act=raise_killed):
                self._counted_run([WINDOWS[self.day]])
        except Killed:
            self.spoilt += 1
            self.spoilt_since_sync = True
            if self._recorded() > recorded:
                self.world.snapshot.take()
        self.world.reopen()

    @rule(spare=st.integers(0, 2))
    def embedder_down(self, spare: int) -> None:
        embedder = self.world.embedders["wordllama"]
        embedder.fault, embedder.spare = "down", spare
        try:
            self._counted_run([WINDOWS[self.day]])
        except EmbedderDown:
            self.spoilt_since_sync = True
        finally:
            embedder.fault = None

    # What must hold

    spoilt_since_sync = False

    def sync(self) -> None:
        """The newest window, and what is known to have broken off before; then compare."""
        newest = WINDOWS[self.day]
        catalog = self.world.platform.catalog
        self._counted_run([newest])
        self._counted_run(unfinished_windows(catalog, SOURCE, list(self.world.indexes)))
        self.spoilt_since_sync = False
        self.world.check()
        assert unfinished_windows(catalog, SOURCE, list(self.world.indexes)) == []
        page = self.world.page(newest)
        assert page.sums
        assert page.objects == len(self.folder.names())

    def _counted_run(self, windows: list[str]) -> None:
        """Run; what is embedded is wanted now and was not paid for, but for what kills lost."""
        paid = {name: set(one.texts) for name, one in self.world.embedders.items()}
        before = {name: len(one.texts) for name, one in self.world.embedders.items()}
        try:
            for window in windows:
                self.world.run(window, allow_deletions=True)
        finally:
            for name, one in self.world.embedders.items():
                new = one.texts[before[name] :]
                again = sum(text in paid[name] for text in new)
                assert len(new) == len(set(new))
                assert again <= BATCH * self.spoilt
                self.spoilt -= -(-again // BATCH)
        for name, one in self.world.embedders.items():
            recipes = [r for r in self.world.indexes.values() if r[3] == name]
            wanted = set().union(*(self.world.snapshot.texts(r) for r in recipes))
            assert set(one.texts[before[name] :]) <= wanted, "paid for what nobody can find"

    def _recorded(self) -> int:
        with self.world.platform.catalog.read() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(changes)) or 0

    def _held(self, index: str) -> dict[str, object]:
        try:
            return {point: payload for point, (payload, _) in self.world.contents(index).items()}
        except Exception as error:  # not built yet
            return {"": type(error)}


class EmbeddedHistory(History):
    """The same on the embedded engine."""

    engine = "embedded"


_QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def _profile(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=_QUIET,
        print_blob=True,
    )


def test_history() -> None:
    run_state_machine_as_test(History, settings=_profile(6, 15))


def test_embedded_history() -> None:
    run_state_machine_as_test(EmbeddedHistory, settings=_profile(2, 12))


@pytest.mark.slow
def test_long_history() -> None:
    run_state_machine_as_test(History, settings=_profile(4, 30))


@pytest.mark.slow
def test_long_embedded_history() -> None:
    run_state_machine_as_test(EmbeddedHistory, settings=_profile(2, 20))
