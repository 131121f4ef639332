"""Metrics of the platform itself, of its rides, and of what was measured."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from rag_platform.operations.metrics import operations, rides
from rag_platform.operations.metrics.measured import measured
from rag_platform.storage.catalog import SCHEMA_REVISION, Catalog
from rag_platform.storage.measures import (
    EMBEDDED_TEXTS,
    LLM_REQUEST_SECONDS,
    PARSE_SECONDS,
    RATE_LIMIT_WAIT_SECONDS,
    RECONCILE_DRIFTED,
    VECTOR_STORE_FAILURES,
    Measures,
)
from rag_platform.storage.schema_models import deliveries, notifications
from rag_platform.storage.schema_operations import audit_log
from rag_platform_tests.operations.metrics.reading import put, read, samples, settings_of


def test_messages_that_wait(shared: Catalog, tmp_path: Path) -> None:
    now = time.time()
    messages = [
        {"id": 1, "key": "a", "at": now - 900, "sent_at": now},
        {"id": 2, "key": "b", "at": now - 300, "sent_at": None},
        {"id": 3, "key": "c", "at": now - 100, "sent_at": None},
    ]
    put(shared, notifications, *messages)
    tried = [
        {"notification_id": 1, "channel": "log", "status": "sent"},
        {"notification_id": 2, "channel": "slack", "status": "waiting"},
        {"notification_id": 2, "channel": "mail", "status": "given_up"},
        {"notification_id": 3, "channel": "mail", "status": "given_up"},
    ]
    put(shared, deliveries, *tried)
    seen = read(shared, settings_of(tmp_path), operations.messages)
    assert seen["notifications_waiting"] == {(): 2}
    assert seen["notification_oldest_seconds"] == {(): pytest.approx(300, abs=20)}
    assert seen["deliveries_failed"] == {("mail",): 2}
    assert seen["deliveries_waiting"] == {("slack",): 1}


def test_what_was_changed(shared: Catalog, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"action": "index.promote", "via": "cli", "outcome": "done"},
        {"action": "index.promote", "via": "cli", "outcome": "done"},
        {"action": "index.promote", "via": "console", "outcome": "refused"},
        {"action": "review.approve", "via": "console", "outcome": None},
    ]
    put(shared, audit_log, *rows)
    seen = read(shared, settings_of(tmp_path), operations.audit)
    assert seen["audit_actions_total"] == {
        ("index.promote", "cli", "done"): 2,
        ("index.promote", "console", "refused"): 1,
    }
    assert seen["audit_actions_open"] == {(): 1}


def test_the_catalog_has_a_size(shared: Catalog, tmp_path: Path) -> None:
    seen = read(shared, settings_of(tmp_path), operations.catalog_size)
    if shared.is_sqlite:
        # Pages that only the write-ahead log has yet are counted, too.
        file = Path(str(shared.url.database)).stat().st_size
        assert seen["catalog_size_bytes"][()] >= file
    else:
        assert seen["catalog_size_bytes"][()] > 1_000_000


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    seen = samples(operations.disk(tmp_path / "not" / "there"))
    assert seen["disk_size_bytes"] == {("home",): shutil.disk_usage(tmp_path).total}
    assert 0 < seen["disk_free_bytes"]["home",] <= seen["disk_size_bytes"]["home",]


def test_what_it_stands_on(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, storage="s3://bucket/x")
    seen = samples(operations.identity(settings, "sqlite"))
    assert seen["settings_info"] == {("sqlite", "s3", "embedded", "local"): 1}
    ((version, schema),) = seen["build_info"]
    assert version
    assert schema == SCHEMA_REVISION
    assert seen["automation_enabled"] == {(): 1}
    (*_, off) = operations.identity(settings_of(tmp_path, automation=False), "sqlite")
    assert off.samples == {(): 0}


def test_what_processes_measured(catalog: Catalog) -> None:
    measures = Measures(catalog)
    measures.observe(LLM_REQUEST_SECONDS, [0.3, 0.4, 7.0], model="m", outcome="answered")
    measures.observe(EMBEDDED_TEXTS, [10.0, 5.0], index="v1", model="m")
    measures.observe(RATE_LIMIT_WAIT_SECONDS, [500.0], model="m")
    for index in ("v1", "gone"):
        measures.keep(RECONCILE_DRIFTED, 4, index=index)
        measures.keep(RECONCILE_DRIFTED, 2, index=index)
    found = {family.name: family for family in measured(measures, {"index": ["v1"]})}
    seconds = found["rag_platform_llm_request_seconds"]
    assert seconds.kind == "histogram"
    assert seconds.labels == ("model", "outcome")
    of_answers = seconds.buckets["m", "answered"]
    assert dict(of_answers.counts)["0.5"] == 2
    assert of_answers.counts[-1] == ("+Inf", 3)
    assert of_answers.total == pytest.approx(7.7)
    waits = found["rag_platform_llm_rate_limit_wait_seconds"].buckets["m",]
    assert waits.counts[-2:] == [("300.0", 0), ("+Inf", 1)]
    texts = found["rag_platform_embedded_texts_total"]
    assert (texts.kind, texts.samples) == ("counter", {("v1", "m"): 15})
    drifted = found["rag_platform_reconcile_drifted_documents"]
    assert (drifted.kind, drifted.samples) == ("gauge", {("v1",): 2}), "the last one"


def test_the_newest_day_of_rides() -> None:
    figures = {
        "rides": 100,
        "anomalies": 4,
        "bad_records": 7,
        "unreadable_files": 1,
        "clusters": 5,
        "summarized": 3,
        "deferred": 1,
        "failed": 0,
        "drifted": ["fare", "speed_kmh"],
    }
    assert samples(rides.newest_day(figures, age_s=3_600.0)) == {
        "rides_newest_day": {("ordinary",): 96, ("anomalous",): 4, ("refused",): 7},
        "rides_newest_day_clusters": {(): 5},
        "rides_newest_day_summaries": {("summarized",): 3, ("deferred",): 1},
        "rides_newest_day_unreadable_files": {(): 1},
        "rides_newest_day_drifted": {(): 2},
        "rides_report_age_seconds": {(): 3_600},
    }


def test_failures_of_a_vector_store_are_counted_from_zero(catalog: Catalog) -> None:
    """What begins with 1 has not grown, for Prometheus: the first failure would be told nobody."""
    measures = Measures(catalog)
    measures.observe(VECTOR_STORE_FAILURES, [1.0], index="v1", operation="publish")
    measures.observe(VECTOR_STORE_FAILURES, [1.0], index="gone", operation="apply")
    found = {family.name: family for family in measured(measures, {"index": ["v1", "v2"]})}
    failures = found["rag_platform_vector_store_failures_total"].samples
    assert failures.pop(("v1", "publish")) == 1
    assert failures == {
        (index, operation): 0
        for index in ("v1", "v2")
        for operation in ("apply", "publish", "reconcile")
        if (index, operation) != ("v1", "publish")
    }


def test_sources_of_the_settings_are_always_shown(catalog: Catalog) -> None:
    measures, names = Measures(catalog), [f"s{number:02}" for number in range(60)]
    for name in names:
        measures.observe(PARSE_SECONDS, [0.1], source=name, media_type="text/plain")
    known = {"index": [], "source": names}
    found = {family.name: family for family in measured(measures, known)}
    shown = {source for source, _ in found["rag_platform_parse_seconds"].buckets}
    assert shown == set(names)
