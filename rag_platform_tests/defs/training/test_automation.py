"""When models are trained: weekly, when rows drift, and on Mondays all of them."""

import os
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from rag_platform.defs.training import automation
from rag_platform.defs.training.automation import MASTER_TAG
from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.training import master
from rag_platform.training.calendar import current_week
from rag_platform.training.drift.compare import DriftReport
from rag_platform.training.drift.log import DriftLog
from rag_platform.training.pipeline import Training
from rag_platform_tests.defs.training.location import OTHER, ModelRuns
from rag_platform_tests.training.tiny import NAME, SPEC

THIS_WEEK = current_week()
DRIFTED = DriftReport([], True, "drift in 200 rows: 'x' PSI 0.90 → 1.2 (p 1e-9)", 200)
_ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(
        InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file="none.py")), "repository"
    ),
    f"{NAME}_training",
)


# Schedules


def asked(runs: ModelRuns, schedule: str, moment: datetime) -> list[Any]:
    with dg.build_schedule_context(
        instance=runs.instance,
        scheduled_execution_time=moment,
        repository_def=runs.defs.get_repository_def(),
    ) as context:
        return list(runs.defs.get_schedule_def(schedule).evaluate_tick(context).run_requests or ())


def test_a_model_is_trained_by_its_own_cron_line_in_its_week(runs: ModelRuns) -> None:
    assert runs.defs.get_schedule_def(f"{NAME}_schedule").cron_schedule == SPEC.schedule
    runs.configure(schedule="30 4 * * 3")
    schedule = runs.defs.get_schedule_def(f"{NAME}_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 4 * * 3", "UTC")
    assert schedule.job_name == f"{NAME}_training"
    [request] = asked(runs, f"{NAME}_schedule", datetime(2026, 11, 25, 4, 30, tzinfo=UTC))
    assert request.partition_key == "2026-11-23"
    [other] = asked(runs, f"{NAME}_schedule", datetime(2026, 12, 2, 4, 30, tzinfo=UTC))
    assert other.run_key != request.run_key


def test_every_morning_answers_yesterday(runs: ModelRuns) -> None:
    runs.configure(scoring=str(runs.folder("batches")))
    schedule = runs.defs.get_schedule_def("models_scores_schedule")
    assert (schedule.cron_schedule, schedule.job_name) == ("0 5 * * *", "models_scores")
    [request] = asked(runs, "models_scores_schedule", datetime(2026, 3, 1, 5, tzinfo=UTC))
    assert request.partition_key == "2026-02-28"
    days = runs.defs.resolve_asset_graph().get(dg.AssetKey([NAME, "scores"])).partitions_def
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    assert days.get_last_partition_key() == yesterday


def test_the_master_is_of_mondays_at_one(runs: ModelRuns) -> None:
    schedule = runs.defs.get_schedule_def("models_master_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 1 * * 1", "UTC")


# Drift


