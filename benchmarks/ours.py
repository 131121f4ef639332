"""rag_platform on the embedded defaults, through Dagster or without it, on the peers' terms.

    python benchmarks/ours.py --via dagster|direct --corpus DIR --state DIR --phase cold|unchanged|day

The clock runs over the sync alone: imports and the embedding model are loaded before it, opening
the catalog, the object store, the vector engine and (through Dagster) the instance is on it.
Chunks have at most 400 tokens and 40 of overlap, which is what the peers' bytes amount to.
"""

import argparse
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from contestant import PHASES, cpu_time, peak_rss_mb, versions

PACKAGES = ("dagster", "qdrant-edge-py", "wordllama", "pyarrow", "sqlalchemy")
SOURCE = "bench"
INDEX = "docs_v1"


@dataclass(frozen=True)
class Sync:
    """What one sync did."""

    embed_calls: int
    embedded_texts: int
    documents: int
    chunks: int


def prepare(corpus: Path, state: Path) -> None:
    """Settings and environment for a state folder."""
    state.mkdir(parents=True, exist_ok=True)
    config = state / "platform.yaml"
    settings = {
        "sources": {SOURCE: {"url": str(corpus), "start": "2026-01-01", "include": ["*.md"]}},
        "indexes": {INDEX: {"chunker": {"max_tokens": 400, "overlap": 40}}},
    }
    config.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    os.environ["RAG_PLATFORM_CONFIG"] = str(config)
    os.environ["RAG_PLATFORM_HOME"] = str(state / "home")
    os.environ["DAGSTER_HOME"] = str(state / "dagster")


def load_model() -> None:
    """What stays out of the clock: imports and weights."""
    import pandas
    import pyarrow.parquet
    import qdrant_edge

    from rag_platform.encoders.wordllama import WordLlamaEmbedder

    assert pandas and pyarrow.parquet and qdrant_edge
    WordLlamaEmbedder()


def run_ours(via: str) -> Sync:
    """Bring the index up to date in the running window."""
    from rag_platform.platform import Platform
    from rag_platform.settings import load

    settings = load()
    platform = Platform(settings)
    window = platform.calendar(SOURCE).current()
    if via == "dagster":
        _through_dagster(settings, window)
    else:
        platform.raw(SOURCE).run(window)
        platform.parsed(SOURCE).run(window)
        platform.clean(SOURCE).run(window)
        platform.chunks(SOURCE, INDEX).run(window)
        platform.embeddings(SOURCE, INDEX).run(window)
        platform.vector_index(SOURCE, INDEX).run(window)
    return _result(platform, window)


def _through_dagster(settings: object, window: str) -> None:
    import logging

    from rag_platform.defs.operations import launch

    logging.disable(logging.INFO)  # Dagster's lines on the terminal are not the work
    result = launch.run_in_process(settings, SOURCE, [window])  # type: ignore[arg-type]
    if not result.success:
        raise SystemExit("\n".join(result.problems))


def _result(platform: object, window: str) -> Sync:
    from sqlalchemy import func, select

    from rag_platform.storage.schema import index_documents, index_pages

    with platform.catalog.read() as connection:  # type: ignore[attr-defined]
        figures = connection.execute(
            select(index_pages.c.figures).where(index_pages.c.window == window)
        ).scalar_one()
        held = connection.execute(
            select(func.count(), func.sum(index_documents.c.chunks)).where(
                index_documents.c.chunks > 0
            )
        ).one()
    return Sync(figures["embed_calls"], figures["embedded_chunks"], held[0], int(held[1] or 0))


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
    prepare(asked.corpus.resolve(), asked.state.resolve())
    load_model()
    if asked.via == "dagster":
        import rag_platform.definitions  # noqa: F401  loading the code is not the sync
    began, cpu = time.perf_counter(), cpu_time()
    done = run_ours(asked.via)
    seconds, cpu = time.perf_counter() - began, cpu_time() - cpu
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
                "versions": versions(PACKAGES),
            }
        )
    )


if __name__ == "__main__":
    main()
