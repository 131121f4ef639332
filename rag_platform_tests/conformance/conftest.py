"""Worlds on both vector engines."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag_platform_tests.conformance.corpus import fill
from rag_platform_tests.conformance.harness import ENGINES, WINDOWS, Recipe, World

Build = Callable[..., World]

# For what happens before or beside an engine, which makes no difference there.
in_memory = pytest.mark.parametrize("engine", ["server"], indirect=True)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _local_client() -> Iterator[None]:
    """The client's local mode says that it has no payload indexes; that is known."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        yield


@pytest.fixture
def build(tmp_path: Path, engine: str) -> Iterator[Build]:
    """Makes worlds, each in a folder of its own name."""
    made: list[World] = []

    def make(indexes: dict[str, Recipe] | None = None, *, name: str = "world") -> World:
        made.append(World(tmp_path / name, engine=engine, indexes=indexes, quick=True))
        return made[-1]

    yield make
    for world in made:
        world.platform.close()


@pytest.fixture
def world(build: Build) -> World:
    """The small corpus, empty index."""
    made = build()
    fill(made.folder)
    return made


@pytest.fixture
def synced(world: World) -> World:
    """The small corpus, indexed in the first window."""
    world.sync(WINDOWS[0])
    return world
