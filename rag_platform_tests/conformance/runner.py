"""The chain for a process of its own, which may kill itself at a named point."""

import contextlib
import hashlib
import os
import signal
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag_platform_tests.conformance.harness import Recipe, World
from rag_platform_tests.conformance.killing import tripped

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from qdrant_client import QdrantClient

    from rag_platform.storage.vectors.server import ServerVectorStore


def on_disk_server(folder: Path) -> "tuple[ServerVectorStore, QdrantClient]":
    """The server's adapter over the client's local mode with files, for one process at a time."""
    from qdrant_client import QdrantClient

    from rag_platform.storage.vectors.server import ServerVectorStore

    client = QdrantClient(path=str(folder))
    return ServerVectorStore("http://on-disk:6333", client_factory=lambda: client), client


def log_texts(world: World) -> None:
    """Keep what is embedded where a kill does not reach it."""
    file = world.home / "embedded.log"

    def note(texts: Sequence[str]) -> None:
        lines = "".join(hashlib.sha256(text.encode()).hexdigest() + "\n" for text in texts)
        with open(file, "a", encoding="ascii") as log:
            log.write(lines)

    for embedder in world.embedders.values():
        embedder.watch = note


def run(
    root: Path,
    windows: Sequence[str],
    indexes: dict[str, Recipe],
    *,
    home: str = "home",
    engine: str = "embedded",
    kill: tuple[str, int, str] | None = None,
    ready: "Event | None" = None,
) -> None:
    """Run the windows, perhaps not to the end; `kill` is a point, its turn, and before or after.

    `ready` is set when everything is loaded. The texts of every embedder call are appended to
    embedded.log in the state folder before the call.
    """
    warnings.simplefilter("ignore")
    vectors = on_disk_server(root / home / "qdrant")[0] if engine == "server" else None
    world = World(root, indexes=indexes, home=home, vectors=vectors)
    for name in indexes:
        world.platform.version(name)
    log_texts(world)
    if ready is not None:
        ready.set()
    with contextlib.ExitStack() as stack:
        if kill:
            point, turn, when = kill
            die = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
            stack.enter_context(tripped(point, turn, after=when == "after", act=die))
        for window in windows:
            world.run(window)
