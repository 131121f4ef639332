"""A whole evaluation of a scikit-learn model, with groups that are audited."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from rag_platform.training.evaluation import Evaluation, evaluate
from rag_platform.training.gates import DISPARATE_IMPACT, NOT_WORSE, Verdict
from rag_platform.training.splits import points
from rag_platform.training.task import GROUP, TARGET, UNIT
from rag_platform.training.tasks.classification import BinaryClassification
from rag_platform.training.trainer import Model, Services, Trainer
from rag_platform_tests.training.tiny import SERVICES, SPEC

CREDIT = replace(
    SPEC,
    task=BinaryClassification(positive="good", negative="bad", sliced={"age": (25.0,)}),
    gates={"accuracy": 0.75, "auc": 0.75, DISPARATE_IMPACT: 0.8},
    audited={"age": (25.0,)},
)


@dataclass
class Bayes(Model):
    """A naive Bayes classifier of some columns."""

    columns: list[str]
    fitted: Any

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        score = self.fitted.predict_proba(rows[self.columns].to_numpy())[:, 1]
        told = np.where(score >= 0.5, "good", "bad")
        return pd.DataFrame({"prediction": told, "score": score}, index=rows.index)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class BayesTrainer(Trainer):
    columns: tuple[str, ...] = ("income", "debt")
    requirements: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def fit(self, rows: pd.DataFrame, *, seed: int, services: Services) -> Model:
        from sklearn.naive_bayes import GaussianNB

        columns = list(self.columns)
        fitted = GaussianNB().fit(rows[columns].to_numpy(), rows[TARGET] == "good")
        return Bayes(columns, fitted)

    def load(self, folder: Path, *, services: Services) -> Model:
        raise NotImplementedError


def _applicants(*, gap: float = 0.0, young: float = 0.3, count: int = 800) -> pd.DataFrame:
    """Applicants, two of whom may share a group; `gap` is how much less the young earn."""
    random = np.random.default_rng(5)
    age = np.where(random.random(count) < young, 22, 45)
    good = random.random(count) < np.where(age == 22, 0.6 - gap / 4, 0.6)
    return pd.DataFrame(
        {
            UNIT: [f"a{number}" for number in range(count)],
            GROUP: [f"g{number // 2}" for number in range(count)],
            "age": age,
            "income": random.normal(size=count) + 1.6 * good - gap * (age == 22),
            "debt": random.normal(size=count) - 0.8 * good,
            TARGET: np.where(good, "good", "bad"),
        }
    )


def _evaluate(
    rows: pd.DataFrame, *, columns: tuple[str, ...] = ("income", "debt"), champion: Any = None
) -> Evaluation:
    trainer = BayesTrainer(columns)
    known = rows[~CREDIT.task.holdout(rows)]
    return evaluate(
        CREDIT,
        trainer,
        rows,
        gates={"brier": 0.2},
        twin=trainer.fit(known, seed=0, services=SERVICES),
        champion=champion.fit(known, seed=0, services=SERVICES) if champion else None,
        champion_version="3" if champion else None,
        seed=4,
        services=SERVICES,
    )


def _verdict(evaluation: Evaluation, gate: str) -> Verdict:
    (found,) = [verdict for verdict in evaluation.verdicts if verdict.gate == gate]
    return found


def test_a_good_model_passes_everything() -> None:
    found = _evaluate(_applicants(), champion=BayesTrainer())
    assert found.passed, [verdict.told for verdict in found.verdicts]
    assert len(found.verdicts) == 5
    assert found.champion == found.holdout
    assert found.comparison is not None
    assert found.comparison.difference == 0
    # Two rows make a group, and the groups are what is compared.
    assert found.comparison.units == found.held_back / 2
    for name, estimate in found.metrics.items():
        assert estimate.low <= estimate.value <= estimate.high, name
    assert [part.name for part in found.slices] == ["age: over 25", "age: up to 25"]
    assert sum(part.units for part in found.slices) == found.units


def test_a_model_that_has_lost_a_feature_is_worse_than_the_champion() -> None:
    found = _evaluate(_applicants(), columns=("debt",), champion=BayesTrainer())
    assert not _verdict(found, NOT_WORSE).passed
    assert not _verdict(found, "auc").passed
    assert "of version 3" in _verdict(found, NOT_WORSE).told
    other = _evaluate(_applicants(), champion=BayesTrainer(("debt",)))
    assert other.passed
    assert other.comparison is not None
    assert found.comparison is not None
    assert other.comparison.difference == pytest.approx(-found.comparison.difference)
    assert other.comparison.p_better < 0.01


def test_groups_that_are_served_alike_pass_and_others_do_not() -> None:
    alike = _evaluate(_applicants())
    value = _verdict(alike, DISPARATE_IMPACT).value
    assert value is not None
    assert value > 0.8
    assert _verdict(alike, DISPARATE_IMPACT).passed
    apart = _verdict(_evaluate(_applicants(gap=1.0)), DISPARATE_IMPACT)
    assert not apart.passed
    assert apart.value is not None
    assert apart.value < 0.7
    assert "by age" in apart.told


def test_a_row_counts_once_in_the_audit() -> None:
    rows = _applicants()
    found = _evaluate(rows)
    (impact,) = found.impacts
    assert sum(group.size for group in impact.groups) == found.units
    young = rows[~CREDIT.task.holdout(rows)]["age"].eq(22).sum()
    assert {group.size for group in impact.groups} == {young, found.units - young}


def test_where_there_is_one_group_only_nothing_is_judged() -> None:
    rows = _applicants(young=0.0)
    verdict = _verdict(_evaluate(rows), DISPARATE_IMPACT)
    assert verdict.passed
    assert verdict.value is None
    assert "not measured" in verdict.told


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows = _applicants()
    order = np.argsort(points(rows[UNIT], "any order"))
    one = _evaluate(rows, champion=BayesTrainer(("debt",)))
    other = _evaluate(rows.iloc[order], champion=BayesTrainer(("debt",)))
    for name, estimate in one.metrics.items():
        assert other.metrics[name].value == pytest.approx(estimate.value), name
        assert other.metrics[name].high == pytest.approx(estimate.high), name
    assert other.holdout == pytest.approx(one.holdout)
    assert one.comparison is not None
    assert other.comparison is not None
    assert other.comparison.low == pytest.approx(one.comparison.low)
    assert [verdict.passed for verdict in other.verdicts] == [
        verdict.passed for verdict in one.verdicts
    ]
    assert {part.name: part.units for part in other.slices} == {
        part.name: part.units for part in one.slices
    }
