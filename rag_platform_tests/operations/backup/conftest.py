"""Worlds that are backed up and restored: one that has lived, and empty ones."""

import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from obstore.store import LocalStore

from rag_platform.commands.backup import state_of
from rag_platform.operations.backup.backup import State
from rag_platform_tests.conformance.corpus import article
from rag_platform_tests.conformance.harness import SMALL, V1, WINDOWS, CountedPlatform, World
from rag_platform_tests.conformance.harness import settings_of as settings

Open = Callable[..., World]
QUERY = "the pump measures the pressure"


@pytest.fixture(autouse=True)
def _local_client() -> Iterator[None]:
    """The client's local mode says that it has no payload indexes; that is known."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        yield


@pytest.fixture(autouse=True)
def _no_dagster_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a world that has lived, to be copied: living costs more."""
    made = lived_in(tmp_path_factory.mktemp("lived"))
    made.platform.close()
    return made.root


@pytest.fixture
def world(tmp_path: Path, _template: Path) -> Iterator[World]:
    """A world that has lived."""
    made = World(Path(shutil.copytree(_template, tmp_path / "world")), quick=True)
    yield made
    made.platform.close()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, _template: Path) -> Iterator[World]:
    """The same for tests that leave it as it is."""
    root = tmp_path_factory.mktemp("lived") / "world"
    made = World(Path(shutil.copytree(_template, root)), quick=True)
    yield made
    made.platform.close()


def lived_in(root: Path) -> World:
    """Three days: documents came, one was edited, one moved, one went, two are alike."""
    made = World(root, quick=True)
    for number in range(5):
        made.folder.write(f"station-{number}.md", article(number))
    made.folder.write("twin.md", article(1))
    made.sync(WINDOWS[0])
    made.folder.write("station-0.md", article(0).replace("pump", "heat exchanger"))
    made.folder.rename("station-2.md", "moved/station-2.md")
    made.sync(WINDOWS[1])
    made.folder.remove("station-3.md")
    made.sync(WINDOWS[2])
    return made


@pytest.fixture
def empty() -> Iterator[Open]:
    """Makes empty worlds over the documents of another, with other stores where they are named.

    Their points are in memory, which is cheaper than in files.
    """
    made: list[World] = []

    def make(
        like: World, *, name: str | None = None, engine: str = "server", **stores: Any
    ) -> World:
        fresh = World(like.root, quick=True, home=name or uuid.uuid4().hex, engine=engine)
        made.append(fresh)
        if stores:
            fresh.platform.close()
            told = settings(
                fresh.home, fresh.folder.root, {V1: SMALL}, source=fresh._source, **stores
            )
            vectors = fresh.platform.vectors
            fresh.platform = CountedPlatform(told, embedders=fresh.embedders, quick=True)
            fresh.platform.__dict__["vectors"] = vectors
        return fresh

    yield make
    for fresh in made:
        fresh.platform.close()


@pytest.fixture
def target(tmp_path: Path) -> LocalStore:
    """Where backups go."""
    return LocalStore(tmp_path / "backups", mkdir=True)


def state(world: World) -> State:
    """What a world keeps."""
    return state_of(world.platform)


def answers(world: World) -> list[Any]:
    """Some answers, whole."""
    return [result.as_json() for result in world.search(QUERY, 10)]
