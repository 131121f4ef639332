"""What the exporter shows of Dagster: runs, pools, daemons, automation, backfills, gates.

Where there is no public way to count, the tables of its storages are read: a run's row holds all
that there is of the run, and a day has thousands of them.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import dagster as dg
import sqlalchemy as sa
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.scheduler.instigation import InstigatorState, TickStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as CheckRows
from dagster._core.storage.runs.schema import RunsTable as RunRows
from dagster._daemon.controller import get_daemon_statuses

from rag_platform.errors import PlatformError
from rag_platform.operations.metrics.families import Family, Names, gauge, gauge_histogram
from rag_platform.operations.metrics.snapshot import bucket, buckets
from rag_platform.settings import Settings

DAY_S: Final = 86_400.0
RECENT_S: Final = 30 * DAY_S
# A daemon reports every 30 s; longer than this it is not there.
SILENT_S: Final = 300.0
BOUNDS: Final = (5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0)

_MOST = 200  # jobs, automation, assets: a few for each source and index
_UNDER_WAY = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
_OPEN = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)
_CLOSED = (
    BulkActionStatus.COMPLETED_SUCCESS,
    BulkActionStatus.COMPLETED_FAILED,
    BulkActionStatus.FAILED,
    BulkActionStatus.CANCELED,
)
# Prometheus has a label `job` of its own, for what it scrapes.
_LABEL = "job_name"
_JOB = RunRows.c.pipeline_name.label("job")
_COUNT = sa.func.count().label("n")


class NoInstance(PlatformError):
    """There is no instance of Dagster where it is said to be."""


def dagster_families(settings: Settings) -> list[Family]:
    """Metrics of the instance in DAGSTER_HOME; none where nothing ran yet. Nothing is changed.

    Raises `NoInstance` where that variable leads elsewhere: without it there is no alert on runs.
    """
    given = os.environ.get("DAGSTER_HOME")
    home = Path(given or settings.home / "dagster")
    if not (home / "dagster.yaml").exists():
        if given:
            raise NoInstance(f"DAGSTER_HOME: {home} has no dagster.yaml; give that of the daemon.")
        return []
    return list(instance_families(_opened(str(home)), time.time()))


@cache
def _opened(home: str) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(home)


def instance_families(instance: dg.DagsterInstance, now: float) -> Iterator[Family]:
    """Everything that is shown of an instance; `now` is UTC seconds since 1970."""
    yield from _runs(instance, now)
    yield from _last_runs(instance, now)
    yield from _pools(instance)
    yield from _daemons(instance, now)
    yield from _automation(instance, now)
    yield _backfills(instance, now)
    yield from _checks(instance, now)


def _runs(instance: dg.DagsterInstance, now: float) -> Iterator[Family]:
    """How many there are, how long those took that ended, how long the others are there."""
    jobs = Names(most=_MOST)
    found = gauge("runs", "Runs that have not ended, or did within 24 hours.", _LABEL, "status")
    total = gauge("runs_now", "Runs that have not ended.", "status")
    oldest = gauge("oldest_run_seconds", "Since the oldest run of a status was created.", "status")
    took = gauge_histogram(
        "run_seconds", "Seconds of the runs that succeeded within 24 hours. No counter.", _LABEL
    )
    for status in _UNDER_WAY:
        total.add(0, _shown(status))
        oldest.add(0, _shown(status))
    is_open = RunRows.c.status.in_(_UNDER_WAY)
    first = sa.func.min(RunRows.c.create_timestamp).label("first")
    counts = sa.select(_JOB, RunRows.c.status, _COUNT, first).group_by(_JOB, RunRows.c.status)
    ages: dict[str, float] = {}
    for row in _rows(instance, counts.where(is_open | _ended_since(now - DAY_S, _ENDED))):
        status = _shown(row.status)
        found.add(row.n, jobs(row.job), status)
        if row.status in _UNDER_WAY:
            total.add(row.n, status)
            age = now - row.first.replace(tzinfo=UTC).timestamp()
            ages[status] = max(ages.get(status, 0.0), age)
    for status, age in ages.items():
        oldest.add(age, status)
    seconds = RunRows.c.end_time - RunRows.c.start_time
    le = bucket(seconds, BOUNDS).label("le")
    durations = sa.select(_JOB, le, _COUNT, sa.func.sum(seconds).label("total")).where(
        _ended_since(now - DAY_S, ("SUCCESS",)), seconds.is_not(None)
    )
    by_job: dict[str, dict[str, tuple[int, float]]] = {}
    for row in _rows(instance, durations.group_by(_JOB, le)):
        by_job.setdefault(row.job, {})[row.le] = (row.n, row.total)
    for job, by_bound in by_job.items():
        took.add_buckets(buckets(BOUNDS, by_bound), jobs(job))
    yield from (found, total, oldest, took)


def _last_runs(instance: dg.DagsterInstance, now: float) -> Iterator[Family]:
    """How the last run of each job ended, of the jobs that ran within 30 days."""
    jobs = Names(most=_MOST)
    failed = gauge("last_run_failed", "1 where the run of a job that ended last failed.", _LABEL)
    at = gauge("last_success_timestamp_seconds", "When a run of a job last succeeded.", _LABEL)
    last = sa.select(_JOB, RunRows.c.status, sa.func.max(RunRows.c.end_time).label("at"))
    recent = last.where(_ended_since(now - RECENT_S, ("SUCCESS", "FAILURE")))
    ends: dict[str, dict[str, float]] = {}
    for row in _rows(instance, recent.group_by(_JOB, RunRows.c.status)):
        ends.setdefault(row.job, {})[row.status] = row.at or 0.0
    for job, by_status in ends.items():
        failure, success = by_status.get("FAILURE", -1.0), by_status.get("SUCCESS", -1.0)
        failed.add(failure > success, jobs(job))
        if success > 0:
            at.add(success, jobs(job))
    yield from (failed, at)


def _ended_since(since: float, statuses: Iterable[str]) -> sa.ColumnElement[bool]:
    moment = datetime.fromtimestamp(since, UTC).replace(tzinfo=None)
    return sa.and_(RunRows.c.status.in_(list(statuses)), RunRows.c.update_timestamp > moment)


def _pools(instance: dg.DagsterInstance) -> Iterator[Family]:
    names = Names()
    slots = gauge("pool_slots", "Slots of a pool of steps.", "pool", "state")
    pending = gauge("pool_pending_steps", "Steps that wait for a slot of a pool.", "pool")
    storage = instance.event_log_storage
    infos = storage.get_concurrency_infos([pool.name for pool in storage.get_pool_limits()])
    for name, info in sorted(infos.items()):
        pool, claimed = names(name), info.active_slot_count
        slots.add(claimed, pool, "claimed").add(max(0, info.slot_count - claimed), pool, "free")
        pending.add(info.pending_step_count, pool)
    yield from (slots, pending)


def _daemons(instance: dg.DagsterInstance, now: float) -> Iterator[Family]:
    healthy = gauge(
        "daemon_healthy", "1 where a part of the daemon reports, and no errors.", "daemon"
    )
    age = gauge(
        "daemon_heartbeat_age_seconds",
        "Since a part of the daemon reported; below 0 where clocks differ or were set back.",
        "daemon",
    )
    statuses = get_daemon_statuses(
        instance,
        instance.get_required_daemon_types(),
        curr_time_seconds=now,
        heartbeat_tolerance_seconds=SILENT_S,
    )
    for kind, status in statuses.items():
        healthy.add(bool(status.healthy), _shown(kind))
        if status.last_heartbeat is not None:
            age.add(now - status.last_heartbeat.timestamp, _shown(kind))
    yield from (healthy, age)


def _automation(instance: dg.DagsterInstance, now: float) -> Iterator[Family]:
    """Schedules and sensors that the daemon has looked at, or that somebody switched."""
    names = Names(most=_MOST)
    labels = ("name", "kind")
    running = gauge("automation_running", "1 where a schedule or sensor is on.", *labels)
    failed = gauge("automation_tick_failed", "1 where what it did last failed.", *labels)
    age = gauge("automation_tick_age_seconds", "Since it last did anything.", *labels)
    for state in sorted(instance.all_instigator_state(), key=lambda state: state.instigator_name):
        values = (names(state.instigator_name), _shown(state.instigator_type.value))
        running.add(state.is_running, *values)
        if not state.is_running:
            continue
        ticks = _ticks(instance, state)
        if ticks:
            age.add(now - ticks[0].timestamp, *values)
        ended = (tick.status for tick in ticks if tick.status is not TickStatus.STARTED)
        failed.add(next(ended, None) is TickStatus.FAILURE, *values)
    yield from (running, failed, age)


def _ticks(instance: dg.DagsterInstance, state: InstigatorState) -> Any:
    """The newest two: the newest may be under way."""
    storage = instance.schedule_storage
    assert storage is not None
    return storage.get_tick_summaries(state.instigator_origin_id, state.selector_id, limit=2)


def _backfills(instance: dg.DagsterInstance, now: float) -> Family:
    found = gauge(
        "backfills", "Backfills that have not ended, or were begun within 24 hours.", "status"
    )
    recent = datetime.fromtimestamp(now - DAY_S, UTC)
    for statuses, after in ((_OPEN, None), (_CLOSED, recent)):
        for status in statuses:
            filters = BulkActionsFilter(statuses=[status], created_after=after)
            found.add(instance.get_backfills_count(filters), _shown(status.value))
    return found


def _checks(instance: dg.DagsterInstance, now: float) -> Iterator[Family]:
    """Gates as they were evaluated last, of those that were within 30 days."""
    counted = gauge("asset_checks", "Gates by how they ended last.", "status")
    failing = gauge(
        "asset_check_failed",
        "1: a gate that failed last.",
        *("asset", "check", "severity"),
    )
    assets, checks = Names(most=_MOST), Names(most=_MOST)
    for status in ("passed", "warned", "failed"):
        counted.add(0, status)
    storage = instance.event_log_storage
    for key, record in storage.get_asset_check_summary_records(_check_keys(instance)).items():
        last = record.last_completed_check_execution_record
        if last is None or last.create_timestamp < now - RECENT_S or last.event is None:
            continue
        event = last.event.dagster_event
        assert event is not None
        evaluation = event.asset_check_evaluation_data
        if evaluation.passed:
            counted.add(1, "passed")
            continue
        severity = _shown(evaluation.severity.value)
        counted.add(1, "failed" if severity == "error" else "warned")
        failing.add(1, assets(key.asset_key.to_user_string()), checks(key.name), severity)
    yield from (counted, failing)


def _check_keys(instance: dg.DagsterInstance) -> list[dg.AssetCheckKey]:
    """Gates that were ever evaluated."""
    storage: Any = instance.event_log_storage
    names = sa.select(CheckRows.c.asset_key, CheckRows.c.check_name).distinct()
    with storage.index_connection() as connection:
        rows = connection.execute(names).all()
    keys = ((dg.AssetKey.from_db_string(row.asset_key), row.check_name) for row in rows)
    return [dg.AssetCheckKey(key, name) for key, name in sorted(keys) if key is not None]


def _rows(instance: dg.DagsterInstance, statement: sa.Executable) -> Any:
    storage: Any = instance.run_storage
    with storage.connect() as connection:
        return connection.execute(statement).all()


_shown: Callable[[str], str] = str.lower
