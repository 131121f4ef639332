"""A day's scores as Dagster runs them, and what an operator sees."""

from typing import Any

import dagster as dg
import pytest

from rag_platform.defs.operations.notifications import failure_message
from rag_platform_tests.defs.training.location import OTHER, ModelRuns, count, metadata
from rag_platform_tests.training.tiny import NAME, TinyModel, tiny_rows

DAY = "2026-06-01"
CHECKS = ("day_has_rows", "rows_are_like_the_champions", "challenger_keeps_the_guardrails")


@pytest.fixture
def scored(runs: ModelRuns) -> ModelRuns:
    """With a champion, and days to be answered."""
    rollout = {"shadow_units": 100, "step_units": 100}
    runs.configure(scoring=str(runs.folder("batches")), rollout=rollout)
    runs.write(count=400)
    assert runs.run().success
    return runs


def challenge(runs: ModelRuns) -> None:
    runs.write(count=400, seed=1)
    assert runs.run().success


def test_only_models_with_such_rows_are_scored(runs: ModelRuns) -> None:
    assert not [job for job in runs.defs.jobs or () if job.name == "models_scores"]
    runs.configure(NAME, OTHER, scoring=str(runs.folder("batches")))
    graph = runs.defs.resolve_asset_graph()
    for model in (NAME, OTHER):
        node = graph.get(dg.AssetKey([model, "scores"]))
        assert node.group_name == model
        assert node.backfill_policy is None
        assert {key.name for key in node.check_keys} == {*CHECKS}
        policy = node.assets_def.op.retry_policy
        assert (policy.max_retries, policy.delay) == (2, 300)
    tags = runs.defs.resolve_job_def("models_scores").tags
    assert (tags["dagster/max_runtime"], tags["dagster/max_retries"]) == ("7200", "1")


def test_a_day_with_champion_and_challenger(scored: ModelRuns) -> None:
    challenge(scored)
    path = scored.batch(DAY, count=120)
    path.write_text(path.read_text() + "<img>|u,many\n")
    outcome = scored.scores(DAY)
    assert outcome.success
    assert (outcome.failed(), set(outcome.checks)) == ({}, {*CHECKS})
    told = metadata(outcome, "scores")
    assert (told["rows"], told["unusable records"], told["champion"]) == (120, 1, "1")
    assert (told["challenger"], told["served by the challenger"]) == ("2", 0)
    assert (told["share in %"], told["rollout"]) == (
        5,
        "step: in shadow: 120 units answered within the guardrails",
    )
    assert [line.split("|")[1:4] for line in told["answers"].splitlines()[2:]] == [
        [" champion ", " 1 ", " 120 "],
        [" challenger ", " 2 ", " 120 "],
    ]
    assert told["dead letters"].splitlines()[2].startswith(f"| {DAY}.csv#121 | no&#95;number |")
    plots = [name for name in told if name.startswith("plot: ")]
    assert plots
    assert all("data:image/png;base64,iVBOR" in told[name] for name in plots)
    again = metadata(scored.scores(DAY), "scores")
    assert again["rollout"] == "hold: at 5 %: 0 of 100 units answered"
    assert metadata(scored.scores(DAY, refresh=True), "scores")["served by the challenger"] > 0


def test_a_day_without_rows_is_a_warning(scored: ModelRuns) -> None:
    outcome = scored.scores(DAY)
    assert outcome.success
    assert list(outcome.failed()) == ["day_has_rows"]
    assert f"no file of {DAY}" in outcome.failed()["day_has_rows"]
    assert metadata(outcome, "scores") == {"rows": 0}


def test_new_rows_are_a_warning_and_ask_for_training(scored: ModelRuns) -> None:
    moved = tiny_rows(200, seed=4)
    moved["x"] += 2.0
    moved[["unit", "x"]].to_csv(scored.folder("batches") / f"{DAY}.csv", index=False)
    outcome = scored.scores(DAY)
    assert outcome.success
    assert list(outcome.failed()) == ["rows_are_like_the_champions"]
    [request] = scored.tick("models_drift").run_requests
    assert request.job_name == f"{NAME}_training"
    assert "'x'" in request.tags["rag_platform/why"]


def test_a_broken_guardrail_is_a_warning_and_told(
    scored: ModelRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenge(scored)
    with scored.platform() as platform:
        challenger = platform.models.promotions.challenger(NAME)
        assert challenger is not None
        package = platform.models.registry.folder(challenger)
    threshold = TinyModel.predict
    bad = (package / "model" / "tiny.json").read_text()

    def predict(model: TinyModel, rows: Any) -> Any:
        if str(model.threshold) in bad:
            raise MemoryError
        return threshold(model, rows)

    monkeypatch.setattr(TinyModel, "predict", predict)
    scored.batch(DAY, count=120)
    outcome = scored.scores(DAY)
    assert outcome.success
    told = outcome.failed()["challenger_keeps_the_guardrails"]
    assert told.startswith("errors: 120 of 120 units have no answer (MemoryError)")
    assert metadata(outcome, "scores")["rollout"] == f"withdraw: {told}"
    assert scored.champion() == "1"
    assert [text for text in scored.messages() if told in text]


def test_a_champion_that_fails_fails_the_run(
    scored: ModelRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        TinyModel, "predict", lambda _, rows: rows[["x"]].rename(columns={"x": "prediction"})
    )
    scored.batch(DAY, count=120)
    outcome = scored.scores(DAY)
    assert not outcome.success
    assert count(outcome, dg.DagsterEventType.STEP_UP_FOR_RETRY) == 0
    message = failure_message(scored.instance, outcome.result.dagster_run)
    assert (message.step, message.windows) == (f"{NAME}/scores", DAY)
    assert message.error.startswith(f"{NAME}: champion 1 cannot answer the rows of {DAY}: ")
