"""Rows of an instance of Dagster as its daemon and its runs write them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_shared.error import SerializableErrorInfo

REPOSITORY = RemoteRepositoryOrigin(
    InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file="none.py")), "repository"
)
PROBLEM = SerializableErrorInfo("the code server is away", [], "X")


def put_run(
    instance: dg.DagsterInstance,
    job: str,
    status: DagsterRunStatus,
    *,
    created: float,
    started: float | None = None,
    ended: float | None = None,
) -> None:
    """A run as Dagster keeps it."""
    run = dg.DagsterRun(
        job_name=job, status=status, remote_job_origin=RemoteJobOrigin(REPOSITORY, job)
    )
    storage: Any = instance.run_storage
    storage.add_run(run)
    changed = sa.update(RunsTable).where(RunsTable.c.run_id == run.run_id)
    moment = {
        name: datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
        for name, at in (("create_timestamp", created), ("update_timestamp", ended or created))
    }
    with storage.connect() as connection:
        connection.execute(changed.values(**moment, start_time=started, end_time=ended))


def put_automation(
    instance: dg.DagsterInstance,
    name: str,
    ticks: Mapping[float, TickStatus],
    *,
    kind: InstigatorType = InstigatorType.SENSOR,
    status: InstigatorStatus = InstigatorStatus.DECLARED_IN_CODE,
) -> None:
    """A schedule or sensor, with what it did by time."""
    origin = RemoteInstigatorOrigin(REPOSITORY, name)
    data = ScheduleInstigatorData("0 3 * * *") if kind is InstigatorType.SCHEDULE else None
    state = instance.add_instigator_state(InstigatorState(origin, kind, status, data))
    for at, ended in ticks.items():
        instance.create_tick(
            TickData(
                state.instigator_origin_id,
                name,
                kind,
                ended,
                at,
                run_ids=[],
                error=PROBLEM if ended is TickStatus.FAILURE else None,
                selector_id=state.selector_id,
            )
        )
