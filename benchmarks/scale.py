"""A large index on the embedded defaults, from made documents to its search, phase by phase.

    python benchmarks/scale.py --chunks 1000000 --home DIR [--results DIR]

Makes documents (`scale_corpus.py`), runs every stage of a source over them as a sync does, without
Dagster; then a sync with nothing changed and one with 1 % of the documents changed, reconciling
with nothing drifted and with points lost behind the platform's back, and searches before and after
the engine built its graph. Every phase is a process of its own and must come to what is expected.
Phases that ended are not run again: a run that was killed goes on where it was. Writes `scale.json`
and `scale.md`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import scale_corpus as corpus
import sqlalchemy as sa
from contestant import cpu_time
from memory_watch import MB, MemoryWatch
from ours import INDEX, SOURCE, configure
from run import HERE
from scale_page import page

from rag_platform.documents.report import report
from rag_platform.indexing import processes
from rag_platform.platform import Platform
from rag_platform.retrieval.search import Searcher
from rag_platform.settings import load
from rag_platform.storage.schema import index_documents, index_pages, memo

STAGES = ("raw_docs", "parsed_docs", "clean_docs", "chunks", "embeddings", "vector_index")
QUERIES = 200
WARM_UP = 5
K = 10
EQUAL = 1e-4
# Of every hundred documents the one with this number changes, of every thousand one loses a point.
CHANGED, DRIFTED = 7, 13

Figures = dict[str, Any]


@dataclass
class State:
    """A run as far as it came; one file, written anew after every phase."""

    home: Path
    chunks: int
    window: str
    phases: dict[str, Figures] = field(default_factory=dict)

    @property
    def documents(self) -> int:
        return round(self.chunks / corpus.CHUNKS_PER_DOCUMENT)

    @property
    def corpus(self) -> Path:
        return self.home / "corpus"

    @classmethod
    def opened(cls, home: Path, chunks: int) -> "State":
        """What the folder has; begun where it has nothing."""
        file = home / "scale.json"
        if not file.exists():
            return cls(home, chunks, datetime.now(UTC).date().isoformat())
        state = cls(**{**json.loads(file.read_text(encoding="utf-8")), "home": home})
        if state.chunks != chunks:
            raise SystemExit(f"{home} holds a run of {state.chunks:,} chunks: take another folder")
        return state

    def was_killed(self, phase: str) -> bool:
        """Whether this is not the first try of a phase."""
        return bool(self.phases[phase]["interrupted"])

    def save(self) -> None:
        written = self.home / "scale.json.new"
        written.write_text(json.dumps(asdict(self), indent=1, default=str), encoding="utf-8")
        written.replace(self.home / "scale.json")


# The phases, each in a process of its own


def make_documents(state: State) -> Figures:
    """The files of the source."""
    size = 0
    for number in range(state.documents):
        text = corpus.document(number)
        corpus.write(corpus.path_of(state.corpus, number), text)
        size += len(text.encode())
    return {"documents": state.documents, "MB": round(size / MB)}


def stage(name: str, platform: Platform, window: str) -> Figures:
    """One stage of a sync."""
    if name in ("raw_docs", "parsed_docs", "clean_docs"):
        part = getattr(platform, name.removesuffix("_docs"))(SOURCE)
    else:
        part = getattr(platform, name)(SOURCE, INDEX)
    with timed() as figures:
        done = part.run(window)
    if name == "vector_index":
        _expect(done.points, done.expected, "points")
        _expect(done.disagreeing, 0, "documents disagree")
    return {**figures, **{k: v for k, v in asdict(done).items() if isinstance(v, int) and v}}


def sync(state: State, platform: Platform) -> Figures:
    """All stages, one after the other."""
    done = {name: stage(name, platform, state.window) for name in STAGES}
    page = report(platform.catalog, SOURCE, state.window)
    assert page is not None
    _expect(page.sums, True, "outcomes sum")
    return {"outcomes": page.outcomes, "embedded": _embedded(platform), "stages": done}


def no_op(state: State, platform: Platform) -> Figures:
    """A sync in which nothing has changed."""
    done = sync(state, platform)
    _expect(done["embedded"], 0, "embedded")
    _expect(done["stages"]["vector_index"].get("inserted", 0), 0, "inserted")
    return done


def edit(state: State, platform: Platform) -> Figures:
    """One document of a hundred: most get another paragraph, some move, go or come."""
    numbers = range(CHANGED, state.documents, 100)
    moved, gone = numbers[8::10], numbers[9::10]
    for number in numbers:
        path = corpus.path_of(state.corpus, number)
        if number in gone:
            path.unlink(missing_ok=True)
            new = 10 * (state.documents + 1_000) + number  # of no document so far, and no copy
            corpus.write(path.with_name(f"new-{path.name}"), corpus.document(new - new % 100))
        elif number in moved:
            if path.exists():
                path.rename(path.with_name(f"moved-{path.name}"))
        else:
            corpus.write(path, corpus.document(number, revision=1))
    done = sync(state, platform)
    wanted = {
        "inserted": len(gone),
        "updated": len(numbers) - len(gone) - len(moved),
        "moved": len(moved),
        "deleted": len(gone),
    }
    found = done["outcomes"]
    if not state.was_killed("1 % changed"):  # then the first try may have recorded them
        _expect({name: found.get(name, 0) for name in wanted}, wanted, "outcomes")
    return done


def reconcile(state: State, platform: Platform) -> Figures:
    """What reading back finds where nothing drifted, and after points were lost."""
    reconciler = platform.reconciler(INDEX)
    with timed() as sound:
        first = reconciler.run(repair=False, full=False, today=1)
    if not state.was_killed("reconcile"):
        _expect((first.drifted, first.orphan_points), (0, 0), "drifted")
    lost = _lose_points(platform)
    with timed() as looked:
        second = reconciler.run(repair=False, full=False, today=1)
    _expect(second.drifted, lost, "drifted")
    return {
        "points": first.points,
        "read": first.read,
        "nothing drifted": sound,
        "lost of documents": lost,
        "found": looked,
    }


def optimize(state: State, platform: Platform) -> Figures:
    """The graph, as after a bulk load."""
    with platform.vectors.open_existing(INDEX) as collection:
        collection.optimize()
        return {"points": collection.count()}


def repair(state: State, platform: Platform) -> Figures:
    """What was lost is written again, at no embedding; then all agrees."""
    reconciler = platform.reconciler(INDEX)
    known = _remembered(platform)
    with timed() as mended:
        done = reconciler.run(repair=True, full=False, today=1)
    lost = state.phases["reconcile"]["lost of documents"]
    if not state.was_killed("repair"):
        _expect((done.drifted, done.repaired), (lost, lost), "repaired")
    _expect(_remembered(platform), known, "remembered vectors")
    _expect(reconciler.run(repair=False, full=False, today=1).agrees, True, "agrees")
    return {"repaired": done.repaired, "repair": mended}


def search(state: State, platform: Platform) -> Figures:
    """Latencies of each leg and of both, and whether the document asked for is found."""
    edited = {*range(CHANGED, state.documents, 100)}
    numbers = (n for n in range(3, state.documents) if n not in edited and n % 100 < 97)
    step = max(1, state.documents // (QUERIES + WARM_UP) - 1)
    asked = corpus.queries(n for i, n in enumerate(numbers) if i % step == 0)[: QUERIES + WARM_UP]
    version = platform.version(INDEX)
    took: dict[str, list[float]] = {"dense": [], "keywords": [], "hybrid": []}
    nearest: list[list[float]] = []
    found = 0
    began = time.perf_counter()
    with platform.vectors.open_existing(INDEX) as collection:
        opened = time.perf_counter() - began
        searcher = Searcher(collection, embedder=version.embedder, sparse=version.sparse)
        for number, query in asked:
            with _clock(took["dense"]):
                hits = collection.nearest(version.embedder.embed_query(query), K)
            with _clock(took["keywords"]):
                terms = version.sparse.query(query, language="en")
                collection.nearest_sparse(terms, K)
            with _clock(took["hybrid"]):
                results = searcher.search(query, K)
            nearest.append([hit.score for hit in hits])
            name = corpus.path_of(state.corpus, number).name
            found += any(key.endswith(name) for result in results for key, _ in result.places)
    return {
        "open s": round(opened, 2),
        "queries": len(asked) - WARM_UP,
        **{leg: _percentiles(times[WARM_UP:]) for leg, times in took.items()},
        "found": round(found / len(asked), 3),
        "nearest": nearest,
    }


def search_graph(state: State, platform: Platform) -> Figures:
    """The same with the graph, beside the flat scan of before.

    Recall is by scores: of points as near as each other, the two may give different ones.
    """
    done = search(state, platform)
    flat = state.phases["search, flat scan"]["nearest"]
    shares = [
        sum(score >= theirs[-1] - EQUAL for score in ours) / K
        for ours, theirs in zip(done["nearest"], flat, strict=True)
    ]
    return {**done, f"recall@{K} of the flat scan": round(float(np.mean(shares)), 4)}


def _first_sync(name: str) -> Callable[[State, Platform], Figures]:
    return lambda state, platform: stage(name, platform, state.window)


# The graph is built where nothing is lost: only then both searches see the same points.
PHASES: dict[str, Callable[[State, Platform], Figures]] = {
    **{name: _first_sync(name) for name in STAGES},
    "nothing changed": no_op,
    "1 % changed": edit,
    "search, flat scan": search,
    "optimize": optimize,
    "search, graph": search_graph,
    "reconcile": reconcile,
    "repair": repair,
    "nothing changed again": no_op,
}


def _lose_points(platform: Platform) -> int:
    """Take a point each from one document of a thousand; returns of how many."""
    rows = index_documents
    with platform.catalog.read() as connection:
        found = connection.execute(
            sa.select(rows.c.doc_id)
            .where(rows.c.index_name == INDEX, rows.c.chunks > 0)
            .order_by(rows.c.doc_id)
        ).scalars()
        chosen = [doc_id for at, doc_id in enumerate(found) if at % 1_000 == DRIFTED]
    with platform.vectors.open_existing(INDEX) as collection:
        held = collection.present(chosen)
        collection.delete([min(points) for points in held.values() if points])
    return len(chosen)


def _embedded(platform: Platform) -> int:
    """How many texts the last sync embedded."""
    with platform.catalog.read() as connection:
        figures = connection.execute(
            sa.select(index_pages.c.figures).where(index_pages.c.index_name == INDEX)
        ).scalar_one()
    return int(figures["embedded_chunks"])


def _remembered(platform: Platform) -> int:
    with platform.catalog.read() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(memo)) or 0)


def _expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise RuntimeError(f"{what}: {found}, expected {wanted}")


def _percentiles(seconds: list[float]) -> Figures:
    p50, p95 = np.percentile(seconds, (50, 95)) * 1_000
    return {"p50 ms": round(float(p50), 2), "p95 ms": round(float(p95), 2)}


@contextmanager
def _clock(into: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    into.append(time.perf_counter() - began)


@contextmanager
def timed() -> Iterator[Figures]:
    """Seconds of the clock and of the processors, children included."""
    figures: Figures = {}
    began, cpu = time.perf_counter(), cpu_time()
    yield figures
    processes.end_spare()  # only of children that have ended is the time known
    figures["seconds"] = round(time.perf_counter() - began, 2)
    figures["cpu_seconds"] = round(cpu_time() - cpu, 2)


def run_phase(state: State, name: str) -> Figures:
    """A phase, in this process."""
    with timed() as figures:
        if name == "documents":
            told = make_documents(state)
        else:
            platform = Platform(load())
            told = PHASES[name](state, platform)
            platform.close()
    return {**told, **figures}


# The process that starts the phases


def run_child(state: State, name: str) -> Figures:
    """A phase in a process of its own, with its peak of memory; SystemExit where it failed."""
    command = [sys.executable, __file__, "--chunks", str(state.chunks), "--phase", name]
    with subprocess.Popen(
        [*command, "--home", str(state.home)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        watch = MemoryWatch(child.pid)
        watch.start()
        out, _ = child.communicate()
        peaks = watch.end()
    if child.returncode != 0:
        raise SystemExit(f"{name}: ended with status {child.returncode}")
    told: Figures = json.loads(out.splitlines()[-1])
    return {**told, **peaks}


def disk(state: State) -> Figures:
    """Megabytes on the disk, by what they are for."""
    home = state.home / "home"
    places = {
        "catalog and memo": [*home.glob("catalog*")],
        "vectors": [home / "vectors"],
        **{f"pages/{name}": [*home.glob(f"**/{SOURCE}/**/{name}")] for name in STAGES[:4]},
    }
    return {name: round(sum(map(_size, found)) / MB) for name, found in places.items()}


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def run_all(state: State) -> None:
    """Every phase that has not ended yet."""
    for name in ("documents", *PHASES):
        known = state.phases.get(name)
        if known is not None and "seconds" in known:
            continue
        state.phases[name] = {"interrupted": known is not None}
        state.save()
        print(f"{datetime.now(UTC):%H:%M:%S} {name}", file=sys.stderr, flush=True)
        told = run_child(state, name)
        state.phases[name] |= told | {"disk MB": disk(state)}
        state.save()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--phase", choices=("documents", *PHASES), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    home = asked.home.resolve()
    state = State.opened(home, asked.chunks)
    indexes = {INDEX: {"embedder": "wordllama"}}
    os.environ.update(configure(home, state.corpus, indexes))
    if asked.phase:
        print(json.dumps(run_phase(state, asked.phase)))
        return
    run_all(state)
    asked.results.mkdir(parents=True, exist_ok=True)
    told = {**asdict(state), "home": "", "phases": _public(state.phases)}
    (asked.results / "scale.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    phases = {name: state.phases[name] for name in ("documents", *PHASES)}
    written = page(phases, chunks=state.chunks, documents=state.documents, first=K)
    (asked.results / "scale.md").write_text(written, encoding="utf-8")
    print(written)


def _public(phases: dict[str, Figures]) -> dict[str, Figures]:
    return {
        name: {k: v for k, v in told.items() if k != "nearest"} for name, told in phases.items()
    }


if __name__ == "__main__":
    main()
