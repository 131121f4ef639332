"""A worker that must not work: it says why, in a line, and does nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_platform.compute.jobs import digests
from rag_platform.compute.worker import Order, Worker
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform_tests.compute.site import EMBEDDINGS, Site
from rag_platform_tests.servers.openai_api import OpenAIServer


class Alone(Worker):
    """Has no clerk to ask: who would, is at work."""

    def _call(self, method: str, *arguments: Any) -> Any:
        assert method == "left"


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


def report(order: Order) -> dict[str, Any]:
    stretch = {"window": "2026-07-01", "pass_no": 1, "group": 0, "start": 0, "stop": 5}
    batch = {"unit": np.array([0]), "stretch": np.array([json.dumps(stretch)])}
    [said] = Alone(order)(batch)["report"]
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
    found = report(order(parts))
    assert found["misfit"]
    assert "is not the one of this run" in found["error"]
    parts.close()


def test_a_unit_that_fails_is_reported_with_its_reason(site: Site) -> None:
    """Chunks were never made."""
    parts = site.platform()
    with parts.catalog.exclusive(EMBEDDINGS.open(parts).lock):
        found = report(order(parts))
    assert not found["misfit"]
    assert found["error"]
    parts.close()


def test_secrets_are_no_part_of_what_travels(site: Site) -> None:
    site.configure(catalog="postgresql+psycopg://me:secret-one@host/db")
    one = digests(site.platform().settings)
    site.configure(catalog="postgresql+psycopg://me:secret-two@host/db")
    assert digests(site.platform().settings) == one
    site.configure(catalog="postgresql+psycopg://me:secret-two@other/db")
    assert digests(site.platform().settings) != one
