"""A week of a model, from its data to what serves."""

import os
import time
from typing import Any

import pytest

from rag_platform.training import pipeline
from rag_platform.training.calendar import UnknownWeek, current_week
from rag_platform.training.drift.profile import Profile
from rag_platform.training.errors import NoSuchModel, RegistryUnavailable, UnusableData
from rag_platform.training.registry import ModelRegistry
from rag_platform.training.stages import CANDIDATE, DATA, EVALUATION, NotTrained
from rag_platform_tests.training.tiny import NAME, TinyTrainer, tiny_rows
from rag_platform_tests.training.weekly import ORIGIN, Weekly

pytestmark = pytest.mark.usefixtures("unrendered")

WEEK = current_week()


def test_the_first_version_that_passes_serves(weekly: Weekly) -> None:
    weekly.write()
    deployed = weekly.week()
    assert (deployed["version"], deployed["arm"]) == ("1", "champion")
    champion = weekly.promotions.champion(NAME)
    assert champion is not None
    assert champion.number == "1"
    report = weekly.training().facts(EVALUATION, WEEK)["report"]
    # Two normal distributions one apart with a spread of half: the best answer is right in 84 %.
    assert report["metrics"]["accuracy"]["value"] == pytest.approx(0.841, abs=0.06)
    run = weekly.registry.version(NAME, "champion")
    assert run is not None
    assert run.run_id == weekly.training().facts(CANDIDATE, WEEK)["run_id"]


def test_the_same_rows_are_fitted_once(weekly: Weekly, monkeypatch: pytest.MonkeyPatch) -> None:
    weekly.write()
    weekly.week()
    first = weekly.training().facts(CANDIDATE, WEEK)
    # The same rows in another order, in another file.
    rows = tiny_rows().sample(frac=1.0, random_state=3)
    weekly.write().unlink()
    weekly.write("other.csv", rows=rows)
    monkeypatch.setattr(pipeline.Training, "_fit", _never)
    again = weekly.week()
    assert again["version"] == "1"
    facts = weekly.training().facts(CANDIDATE, WEEK)
    assert (facts["reused"], facts["run_id"]) == (True, first["run_id"])
    assert facts["sha256"] == first["sha256"]


def _never(*_: Any) -> str:
    raise AssertionError("fitted again")


def test_a_later_version_is_tried_beside_the_champion(weekly: Weekly) -> None:
    weekly.write()
    weekly.week()
    weekly.write(seed=1)
    assert weekly.week()["arm"] == "challenger"
    rollout = weekly.promotions.rollout(NAME)
    assert rollout is not None
    assert (rollout.challenger, rollout.share) == ("2", 0)
    champion = weekly.promotions.champion(NAME)
    assert champion is not None
    assert champion.number == "1"


def test_a_gate_that_fails_leaves_what_serves(weekly: Weekly) -> None:
    weekly.write()
    weekly.week()
    # So far apart no more: .84 becomes .69 when the spread doubles.
    weekly.write(seed=1, spread=1.0)
    failed = weekly.week()
    assert any("accuracy" in told for told in failed)
    assert [version.number for version in weekly.registry.versions(NAME)] == ["1"]
    with pytest.raises(NotTrained, match="does not let the candidate pass"):
        weekly.training().run_registration(WEEK, ORIGIN)
    champion = weekly.promotions.champion(NAME)
    assert champion is not None
    assert champion.number == "1"


def test_a_bound_of_the_settings_goes_before_the_models_own(weekly: Weekly) -> None:
    weekly.write(spread=1.0)
    assert weekly.week(gates={"accuracy": 0.5})["arm"] == "champion"
    assert weekly.training(gates={"accuracy": 0.5}).gates == {"accuracy": 0.5}


def test_a_stage_does_not_take_what_was_made_of_other_rows(weekly: Weekly) -> None:
    weekly.write()
    weekly.week()
    weekly.write(seed=1)
    training = weekly.training()
    training.run_data(WEEK)
    for stage in (training.run_evaluation, lambda week: training.run_registration(week, ORIGIN)):
        with pytest.raises(NotTrained, match="made of other rows"):
            stage(WEEK)
    training.run_candidate(WEEK, ORIGIN)
    with pytest.raises(NotTrained, match="made of another candidate"):
        training.run_registration(WEEK, ORIGIN)


def test_stages_need_those_before_them(weekly: Weekly) -> None:
    training = weekly.training()
    for stage in (
        lambda: training.run_candidate(WEEK, ORIGIN),
        lambda: training.run_evaluation(WEEK),
        lambda: training.run_registration(WEEK, ORIGIN),
        lambda: training.run_deployment(WEEK, ORIGIN),
    ):
        with pytest.raises(NotTrained, match="has not run for week"):
            stage()
    with pytest.raises(UnknownWeek):
        training.run_data("2026-11-24")


