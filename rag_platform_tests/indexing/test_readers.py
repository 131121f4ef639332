"""Readers while versions come and go: never a gap, never two versions in one answer."""

import functools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rag_platform.retrieval.experiment import LiveSearch
from rag_platform.settings_indexes import ExperimentSettings, PromotionSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.vectors.base import VectorStore
from rag_platform.storage.vectors.edge import EdgeVectorStore
from rag_platform_tests.conformance.harness import in_memory_server
from rag_platform_tests.indexing.life import Life, opened

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")

INDEXES = ("v1", "v2", "v3", "v4")
POINTS = 3
READERS = 2


@dataclass
class Readers:
    """Threads that search all the time. `seen` has when an answer was asked for, and its index."""

    search: LiveSearch
    seen: list[tuple[float, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @contextmanager
    def reading(self) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=self._read, args=(n, stop)) for n in range(READERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def wait_for(self, count: int = 3) -> None:
        """Until so many more searches have been answered."""
        wanted, deadline = len(self.seen) + count, time.monotonic() + 60
        while len(self.seen) < wanted and not self.problems and time.monotonic() < deadline:
            time.sleep(0.002)

    def _read(self, number: int, stop: threading.Event) -> None:
        while not stop.is_set():
            asked_at = time.monotonic()
            try:
                found = self.search.search("a text", 10, unit=f"{number} {asked_at}")
            except Exception as error:
                self.problems.append(repr(error))
                return
            titles = [result.title for result in found.results]
            if titles != [found.index] * POINTS:
                self.problems.append(f"{found.index}: {titles}")
            self.seen.append((asked_at, found.index))


def hammer(life: Life, readers: Readers) -> list[tuple[float, str]]:
    """Promotions, a rollback and retirements; returns what is live from which moment on."""
    live: list[tuple[float, str]] = []

    def now_live(name: str) -> None:
        live.append((time.monotonic(), name))
        readers.wait_for()

    who: dict[str, Any] = {"actor": "ann", "reason": "r"}
    with readers.reading():
        now_live("v1")
        for name in ("v2", "v3"):
            assert life.promotions.promote(name, **who).action == "promoted"
            now_live(name)
        assert life.promotions.rollback(**who).live == "v2"
        now_live("v2")
        # Whatever was replaced goes at once, with readers on their way to it.
        assert life.retirement().run() == ["v1", "v3"]
        readers.wait_for()
        assert life.promotions.promote("v4", **who).action == "promoted"
        assert life.retirement().run() == ["v2"]
        now_live("v4")
    return live


def late(seen: list[tuple[float, str]], live: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Answers of a version that had been replaced before they were asked for."""
    found = []
    for asked_at, index in seen:
        # What was live when it was asked, or became so afterwards, may answer.
        current = [name for moment, name in live if moment <= asked_at][-1:]
        later = [name for moment, name in live if moment > asked_at]
        if index not in (*(current or ["v1"]), *later):
            found.append((asked_at, index))
    return found


@pytest.mark.parametrize("engine", [pytest.param("embedded", marks=pytest.mark.slow), "server"])
def test_no_gap_and_no_mixture(catalog: Catalog, tmp_path: Path, engine: str) -> None:
    vectors: VectorStore = (
        EdgeVectorStore(tmp_path / "vectors") if engine == "embedded" else in_memory_server()
    )
    life = Life(catalog, vectors, indexes=INDEXES, rules=PromotionSettings(keep_days=0.0))
    for name in INDEXES:
        life.build(name, POINTS)
    search = LiveSearch(functools.partial(opened, vectors), catalog=catalog, default="v1")
    readers = Readers(search)
    live = hammer(life, readers)
    assert readers.problems == []
    assert {index for _, index in readers.seen} == {"v1", "v2", "v3", "v4"}
    assert late(readers.seen, live) == []
    assert vectors.names() == ["v4"]


def test_a_challenger_that_goes_leaves_no_gap(catalog: Catalog) -> None:
    vectors = in_memory_server()
    life = Life(catalog, vectors)
    for name in ("v1", "v2"):
        life.build(name, POINTS)
    rules = ExperimentSettings(challenger="v2", share=50)
    readers = Readers(
        LiveSearch(
            functools.partial(opened, vectors), catalog=catalog, default="v1", experiment=rules
        )
    )
    with readers.reading():
        readers.wait_for(30)
        assert {index for _, index in readers.seen} == {"v1", "v2"}
        life.retirement().retire("v2", actor="ann", reason="worse")
        gone_at = time.monotonic()
        readers.wait_for(10)
    assert readers.problems == []
    assert {index for asked_at, index in readers.seen if asked_at > gone_at} == {"v1"}


_READER = """
import functools, json, sys
from pathlib import Path
from typing import Any
from rag_platform.retrieval.experiment import LiveSearch
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.vectors.edge import EdgeVectorStore
from rag_platform_tests.indexing.life import opened

home = Path(sys.argv[1])
catalog = Catalog(f"sqlite:///{home}/catalog.db", lock_folder=home / "locks")
search = LiveSearch(
    functools.partial(opened, EdgeVectorStore(home / "vectors")), catalog=catalog, default="v1"
)
print("ready", flush=True)
while not (home / "stop").exists():
    found = search.search("a text", 10)
    print(json.dumps([found.index, [result.title for result in found.results]]), flush=True)
"""


@pytest.mark.slow
def test_other_processes_read_on(catalog: Catalog, tmp_path: Path) -> None:
    life = Life(
        catalog,
        EdgeVectorStore(tmp_path / "vectors"),
        indexes=INDEXES,
        rules=PromotionSettings(keep_days=0.0),
    )
    for name in INDEXES:
        life.build(name, POINTS)
    command = [sys.executable, "-c", _READER, str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    who: dict[str, Any] = {"actor": "ann", "reason": "r"}
    for name in ("v2", "v3", "v4"):
        time.sleep(0.3)
        assert life.promotions.promote(name, **who).action == "promoted"
        life.retirement().run()
    time.sleep(0.3)
    (tmp_path / "stop").touch()
    for process in processes:
        out, problems = process.communicate(timeout=60)
        assert (process.returncode, problems) == (0, "")
        answers = [json.loads(line) for line in out.splitlines()]
        assert answers
        assert all(titles == [index] * POINTS for index, titles in answers)
        order = [index for index, _ in answers]
        # Never back to one that was replaced.
        assert order == sorted(order)
        assert order[-1] == "v4"
    assert life.vectors.names() == ["v4"]
