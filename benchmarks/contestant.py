"""What every contestant is given and must offer, and the command line they share.

    python benchmarks/with_langchain.py --corpus DIR --state DIR --phase cold|unchanged|day

brings the index kept in the state folder up to date with the corpus folder and prints one line of
JSON. Imports and the embedding model are loaded before the clock starts; opening, reading and
saving the contestant's own state is on the clock. Each phase is a process of its own.
"""

import argparse
import json
import os
import resource
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

PHASES = ("cold", "unchanged", "day")
EMBED_BATCH = 64
PATTERN = "*.md"


@dataclass(frozen=True)
class Recipe:
    """How documents become vectors, the same for everyone.

    400 tokens of wordllama's tokenizer are 1,221 UTF-8 bytes of docs_opentelemetry and 1,101 of
    docs_tldr on average. Contestants measure chunks in bytes: CocoIndex knows nothing else, and
    a tokenizer as length function would slow the splitters of the others many times over.
    """

    chunk_bytes: int = 1200
    overlap_bytes: int = 120
    dimensions: int = 256


@dataclass(frozen=True)
class Hit:
    """One passage found: its text, and its document's path below the corpus folder."""

    path: str
    text: str


@dataclass(frozen=True)
class Size:
    """What the index holds."""

    documents: int
    chunks: int


class Embedder:
    """wordllama's own `embed`, counted. Fewer dimensions than 256 stand for another model."""

    def __init__(self, dimensions: int) -> None:
        import wordllama

        home = Path(wordllama.__file__).parent
        self._model = wordllama.WordLlama.load(cache_dir=home, disable_download=True)
        self.dimensions = dimensions
        self.calls = 0
        self.texts = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, float32 (len(texts), dimensions)."""
        self.before_call(len(texts))
        vectors = self._embed(list(texts))
        self.calls += 1
        self.texts += len(texts)
        return vectors

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """The unit vector of a question, float32 (dimensions,); not counted."""
        vector: NDArray[np.float32] = self._embed([query])[0]
        return vector

    def before_call(self, texts: int) -> None:
        """Where a subclass makes trouble."""

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self._model.embed(texts, norm=True, batch_size=EMBED_BATCH)
        vectors = np.nan_to_num(vectors)  # wordllama's answer to an empty text is NaN
        if self.dimensions == vectors.shape[1]:
            return vectors
        vectors = vectors[:, : self.dimensions]
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, norms, out=vectors, where=norms > 0)
        return vectors


class Contestant(ABC):
    """A way to keep a searchable index of a folder, its state below one folder of its own."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    storage: ClassVar[str]

    def __init__(self, state: Path, embedder: Embedder, recipe: Recipe) -> None:
        self.state = state
        self.embedder = embedder
        self.recipe = recipe

    @abstractmethod
    def sync(self, folder: Path) -> None:
        """Bring the index up to date with the Markdown files of `folder`, durably."""

    def repair(self) -> None:
        """Mend an index that drifted from the bookkeeping; by default there is nothing for it."""
        return

    @abstractmethod
    def search(self, query: str, k: int) -> list[Hit]:
        """The k nearest passages."""

    @abstractmethod
    def size(self) -> Size:
        """Documents and chunks in the index."""

    @property
    @abstractmethod
    def vectors(self) -> Path:
        """The file or folder that holds the vectors, apart from the bookkeeping."""


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions by distribution name."""
    return {name: version(name) for name in packages}


def cpu_time() -> float:
    """Processor seconds of this process, all its threads, and its ended children."""
    return sum(os.times()[:4])


def peak_rss_mb() -> float:
    """The largest resident memory of this process or of a child of its, in MB."""
    own, children = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return max(resource.getrusage(who).ru_maxrss for who in (own, children)) / 1024


def run(contestant: type[Contestant]) -> None:
    """The command line: one phase, one line of JSON."""
    parser = argparse.ArgumentParser(description=contestant.__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--phase", choices=PHASES, required=True)
    arguments = parser.parse_args()

    if arguments.phase == "cold":
        shutil.rmtree(arguments.state, ignore_errors=True)
    arguments.state.mkdir(parents=True, exist_ok=True)
    recipe = Recipe()
    embedder = Embedder(recipe.dimensions)
    entrant = contestant(arguments.state.resolve(), embedder, recipe)
    embedder.embed_query("load whatever is loaded at the first call")

    start, cpu_start = time.perf_counter(), cpu_time()
    entrant.sync(arguments.corpus.resolve())
    seconds, cpu_seconds = time.perf_counter() - start, cpu_time() - cpu_start
    memory = peak_rss_mb()

    size = entrant.size()
    report = {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "embed_calls": embedder.calls,
        "embedded_texts": embedder.texts,
        **asdict(size),
        "peak_rss_mb": round(memory, 1),
        "versions": versions(contestant.packages),
    }
    print(json.dumps(report))
