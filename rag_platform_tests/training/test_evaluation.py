"""What is measured of a candidate, on models of one number and on real ones."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rag_platform.training.errors import UnusableData
from rag_platform.training.evaluation import MIN_SLICE, Evaluation, evaluate
from rag_platform.training.gates import NOT_WORSE, NoSuchGate, Verdict
from rag_platform.training.spec import ModelSpec
from rag_platform.training.splits import held_back
from rag_platform.training.task import GROUP, TARGET, UNIT, Metric
from rag_platform.training.trainer import Model, Services, Trainer
from rag_platform_tests.training.tiny import (
    SERVICES,
    SPEC,
    TinyModel,
    TinyTask,
    TinyTrainer,
    tiny_rows,
)

ROWS = tiny_rows(400)
HELD = held_back(ROWS[GROUP], 0.2)


def _evaluate(
    spec: ModelSpec = SPEC,
    rows: pd.DataFrame = ROWS,
    *,
    trainer: Trainer | None = None,
    champion: Model | None = None,
    seed: int = 1,
    **gates: float,
) -> Evaluation:
    trainer = trainer or spec.trainers["default"]
    return evaluate(
        spec,
        trainer,
        rows,
        gates=gates,
        twin=trainer.fit(rows[~spec.task.holdout(rows)], seed=0, services=SERVICES),
        champion=champion,
        champion_version="7" if champion else None,
        seed=seed,
        services=SERVICES,
    )


def _verdict(evaluation: Evaluation, gate: str) -> Verdict:
    (found,) = [verdict for verdict in evaluation.verdicts if verdict.gate == gate]
    return found


@dataclass(frozen=True)
class Spy(Trainer):
    """Notes which units were fitted on, and what the models were asked."""

    fitted: list[set[str]] = field(default_factory=list)
    asked: list[pd.DataFrame] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def fit(self, rows: pd.DataFrame, *, seed: int, services: Services) -> Model:
        self.fitted.append(set(rows[UNIT]))
        self.seeds.append(seed)
        model, asked = TinyTrainer().fit(rows, seed=seed, services=services), self.asked

        class Asked(TinyModel):
            def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
                asked.append(rows)
                return model.predict(rows)

        return Asked(0.0)

    def load(self, folder: Any, *, services: Services) -> Model:
        raise NotImplementedError


# Cross-validation


def test_no_model_sees_what_it_is_measured_on() -> None:
    spy = Spy()
    found = _evaluate(trainer=spy)
    held = set(ROWS[UNIT][HELD])
    assert len(spy.fitted) == 1 + 15  # the twin first
    for fitted, asked in zip(spy.fitted[1:], spy.asked, strict=False):
        assert fitted.isdisjoint(asked[UNIT])
        assert fitted.isdisjoint(held)
        assert held.isdisjoint(asked[UNIT])
        assert len(fitted) + len(asked) == found.units == 400 - found.held_back
    assert set(spy.asked[-1][UNIT]) == held  # the twin's, at last
    assert not any(TARGET in asked for asked in spy.asked)
    assert len(set(spy.seeds[1:])) == 15


def test_metrics_are_means_over_folds_with_the_interval_of_the_formula() -> None:
    found = _evaluate()
    rows = ROWS[~HELD].sort_values(UNIT, ignore_index=True)
    accuracies = []
    for fit_on, test_on in SPEC.task.folds(rows, folds=5, repeats=3, seed=1):
        is_yes = rows[TARGET][fit_on] == "yes"
        at = (rows["x"][fit_on][is_yes].mean() + rows["x"][fit_on][~is_yes].mean()) / 2
        right = (rows["x"][test_on] >= at) == (rows[TARGET][test_on] == "yes")
        accuracies.append(float(right.mean()))
    assert found.folds["accuracy"] == pytest.approx(accuracies)
    estimate = found.metrics["accuracy"]
    assert estimate.value == pytest.approx(np.mean(accuracies))
    reach = stats.t.ppf(0.975, 14) * np.std(accuracies, ddof=1) * np.sqrt(1 / 15 + 1 / 4)
    assert estimate.high - estimate.value == pytest.approx(reach)
    assert _verdict(found, "accuracy").value == estimate.value


def test_the_same_rows_and_seed_give_the_same_whatever_their_order_and_index() -> None:
    champion = TinyModel(0.4)
    first = _evaluate(champion=champion)
    mixed = ROWS.sample(frac=1, random_state=3).set_index(pd.Index([1] * 400))
    again = _evaluate(rows=mixed, champion=champion)
    assert replace(again, timings={}) == replace(first, timings={})
    assert _evaluate(seed=2).folds != first.folds


class Sparse(TinyTask):
    """Has metrics that not every fold can tell."""

    metrics: ClassVar = {
        **TinyTask.metrics,
        "often": Metric("told where a fold has the unit with the most digits"),
        "seldom": Metric("told by one fold of a repeat"),
        "never": Metric("not a number"),
    }

    def measure(self, rows: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, float]:
        found = {**super().measure(rows, predictions), "never": float("nan")}
        found["often"] = 0.9 if rows["x"].iloc[0] < 1.2 else float("inf")
        return found | ({"seldom": 1.0} if "u1" in set(rows[UNIT]) else {})


def test_a_metric_counts_where_more_than_half_of_the_folds_can_tell_it() -> None:
    spec = replace(SPEC, task=Sparse())
    found = _evaluate(spec, often=0.8, seldom=0.8, never=0.1)
    assert 8 <= len(found.folds["often"]) < 15
    assert found.metrics["often"].value == pytest.approx(0.9)
    assert _verdict(found, "often").passed
    for gate in ("seldom", "never"):
        assert gate not in found.metrics
        assert not _verdict(found, gate).passed
        assert "cannot be measured" in _verdict(found, gate).told
    assert not found.passed


class Untrained(TinyTask):
    """Nothing is fitted: one pair."""

    def folds(
        self, rows: pd.DataFrame, *, folds: int, repeats: int, seed: int
    ) -> Iterator[tuple[Any, Any]]:
        yield np.array([], int), np.arange(len(rows))


@dataclass(frozen=True)
class Fixed(Trainer):
    """A threshold that is given."""

    at: float = 0.5

    def fit(self, rows: pd.DataFrame, *, seed: int, services: Services) -> Model:
        return TinyModel(self.at)

    def load(self, folder: Any, *, services: Services) -> Model:
        raise NotImplementedError


def test_one_fold_has_the_interval_of_the_bootstrap() -> None:
    found = _evaluate(replace(SPEC, task=Untrained()), trainer=Fixed())
    rows = ROWS[~HELD]
    share = float(((rows["x"] >= 0.5) == (rows[TARGET] == "yes")).mean())
    estimate = found.metrics["accuracy"]
    assert estimate.value == pytest.approx(share)
    reach = 1.96 * np.sqrt(share * (1 - share) / len(rows))
    assert estimate.low == pytest.approx(share - reach, abs=0.01)
    assert estimate.high == pytest.approx(share + reach, abs=0.01)
    assert found.folds["accuracy"] == [estimate.value]


def test_rows_that_make_no_fold_are_refused() -> None:
    with pytest.raises(UnusableData, match="too few"):
        _evaluate(rows=ROWS[HELD], trainer=Fixed())


class Answering(Model):
    """Leaves out a column, or a row."""

    def __init__(self, column: str | None, rows: int) -> None:
        self.column, self.rows = column, rows

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        found = TinyModel(0.5).predict(rows).iloc[: self.rows]
        return found.drop(columns=self.column) if self.column else found

    def save(self, folder: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(("column", "rows"), [("score", 10_000), (None, 5)])
def test_a_model_that_leaves_something_out_is_refused(column: str | None, rows: int) -> None:
    broken = Fixed()
    object.__setattr__(broken, "fit", lambda *_, **__: Answering(column, rows))
    with pytest.raises(UnusableData, match=column or "each row"):
        _evaluate(trainer=broken)


# Gates


def test_a_gate_of_a_metric_both_ways() -> None:
    good = _evaluate()
    assert good.passed
    assert good.metrics["accuracy"].value == pytest.approx(stats.norm.cdf(1), abs=0.04)
    bad = _evaluate(trainer=TinyTrainer(shift=0.5))
    assert not bad.passed
    assert bad.metrics["accuracy"].value < 0.78
    assert not _evaluate(accuracy=0.9).passed


def test_an_unknown_gate_is_refused_before_anything_is_fitted() -> None:
    spy = Spy()
    with pytest.raises(NoSuchGate):
        _evaluate(trainer=spy, precisoin=0.5)
    assert len(spy.fitted) == 1  # the twin


@dataclass(frozen=True)
class Noisy(Trainer):
    """A threshold that the seed moves: as good as the others on the average only."""

    noise: float = 0.35

    def fit(self, rows: pd.DataFrame, *, seed: int, services: Services) -> Model:
        best = TinyTrainer().fit(rows, seed=seed, services=services)
        return TinyModel(best.threshold + self.noise * np.random.default_rng(seed).normal())

    def load(self, folder: Any, *, services: Services) -> Model:
        raise NotImplementedError


def test_a_noisy_trainer_flips_a_gate_on_one_fold_but_not_on_the_mean_of_all() -> None:
    seeds = range(0, 20 * 15, 15)
    found = [_evaluate(trainer=Noisy(), seed=seed) for seed in seeds]
    first_folds = np.array([one.folds["accuracy"][0] for one in found])
    means = np.array([one.metrics["accuracy"].value for one in found])
    bound = float(means.mean()) - 0.03
    assert 0 < (first_folds >= bound).sum() < 20
    assert (means >= bound).all()
    assert means.std() < first_folds.std() / 2
    assert all(_evaluate(trainer=Noisy(), seed=seed, accuracy=bound).passed for seed in seeds)


# Candidate and champion


def test_without_a_champion_nothing_is_compared() -> None:
    found = _evaluate()
    assert (found.champion, found.champion_version, found.comparison) == (None, None, None)
    verdict = _verdict(found, NOT_WORSE)
    assert verdict.passed
    assert "no champion" in verdict.told


def test_a_champion_that_is_far_better_stops_the_candidate() -> None:
    found = _evaluate(trainer=TinyTrainer(shift=1.0), champion=TinyModel(0.5), accuracy=0.1)
    assert found.champion is not None
    assert found.champion["accuracy"] > found.holdout["accuracy"]
    assert [verdict.passed for verdict in found.verdicts] == [True, False]
    told = _verdict(found, NOT_WORSE).told
    assert "of version 7" in told
    assert f"{found.champion['accuracy']:.4g}" in told


@pytest.mark.parametrize("threshold", [0.5, 0.45, 3.0])
def test_a_champion_that_is_alike_or_worse_does_not(threshold: float) -> None:
    found = _evaluate(champion=TinyModel(threshold))
    assert found.passed
    assert found.comparison is not None
    assert (found.comparison.p_better < 0.001) is (threshold == 3.0)


def test_both_twins_are_measured_on_the_held_back_rows() -> None:
    found = _evaluate(champion=TinyModel(0.7))
    rows = ROWS[HELD]
    right = (rows["x"] >= 0.7) == (rows[TARGET] == "yes")
    assert found.champion == pytest.approx({"accuracy": right.mean()})
    assert found.held_back == len(rows)
    twin = TinyTrainer().fit(ROWS[~HELD], seed=0, services=SERVICES)
    ours = (rows["x"] >= twin.threshold) == (rows[TARGET] == "yes")
    assert found.holdout == pytest.approx({"accuracy": ours.mean()})
    assert found.comparison is not None
    assert found.comparison.difference == pytest.approx(right.mean() - ours.mean())


class OtherSchema(TinyModel):
    """Was fitted on a column that the rows of today do not have."""

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        raise UnusableData("no column y")


def test_a_champion_that_cannot_take_the_rows_of_today_is_not_compared() -> None:
    found = _evaluate(champion=OtherSchema(0.5))
    assert found.passed
    assert (found.champion, found.comparison, found.champion_version) == (None, None, "7")
    told = _verdict(found, NOT_WORSE).told
    assert "version 7 cannot answer these rows and was not compared (no column y)" in told


class NothingHeld(TinyTask):
    def holdout(self, rows: pd.DataFrame) -> Any:
        return np.zeros(len(rows), bool)


def test_without_held_back_rows_nothing_is_compared() -> None:
    found = _evaluate(replace(SPEC, task=NothingHeld()), champion=TinyModel(0.5))
    assert (found.holdout, found.champion, found.comparison) == ({}, None, None)
    assert "no rows are held back" in _verdict(found, NOT_WORSE).told
    assert found.passed


# Parts of the rows


class Sliced(TinyTask):
    def slices(self, rows: pd.DataFrame) -> dict[str, Any]:
        x = rows["x"].to_numpy()
        smallest = np.zeros(len(rows), bool)
        smallest[: MIN_SLICE - 1] = True
        return {"low": x < 0.5, "all": x > -9, "few": smallest}


def test_slices_are_measured_once_a_row_and_small_ones_only_counted() -> None:
    found = {part.name: part for part in _evaluate(replace(SPEC, task=Sliced())).slices}
    rows = ROWS[~HELD]
    assert found["low"].units == int((rows["x"] < 0.5).sum())
    assert found["all"].units == len(rows)
    assert (found["few"].units, found["few"].metrics) == (MIN_SLICE - 1, {})
    assert 0.5 < found["low"].metrics["accuracy"] < 1


# As facts


def test_an_evaluation_goes_through_json() -> None:
    spec = replace(SPEC, task=Sliced())
    for champion in (None, TinyModel(0.7), OtherSchema(0.5)):
        found = _evaluate(spec, champion=champion)
        text = json.dumps(found.as_json(), allow_nan=False)
        assert Evaluation.from_json(json.loads(text)) == found
        assert json.loads(text)["passed"] is found.passed is True


def test_facts_of_another_form_are_refused() -> None:
    value = _evaluate().as_json()
    del value["folds"]
    with pytest.raises(UnusableData, match="evaluate the candidate again"):
        Evaluation.from_json(value)


def test_timings_tell_what_was_slow() -> None:
    timings = _evaluate(champion=TinyModel(0.5)).timings
    assert set(timings) == {"fit", "cross_validation", "predict_ms", "holdout_ms", "champion_ms"}
    assert all(value >= 0 for value in timings.values())
    assert timings["cross_validation"] >= 15 * timings["fit"]
