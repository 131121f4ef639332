"""A week of a model as Dagster runs it: from its data to what serves, gates, and what fails."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.automation_tick_evaluation_context import (
    build_run_requests_with_backfill_policies,
)
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.events import RunFailureReason
from dagster._core.execution.plan.objects import ErrorSource
from dagster._core.execution.retries import auto_reexecution_should_retry_run

from rag_platform.defs.operations.in_process import alive
from rag_platform.defs.operations.notifications import failure_message
from rag_platform.defs.training import checks, factory
from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.training.calendar import FIRST_WEEK, current_week
from rag_platform.training.catalogue import catalogue
from rag_platform.training.errors import NoSuchModel, UnusableData
from rag_platform.training.gates import NoSuchGate
from rag_platform.training.pipeline import Training
from rag_platform.training.stages import STAGES
from rag_platform_tests.defs.training.location import (
    OTHER,
    ModelRuns,
    count,
    definitions,
    metadata,
)
from rag_platform_tests.test_architecture import HEAVY
from rag_platform_tests.training.tiny import NAME, SPEC, tiny_rows

ROOT = Path(__file__).resolve().parents[3]
PAST = "2026-03-02"
Retry, Failed = dg.DagsterEventType.STEP_UP_FOR_RETRY, dg.DagsterEventType.STEP_FAILURE


# What there is


def test_without_models_there_is_nothing(runs: ModelRuns) -> None:
    runs.configure(enabled=False)
    graph = runs.defs.resolve_asset_graph()
    assert not graph.get_all_asset_keys()
    assert [sensor.name for sensor in runs.defs.sensors or ()] == ["failed_runs", "notifications"]


def test_six_assets_by_weeks(runs: ModelRuns) -> None:
    runs.configure(NAME, OTHER)
    dg.Definitions.validate_loadable(runs.defs)
    graph = runs.defs.resolve_asset_graph()
    assert graph.get_all_asset_keys() == {*factory.keys(NAME), *factory.keys(OTHER)}
    for key in factory.keys(NAME):
        node = graph.get(key)
        assert node.group_name == NAME
        # A backfill gives every run one week.
        assert node.backfill_policy is None
        weeks = node.partitions_def.get_partition_keys()
        assert (weeks[0], weeks[-1]) == (FIRST_WEEK.isoformat(), current_week())
        op = node.assets_def.op
        assert (op.retry_policy.max_retries, op.retry_policy.delay) == (2, 300)
        is_long = key.path[-1] in ("candidate_model", "evaluation")
        assert op.pool == ("training" if is_long else None)
    tags = runs.defs.resolve_job_def(f"{NAME}_training").tags
    assert tags["dagster/max_runtime"] == "7200"


@pytest.mark.parametrize("automation", [True, False])
def test_the_switch_sets_what_runs_from_the_start(runs: ModelRuns, automation: bool) -> None:
    runs.configure(more={"automation": automation}, scoring=str(runs.folder("batches")))
    both: list[Any] = [*(runs.defs.sensors or ()), *(runs.defs.schedules or ())]
    assert {each.name for each in both} >= {
        "models_drift",
        "models_master_runs",
        "models_master_schedule",
        "models_scores_schedule",
        f"{NAME}_schedule",
    }
    assert {each.default_status.value for each in both} == {"RUNNING" if automation else "STOPPED"}


def test_every_model_loads_and_nothing_heavy_is_imported(tmp_path: Path) -> None:
    tree = {name: {"scoring": str(tmp_path), "data": str(tmp_path)} for name in catalogue()}
    config = tmp_path / "platform.yaml"
    config.write_text(yaml.safe_dump({"models": tree}), "utf-8")
    code = (
        "import dagster as dg\n"
        "from rag_platform.definitions import defs\n"
        "dg.Definitions.validate_loadable(defs)\n"
        "import json, sys\n"
        "print(json.dumps([len(defs.resolve_asset_graph().get_all_asset_keys()), *sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        | {"RAG_PLATFORM_CONFIG": str(config), "RAG_PLATFORM_HOME": str(tmp_path / "state")},
        check=True,
        capture_output=True,
        text=True,
    )
    number, *modules = json.loads(done.stdout.splitlines()[-1])
    assert number >= 7 * len(tree)
    assert not set(modules) & HEAVY


def test_names_of_checks_are_names_for_dagster(runs: ModelRuns) -> None:
    assert checks.gate_name("f1:ORG/x y") == "gate_f1_ORG_x_y"
    for spec in (*catalogue().values(), SPEC):
        specs = [*checks.data_specs(spec), *checks.gate_specs(spec, spec.gates)]
        names = [each.name for each in specs]
        assert len({*names}) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9_]+", name) for name in names)


@pytest.mark.parametrize(
    ("rules", "problem", "told"),
    [
        ({"gates": {"acuracy": 0.9}}, NoSuchGate, "acuracy.*there are: accuracy"),
        ({"gates": {"not_worse_than_champion": 0.9}}, NoSuchGate, "always applies"),
        ({"gates": {"disparate_impact": 0.9}}, NoSuchGate, "there are: accuracy"),
        ({"trainer": "magic"}, NoSuchModel, "models.tiny_model.trainer.*default, shifted"),
    ],
)
def test_what_is_wrong_in_the_settings_is_told_at_load(
    runs: ModelRuns, rules: dict[str, Any], problem: type[Exception], told: str
) -> None:
    with pytest.raises(problem, match=told):
        runs.configure(**rules)


def test_a_model_that_there_is_not_is_told_at_load(runs: ModelRuns) -> None:
    with pytest.raises(NoSuchModel, match="'tiny_modle': there is none; there are: tiny_model"):
        runs.configure("tiny_modle")


# A week


@pytest.mark.usefixtures("rendered")
def test_from_the_data_to_what_serves(runs: ModelRuns) -> None:
    path = runs.write()
    path.write_text(path.read_text() + "u<img>,|x|,yes\n")
    outcome = runs.run()
    assert outcome.success
    assert outcome.stages == list(STAGES)
    assert outcome.failed() == {}
    assert {"usable", "freshness", "no_leakage", "gate_accuracy"} <= {*outcome.checks}
    assert outcome.checks["rows_are_like_the_champions"][1].startswith("No champion yet")
    assert runs.champion() == "1"
    data = metadata(outcome, "training_data")
    assert (data["rows"], data["records"], data["unusable records"]) == (200, 201, 1)
    assert len(data["snapshot"]) == 64
    assert data["dead letters"].splitlines()[2].startswith("| rows.csv#201 | no&#95;number |")
    assert metadata(outcome, "candidate_model")["fitted"] == "now"
    evaluation = metadata(outcome, "evaluation")
    assert evaluation["gates"].splitlines()[2].startswith("| accuracy | yes | 0.8")
    assert metadata(outcome, "deployment")["serves as"] == "champion"

    again = runs.run()
    assert metadata(again, "candidate_model")["fitted"] == "before, on the same rows"
    assert (metadata(again, "deployment")["version"], runs.versions()) == ("1", ["1"])
    drift = metadata(again, "drift_report")
    assert drift["champion"] == "1"
    assert "no drift in 200 rows" in drift["drift"]
    assert "| x | values |" in drift["columns"]
    pictures = [*images(drift), *images(evaluation)]
    assert len(pictures) >= 3
    assert all(png.startswith(b"\x89PNG") and len(png) > 5_000 for png in pictures)


def images(found: dict[str, Any]) -> list[bytes]:
    """The plots in the metadata, decoded."""
    texts = [value for value in found.values() if isinstance(value, str)]
    shown = [text.partition("base64,")[2].rstrip(")") for text in texts if "base64," in text]
    return [base64.b64decode(text) for text in shown]


def test_a_later_version_is_tried_and_drift_warns(runs: ModelRuns) -> None:
    runs.configure(more={"console": {"url": "https://console.test"}})
    runs.write(count=400)
    assert runs.run().success
    moved = tiny_rows(400, seed=1)
    moved["x"] += 2.0
    runs.write(rows=moved)
    outcome = runs.run()
    assert outcome.success
    assert list(outcome.failed()) == ["rows_are_like_the_champions"]
    assert "'x'" in outcome.failed()["rows_are_like_the_champions"]
    deployed = metadata(outcome, "deployment")
    assert (deployed["version"], deployed["serves as"]) == ("2", "challenger")
    assert deployed["history"].splitlines()[2].split("|")[2:4] == [" challenger ", " 2 "]
    for stage in ("drift_report", "evaluation", "deployment"):
        assert metadata(outcome, stage)["console"] == f"https://console.test/models/{NAME}"
    assert runs.champion() == "1"
    with runs.platform() as platform:
        # This training is the one that drift would ask for.
        assert runs.tick("models_drift").run_requests == []
        assert platform.models.promotions.challenger(NAME) is not None
        version = platform.models.registry.version(NAME, "2")
        assert version is not None
        page = version.tags["rag_platform.console_url"]
        assert page == f"https://console.test/models/{NAME}"


@pytest.mark.slow
def test_a_backfill_runs_week_by_week_and_keeps_the_rows(runs: ModelRuns) -> None:
    weeks = ["2026-03-09", PAST]
    first = runs.write()
    requests = build_run_requests_with_backfill_policies(
        [AssetKeyPartitionKey(key, week) for key in factory.keys(NAME) for week in weeks],
        runs.defs.resolve_asset_graph(),
        runs.instance,
    )
    assert [request.partition_key for request in requests] == sorted(weeks)
    for request in requests:
        assert set(request.asset_selection or ()) == {*factory.keys(NAME)}
        assert runs.run(request.partition_key, tags=dict(request.tags)).success
    first.unlink()
    again = runs.run(PAST)
    assert again.success
    assert metadata(again, "candidate_model")["fitted"] == "before, on the same rows"
    runs.write(seed=1)
    config = {"ops": {f"{NAME}__training_data": {"config": {"refresh": True}}}}
    renewed = runs.run(PAST, config=config, stages=STAGES[:1])
    assert (
        metadata(renewed, "training_data")["snapshot"]
        != metadata(again, "training_data")["snapshot"]
    )
    assert runs.versions() == ["1"]


# Gates


def blurred(runs: ModelRuns) -> None:
    # Twice the spread, and .84 of right answers becomes .69.
    runs.write(seed=1, spread=1.0)


def worse(runs: ModelRuns) -> None:
    runs.configure(trainer="shifted", gates={"accuracy": 0.5})


@pytest.mark.parametrize(
    ("spoil", "gate"),
    [(blurred, "gate_accuracy"), (worse, "gate_not_worse_than_champion")],
)
def test_a_gate_that_fails_leaves_the_champion(
    runs: ModelRuns, spoil: Callable[[ModelRuns], None], gate: str
) -> None:
    runs.write(count=1_500)
    assert runs.run().failed() == {}
    runs.tick("failed_runs")
    spoil(runs)
    started = time.monotonic()
    outcome = runs.run()
    assert time.monotonic() - started < 60
    assert not outcome.success
    assert list(outcome.failed()) == [gate]
    assert outcome.stages == list(STAGES[:4])
    assert count(outcome, Retry) == 0
    assert (runs.champion(), runs.versions()) == ("1", ["1"])
    with runs.platform() as platform:
        assert platform.models.promotions.rollout(NAME) is None
    message = failure_message(runs.instance, outcome.result.dagster_run)
    assert (message.step, message.windows) == (f"{NAME}/evaluation", current_week())
    assert message.error == outcome.failed()[gate]
    assert message.error.startswith(gate.removeprefix("gate_"))
    assert not will_retry(runs, outcome, RunFailureReason.STEP_FAILURE)
    # A machine that died is another thing.
    assert will_retry(runs, outcome, RunFailureReason.RUN_EXCEPTION)


def will_retry(runs: ModelRuns, outcome: Any, reason: RunFailureReason) -> bool:
    run = runs.instance.get_run_by_id(outcome.result.run_id)
    assert run is not None
    return bool(auto_reexecution_should_retry_run(runs.instance, run, reason))


def unreadable(runs: ModelRuns) -> None:
    path = runs.write()
    path.write_text(path.read_text() + "u,oops,yes\n" * 30)


def nameless(runs: ModelRuns) -> None:
    rows = tiny_rows()
    rows.loc[:20, "unit"] = ""
    runs.write(rows=rows)


def out_of_range(runs: ModelRuns) -> None:
    rows = tiny_rows()
    rows.loc[:20, "x"] = 200.0
    runs.write(rows=rows)


def few(runs: ModelRuns) -> None:
    runs.write(count=12)


def telling(runs: ModelRuns) -> None:
    runs.write(spread=1e-9)


def old(runs: ModelRuns) -> None:
    then = time.time() - 31 * 86_400
    os.utime(runs.write(), (then, then))


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (unreadable, "usable"),
        (nameless, "schema"),
        (out_of_range, "ranges"),
        (few, "enough_rows"),
        (telling, "no_leakage"),
        (old, "freshness"),
    ],
)
def test_a_check_of_the_data_that_fails_stops_the_week(
    runs: ModelRuns, spoil: Callable[[ModelRuns], None], check: str
) -> None:
    runs.knows(replace(SPEC, ranges={"x": (-100.0, 100.0)}))
    runs.configure()
    runs.write(seed=3)
    assert runs.run(stages=("training_data",)).failed() == {}
    spoil(runs)
    outcome = runs.run()
    assert not outcome.success
    assert check in outcome.failed()
    assert outcome.stages == ["training_data"]
    assert count(outcome, Retry) == 0
    assert runs.champion() is None
    message = failure_message(runs.instance, outcome.result.dagster_run)
    assert message.step == f"{NAME}/training_data"
    assert message.error in outcome.failed().values()


# Errors


@pytest.fixture
def soon(runs: ModelRuns, monkeypatch: pytest.MonkeyPatch) -> ModelRuns:
    """With retries that do not wait."""
    monkeypatch.setattr(factory, "RETRIES", dg.RetryPolicy(max_retries=2, delay=0.01))
    runs.configure()
    return runs


class Failing:
    """In the place of a stage: raises for a while."""

    def __init__(self, error: BaseException, times: int = 100) -> None:
        self.error = error
        self.times = times
        self.asked = 0

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        if self.asked <= self.times:
            raise self.error


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (UnusableData("no file"), 1),
        (SourceUnavailable("gone", transient=False), 1),
        (SourceUnavailable("away", transient=True), 3),
        (ValueError("nobody thought of it"), 3),
        (KeyboardInterrupt(), 1),
    ],
)
def test_only_what_may_pass_is_tried_again(
    soon: ModelRuns, monkeypatch: pytest.MonkeyPatch, error: BaseException, attempts: int
) -> None:
    failing = Failing(error)
    monkeypatch.setattr(Training, "run_data", failing)
    outcome = soon.run()
    assert not outcome.success
    assert (failing.asked, count(outcome, Retry)) == (attempts, attempts - 1)
    told = failure_message(soon.instance, outcome.result.dagster_run).error
    assert str(error) in told
    [failure] = [e for e in outcome.result.all_events if e.event_type == Failed]
    is_interruption = failure.step_failure_data.error_source is ErrorSource.INTERRUPT
    assert is_interruption == isinstance(error, KeyboardInterrupt)


def test_what_passes_is_made_good(soon: ModelRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    soon.write()
    read, failing = Training._read, Failing(OSError("a hiccup"), times=1)

    def once(self: Training, week: str, url: str) -> Any:
        failing()
        return read(self, week, url)

    monkeypatch.setattr(Training, "_read", once)
    outcome = soon.run()
    assert outcome.success
    assert count(outcome, Retry) == 1


@pytest.mark.parametrize(
    "error", [ValueError("nobody thought of it"), SourceUnavailable("away", transient=True)]
)
def test_a_person_does_not_wait_for_retries(
    runs: ModelRuns, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Training, "run_data", Failing(error))
    with alive(runs.instance, "1") as tags:
        outcome = runs.run(tags=tags)
    assert not outcome.success
    assert count(outcome, Retry) == 0
    told = failure_message(runs.instance, outcome.result.dagster_run).error
    assert str(error) in told


def test_a_model_without_sample_and_data_says_so(runs: ModelRuns) -> None:
    runs.knows(replace(SPEC, sample=None))
    runs.configure(data=None)
    outcome = runs.run()
    assert not outcome.success
    told = failure_message(runs.instance, outcome.result.dagster_run).error
    assert "set models.tiny_model.data in platform.yaml" in told


@pytest.mark.slow
def test_another_mlflow_for_all_stages(
    runs: ModelRuns, mlflow_template: Path, tmp_path: Path
) -> None:
    """The resource says where versions are, whichever stage asks first."""
    from rag_platform.resources.mlflow import MlflowResource

    elsewhere = f"sqlite:///{tmp_path}/elsewhere.db"
    (tmp_path / "elsewhere.db").write_bytes(mlflow_template.read_bytes())
    runs.write()
    plain = definitions(runs.settings)
    resources = {**(plain.resources or {}), "mlflow": MlflowResource(tracking_uri=elsewhere)}
    runs.defs = dg.Definitions(
        assets=plain.assets,
        asset_checks=plain.asset_checks,
        jobs=plain.jobs,
        schedules=plain.schedules,
        sensors=plain.sensors,
        resources=resources,
        executor=plain.executor,
    )
    assert runs.run().success
    assert runs.champion() is None
    with runs.platform() as platform:
        models = MlflowResource(tracking_uri=elsewhere).models(platform)
        assert [version.number for version in models.registry.versions(NAME)] == ["1"]
        assert platform.models.registry.uri != elsewhere
    again = runs.run()
    assert metadata(again, "drift_report")["champion"] == "1"
