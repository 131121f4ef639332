"""What the exporter shows of an instance of Dagster, on either of its databases."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType, TickStatus
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._daemon.types import DaemonHeartbeat

from rag_platform.defs.operations.instance_metrics import (
    NoInstance,
    dagster_families,
    instance_families,
)
from rag_platform.operations.metrics.families import PREFIX, Family
from rag_platform.settings import PROJECT_ROOT, Settings
from rag_platform_tests.defs.instances import PROBLEM, put_automation, put_run

DAY = 86_400.0
Samples = Mapping[str, Mapping[tuple[str, ...], float]]


@pytest.fixture(params=["sqlite", "postgres"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A new instance with the settings of this project."""
    config = yaml.safe_load((PROJECT_ROOT / "dagster.yaml").read_text())
    if request.param == "postgres":
        # dagster-postgres speaks to psycopg2 only.
        database = sa.make_url(request.getfixturevalue("postgres_database"))
        url = database.set(drivername="postgresql+psycopg2")
        shown = url.render_as_string(hide_password=False)
        config["storage"] = {"postgres": {"postgres_url": shown}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


def seen(instance: dg.DagsterInstance, now: float) -> Samples:
    """Samples by name, and histograms as (count, sum); those of 0 are left out."""
    return {
        family.name.removeprefix(PREFIX): _samples(family)
        for family in instance_families(instance, now)
    }


def _samples(family: Family) -> dict[tuple[str, ...], float]:
    counts = {labels: each.counts[-1][1] for labels, each in family.buckets.items()}
    return {labels: value for labels, value in (family.samples | counts).items() if value}


def _runs(instance: dg.DagsterInstance, now: float) -> None:
    done, failed = DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE
    # notes: long ago, failed, succeeded (40 s); wiki: succeeded (400 s), failed; rides: waits.
    at = now - 40 * DAY
    put_run(instance, "notes", done, created=at, started=at, ended=at + 5)
    put_run(instance, "notes", failed, created=now - 900, started=now - 890, ended=now - 800)
    put_run(instance, "notes", done, created=now - 700, started=now - 640, ended=now - 600)
    put_run(instance, "wiki", done, created=now - 900, started=now - 800, ended=now - 400)
    put_run(instance, "wiki", failed, created=now - 300, started=now - 290, ended=now - 200)
    for age in (7_200, 60):
        put_run(instance, "rides", DagsterRunStatus.QUEUED, created=now - age)
    put_run(instance, "rides", DagsterRunStatus.STARTED, created=now - 600, started=now - 500)


def test_runs(instance: dg.DagsterInstance) -> None:
    now = 1_800_000_000.0
    _runs(instance, now)
    found = seen(instance, now)
    assert found["runs"] == {
        ("notes", "success"): 1,
        ("notes", "failure"): 1,
        ("wiki", "success"): 1,
        ("wiki", "failure"): 1,
        ("rides", "queued"): 2,
        ("rides", "started"): 1,
    }
    assert found["runs_now"] == {("queued",): 2, ("started",): 1}
    assert found["oldest_run_seconds"] == {("queued",): 7_200, ("started",): 600}
    assert found["last_run_failed"] == {("wiki",): 1}
    assert found["last_success_timestamp_seconds"] == {
        ("notes",): now - 600,
        ("wiki",): now - 400,
    }
    (took,) = (f for f in instance_families(instance, now) if f.name == f"{PREFIX}run_seconds")
    assert {labels: each.total for labels, each in took.buckets.items()} == {
        ("notes",): 40,
        ("wiki",): 400,
    }
    assert dict(took.buckets["wiki",].counts) == {
        **dict.fromkeys(("5.0", "15.0", "60.0", "300.0"), 0),
        **dict.fromkeys(("900.0", "3600.0", "14400.0", "43200.0", "+Inf"), 1),
    }
    # A day later the runs that ended are no longer counted, and how they ended still is known.
    later = seen(instance, now + DAY)
    assert {status for _, status in later["runs"]} == {"queued", "started"}
    assert later["last_run_failed"] == {("wiki",): 1}


def test_pools(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("llm_api", 2)
    storage.set_concurrency_slots("training", 3)
    for step in ("one", "two", "three"):
        storage.claim_concurrency_slot("llm_api", "some-run", step)
    found = seen(instance, 0.0)
    assert found["pool_slots"] == {("llm_api", "claimed"): 2, ("training", "free"): 3}
    assert found["pool_pending_steps"] == {("llm_api",): 1}


def test_daemons(instance: dg.DagsterInstance) -> None:
    now = 1_800_000_000.0
    for kind, age, errors in (
        ("SENSOR", 20, []),
        ("SCHEDULER", 400, []),
        ("BACKFILL", 10, [PROBLEM]),
        ("ASSET", -50, []),  # reported by a clock that is ahead
    ):
        instance.add_daemon_heartbeat(DaemonHeartbeat(now - age, kind, "d", errors))
    found = seen(instance, now)
    assert found["daemon_healthy"] == {("sensor",): 1, ("asset",): 1}
    assert found["daemon_heartbeat_age_seconds"] == {
        ("sensor",): 20,
        ("scheduler",): 400,
        ("backfill",): 10,
        ("asset",): -50,
    }
    (healthy,) = (
        f for f in instance_families(instance, now) if f.name == f"{PREFIX}daemon_healthy"
    )
    assert healthy.samples["queued_run_coordinator",] == 0  # which never reported


def test_automation(instance: dg.DagsterInstance) -> None:
    now = 1_800_000_000.0
    put_automation(instance, "quiet", {now - 90: TickStatus.FAILURE, now - 60: TickStatus.SKIPPED})
    # Under way: what it did before counts.
    put_automation(instance, "broken", {now - 60: TickStatus.FAILURE, now - 2: TickStatus.STARTED})
    put_automation(
        instance,
        "nightly",
        {now - 3_600: TickStatus.SUCCESS},
        kind=InstigatorType.SCHEDULE,
        status=InstigatorStatus.RUNNING,
    )
    put_automation(instance, "off", {now - 60: TickStatus.FAILURE}, status=InstigatorStatus.STOPPED)
    found = seen(instance, now)
    quiet, broken, nightly = ("quiet", "sensor"), ("broken", "sensor"), ("nightly", "schedule")
    assert found["automation_running"] == {quiet: 1, broken: 1, nightly: 1}
    assert found["automation_tick_failed"] == {broken: 1}
    assert found["automation_tick_age_seconds"] == {quiet: 60, broken: 2, nightly: 3_600}


def test_backfills(instance: dg.DagsterInstance) -> None:
    now = 1_800_000_000.0
    for number, (status, age) in enumerate(
        (
            (BulkActionStatus.REQUESTED, 40 * DAY),  # open, so it is shown however old
            (BulkActionStatus.COMPLETED_FAILED, 60),
            (BulkActionStatus.COMPLETED_FAILED, 2 * DAY),
            (BulkActionStatus.COMPLETED_SUCCESS, 60),
        )
    ):
        instance.add_backfill(PartitionBackfill(f"b{number}", status, False, {}, now - age))
    assert seen(instance, now)["backfills"] == {
        ("requested",): 1,
        ("completed_failed",): 1,
        ("completed_success",): 1,
    }


def _gates(passed: Mapping[str, bool]) -> dg.Definitions:
    def made(name: str) -> dg.AssetChecksDefinition:
        is_soft = name == "soft"

        @dg.asset_check(asset=dg.AssetKey(["notes", "clean_docs"]), name=name)
        def check() -> dg.AssetCheckResult:
            level = dg.AssetCheckSeverity.WARN if is_soft else dg.AssetCheckSeverity.ERROR
            return dg.AssetCheckResult(passed=passed[name], severity=level)

        return check

    @dg.asset(key=["notes", "clean_docs"])
    def clean_docs() -> None:
        pass

    checks = [made(name) for name in passed]
    return dg.Definitions(
        assets=[clean_docs], asset_checks=checks, jobs=[dg.define_asset_job("all_of_it")]
    )


def test_gates(instance: dg.DagsterInstance) -> None:
    """As they were evaluated last."""
    for passed in (
        {"good": False, "hard": True, "soft": True},
        {"good": True, "hard": False, "soft": False},
    ):
        job = _gates(passed).resolve_job_def("all_of_it")
        job.execute_in_process(instance=instance, raise_on_error=False)
    now = datetime.now(UTC).timestamp()
    found = seen(instance, now)
    assert found["asset_checks"] == {("passed",): 1, ("warned",): 1, ("failed",): 1}
    assert found["asset_check_failed"] == {
        ("notes/clean_docs", "hard", "error"): 1,
        ("notes/clean_docs", "soft", "warn"): 1,
    }
    assert found["runs"] == {("all_of_it", "success"): 2}  # they do not block it
    assert not seen(instance, now + 31 * DAY)["asset_check_failed"]


def test_where_nothing_ran_there_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    settings = Settings.model_validate({"home": tmp_path})
    assert dagster_families(settings) == []
    assert list(tmp_path.iterdir()) == []
    # A variable that leads nowhere would leave the daemon without an alert.
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(NoInstance, match="DAGSTER_HOME: "):
        dagster_families(settings)
    monkeypatch.delenv("DAGSTER_HOME")
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((PROJECT_ROOT / "dagster.yaml").read_text())
    names = {family.name for family in dagster_families(settings)}
    assert f"{PREFIX}daemon_healthy" in names
