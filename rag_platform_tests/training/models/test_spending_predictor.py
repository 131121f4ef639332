"""The spending predictor on the spending that comes with the platform."""

from functools import cache

import pandas as pd
import pytest

from rag_platform.training.catalogue import catalogue
from rag_platform.training.evaluation import Evaluation, evaluate, figures
from rag_platform.training.models.spending_predictor import SPEC
from rag_platform.training.rows import DataFile
from rag_platform.training.task import TARGET
from rag_platform.training.trainer import Model, Services, Trainer

assert SPEC.sample_path is not None
SAMPLE = SPEC.sample_path
SERVICES = Services(gateway=lambda purpose: pytest.fail("forecasts ask nobody"))


@cache
def rows() -> pd.DataFrame:
    file = SAMPLE / "spending_2017.csv.gz"
    return SPEC.reader.read([DataFile(file.name, file, 0.0)], labelled=True).frame


def fit(found: pd.DataFrame, trainer: Trainer = SPEC.trainers["default"]) -> Model:
    return trainer.fit(found, seed=1, services=SERVICES)


def evaluated(found: pd.DataFrame, trainer: Trainer, champion: Model | None = None) -> Evaluation:
    return evaluate(
        SPEC,
        trainer,
        found,
        gates={},
        twin=fit(found[~SPEC.task.holdout(found)], trainer),
        champion=champion,
        champion_version="7" if champion else None,
        seed=1,
        services=SERVICES,
    )


def test_the_sample_is_read_as_it_is() -> None:
    found = rows()
    assert found["category"].nunique() == 17
    assert found["week"].min() == pd.Timestamp("2017-01-02")
    assert found["week"].max() == pd.Timestamp("2017-10-23")
    assert found["unit"].is_unique
    assert SPEC.task.findings(found) == []
    assert (SAMPLE / "README.md").exists()
    assert sum(file.stat().st_size for file in SAMPLE.iterdir()) < 300_000
    assert catalogue()["spending_predictor"] is SPEC


def test_the_default_passes_its_gates_and_a_model_of_an_older_week() -> None:
    found = rows()
    weeks = sorted(found["week"].unique())
    old = fit(found[found["week"] < weeks[-6]])
    evaluation = evaluated(found, SPEC.trainers["default"], old)
    assert evaluation.passed, [verdict.told for verdict in evaluation.verdicts]
    assert {verdict.gate for verdict in evaluation.verdicts} == {
        *SPEC.gates,
        "not_worse_than_champion",
    }
    assert evaluation.metrics["improvement_over_4_week_mean"].value > 0.05
    assert 0.7 < evaluation.metrics["coverage"].value < 0.95
    assert evaluation.comparison.units == found["category"].nunique()
    assert evaluation.champion is not None
    assert set(evaluation.champion) == set(evaluation.holdout)
    assert {part.name for part in evaluation.slices} >= {"category: grocery", "category: fuel"}
    held = found[SPEC.task.holdout(found)]
    drawn = figures(SPEC, held, fit(found[~SPEC.task.holdout(found)]).predict(held), evaluation)
    assert {"forecasts", "coverage", "error_by_week"} <= set(drawn)


class Repeating(Trainer):
    """Forecasts as the default does, but the last week again, with intervals of no width."""

    def fit(self, rows: pd.DataFrame, *, seed: int, services: Services) -> Model:
        last = rows[rows["week"] == rows["week"].max()].set_index("category")[TARGET]
        default = fit(rows)

        class Last(Model):
            def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
                told = rows["category"].map(last).fillna(0.0)
                return default.predict(rows).assign(prediction=told, lower=told, upper=told)

            def save(self, folder: object) -> None: ...

        return Last()

    def load(self, folder: object, *, services: Services) -> Model:
        raise NotImplementedError


def test_what_is_no_better_than_naive_fails_every_gate() -> None:
    failed = {
        verdict.gate for verdict in evaluated(rows(), Repeating()).verdicts if not verdict.passed
    }
    assert failed == set(SPEC.gates)


def test_next_weeks_are_forecast_for_every_category() -> None:
    found = rows()
    ahead = pd.DataFrame(
        [
            {"category": name, "week": week}
            for name in found["category"].unique()
            for week in pd.date_range("2017-10-30", periods=8, freq="7D")
        ]
    )
    told = fit(found).predict(ahead)
    assert list(told) == list(SPEC.task.prediction_columns)
    assert told["prediction"].notna().all()
    assert (told["note"] == "").all()
    grocery = told[(ahead["category"] == "grocery").to_numpy()]
    assert grocery["prediction"].between(2000, 2500).all()
    assert (grocery["upper"] - grocery["lower"]).between(200, 900).all()
