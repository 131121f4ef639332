"""What the gateway adds to a request, and how its complexity score sorts documents.

    python benchmarks/gateway.py [--calls 400] [--chars 4000] [--latency 0.2] [--catalog URL]
        [--corpus FOLDER ...]

A scripted service runs in a process of its own and answers at once, or after `--latency` seconds
where threads are measured. The texts of `--corpus` (*.txt and *.md below each folder) are scored
as they would be for a summary; a score of 0.5 and more goes to the large tier by default.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rag_platform.encoders.openai import OpenAIConnection
from rag_platform.llm.admission import Admission
from rag_platform.llm.budget import Budget
from rag_platform.llm.cache import AnswerCache
from rag_platform.llm.completion import Completion
from rag_platform.llm.gateway import Ask, Gateway
from rag_platform.llm.prices import Prices
from rag_platform.llm.prompts import BUILT_IN, PromptLibrary
from rag_platform.llm.routing import complexity
from rag_platform.llm.structured import strict_schema
from rag_platform.settings_llm import LlmSettings
from rag_platform.storage.catalog import Catalog

SERVER = """
import sys, time
from rag_platform_tests.servers.openai_api import OpenAIServer
with OpenAIServer() as server:
    fill, wait = server.chat.answer, float(sys.argv[1])
    server.chat.answer = lambda body: (time.sleep(wait), fill(body))[1]
    print(server.base_url, server.key, flush=True)
    server.closing.wait()
"""
PROMPT = "document_summary"


class Summary(BaseModel):
    """The form of the answers."""

    summary: str


@contextmanager
def service(latency: float) -> Iterator[OpenAIConnection]:
    """A scripted service in a process of its own."""
    command = [sys.executable, "-c", SERVER, str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        base_url, key = process.stdout.readline().split()
        try:
            yield OpenAIConnection(base_url, key)
        finally:
            process.kill()


def gateway_of(catalog: Catalog, connection: OpenAIConnection, concurrency: int) -> Gateway:
    """A gateway whose limits are out of the way."""
    limits = {"requests_per_minute": 10_000_000, "tokens_per_minute": 10_000_000_000}
    return Gateway(
        connection=connection,
        settings=LlmSettings(concurrency=concurrency),
        prompts=PromptLibrary([BUILT_IN], {}, catalog, "benchmark"),
        admission=Admission(
            catalog, Budget(catalog, daily_usd=Decimal(1000), run_usd=Decimal(1000)), **limits
        ),
        prices=Prices(base_url=connection.base_url),
        cache=AnswerCache(catalog),
        run_id="benchmark",
        purpose="benchmark",
        extractive={},
    )


def texts_of(count: int, chars: int, seed: int) -> list[str]:
    """Texts that no cache knows."""
    dice = random.Random(seed)
    words = ["".join(dice.choices("abcdefghijklmnop", k=dice.randint(2, 9))) for _ in range(999)]
    return [" ".join(dice.choices(words, k=chars // 6))[:chars] for _ in range(count)]


def asks_of(texts: list[str]) -> list[Ask[Summary]]:
    """A question about each text."""
    shared = {"title": "A title", "entities": "{}"}
    return [Ask(PROMPT, {**shared, "text": text}, Summary) for text in texts]


def bare(connection: OpenAIConnection, texts: list[str]) -> None:
    """The same requests by the client of the library alone."""
    import openai

    client = openai.OpenAI(api_key=connection.api_key, base_url=connection.base_url)
    form = {"name": "Summary", "strict": True, "schema": strict_schema(Summary)}
    for text in texts:
        body: dict[str, Any] = {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": text}],
            "response_format": {"type": "json_schema", "json_schema": form},
        }
        client.chat.completions.create(**body)


def one_by_one(gateway: Gateway, texts: list[str]) -> None:
    """Each question after the other."""
    for ask in asks_of(texts):
        gateway.complete(ask.prompt_name, ask.variables, ask.schema)


def at_once(gateway: Gateway, texts: list[str]) -> None:
    """All questions, as many at a time as the settings say."""
    for answer in gateway.map(asks_of(texts)):
        assert isinstance(answer, Completion), answer


def timed(title: str, work: Callable[[], None], count: int) -> None:
    """Print one row."""
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    wall, used = time.perf_counter() - begun, time.process_time() - cpu
    print(
        f"| {title} | {wall / count * 1000:.2f} | {used / count * 1000:.2f} | {count / wall:.0f} |",
        flush=True,
    )


def overhead(options: argparse.Namespace, catalog: Catalog) -> None:
    """The table of requests."""
    count, chars = options.calls, options.chars
    print(f"\n{count} requests with {chars:,} characters each\n")
    print("| | ms a call | CPU ms a call | calls/s |")
    print("|---|--:|--:|--:|")
    with service(0.0) as connection:
        gateway = gateway_of(catalog, connection, 8)
        texts = texts_of(count, chars, seed=1)
        one_by_one(gateway, texts_of(5, chars, seed=0))
        timed("library alone, one by one", lambda: bare(connection, texts), count)
        timed("gateway, one by one", lambda: one_by_one(gateway, texts), count)
        timed("gateway, from its cache", lambda: one_by_one(gateway, texts), count)
    with service(options.latency) as connection:
        for threads in (8, 32):
            gateway = gateway_of(catalog, connection, threads)
            title = f"{threads} threads, {options.latency:g} s an answer"
            texts = texts_of(count, chars, seed=threads)
            timed(title, lambda gateway=gateway, texts=texts: at_once(gateway, texts), count)  # type: ignore[misc]


def scores(folder: Path) -> None:
    """One row of the table of scores."""
    schema = strict_schema(Summary)
    files = [file for kind in ("*.txt", "*.md") for file in sorted(folder.rglob(kind))]
    texts = [file.read_text(encoding="utf-8", errors="replace")[:24_000] for file in files]
    begun = time.perf_counter()
    found = [complexity(text, schema).score for text in texts]
    spent = (time.perf_counter() - begun) / max(1, len(texts)) * 1000
    if len(found) < 2:
        print(f"| {folder.name} | {len(found)} | | | | | |")
        return
    tenths = statistics.quantiles(found, n=10)
    hard = sum(score >= 0.5 for score in found) / len(found)
    print(
        f"| {folder.name} | {len(found)} | {tenths[0]:.2f} | {tenths[4]:.2f} | {tenths[8]:.2f} | "
        f"{hard:.0%} | {spent:.2f} |"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--chars", type=int, default=4_000)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--catalog", help="default: a new SQLite file")
    parser.add_argument("--corpus", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gateway-") as scratch:
        url = options.catalog or f"sqlite:///{scratch}/catalog.db"
        catalog = Catalog(url, lock_folder=Path(scratch))
        overhead(options, catalog)
        catalog.close()
    if options.corpus:
        print("\n| corpus | texts | 10 % | median | 90 % | large tier | ms a text |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        for folder in options.corpus:
            scores(folder)


if __name__ == "__main__":
    main()
