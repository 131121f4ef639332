"""What the small platform of the console's tests lacks, so that every metric has a value."""

import shutil
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._daemon.types import DaemonHeartbeat

from rag_platform.platform import Platform
from rag_platform.settings import PROJECT_ROOT
from rag_platform.storage import measures as m
from rag_platform.storage.schema import dead_letters, documents, step_letters
from rag_platform.storage.schema_models import ledger, llm_cooldowns
from rag_platform.storage.schema_operations import audit_log
from rag_platform_tests.defs.instances import put_automation, put_run
from rag_platform_tests.operations.metrics.reading import put
from rag_platform_tests.training.tiny import NAME

MODEL, OTHER = "gpt-4o-mini", "gpt-4.1"


def fill(platform: Platform, dagster_home: Path) -> None:
    """Rows, reports and runs, by the functions that write them where there are some."""
    _catalog(platform)
    measure(platform)
    _models(platform)
    _rides(platform)
    _dagster(dagster_home)


def measure(platform: Platform) -> None:
    """What processes measure while they work: once more."""
    measures = m.Measures(platform.catalog)
    measures.observe(m.PARSE_SECONDS, [0.3, 0.1], source="notes", media_type="text/markdown")
    measures.observe(m.EMBED_SECONDS, [0.7], index="v1", model="minilm")
    measures.observe(m.EMBEDDED_TEXTS, [64], index="v1", model="minilm")
    measures.observe(m.LLM_REQUEST_SECONDS, [2.0], model=MODEL, outcome="answered")
    measures.observe(m.RATE_LIMIT_WAIT_SECONDS, [0.5], model=MODEL)
    measures.observe(m.VECTOR_STORE_FAILURES, [1], index="v1", operation="apply")


def _catalog(platform: Platform) -> None:
    catalog, now = platform.catalog, time.time()
    call = {"model": MODEL, "purpose": "notes/classified", "prompt": "label@v001"}
    paid = {"status": "settled", "settled_microusd": 10_000, "input_tokens": 9, "output_tokens": 3}
    put(
        catalog,
        ledger,
        {**call, "status": "failed", "call_id": "a", "error": "rate_limited"},
        {**call, **paid, "call_id": "a"},
        {**call, "status": "failed", "call_id": "b", "error": "timeout"},
        {**call, **paid, "call_id": "b", "model": OTHER},
        {**call, "status": "cached", "call_id": "c", "saved_microusd": 10_000},
        {**call, **paid, "call_id": None, "purpose": "v1/embeddings", "prompt": None},
    )
    put(catalog, llm_cooldowns, {"model": MODEL, "until": now + 3_600})
    # Of few documents with few letters nobody is told.
    refused = [
        {"doc_id": str(uuid.UUID(int=number)), "key": f"{number}.pdf"} for number in range(5)
    ]
    put(catalog, documents, *refused, source="wiki")
    letter = {"source": "wiki", "stage": "parsed_docs", "reason": "corrupt"}
    put(catalog, dead_letters, *refused, **letter)
    put(catalog, step_letters, {"source": "notes", "stage": "classified", "reason": "no_label"})
    put(catalog, audit_log, {"action": "index.promote", "via": "console", "outcome": "done"})
    measures = m.Measures(catalog)
    for gauge in (m.RECONCILE_DRIFTED, m.RECONCILE_UNREPAIRED, m.RECONCILE_ORPHANS):
        measures.keep(gauge, 0, index="v1")
    measures.keep(m.RECONCILED_AT, now, index="v1")


def _models(platform: Platform) -> None:
    from rag_platform.training.drift.compare import DriftReport
    from rag_platform.training.drift.log import DriftLog
    from rag_platform.training.snapshots import Weeks

    report = {"metrics": {"accuracy": {"value": 0.75, "low": 0.5, "high": 1.0}}}
    champion = platform.models.promotions.champion(NAME)
    assert champion is not None
    platform.models.registry.log_evaluation(champion.run_id, {}, {}, report)
    verdict = {"gate": "accuracy", "value": 0.5, "bound": 0.8, "passed": False, "told": ""}
    facts = {"verdicts": [verdict], "impacts": [{"column": "age", "value": 0.9}]}
    week = {"report": facts, "at": time.time()}
    Weeks(platform.objects).put(NAME, "2026-11-23", "evaluation", week)
    drift = DriftReport([], drifted=True, told="x moved", rows=10)
    DriftLog(platform.catalog).record(NAME, "training", "2026-11-23", drift)


def _rides(platform: Platform) -> None:
    import pyarrow as pa

    from rag_platform.rides.report import report_schema
    from rag_platform.rides.tables import REPORT, DayTables

    figures: dict[str, Any] = dict.fromkeys(report_schema().names, 0)
    figures |= {"rides": 9, "anomalies": 1, "clusters": 2, "summarized": 2, "drifted": ["fare"]}
    table = pa.Table.from_pylist([figures], report_schema())
    day = datetime.now(UTC).date() - timedelta(days=1)
    DayTables(platform.objects).write(REPORT, day, table, {})


def _dagster(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT_ROOT / "dagster.yaml", home / "dagster.yaml")
    now = time.time()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for job, status in (
            ("notes", DagsterRunStatus.SUCCESS),
            ("wiki", DagsterRunStatus.FAILURE),
        ):
            at = now - 600
            put_run(instance, job, status, created=at, started=at + 5, ended=at + 65)
        put_run(instance, "wiki", DagsterRunStatus.QUEUED, created=now - 60)
        instance.event_log_storage.set_concurrency_slots("llm_api", 5)
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(now, kind, "d", []))
        failed = dg.AssetCheckEvaluation(
            dg.AssetKey(["notes", "clean_docs"]),
            check_name="enough_documents",
            passed=False,
            severity=dg.AssetCheckSeverity.ERROR,
        )
        instance.report_runless_asset_event(failed)
        put_automation(instance, "notifications", {now - 20: TickStatus.SKIPPED})
        put_automation(instance, "new_notes", {now - 20: TickStatus.FAILURE})
