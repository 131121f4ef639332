"""A worker that must not work: it says why, in a line, and does nothing."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_platform.compute.clerk import Clerk
from rag_platform.compute.jobs import Job, digests
from rag_platform.compute.worker import Order, Worker
from rag_platform.indexing.embeddings import Embeddings, EmbedFigures
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform_tests.compute.site import EMBEDDINGS, SOURCE, WINDOW, Site, prepare
from rag_platform_tests.servers.openai_api import OpenAIServer


class Alone(Worker):
    """Has its clerk in the same process; `ahead` seconds is its clock before the worker's."""

    ahead = 0.0

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.clerk = Clerk()

    def _call(self, method: str, *arguments: Any) -> Any:
        answer = getattr(self.clerk, method)(*arguments)
        return answer + self.ahead if method == "clock" else answer


@pytest.fixture
def site(
    tmp_path: Path, documents: Path, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> Site:
    made = Site(tmp_path / "site", documents, server)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    return made


def order(parts: Platform, **other: Any) -> Order:
    told: dict[str, Any] = {
        "job": EMBEDDINGS,
        "run_id": "run",
        "fingerprint": EMBEDDINGS.open(parts).fingerprint,
        "digests": digests(parts.settings),
        "clerk": "none",
    }
    return Order(**told | other)


FIRST = {"window": WINDOW, "pass_no": 1, "group": 0, "start": 0, "stop": 5}


def report(
    order: Order, worker: Worker | None = None, stretch: dict[str, Any] = FIRST
) -> dict[str, Any]:
    batch = {"unit": np.array([0]), "stretch": np.array([json.dumps(stretch)])}
    [said] = (worker or Alone(order))(batch)["report"]
    found: dict[str, Any] = json.loads(said)
    return found


def test_other_settings(site: Site) -> None:
    parts = site.platform()
    told = order(parts)
    site.configure(lock_timeout_s=5.0, ocr={"languages": ["deu"]})
    found = report(told)
    assert found["misfit"]
    assert found["error"].startswith(
        "a worker's settings differ from this run's in lock_timeout_s, ocr."
    )
    parts.close()


def test_what_a_worker_has_of_its_own_may_differ(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state folder and how to find the cluster; the stores are named as the driver's are."""
    site.configure(catalog=f"sqlite:///{tmp_path}/c.db", storage=str(tmp_path / "storage"))
    first = site.platform()
    site.configure(compute={"engine": "ray", "address": "head:6379"})
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(tmp_path / "elsewhere"))
    second = Platform(load())
    assert first.settings.home != second.settings.home
    assert digests(first.settings) == digests(second.settings)


def test_no_settings(site: Site) -> None:
    parts = site.platform()
    told = order(parts)
    (site.root / "platform.yaml").unlink()
    found = report(told)
    assert found["misfit"]
    assert "a worker has no settings" in found["error"]
    parts.close()


def test_another_encoder(site: Site) -> None:
    parts = site.platform()
    with parts.catalog.exclusive(EMBEDDINGS.open(parts).lock):
        found = report(order(parts, fingerprint="another"))
    assert found["misfit"]
    assert found["error"].startswith("a worker has another docs/docs_v1/embeddings")
    parts.close()


def test_another_database_of_the_same_name(site: Site) -> None:
    """Nobody holds the driver's lock in it."""
    parts = site.platform()
    worker = Alone(order(parts))
    found = report(worker._order, worker)
    assert found["misfit"]
    assert "is not the one of this run" in found["error"]
    assert worker.clerk.begin(5) == 0  # nobody begins with another unit
    assert report(worker._order, worker) == {}
    parts.close()


def test_a_unit_that_fails_is_reported_with_its_reason(site: Site) -> None:
    """Chunks were never made."""
    parts = site.platform()
    with parts.catalog.exclusive(EMBEDDINGS.open(parts).lock):
        found = report(order(parts))
    assert not found["misfit"]
    assert found["error"]
    parts.close()


def test_a_worker_does_what_the_run_would_do(site: Site, server: OpenAIServer) -> None:
    """Each kind of stage, by the job's name alone; the run finds everything there."""
    parts = site.platform()
    prepare(parts)
    for job, done in (
        (EMBEDDINGS, {"embed_calls": 5, "embedded_chunks": 37, "deferred_chunks": 0}),
        (Job("entities", SOURCE), {"asked": 12, "ok": 12, "failed": 0}),
    ):
        stage = job.open(parts)
        told = order(parts, job=job, fingerprint=stage.fingerprint)
        worker = Alone(told)
        [stretch] = stage.stretches([WINDOW], 100)
        with parts.catalog.exclusive(stage.lock):
            assert report(told, worker, asdict(stretch)) == {}
        figures = worker.clerk.figures()[WINDOW]
        assert {name: figures[name] for name in done} == done
        sent = len(server.requests)
        runnable: Any = stage
        runnable.run(WINDOW, filled=job.figures(figures))
        assert len(server.requests) == sent
    parts.close()


@pytest.mark.parametrize("ahead", [-3.0, 3.0])
def test_another_time(site: Site, monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    parts = site.platform()
    monkeypatch.setattr(Alone, "ahead", ahead)
    found = report(order(parts))
    assert found["misfit"]
    assert re.match(r"a worker's clock is [23]\.\d s away", found["error"])
    parts.close()


def test_what_a_document_says_is_not_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = site.platform()

    def broken(*_: object) -> None:
        raise ValueError("the diary of the keeper")

    monkeypatch.setattr(Embeddings, "fill", broken)
    with parts.catalog.exclusive(EMBEDDINGS.open(parts).lock):
        assert report(order(parts)) == {"error": "ValueError", "misfit": False}
    parts.close()


def test_a_unit_that_ends_its_workers_is_given_up_and_one_that_is_done_is_passed_over(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who dies over a unit reports nothing: the next worker begins with it again."""
    parts = site.platform()
    prepare(parts)
    filled: list[Any] = []

    def fill(_: Embeddings, stretch: Any, claim: Any) -> EmbedFigures:
        filled.append(stretch)
        return EmbedFigures()

    monkeypatch.setattr(Embeddings, "fill", fill)
    with parts.catalog.exclusive(EMBEDDINGS.open(parts).lock):
        worker = Alone(order(parts))
        for _ in range(4):
            worker.clerk.begin(0)
        assert report(worker._order, worker)["error"] == "4 workers were lost over it"
        worker = Alone(order(parts))
        assert [report(worker._order, worker) for _ in range(9)] == [{}] * 9
    assert len(filled) == 1
    parts.close()


def test_secrets_are_no_part_of_what_travels(site: Site) -> None:
    site.configure(catalog="postgresql+psycopg://me:secret-one@host/db")
    one = digests(site.platform().settings)
    site.configure(catalog="postgresql+psycopg://me:secret-two@host/db")
    assert digests(site.platform().settings) == one
    site.configure(catalog="postgresql+psycopg://me:secret-two@other/db")
    assert digests(site.platform().settings) != one
