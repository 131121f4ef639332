"""Metrics of the ledger, against rows written by hand."""

import time
from pathlib import Path
from typing import Any

import pytest

from rag_platform.llm.budget import Today
from rag_platform.operations.metrics import llm
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_models import ledger, llm_batches, llm_cooldowns
from rag_platform_tests.operations.metrics.reading import parts, put, read, samples, settings_of

SMALL, LARGE = "gpt-4o-mini", "gpt-4.1"


def _row(model: str, status: str, call: str | None = None, **more: Any) -> dict[str, Any]:
    return {"model": model, "status": status, "call_id": call, "error": None, **more}


def test_requests_tokens_and_money(shared: Catalog, tmp_path: Path) -> None:
    paid = {"settled_microusd": 250_000, "input_tokens": 100, "output_tokens": 7}
    rows = [
        _row(SMALL, "settled", "a", prompt="p@1", **paid),
        _row(SMALL, "settled", "b", prompt="p@2", **paid),
        _row(SMALL, "settled", None, purpose="docs_v1/embeddings", **paid),
        _row(SMALL, "failed", "c", error="rate_limited"),
        _row(LARGE, "lost", "c", error="timeout"),
        _row(LARGE, "reserved", "d"),
        _row(LARGE, "withdrawn", "e", settled_microusd=0),
        _row(SMALL, "cached", None, prompt="p@1", saved_microusd=300_000),
        _row(SMALL, "cached", None, prompt="p@1", saved_microusd=200_000),
    ]
    put(shared, ledger, *rows, purpose="classified", reserved_microusd=2_000_000)
    seen = read(shared, settings_of(tmp_path), llm.requests)
    assert seen["llm_requests_total"] == {
        (SMALL, "settled"): 3,
        (SMALL, "failed"): 1,
        (LARGE, "lost"): 1,
    }
    assert seen["llm_failed_requests_total"] == {
        (SMALL, "rate_limited"): 1,
        (LARGE, "timeout"): 1,
    }
    assert seen["llm_requests_in_flight"] == {(LARGE,): 1}
    assert seen["llm_tokens_total"] == {(SMALL, "input"): 300, (SMALL, "output"): 21}
    assert seen["llm_cost_usd_total"] == {
        (SMALL, "classified", "p@1"): 0.25,
        (SMALL, "classified", "p@2"): 0.25,
        (SMALL, "docs_v1/embeddings", "none"): 0.25,
    }
    assert seen["llm_unsettled_usd"] == {(LARGE,): 4.0}, "in flight, and lost"
    assert seen["llm_cache_hits_total"] == {(SMALL, "p@1"): 2}
    assert seen["llm_saved_usd_total"] == {(SMALL, "p@1"): 0.5}


def test_retries_and_fallbacks(shared: Catalog, tmp_path: Path) -> None:
    calls: dict[str, list[tuple[str, str]]] = {
        "at once": [(SMALL, "settled")],
        "repaired": [(SMALL, "settled"), (SMALL, "settled")],
        "second": [(SMALL, "failed"), (SMALL, "settled")],
        "elsewhere": [(SMALL, "failed"), (SMALL, "lost"), (LARGE, "settled")],
        "never": [(SMALL, "failed"), (SMALL, "failed"), (LARGE, "failed"), (LARGE, "reserved")],
    }
    rows = [_row(model, status, call) for call, tries in calls.items() for model, status in tries]
    put(shared, ledger, *rows, _row(LARGE, "failed"), _row(LARGE, "failed"))
    seen = read(shared, settings_of(tmp_path), llm.retries)
    # One each of `second`, `elsewhere` and `never`; attempts without a call are not of one.
    assert seen["llm_retries_total"] == {(SMALL,): 3}
    assert seen["llm_fallbacks_total"] == {(LARGE,): 2}


def test_models_have_a_limit_and_keep_their_names(catalog: Catalog, tmp_path: Path) -> None:
    """The first that were met keep their names: else their counters would begin anew."""
    strangers = [_row(f"m{99 - number}", "settled", str(number)) for number in range(70)]
    put(catalog, ledger, *strangers, _row(LARGE, "settled", "last"))
    seen = read(catalog, settings_of(tmp_path), llm.requests)["llm_requests_total"]
    assert len(seen) == 50, "two of the settings, 48 of others and `other`, without gpt-4o-mini"
    assert seen["other", "settled"] == 70 - 48
    assert seen[LARGE, "settled"] == 1
    assert seen["m99", "settled"] == 1


def test_services_that_are_left_alone(shared: Catalog, tmp_path: Path) -> None:
    now = time.time()
    waits = [
        {"endpoint": "https://a", "model": "", "until": now + 200},
        {"endpoint": "https://a", "model": SMALL, "until": now + 30},
        {"endpoint": "https://b", "model": SMALL, "until": now + 100},
        {"endpoint": "https://b", "model": LARGE, "until": now - 100},
    ]
    put(shared, llm_cooldowns, *waits)
    batches = [{"id": str(number), "status": "sent"} for number in range(2)]
    put(shared, llm_batches, *batches, {"id": "3", "status": "ended"})
    seen = read(shared, settings_of(tmp_path), llm.services)
    assert seen["llm_cooldown_seconds"] == {
        ("all",): pytest.approx(200, abs=20),
        (SMALL,): pytest.approx(100, abs=20),
    }
    assert seen["llm_batches"] == {("sent",): 2, ("ended",): 1}


def test_the_budget_in_dollars() -> None:
    seen = samples(llm.budget(lambda: Today(limit=5_000_000, spent=1_500_000, reserved=500_000)))
    assert seen == {
        "budget_limit_usd": {("day",): 5.0},
        "budget_spent_usd": {("day",): 1.5},
        "budget_reserved_usd": {("day",): 0.5},
        "budget_left_usd": {("day",): 3.0},
    }


def test_failures_are_counted_from_zero(catalog: Catalog, tmp_path: Path) -> None:
    """What begins with its first failure has not grown by it, for Prometheus."""
    indexes = {"v1": {"embedder": {"model": "embedder"}}, "v2": {"embedder": "wordllama"}}
    settings = settings_of(tmp_path, indexes=indexes, live="v1")
    (part,) = parts(catalog, settings, requests=llm.requests).values()
    found = {family.name: family.samples for family in part.families}
    asked = (SMALL, LARGE, "embedder")
    ended = {(model, status): 0 for model in asked for status in ("settled", "failed", "lost")}
    assert found["rag_platform_llm_requests_total"] == ended
    limited = {(model, "rate_limited"): 0 for model in asked}
    assert found["rag_platform_llm_failed_requests_total"] == limited
