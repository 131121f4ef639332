"""Runs on Celery workers, with an eye on the workers.

What the result backend says of a task that a worker began stays so when the worker is killed:
for Dagster's launcher such a run goes on for ever. Here the worker is asked whether it is there.
"""

from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

# A worker that is busy or starting may miss a question; one that misses all of these is dead.
_QUESTIONS = 3
_ANSWER_WITHIN_S = 3.0


class WatchedCeleryRunLauncher(CeleryRunLauncher):
    """Dagster's launcher; a run on a worker that does not answer any more has failed.

    Needs workers with a pool of processes (Celery's default), which answer while they work.
    """

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Asked by the daemon's run monitoring of each run under way."""
        health: CheckRunHealthResult = super().check_run_worker_health(run)
        if health.status != WorkerStatus.RUNNING:
            return health
        worker = self._worker(run)
        if worker is None or self._answers(worker):
            return health
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"Celery worker {worker} does not answer any more."
        )

    def _worker(self, run: dg.DagsterRun) -> str | None:
        """The node that began the run, as the result backend has it."""
        said: Any = self.celery.AsyncResult(run.tags[DAGSTER_CELERY_TASK_ID_TAG]).info
        return said.get("hostname") if isinstance(said, dict) else None

    def _answers(self, worker: str) -> bool:
        control = self.celery.control
        return any(
            control.ping(destination=[worker], timeout=_ANSWER_WITHIN_S) for _ in range(_QUESTIONS)
        )