def test_a_week_that_has_ended_keeps_its_rows(
    weekly: Weekly, monkeypatch: pytest.MonkeyPatch
) -> None:
    weekly.write()
    training = weekly.training()
    first, _ = training.run_data(WEEK)
    weekly.write(seed=1)
    assert training.run_data(WEEK)[0]["sha256"] != first["sha256"]
    weekly.write()
    training.run_data(WEEK)
    monkeypatch.setattr(pipeline, "has_ended", lambda week: True)
    weekly.write(seed=2)
    kept, checks = training.run_data(WEEK)
    assert (kept["sha256"], kept["rows"]) == (first["sha256"], 200)
    assert checks
    assert all(check.passed for check in checks)
    renewed, _ = training.run_data(WEEK, refresh=True)
    assert renewed["sha256"] != first["sha256"]


def test_old_data_is_refused_and_not_kept(weekly: Weekly) -> None:
    path = weekly.write()
    old = time.time() - 31 * 86_400
    os.utime(path, (old, old))
    training = weekly.training()
    _, checks = training.run_data(WEEK)
    assert [check.name for check in checks if not check.passed] == ["freshness"]
    assert training.known(DATA, WEEK) is None
    assert "31 days old" in str(training.stale(time.time()))
    assert weekly.training(max_age_days=40).stale(time.time()) is None


def test_bad_rows_are_dead_letters(weekly: Weekly) -> None:
    path = weekly.write()
    path.write_text(path.read_text() + "u900,oops,yes\n")
    training = weekly.training()
    facts, _ = training.run_data(WEEK)
    assert (facts["rows"], facts["records"], facts["bad"]) == (200, 201, 1)
    [letter] = training.letters.of(DATA, WEEK)
    assert (letter.item, letter.reason) == ("rows.csv#201", "no_number")
    weekly.write()
    training.run_data(WEEK)
    assert training.letters.of(DATA, WEEK) == []


def test_drift_is_told_against_the_champion(weekly: Weekly) -> None:
    weekly.write(count=600)
    assert weekly.training().run_data(WEEK)
    _, none = weekly.training().run_drift(WEEK)
    assert none is None
    weekly.week()
    _, same = weekly.training().run_drift(WEEK)
    assert same is not None
    assert not same.drifted
    moved = tiny_rows(600, seed=1)
    moved["x"] += 2.0
    weekly.write(rows=moved)
    weekly.training().run_data(WEEK)
    _, found = weekly.training().run_drift(WEEK)
    assert found is not None
    assert found.drifted
    assert "x" in found.told


def _load_fails(*_: Any, **__: Any) -> None:
    raise UnusableData("no tiny model in the folder")


@pytest.mark.parametrize(
    ("part", "owner", "name"),
    [("twin", TinyTrainer, "load"), ("profile", Profile, "from_json")],
)
def test_a_champion_that_cannot_be_read_any_more_stops_nobody(
    weekly: Weekly, monkeypatch: pytest.MonkeyPatch, part: str, owner: type, name: str
) -> None:
    """As after an upgrade: its successor is trained, and told of as not compared."""
    weekly.write()
    weekly.week()
    champion = weekly.promotions.champion(NAME)
    assert champion is not None
    folder = weekly.registry.folder(champion)
    method = getattr(owner, name)

    def load(*args: Any, **kwargs: Any) -> Any:
        is_champion = part == "profile" or folder in args[1].parents
        return _load_fails() if is_champion else method(*args, **kwargs)

    monkeypatch.setattr(owner, name, load)
    weekly.write(seed=1)
    assert weekly.week()["arm"] == "challenger"
    told = weekly.training().facts(EVALUATION, WEEK)["report"]["verdicts"][-1]["told"]
    _, report = weekly.training().run_drift(WEEK)
    assert report is not None
    assert not report.drifted
    if part == "twin":
        assert "version 1 cannot answer these rows and was not compared" in told
        assert "no tiny model in the folder" in told
    else:
        assert report.told == "not compared: no tiny model in the folder"


def test_a_registry_that_is_away_is_no_reason_to_go_on(
    weekly: Weekly, monkeypatch: pytest.MonkeyPatch
) -> None:
    weekly.write()
    weekly.week()
    weekly.write(seed=1)
    training = weekly.training()
    training.run_data(WEEK)

    def away(*_: Any) -> None:
        raise RegistryUnavailable("mlflow is away")

    monkeypatch.setattr(ModelRegistry, "folder", away)
    for stage in (training.run_drift, training.run_evaluation):
        training.run_candidate(WEEK, ORIGIN)
        with pytest.raises(RegistryUnavailable):
            stage(WEEK)


def test_an_unknown_trainer_is_refused(weekly: Weekly) -> None:
    with pytest.raises(NoSuchModel, match="there are: default, shifted"):
        _ = weekly.training(trainer="magic").trainer
