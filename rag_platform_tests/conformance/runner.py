"""The chain in a process of its own, which may kill itself at a named point.

`python -m rag_platform_tests.conformance.runner ROOT WINDOWS INDEXES [options]`: windows by
commas, indexes as NAME=STRATEGY:TOKENS:OVERLAP:MODEL by commas. Prints `ready` when everything
is loaded. The texts of every embedder call are appended to HOME/embedded.log before the call.
"""

import argparse
import contextlib
import hashlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag_platform_tests.conformance.harness import Recipe, World
from rag_platform_tests.conformance.killing import tripped

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from rag_platform.storage.vectors.server import ServerVectorStore


def on_disk_server(folder: Path) -> "tuple[ServerVectorStore, QdrantClient]":
    """The server's adapter over the client's local mode with files, for one process at a time."""
    from qdrant_client import QdrantClient

    from rag_platform.storage.vectors.server import ServerVectorStore

    client = QdrantClient(path=str(folder))
    return ServerVectorStore("http://on-disk:6333", client_factory=lambda: client), client


def recipe(written: str) -> Recipe:
    """recursive:64:0:wordllama as a recipe."""
    strategy, size, overlap, model = written.split(":")
    return strategy, int(size), int(overlap), model


def log_texts(world: World) -> None:
    """Keep what is embedded where a kill does not reach it."""
    file = world.home / "embedded.log"

    def note(texts: Sequence[str]) -> None:
        lines = "".join(hashlib.sha256(text.encode()).hexdigest() + "\n" for text in texts)
        with open(file, "a", encoding="ascii") as log:
            log.write(lines)

    for embedder in world.embedders.values():
        embedder.watch = note


def main() -> None:
    """Run the windows, perhaps not to the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("windows")
    parser.add_argument("indexes")
    parser.add_argument("--home", default="home")
    parser.add_argument("--engine", default="embedded")
    parser.add_argument("--kill", help="POINT:TURN:before|after")
    given = parser.parse_args()
    indexes = dict(entry.split("=") for entry in given.indexes.split(","))
    home = given.root / given.home
    world = World(
        given.root,
        indexes={name: recipe(written) for name, written in indexes.items()},
        home=given.home,
        vectors=on_disk_server(home / "qdrant")[0] if given.engine == "server" else None,
    )
    for name in indexes:
        world.platform.version(name)
    home.mkdir(exist_ok=True)
    log_texts(world)
    print("ready", flush=True)
    with contextlib.ExitStack() as stack:
        if given.kill:
            point, turn, when = given.kill.split(":")
            die = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
            stack.enter_context(tripped(point, int(turn), after=when == "after", act=die))
        for window in given.windows.split(","):
            world.run(window)
    print("done", flush=True)


if __name__ == "__main__":
    main()
