"""How much of a service's rate limits is used under pressure, and whether any minute passes them.

    python benchmarks/admission.py [--processes 8] [--threads 6] [--seconds 190]
        [--requests 300] [--tokens 200000] [--reserved 4] [--large 5]
        [--window 60] [--url CATALOG]

Every thread asks as fast as it is let through. An answer takes 0.1 to 1 s and has 500 to 1,500
tokens, of which each request reserves `--reserved` times as many; one request in twenty is
`--large` times as large. Counted is what a service would see, when a request is let through.
"""

import argparse
import itertools
import math
import multiprocessing
import random
import statistics
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rag_platform.llm.admission import Admission
from rag_platform.llm.budget import Attempt, Budget
from rag_platform.storage.catalog import Catalog

Seen = tuple[float, int, float]  # when it was sent, its tokens, seconds it waited for that


def admission_of(catalog: Catalog, options: argparse.Namespace) -> Admission:
    """The limits of the command line, with money enough."""
    return Admission(
        catalog,
        Budget(catalog, daily_usd=1000, run_usd=1000),
        requests_per_minute=options.requests,
        tokens_per_minute=options.tokens,
        window_s=options.window,
    )


def work(options: argparse.Namespace, seed: int, seen: "multiprocessing.Queue[list[Seen]]") -> None:
    """One process: its threads ask until time is up."""
    catalog = Catalog(options.url, lock_folder=Path(options.locks))
    admission = admission_of(catalog, options)
    found: list[Seen] = []
    end = time.monotonic() + options.seconds

    def ask(number: int) -> None:
        dice = random.Random(seed * 100 + number)
        while time.monotonic() < end:
            tokens = dice.randint(500, 1500) * (options.large if dice.random() < 0.05 else 1)
            attempt = Attempt(
                "https://service/v1", "m", "run", "benchmark", tokens * options.reserved, 10
            )
            begun = time.monotonic()
            reservation = admission.admit(attempt, timeout_s=3600)
            found.append((time.time(), tokens, time.monotonic() - begun))
            time.sleep(dice.uniform(0.1, 1) * options.window / 60)
            admission.budget.settle(reservation, input_tokens=tokens, output_tokens=0, microusd=5)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(options.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    catalog.close()
    seen.put(found)


def windows(sent: list[Seen], begins: Iterable[float], length: float) -> Iterator[tuple[int, int]]:
    """Requests and tokens of the windows that begin at these times."""
    times = [at for at, _, _ in sent]
    sums = [0, *itertools.accumulate(tokens for _, tokens, _ in sent)]
    for begin in begins:
        first, after = bisect_left(times, begin), bisect_left(times, begin + length)
        yield after - first, sums[after] - sums[first]


def table(sent: list[Seen], options: argparse.Namespace) -> Iterator[str]:
    """The figures as a Markdown table; means leave out the first window, when all is free."""
    length = options.window
    busiest = list(windows(sent, [at for at, _, _ in sent], length))
    # Over whole turns, since what was let through together comes round together.
    begin = sent[0][0] + length
    turns = math.floor((options.seconds - 2 * length) / (length * 61 / 60))
    steps = range(1000 * turns)
    steady = list(windows(sent, [begin + length * 61 / 60 * n / 1000 for n in steps], length))
    yield "| | limit | most in a window | mean in a window | used |\n|---|--:|--:|--:|--:|"
    for column, (name, limit) in enumerate(
        (("requests", options.requests), ("tokens", options.tokens))
    ):
        most = max(row[column] for row in busiest)
        mean = statistics.mean(row[column] for row in steady)
        yield f"| {name} | {limit:,} | {most:,} | {mean:,.0f} | {mean / limit:.1%} |"
    waits = [wait for at, _, wait in sent if at > begin]
    yield f"\nWaited: median {statistics.median(waits):.1f} s, longest {max(waits):.1f} s."


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=190)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--reserved", type=int, default=4)
    parser.add_argument("--large", type=int, default=5)
    parser.add_argument("--window", type=float, default=60)
    parser.add_argument("--url", help="catalog; by default a SQLite file of its own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="admission-") as scratch:
        options.locks = scratch
        options.url = options.url or f"sqlite:///{scratch}/catalog.db"
        Catalog(options.url, lock_folder=Path(scratch)).close()
        context = multiprocessing.get_context("spawn")
        seen: Any = context.Queue()
        workers = [
            context.Process(target=work, args=(options, n, seen)) for n in range(options.processes)
        ]
        for worker in workers:
            worker.start()
        sent = sorted(entry for _ in workers for entry in seen.get())
        for worker in workers:
            worker.join()
    for line in table(sent, options):
        print(line)


if __name__ == "__main__":
    main()
