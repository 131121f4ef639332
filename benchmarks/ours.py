"""rag_platform on the embedded defaults: against the clock, and as a contestant of the cases.

    python benchmarks/ours.py --via dagster|direct --corpus DIR --state DIR --phase cold|...

The clock runs over the sync alone: imports and the embedding model are loaded before it, opening
the catalog, the object store, the vector engine and (through Dagster) the instance is on it.
Chunks have at most 400 tokens and 40 of overlap, which is what the peers' bytes amount to.
"""

import argparse
import importlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contestant
import sqlalchemy as sa
from contestant import EMBED_BATCH, PHASES, Contestant, Hit, Recipe, Size, cpu_time, peak_rss_mb

from rag_platform.encoders.base import Embedder, Vectors
from rag_platform.indexing import processes
from rag_platform.platform import Platform
from rag_platform.retrieval.search import Searcher
from rag_platform.settings import Settings, load
from rag_platform.storage.schema import index_documents, index_pages

PACKAGES = ("dagster", "qdrant-edge-py", "wordllama", "pyarrow", "sqlalchemy")
SOURCE = "bench"
INDEX = "docs_v1"
BYTES_PER_TOKEN = 3  # of both corpora, see Recipe


def configure(
    state: Path, folder: Path, indexes: dict[str, Any], *, live: str = INDEX
) -> dict[str, str]:
    """Write the settings of a state folder; returns the environment that names it."""
    state.mkdir(parents=True, exist_ok=True)
    config = state / "platform.yaml"
    source = {"url": str(folder), "start": "2026-01-01", "include": ["*.md"]}
    settings = {"sources": {SOURCE: source}, "indexes": indexes, "live": live}
    config.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return environment(state)


def environment(state: Path) -> dict[str, str]:
    """The variables that name a state folder."""
    return {
        "RAG_PLATFORM_CONFIG": str(state / "platform.yaml"),
        "RAG_PLATFORM_HOME": str(state / "home"),
        "DAGSTER_HOME": str(state / "dagster"),
    }


def chunker(recipe: Recipe) -> dict[str, int]:
    """The peers' sizes in bytes as sizes in tokens."""
    return {
        "max_tokens": recipe.chunk_bytes // BYTES_PER_TOKEN,
        "overlap": recipe.overlap_bytes // BYTES_PER_TOKEN,
    }


def run_chain(platform: Platform, window: str) -> None:
    """All stages of a window, for every index; RuntimeError where an index is not as it must be."""
    platform.raw(SOURCE).run(window)
    platform.parsed(SOURCE).run(window)
    platform.clean(SOURCE).run(window)
    differing = []
    for index in platform.settings.indexes:
        platform.chunks(SOURCE, index).run(window)
        platform.embeddings(SOURCE, index).run(window)
        done = platform.vector_index(SOURCE, index).run(window)
        if done.points != done.expected or done.disagreeing:
            differing.append(f"{index} has {done.points} points of {done.expected}")
    if differing:  # the gate that fails a run through Dagster
        raise RuntimeError(f"{', '.join(differing)}: rag-platform reconcile --repair")


# The cases


class SharedEmbedder(Embedder):
    """The embedder of all contestants behind our own port.

    One model serves every index version, cut to the dimension of the one that asks, so that
    whatever any of them embeds is counted.
    """

    name = "shared"
    batch_size = EMBED_BATCH
    paid = False

    def __init__(self, shared: contestant.Embedder, dimension: int) -> None:
        self._shared = shared
        self.dimension = dimension
        self.fingerprint = f"shared:{dimension}"

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        self._shared.dimensions = self.dimension
        return self._shared.embed(texts)

    def embed_query(self, text: str) -> Vectors:
        self._shared.dimensions = self.dimension
        return self._shared.embed_query(text)


class SharedPlatform(Platform):
    """A platform whose index versions embed with what the contestants share."""

    shared: contestant.Embedder

    def _embedder(self, name: str) -> Embedder:
        dimensions = self.index_settings(name).embedder.dimensions
        assert dimensions is not None
        return SharedEmbedder(self.shared, dimensions)


