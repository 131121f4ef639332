"""A platform on a folder, with counted embedders, driven without Dagster."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rag_platform.documents.changelog import PassReport
from rag_platform.documents.parsed import ParsedDocs
from rag_platform.documents.parsing.formats import detect, parse
from rag_platform.documents.parsing.pool import Document, Outcome
from rag_platform.documents.parsing.result import ParseLimits, ParseRefused
from rag_platform.documents.report import PageReport, report, too_many_dead
from rag_platform.encoders.base import Embedder
from rag_platform.indexing.embeddings import EmbedFigures
from rag_platform.indexing.index_writer import ApplyFigures
from rag_platform.indexing.progress import unapplied_passes
from rag_platform.platform import Platform
from rag_platform.retrieval.search import Result
from rag_platform.settings import Settings
from rag_platform.storage.vectors.base import VectorStore
from rag_platform.storage.vectors.server import ServerVectorStore
from rag_platform_tests.catalogs import new_catalog
from rag_platform_tests.conformance.corpus import Folder
from rag_platform_tests.conformance.embedders import CountingEmbedder
from rag_platform_tests.conformance.model import Point, Snapshot, embedder

SOURCE = "manuals"
V1 = "docs_v1"
WINDOWS = tuple(f"2026-07-{day:02d}" for day in range(1, 31))
ENGINES = ("embedded", "server")
# strategy, max_tokens, overlap, model
SMALL = ("recursive", 64, 0, "wordllama")
OVERLAPPING = ("recursive", 64, 16, "wordllama")
BY_HEADING = ("document", 96, 0, "wordllama")
HASHED = ("recursive", 64, 0, "hash-32")
Recipe = tuple[str, int, int, str]
BATCH = 8  # texts in a durable batch


class InProcessPool:
    """Parses here, for tests that sync hundreds of times."""

    def __init__(self, limits: ParseLimits) -> None:
        self._limits = limits

    def __enter__(self) -> "InProcessPool":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def parse_all(
        self, documents: Iterable[Document], _watch: object = None, *, timed: object = None
    ) -> Iterator[tuple[Any, Outcome]]:
        for identity, content, hints in documents:
            data = content() if callable(content) else content
            try:
                yield identity, parse(data, detect(data, hints), self._limits)
            except ParseRefused as refused:
                yield identity, refused.failure


@dataclass
class CountedPlatform(Platform):
    """A platform whose embedders are given; `quick` parses in this process."""

    embedders: dict[str, CountingEmbedder] = field(default_factory=dict)
    quick: bool = False

    def _embedder(self, name: str) -> Embedder:
        return self.embedders[self.index_settings(name).embedder.model]

    def parsed(self, name: str) -> ParsedDocs:
        stage = super().parsed(name)
        if self.quick:
            stage._pool = InProcessPool  # type: ignore[assignment]
        return stage


@dataclass
class Synced:
    """What one run of the chain over a window did, by index."""

    page: PassReport
    embedded: dict[str, EmbedFigures] = field(default_factory=dict)
    applied: dict[str, ApplyFigures] = field(default_factory=dict)

    def writes(self) -> int:
        """Points written to or deleted from any collection."""
        figures = self.applied.values()
        return sum(one.inserted + one.updated + one.deleted for one in figures)


def settings_of(
    home: Path, folder: Path, indexes: dict[str, Recipe], *, live: str | None = None, **more: Any
) -> Settings:
    """Settings with one source and these indexes."""
    recipes = {
        name: {
            "chunker": {"strategy": strategy, "max_tokens": size, "overlap": overlap},
            "embedder": {"model": model},
        }
        for name, (strategy, size, overlap, model) in indexes.items()
    }
    source = {"url": folder.as_uri(), "start": "2026-07-01", **more.pop("source", {})}
    return Settings.model_validate(
        {
            "home": home,
            "sources": {SOURCE: source},
            "indexes": recipes,
            "live": live or next(iter(indexes)),
            "lock_timeout_s": 60.0,
            **more,
        }
    )


class World:
    """One source folder, one state folder, one vector store, and the platform over them."""

    def __init__(
        self,
        root: Path,
        *,
        engine: str = "embedded",
        indexes: dict[str, Recipe] | None = None,
        quick: bool = False,
        vectors: VectorStore | None = None,
        home: str = "home",
        max_deletion_share: float = 0.5,
    ) -> None:
        self.root = root
        self.home = root / home
        new_catalog(self.home / "catalog.db")
        # What is a near copy of what is worked out elsewhere: tests of the indexing tell.
        self._source = {"max_deletion_share": max_deletion_share, "near_duplicates": None}
        self.engine = engine
        self.quick = quick
        self.folder = Folder(root / "docs")
        self.snapshot = Snapshot(SOURCE, self.folder)
        self.indexes: dict[str, Recipe] = dict(indexes or {V1: SMALL})
        self.embedders = {
            model: CountingEmbedder(embedder(model), batch_size=BATCH)
            for model in ("wordllama", "hash-32")
        }
        self._vectors = vectors or (in_memory_server() if engine == "server" else None)
        self.platform = self.another()

    def another(self, *, live: str | None = None, run_id: str = "none") -> CountedPlatform:
        """A second platform on the same state, as another process would have it."""
        settings = settings_of(
            self.home, self.folder.root, self.indexes, live=live, source=self._source
        )
        platform = CountedPlatform(
            settings, run_id=run_id, embedders=self.embedders, quick=self.quick
        )
        if self._vectors is not None:
            platform.__dict__["vectors"] = self._vectors
        return platform

    def reopen(self, indexes: dict[str, Recipe] | None = None, *, live: str | None = None) -> None:
        """Start anew on the same state, with other settings perhaps."""
        self.platform.close()
        if indexes is not None:
            self.indexes = dict(indexes)
        self.platform = self.another(live=live)

    # Running

    def sync(self, window: str, **listing: Any) -> Synced:
        """The chain over one window that asks the source, for every index."""
        return self.run(window, **listing)

    def run(self, window: str, *, on: Platform | None = None, **listing: bool) -> Synced:
        """The chain over one window; what the source was asked for is in the snapshot."""
        parts = on or self.platform
        done = Synced(parts.raw(SOURCE).run(window, **listing))
        if done.page.pass_no is not None:
            self.snapshot.take()
        parts.parsed(SOURCE).run(window)
        parts.clean(SOURCE).run(window)
        for index in self.indexes:
            parts.chunks(SOURCE, index).run(window)
            done.embedded[index] = parts.embeddings(SOURCE, index).run(window)
            done.applied[index] = parts.vector_index(SOURCE, index).run(window)
        return done

    def run_range(self, windows: Sequence[str]) -> None:
        """The chain over many windows at once: each stage over all of them, as a range run."""
        parts = self.platform
        for window in windows:
            if parts.raw(SOURCE).run(window).pass_no is not None:
                self.snapshot.take()
        source_stages: list[Callable[[str], Any]] = [
            parts.parsed(SOURCE).run,
            parts.clean(SOURCE).run,
        ]
        for stage in source_stages + [stage for i in self.indexes for stage in self.stages(i)]:
            for window in windows:
                stage(window)

    def stages(self, index: str) -> list[Callable[[str], Any]]:
        """The stages of one index."""
        parts = self.platform
        return [
            parts.chunks(SOURCE, index).run,
            parts.embeddings(SOURCE, index).run,
            parts.vector_index(SOURCE, index).run,
        ]

    def replay(self, windows: Sequence[str], dice: random.Random | None = None) -> None:
        """Windows again, in the order given or a random one."""
        order = list(windows)
        if dice is not None:
            dice.shuffle(order)
        for window in order:
            self.run(window)

    # Looking

    def contents(self, index: str = V1) -> dict[str, Point]:
        """Every point of an index: id to payload and vector."""
        with self.platform.vectors.open_existing(index) as collection:
            pairs = list(collection.ids())
            vectors = collection.vectors([point for point, _ in pairs])
            present = collection.present(sorted({doc_id for _, doc_id in pairs}))
            assert collection.count() == len(pairs)
        payloads = {
            point: payload for points in present.values() for point, payload in points.items()
        }
        return {point: (payloads[point], vectors[point].tobytes()) for point, _ in pairs}

    def expected(self, index: str = V1) -> dict[str, Point]:
        """What the index must hold, from the files as last listed."""
        return self.snapshot.expected(self.indexes[index])

    def check(self, *indexes: str) -> None:
        """Every index, or some, hold exactly what they must."""
        for index in indexes or self.indexes:
            assert_same(self.contents(index), self.expected(index))

    def page(self, window: str) -> PageReport:
        """The report of a page."""
        found = report(self.platform.catalog, SOURCE, window)
        assert found is not None
        return found

    def search(self, query: str, k: int = 5, *, index: str | None = None) -> list[Result]:
        """Search the live index."""
        with self.platform.searcher(index) as searcher:
            return searcher.search(query, k)

    def addresses(self, text: str, *, index: str | None = None) -> tuple[str, ...]:
        """The keys under which a text is found by searching for it."""
        prefix = self.folder.root.as_uri() + "/"
        for result in self.search(text, 3, index=index):
            if result.text == text:
                return tuple(uri.removeprefix(prefix) for uri in result.uris)
        return ()

    def chunk_texts(self, key: str, index: str = V1) -> list[str]:
        """The texts that an index holds of a document, in order."""
        points = [payload for payload, _ in self.contents(index).values() if payload["key"] == key]
        return [payload["text"] for payload in sorted(points, key=lambda p: p["start"])]

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """The passages embedded within the block, by any embedder."""
        before = {name: len(one.texts) for name, one in self.embedders.items()}
        texts: list[str] = []
        yield texts
        for name, one in self.embedders.items():
            texts += one.texts[before[name] :]

    def problems(self, window: str, done: Synced | None = None) -> list[str]:
        """Why a run over a window may not end green; empty for one that lost nothing."""
        page = self.page(window)
        found = [] if page.sums else [f"outcomes do not sum to {page.listed}"]
        if page.outcomes.get("deferred"):
            found.append("deferred")
        if dead := too_many_dead(page, 0.1):
            found.append(dead)
        found += [
            f"{index} does not hold the page"
            for index in self.indexes
            if unapplied_passes(self.platform.catalog, index, SOURCE, window)
        ]
        for index, figures in (done.applied if done else {}).items():
            if figures.points != figures.expected or figures.disagreeing:
                found.append(f"{index} disagrees with the catalog")
        return found


def in_memory_server() -> ServerVectorStore:
    """The server's adapter over the client's in-memory mode, one client for its life."""
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")
    return ServerVectorStore("http://in-memory:6333", client_factory=lambda: client)


def assert_same(found: dict[str, Point], wanted: dict[str, Point]) -> None:
    """The same points with the same payloads and, to rounding, the same vectors."""
    extra = [found[point][0]["key"] for point in found.keys() - wanted.keys()]
    missing = [wanted[point][0]["key"] for point in wanted.keys() - found.keys()]
    assert (extra, missing) == ([], []), f"orphans of {extra}, missing of {missing}"
    for point, (payload, vector) in wanted.items():
        assert found[point][0] == payload
        stored = np.frombuffer(found[point][1], np.float32)
        np.testing.assert_allclose(stored, np.frombuffer(vector, np.float32), atol=2e-6)
