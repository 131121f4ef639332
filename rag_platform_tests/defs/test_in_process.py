"""A command that was killed leaves no run that seems to go on, and no slot that is taken."""

import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from rag_platform.defs.operations import launch
from rag_platform.defs.operations.in_process import alive
from rag_platform.settings import Settings

# A process that has begun a run and holds a slot.
BEGIN = """
import sys, time
from rag_platform.defs.operations import launch
from rag_platform.defs.operations.in_process import alive
from rag_platform.settings import Settings
import dagster as dg

@dg.job
def nothing():
    pass

with launch.instance(Settings(home=sys.argv[1])) as opened:
    with alive(opened, sys.argv[2]) as tags:
        run = opened.create_run_for_job(nothing, run_id=sys.argv[2], tags=tags)
        opened.report_engine_event("begun", run)
        opened.handle_new_event(dg._core.events.log.EventLogEntry(
            error_info=None, user_message="", level=20, run_id=run.run_id, timestamp=time.time(),
            job_name=run.job_name, step_key=None,
            dagster_event=dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name),
        ))
        opened.event_log_storage.claim_concurrency_slot("vector_store", run.run_id, "step")
        print("begun", flush=True)
        time.sleep(60)
"""
RUN = "0a1b2c3d-0000-4000-8000-000000000001"


def slots(opened: dg.DagsterInstance) -> int:
    return opened.event_log_storage.get_concurrency_info("vector_store").active_slot_count


@pytest.mark.slow
def test_the_next_command_ends_a_killed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    settings = Settings(home=tmp_path / "home")
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN, str(settings.home), RUN], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "begun\n"
        with launch.instance(settings) as opened:  # it lives: nothing happens to it
            assert opened.get_run_by_id(RUN).status == dg.DagsterRunStatus.STARTED
            assert slots(opened) == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with launch.instance(settings) as opened:
        assert opened.get_run_by_id(RUN).status == dg.DagsterRunStatus.FAILURE
        assert slots(opened) == 0
    assert not list((tmp_path / "dagster" / "in_process").iterdir())


def test_a_run_that_ends_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with launch.instance(Settings(home=tmp_path / "home")) as opened:
        with alive(opened, RUN):
            [lock] = (tmp_path / "dagster" / "in_process").iterdir()
        assert lock.name == f"{RUN}.lock"
        assert not lock.exists()
