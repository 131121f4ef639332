"""Runs as processes of a code server, and what becomes of them when that server dies.

Dagster's own launcher starts runs so, and cannot say later whether one still lives: its runs would
stay "started" for ever, with their slots of the pools. A code server knows its runs, and one that
was started again knows none of the former one: so the daemon's run monitoring can ask it.
"""

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

_TIMEOUT_S = 10


class WatchedRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher, with an answer to whether a run's process is there.

    For code servers of `dagster api grpc`; one of `dagster code-server start` forgets its runs
    when it loads the code anew.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        """So that run monitoring asks."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED where the run's server answers and does not have it; who is silent may come back.

        A run without a server goes on in the process of a command, which has its own watch.
        """
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "no code server has it")
        try:
            answer = deserialize_value(
                client.can_cancel_execution(
                    CanCancelExecutionRequest(run_id=run.run_id), timeout=_TIMEOUT_S
                ),
                CanCancelExecutionResult,
            )
        except DagsterUserCodeUnreachableError:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its code server does not answer")
        if answer.can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        said = "its code server was started anew and does not have it"
        return CheckRunHealthResult(WorkerStatus.FAILED, said)