class RagPlatform(Contestant):
    """rag_platform without Dagster. Another recipe is another index beside the ones there are."""

    name = "rag_platform"
    packages = PACKAGES
    storage = "Parquet, SQLite and Qdrant Edge, durable"

    @property
    def vectors(self) -> Path:
        return self.state / "home" / "vectors"

    def sync(self, folder: Path) -> None:
        indexes = self._indexes()
        if self._wanted not in indexes.values():
            indexes[f"docs_v{len(indexes) + 1}"] = self._wanted
        configure(self.state, folder, indexes, live=self._name(indexes))
        platform = self._platform()
        run_chain(platform, platform.calendar(SOURCE).current())

    def repair(self) -> None:
        platform = self._platform()
        for index in platform.settings.indexes:
            report = platform.reconciler(index).run(repair=True)
            if not report.agrees:
                raise RuntimeError(f"{index}: {report.unrepaired} documents not repaired")

    def search(self, query: str, k: int) -> list[Hit]:
        """The k nearest passages. The platform's own search has to find the same ones."""
        platform = self._platform()
        version = platform.version(self._name(self._indexes()))
        with platform.vectors.open_existing(version.name) as collection:
            searcher = Searcher(collection, embedder=version.embedder, sparse=version.sparse)
            results = searcher.search(query, k)
            points = collection.nearest(version.embedder.embed_query(query), k)
        shown = {(uri, result.text) for result in results for uri in result.uris}
        if shown != {(point.payload["uri"], point.payload["text"]) for point in points}:
            raise RuntimeError("search shows other passages than the collection holds")
        return [Hit(point.payload["key"], point.payload["text"]) for point in points]

    def size(self) -> Size:
        return held(self._platform(), self._name(self._indexes()))

    @property
    def _wanted(self) -> dict[str, Any]:
        embedder = {"model": "shared", "dimensions": self.recipe.dimensions}
        return {"chunker": chunker(self.recipe), "embedder": embedder}

    def _indexes(self) -> dict[str, Any]:
        config = self.state / "platform.yaml"
        if not config.exists():
            return {}
        indexes: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))["indexes"]
        return indexes

    def _name(self, indexes: dict[str, Any]) -> str:
        return next(name for name, recipe in indexes.items() if recipe == self._wanted)

    def _platform(self) -> Platform:
        platform = SharedPlatform(load(environ=environment(self.state)))
        platform.shared = self.embedder
        return platform


# The clock


@dataclass(frozen=True)
class Sync:
    """What one sync did."""

    embed_calls: int
    embedded_texts: int
    documents: int
    chunks: int


def load_model() -> None:
    """What stays out of the clock: imports and weights."""
    for module in ("pandas", "pyarrow.parquet", "qdrant_edge"):
        importlib.import_module(module)
    importlib.import_module("rag_platform.encoders.wordllama").WordLlamaEmbedder()


def run_ours(via: str) -> Sync:
    """Bring the index up to date in the running window."""
    settings = load()
    platform = Platform(settings)
    window = platform.calendar(SOURCE).current()
    if via == "dagster":
        _through_dagster(settings, window)
    else:
        run_chain(platform, window)
    return _result(platform, window)


def _through_dagster(settings: Settings, window: str) -> None:
    import logging

    from rag_platform.defs.operations import launch

    logging.disable(logging.INFO)  # Dagster's lines on the terminal are not the work
    with launch.instance(settings) as instance:
        result = launch.run_in_process(instance, SOURCE, [window])
    if not result.success or result.problems:
        raise SystemExit("\n".join(result.problems))


def _result(platform: Platform, window: str) -> Sync:
    with platform.catalog.read() as connection:
        figures = connection.execute(
            sa.select(index_pages.c.figures).where(index_pages.c.window == window)
        ).scalar_one()
    size = held(platform, INDEX)
    return Sync(figures["embed_calls"], figures["embedded_chunks"], size.documents, size.chunks)


def held(platform: Platform, index: str) -> Size:
    """Documents with chunks, and chunks, of an index."""
    table = index_documents
    with platform.catalog.read() as connection:
        documents, chunks = connection.execute(
            sa.select(sa.func.count(), sa.func.sum(table.c.chunks)).where(
                table.c.index_name == index, table.c.chunks > 0
            )
        ).one()
    return Size(documents, int(chunks or 0))


def main() -> None:
    """Run one phase and print its figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--via", choices=("dagster", "direct"), required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--phase", choices=PHASES, required=True)
    asked = parser.parse_args()
    if asked.phase == "cold":
        shutil.rmtree(asked.state, ignore_errors=True)
    indexes = {INDEX: {"chunker": chunker(Recipe()), "embedder": "wordllama"}}
    os.environ.update(configure(asked.state.resolve(), asked.corpus.resolve(), indexes))
    load_model()
    if asked.via == "dagster":
        importlib.import_module("rag_platform.definitions")  # loading the code is not the sync
    began, cpu = time.perf_counter(), cpu_time()
    done = run_ours(asked.via)
    seconds = time.perf_counter() - began
    processes.end_spare()  # only of children that have ended is the time known
    cpu = cpu_time() - cpu
    print(
        json.dumps(
            {
                "seconds": round(seconds, 3),
                "cpu_seconds": round(cpu, 3),
                "embed_calls": done.embed_calls,
                "embedded_texts": done.embedded_texts,
                "documents": done.documents,
                "chunks": done.chunks,
                "peak_rss_mb": round(peak_rss_mb(), 1),
                "versions": contestant.versions(PACKAGES),
            }
        )
    )


if __name__ == "__main__":
    main()
