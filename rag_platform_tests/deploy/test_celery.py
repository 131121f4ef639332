"""Runs on two Celery workers, with the files of deploy/celery: one worker is killed at its work."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from rag_platform.platform import Platform
from rag_platform.settings import PROJECT_ROOT
from rag_platform.storage.schema_models import ledger
from rag_platform_tests.servers.dagster_processes import Workplace, until, workplace
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer
from rag_platform_tests.servers.openai_chat import Body
from rag_platform_tests.servers.ports import free_ports

CELERY = PROJECT_ROOT / "deploy" / "celery"
INDEX = "docs_v1"
SOURCES = ("manuals", "notes")
BATCH = 2
DOCUMENTS = 6

pytestmark = [
    pytest.mark.skipif(
        shutil.which("redis-server") is None, reason="needs Debian's package redis-server"
    ),
    pytest.mark.slow,
]


@contextlib.contextmanager
def started(command: list[str], log: Path, **environ: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A program with all that it starts, for the length of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environ,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A server that keeps nothing; gives its address."""
    [port] = free_ports(1)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with started(["redis-server", *options], folder / "redis.log"):
        yield f"redis://127.0.0.1:{port}/0"


def worker(name: str, folder: Path) -> Any:
    """A worker that takes one run at a time, as deploy/celery starts it."""
    celery = str(Path(sys.executable).with_name("celery"))
    options = ["-Q", "dagster", "-c", "1", "-n", f"{name}@%h", "-l", "info"]
    return started(
        [celery, "-A", "dagster_celery.app", "worker", *options],
        folder / f"{name}.log",
        PYTHONPATH=os.pathsep.join([str(CELERY), str(PROJECT_ROOT)]),
    )


def write_instance(home: Path, database: str) -> None:
    """The project's dagster.yaml and over it that of deploy/celery, on PostgreSQL, impatient."""
    # dagster-postgres speaks to psycopg2 only.
    url = sa.make_url(database).set(drivername="postgresql+psycopg2")
    storage = {"postgres": {"postgres_url": url.render_as_string(hide_password=False)}}
    base, ours = (
        yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in (PROJECT_ROOT / "dagster.yaml", CELERY / "dagster.yaml")
    )
    ours["run_monitoring"] |= {"poll_interval_seconds": 1, "free_slots_after_run_end_seconds": 1}
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump({**base, **ours, "storage": storage}))


class Held:
    """Holds one run's second request to the embedding service, until it is let go."""

    def __init__(self) -> None:
        self.source = ""
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._let_go = threading.Event()

    def __call__(self, body: Body) -> None:
        source = body["input"][0].split()[1]
        with self._lock:
            is_held = not self.source and source in self._seen
            self._seen.add(source)
            if is_held:
                self.source = source
        if is_held:
            self._let_go.wait(120)

    def let_go(self) -> None:
        self._let_go.set()


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: OpenAIServer,
    postgres_database: str,
    postgres_catalog: str,
) -> Workplace:
    pytest.importorskip("dagster_celery", reason="needs the extra celery")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))  # as where the package is installed
    write_instance(tmp_path / "dagster", postgres_database)
    folders = {name: tmp_path / name for name in SOURCES}
    for name, folder in folders.items():
        folder.mkdir()
        for number in range(DOCUMENTS):
            (folder / f"{number}.md").write_text(f"# {name} {number}\n\nThe text {number}.\n")
    embedder = {"model": "tiny", "dimensions": 8, "batch_size": BATCH}
    return workplace(
        tmp_path,
        monkeypatch,
        catalog=postgres_catalog,
        sources={n: {"url": str(f), "start": "2026-06-01"} for n, f in folders.items()},
        indexes={INDEX: {"embedder": embedder}},
        llm={
            "base_url": server.base_url,
            "prices": {"tiny": {"input_per_million": 1, "output_per_million": 0}},
        },
    )


def run_of(source: str, instance: dg.DagsterInstance) -> dg.DagsterRun | None:
    """The newest run of a source."""
    runs = instance.get_runs(dg.RunsFilter(job_name=f"{source}_documents"), limit=1)
    return runs[0] if runs else None


def test_a_worker_that_is_killed_costs_its_batch_and_no_more(
    place: Workplace, tmp_path: Path, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.refuse = held = Held()
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(redis(tmp_path))
        monkeypatch.setenv("RAG_PLATFORM_CELERY_BROKER", broker)
        workers = {n: stack.enter_context(worker(n, tmp_path)) for n in ("one", "two")}
        stack.callback(held.let_go)
        log = stack.enter_context(place.daemon())
        instance = stack.enter_context(dg.DagsterInstance.get())
        until(lambda: held.source, seconds=100, log=log)
        other = next(name for name in SOURCES if name != held.source)
        celery = instance.run_launcher.celery  # type: ignore[attr-defined]

        def node(source: str) -> str | None:
            """The worker that began the run of a source."""
            run = run_of(source, instance)
            task = run.tags.get("dagster-celery/task_id") if run else None
            said = celery.AsyncResult(task).info if task else None
            return said["hostname"].partition("@")[0] if isinstance(said, dict) else None

        # Each has a run; the second waits for the first one's embeddings.
        until(lambda: node(other), seconds=60, log=log)
        assert {node(held.source), node(other)} == {"one", "two"}
        first = run_of(held.source, instance)
        os.killpg(workers[str(node(held.source))].pid, signal.SIGKILL)
        held.let_go()

        def ended() -> bool:
            runs = [run_of(source, instance) for source in SOURCES]
            return all(run and run.is_success for run in runs)

        until(ended, seconds=100, log=log)
        last = run_of(held.source, instance)
        assert last.parent_run_id == first.run_id
        assert instance.get_run_by_id(first.run_id).status == dg.DagsterRunStatus.FAILURE

    asked = [text for request in server.requests for text in request.body["input"]]
    texts = {f"# {name} {n}\n\nThe text {n}." for name in SOURCES for n in range(DOCUMENTS)}
    assert set(asked) == texts
    repeated = {text for text in asked if asked.count(text) > 1}
    assert len(repeated) <= BATCH, "what was under way at the kill"
    platform = Platform(place.settings)
    with platform.catalog.read() as connection:
        settled = connection.scalar(sa.select(sa.func.count()).where(ledger.c.status == "settled"))
    assert settled == 2 * DOCUMENTS // BATCH, "nothing was paid for twice"
    report = platform.reconciler(INDEX).run(repair=False, full=True)
    assert (report.agrees, report.points) == (True, 2 * DOCUMENTS)
    with platform.vectors.open_existing(INDEX) as collection:
        assert {point["text"] for point in collection.payloads({})} == texts
    platform.close()
