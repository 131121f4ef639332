"""A source with an index and an enrichment by a scripted service, as a machine finds it: by the
environment alone."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import sqlalchemy as sa
import yaml

from rag_platform.compute.fill import fill
from rag_platform.compute.jobs import Job, Stage
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform.storage.schema import index_documents, memo, step_letters
from rag_platform.storage.schema_models import ledger
from rag_platform_tests.catalogs import new_catalog
from rag_platform_tests.servers.openai_api import OpenAIServer

SOURCE, INDEX, WINDOW = "docs", "docs_v1", "2026-07-01"
BATCH = 8  # texts in a durable batch
STEPS: tuple[Stage, ...] = ("entities", "summary", "classification")
PARSED = Job("parsed_docs", SOURCE)
EMBEDDINGS = Job("embeddings", SOURCE, INDEX)

# Each differs from the next, and each has a sentence that stands in many.
_PASSAGE = "Lamp {n} of house {house} is lit at dusk. " + "The keeper climbs the stairs again. " * 6


def write_documents(folder: Path, count: int) -> None:
    """Documents of three passages, every second one in HTML, with a passage that all share."""
    folder.mkdir(parents=True)
    for house in range(count):
        passages = [_PASSAGE.format(n=n, house=house) for n in range(3)]
        passages.append("This notice hangs in every house. " * 7)
        if house % 2:
            body = "".join(f"<h2>Part {n}</h2><p>{text}</p>" for n, text in enumerate(passages))
            html = f"<html><head><title>House {house}</title></head><body>{body}</body></html>"
            (folder / f"{house:03d}.html").write_text(html, encoding="utf-8")
        else:
            text = "\n\n".join(f"## Part {n}\n\n{text}" for n, text in enumerate(passages))
            (folder / f"{house:03d}.md").write_text(text, encoding="utf-8")


class Site:
    """A state folder and a settings file of its own over a folder of documents."""

    def __init__(self, root: Path, documents: Path, server: OpenAIServer, **settings: Any) -> None:
        self.root = root
        root.mkdir(parents=True)
        if "catalog" not in settings:
            new_catalog(root / "home" / "catalog.db")
        self.configure(
            sources={SOURCE: {"url": documents.as_uri(), "start": WINDOW, "near_duplicates": None}},
            indexes={
                INDEX: {
                    "chunker": {"strategy": "document", "max_tokens": 96, "overlap": 0},
                    "embedder": {"model": "tiny", "dimensions": 8, "batch_size": BATCH},
                }
            },
            enrichment={"sources": [SOURCE], "labels": ["lamps", "stairs"]},
            llm={
                "base_url": server.base_url,
                "tiers": {"small": "mini"},
                "concurrency": 2,
                "limits": {"requests_per_minute": 100_000, "tokens_per_minute": 100_000_000},
                "prices": {
                    name: {"input_per_million": 1, "output_per_million": 1}
                    for name in ("tiny", "mini")
                },
            },
            **settings,
        )

    @property
    def environ(self) -> dict[str, str]:
        """What tells a process of this site."""
        return {
            "RAG_PLATFORM_CONFIG": str(self.root / "platform.yaml"),
            "RAG_PLATFORM_HOME": str(self.root / "home"),
        }

    def configure(self, **settings: Any) -> None:
        """Write the settings file, what was in it before and this."""
        file = self.root / "platform.yaml"
        before = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
        file.write_text(yaml.safe_dump(before | settings), encoding="utf-8")

    def platform(self, run_id: str = "run") -> Platform:
        """The platform of a new process; who opens it closes it."""
        return Platform(load(environ=os.environ | self.environ), run_id=run_id)

    def run(self, parts: Platform, jobs: Sequence[Job] = ()) -> dict[str, Any]:
        """The whole chain over the window; stages of `jobs` are filled before."""
        done: dict[str, Any] = {"raw": parts.raw(SOURCE).run(WINDOW)}
        done["parsed"] = self.stage(parts, PARSED, jobs)
        parts.clean(SOURCE).run(WINDOW)
        parts.chunks(SOURCE, INDEX).run(WINDOW)
        done["embeddings"] = self.stage(parts, EMBEDDINGS, jobs)
        for name in STEPS:
            done[name] = self.stage(parts, Job(name, SOURCE), jobs)
        parts.enrichment(SOURCE).enriched.run(WINDOW)
        done["index"] = parts.vector_index(SOURCE, INDEX).run(WINDOW)
        return done

    def stage(self, parts: Platform, job: Job, jobs: Sequence[Job]) -> Any:
        """One stage over the window."""
        filled = fill(parts, job, [WINDOW]) if job in jobs else {}
        stage: Any = job.open(parts)
        return stage.run(WINDOW, filled=filled.get(WINDOW))


def prepare(parts: Platform) -> None:
    """Up to the chunks, by the stages alone."""
    parts.raw(SOURCE).run(WINDOW)
    parts.parsed(SOURCE).run(WINDOW)
    parts.clean(SOURCE).run(WINDOW)
    parts.chunks(SOURCE, INDEX).run(WINDOW)


def state(parts: Platform) -> dict[str, Any]:
    """What a run leaves behind, without times and numbers of rows."""
    with parts.catalog.read() as connection:
        kept = connection.execute(sa.select(memo.c.key, memo.c.value)).all()
        held = connection.execute(
            sa.select(index_documents.c.doc_id, index_documents.c.digest)
        ).all()
        letters = connection.execute(
            sa.select(step_letters.c.stage, step_letters.c.key, step_letters.c.attempts)
        ).all()
    paths = [meta["path"] for batch in parts.objects.list(prefix="pages/") for meta in batch]
    rows: dict[str, list[str]] = {}
    for path in paths:  # the order in which parsers end, and with it the parts' names, is chance
        stage = path.rpartition("/")[0]
        table = pq.read_table(io.BytesIO(bytes(parts.objects.get(path).bytes())))
        rows.setdefault(stage, []).extend(map(repr, table.to_pylist()))
    return {
        "memo": {bytes(key): bytes(value) for key, value in kept},
        "index": {str(row.doc_id): row.digest for row in held},
        "letters": sorted(map(tuple, letters)),
        "rows": {stage: sorted(found) for stage, found in rows.items()},
    }


def requests(parts: Platform) -> dict[str, int]:
    """Attempts in the ledger by how they ended."""
    return _of_ledger(parts, sa.func.count())


def tokens(parts: Platform) -> int:
    """Tokens that were sent and paid for."""
    return _of_ledger(parts, sa.func.sum(ledger.c.input_tokens))["settled"]


def _of_ledger(parts: Platform, value: Any) -> dict[str, int]:
    with parts.catalog.read() as connection:
        rows = connection.execute(
            sa.select(ledger.c.status, value.label("value")).group_by(ledger.c.status)
        )
        return {row.status: row.value for row in rows}
