from pathlib import Path

import dagster as dg
import pytest
import yaml

from rag_platform.defs.operations.prompts import prompts_definitions
from rag_platform.defs.resources import platform_resource
from rag_platform.settings import Settings, load


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    config = tmp_path / "platform.yaml"
    config.write_text(yaml.safe_dump({"automation": False}), encoding="utf-8")
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(config))
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(tmp_path / "state"))
    return load()


def run(settings: Settings) -> dg.ExecuteInProcessResult:
    definitions = dg.Definitions.merge(
        prompts_definitions(settings),
        dg.Definitions(
            resources={"platform": platform_resource(settings)}, executor=dg.in_process_executor
        ),
    )
    job = definitions.resolve_job_def("mirror_prompts")
    return job.execute_in_process(raise_on_error=False)


def test_the_asset_shows_what_is_registered(settings: Settings) -> None:
    result = run(settings)
    assert result.success
    [event] = result.get_asset_materialization_events()
    found = event.materialization.metadata
    assert found["versions"].value == 7
    assert found["newly registered"].value == 7
    assert "| document&#95;summary | v001 |" in str(found["prompts"].value)
    [event] = run(settings).get_asset_materialization_events()
    assert event.materialization.metadata["newly registered"].value == 0


def test_an_unreachable_mlflow_fails_the_step_in_one_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_PLATFORM__MLFLOW__TRACKING_URI", "http://127.0.0.1:9")
    result = run(settings)
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    told = failure.step_failure_data.user_failure_data.description
    assert told.startswith("prompts: MLflow at http://127.0.0.1:9 did not do it (")


@pytest.mark.parametrize("automation", [True, False])
def test_the_schedule_runs_where_automation_does(settings: Settings, automation: bool) -> None:
    definitions = prompts_definitions(settings.model_copy(update={"automation": automation}))
    [schedule] = definitions.schedules or []
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert schedule.cron_schedule == "30 3 * * *"
    assert (schedule.default_status is dg.DefaultScheduleStatus.RUNNING) == automation
