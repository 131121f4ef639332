"""Runs in the process of a command: what becomes of them when that process is killed.

Dagster watches the processes that it launched itself. A run of ours that was killed would stay
"started" for ever, and keep its slot of a pool: the next run would wait for it. So each holds a
lock while it runs, which the kernel frees, and every command first ends the runs without a holder.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from rag_platform.storage.locks import LockTimeout, exclusive

# Locks are of one machine; an instance may be shared by several.
_HOST = "rag_platform/host"
_UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@contextmanager
def alive(opened: dg.DagsterInstance, run_id: str) -> Iterator[dict[str, str]]:
    """While the block runs, so does the run; gives the tags that it needs."""
    path = _lock(opened, run_id)
    try:
        with exclusive(path, timeout_s=0, purpose=f"run {run_id}"):
            yield {_HOST: socket.gethostname()}
    finally:
        path.unlink(missing_ok=True)


def is_of_a_command(run: dg.DagsterRun) -> bool:
    """Whether a run goes on in the process of a command, where a person waits for it."""
    return _HOST in run.tags


def end_dead_runs(opened: dg.DagsterInstance) -> list[str]:
    """Mark runs of killed processes as failed and free their slots; returns their ids."""
    filters = dg.RunsFilter(statuses=_UNDER_WAY, tags={_HOST: socket.gethostname()})
    return [run.run_id for run in opened.get_runs(filters) if _ended(opened, run.run_id)]


def _ended(opened: dg.DagsterInstance, run_id: str) -> bool:
    path = _lock(opened, run_id)
    try:
        with exclusive(path, timeout_s=0, purpose=f"ending run {run_id}"):
            run = opened.get_run_by_id(run_id)
            if run is None or run.is_finished:  # it ended while we looked
                return False
            said = "Its process was killed. Run it again: what it has done is kept."
            opened.report_run_failed(run, said)
            opened.event_log_storage.free_concurrency_slots_for_run(run_id)
    except LockTimeout:
        return False
    path.unlink(missing_ok=True)
    return True


def _lock(opened: dg.DagsterInstance, run_id: str) -> Path:
    return Path(opened.root_directory) / "in_process" / f"{run_id}.lock"