def test_drift_asks_for_training_once_in_a_cool_down(
    runs: ModelRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.configure(NAME, OTHER, retrain_cooldown_days=3)
    assert runs.tick("models_drift").skip_message == "no drift that asks for training"
    with runs.platform() as platform:
        log = DriftLog(platform.catalog)
        log.record(NAME, "scores", "2026-06-01", DRIFTED)
    [request] = runs.tick("models_drift").run_requests
    assert (request.job_name, request.partition_key) == (f"{NAME}_training", THIS_WEEK)
    assert request.tags["rag_platform/why"] == DRIFTED.told
    assert runs.tick("models_drift").run_requests == []
    with runs.platform() as platform:
        DriftLog(platform.catalog).record(NAME, "scores", "2026-06-02", DRIFTED)
        DriftLog(platform.catalog).record(OTHER, "scores", "2026-06-02", DRIFTED)
    [other] = runs.tick("models_drift").run_requests
    assert other.job_name == f"{OTHER}_training"
    later = time.time() + 3 * 86_400 + 60
    monkeypatch.setattr(time, "time", lambda: later)
    [again] = runs.tick("models_drift").run_requests
    assert again.job_name == f"{NAME}_training"
    # The tag is one that a run takes.
    runs.instance.create_run_for_job(
        runs.defs.resolve_job_def(f"{NAME}_training"), tags=dict(request.tags)
    )


# The master


def decide(runs: ModelRuns) -> Any:
    return runs.run(job="models_master")


def decisions(runs: ModelRuns) -> dict[str, tuple[str, str]]:
    with runs.platform() as platform:
        found = master.Master(platform.catalog).of(THIS_WEEK)
        return {row.model: (row.decision, row.reason) for row in found}


def requested(answer: Any) -> dict[str, Any]:
    return {request.job_name: request for request in answer.run_requests}


def train(runs: ModelRuns, of: str) -> Any:
    """What the request of the master starts."""
    return runs.run(of=of, tags={MASTER_TAG: THIS_WEEK})


def test_a_monday_from_its_decisions_to_its_summary(runs: ModelRuns) -> None:
    runs.configure(NAME, OTHER)
    runs.write(NAME)
    runs.write(OTHER)
    assert runs.tick("models_master_runs").skip_message == "no master is under way"
    assert decide(runs).success
    assert {model: row[0] for model, row in decisions(runs).items()} == {
        NAME: "train",
        OTHER: "train",
    }
    answer = runs.tick("models_master_runs")
    both = requested(answer)
    # At once, and not one after the other.
    assert {*both} == {f"{NAME}_training", f"{OTHER}_training"}
    assert {request.partition_key for request in both.values()} == {THIS_WEEK}
    assert {request.tags[MASTER_TAG] for request in both.values()} == {THIS_WEEK}
    keys = {request.run_key for request in both.values()}
    assert len(keys) == 2
    # Asked for again under the same keys, which Dagster runs once, until the runs are there.
    assert {r.run_key for r in runs.tick("models_master_runs").run_requests} == keys

    assert train(runs, NAME).success
    assert {*requested(runs.tick("models_master_runs"))} == {f"{OTHER}_training"}
    assert not [text for text in runs.messages() if text.startswith("Models, week")]
    runs.write(OTHER, count=12)
    assert not train(runs, OTHER).success
    assert runs.tick("models_master_runs").skip_message == f"{THIS_WEEK}: all models are done"
    [told] = [text for text in runs.messages() if text.startswith("Models, week")]
    lines = told.splitlines()
    assert lines[0] == f"Models, week of {THIS_WEEK}: 2 trained, 1 of them failed, 0 skipped"
    assert lines[1].startswith(f"- {OTHER}: failure, see /runs/")
    assert lines[2] == f"- {NAME}: done, version 1 as champion"
    assert runs.tick("models_master_runs").skip_message == "no master is under way"
    # Should the cursor be lost, nothing is told twice.
    runs._cursors.clear()
    runs.tick("models_master_runs")
    assert len([text for text in runs.messages() if text.startswith("Models, week")]) == 1


def test_models_rest_with_the_reason(runs: ModelRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.configure(NAME, OTHER)
    runs.write(NAME, count=400)
    assert runs.run().success
    moved = runs.write(NAME, count=400, seed=2)
    then = time.time() - 40 * 86_400
    os.utime(moved, (then, then))
    # The other's data cannot even be listed.
    runs.folder("data", OTHER).rmdir()
    outcome = decide(runs)
    assert outcome.success
    assert decisions(runs)[NAME] == (
        "skip",
        "its newest file is 40 days old, more than max_age_days, 30",
    )
    assert decisions(runs)[OTHER][0] == "skip"
    assert "neither a file nor a folder" in decisions(runs)[OTHER][1]
    answer = runs.tick("models_master_runs")
    assert answer.run_requests == []
    [told] = [text for text in runs.messages() if text.startswith("Models, week")]
    first, *rest = told.splitlines()
    assert first == f"Models, week of {THIS_WEEK}: 0 trained, 0 of them failed, 2 skipped"
    assert (
        rest[1] == f"- {NAME}: skipped: its newest file is 40 days old, more than max_age_days, 30"
    )
    # It was looked at nevertheless.
    assert rest[2].startswith(f"- drift: {NAME}: ")


def test_a_monday_is_decided_once_and_as_a_whole(
    runs: ModelRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.configure(NAME, OTHER)
    runs.write(NAME)
    runs.write(OTHER)
    monkeypatch.setattr(automation, "DECIDE_RETRIES", None)
    runs.configure(NAME, OTHER)

    def stale(training: Training, _: float) -> None:
        if training.spec.name == NAME:
            raise KeyError("gone in between")

    with monkeypatch.context() as patch:
        patch.setattr(Training, "stale", stale)  # asked of the other model before
        assert not decide(runs).success
    # Half of the decisions would be taken for all.
    assert decisions(runs) == {}
    decide(runs)
    first = decisions(runs)
    runs.folder("data", OTHER).joinpath("rows.csv").unlink()
    decide(runs)
    assert decisions(runs) == first
    assert {row[0] for row in first.values()} == {"train"}


def test_a_model_that_left_the_settings_is_left_out(runs: ModelRuns) -> None:
    runs.configure(NAME, OTHER)
    for name in (NAME, OTHER):
        runs.write(name)
    decide(runs)
    for name in (NAME, OTHER):
        train(runs, name)
    runs.configure(NAME)
    assert runs.tick("models_master_runs").skip_message == f"{THIS_WEEK}: all models are done"
    [told] = [text for text in runs.messages() if text.startswith("Models, week")]
    assert told.splitlines()[0].startswith(f"Models, week of {THIS_WEEK}: 1 trained, 0 of them")
    assert OTHER not in told


def test_a_week_that_is_over_is_not_taken_up(
    runs: ModelRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.write()
    decide(runs)
    following = (datetime.fromisoformat(THIS_WEEK) + timedelta(days=7)).date().isoformat()
    monkeypatch.setattr(automation, "current_week", lambda: following)
    assert runs.tick("models_master_runs").skip_message == "no master is under way"
    assert runs.messages() == []


def failed(runs: ModelRuns, *, will_retry: str) -> dg.DagsterRun:
    """A run of the master that was launched by the daemon and has failed, as Dagster marks it."""
    run = runs.instance.create_run_for_job(
        runs.defs.resolve_job_def(f"{NAME}_training"),
        tags={MASTER_TAG: THIS_WEEK, "dagster/will_retry": will_retry},
        status=dg.DagsterRunStatus.STARTED,
        remote_job_origin=_ORIGIN,
    )
    runs.instance.report_run_failed(run)
    found = runs.instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def test_a_retry_stands_for_the_run_that_it_repeats(runs: ModelRuns) -> None:
    runs.write()
    decide(runs)
    failed(runs, will_retry="true")
    # Its retry is not there yet, but it is not over.
    assert runs.tick("models_master_runs").skip_message == f"{THIS_WEEK}: under way: {NAME}"
    assert runs.messages() == []
    retry = train(runs, NAME)
    assert retry.success
    assert runs.tick("models_master_runs").skip_message == f"{THIS_WEEK}: all models are done"
    [told] = [text for text in runs.messages() if text.startswith("Models, week")]
    assert f"- {NAME}: done, version 1 as champion" in told


def test_a_run_that_is_not_tried_again_is_told(runs: ModelRuns) -> None:
    runs.write()
    decide(runs)
    run = failed(runs, will_retry="false")
    assert runs.tick("models_master_runs").skip_message == f"{THIS_WEEK}: all models are done"
    [told] = [text for text in runs.messages() if text.startswith("Models, week")]
    assert f"- {NAME}: failure, see /runs/{run.run_id}" in told


def test_the_reason_may_be_that_a_source_is_away() -> None:
    def away(_: float) -> None:
        raise SourceUnavailable("s3://b: away", transient=True)

    assert master._resting(SimpleNamespace(stale=away), 0.0) == "s3://b: away"  # type: ignore[arg-type]
