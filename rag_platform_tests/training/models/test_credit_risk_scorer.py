"""The credit risk scorer on the German data that comes with the platform."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from rag_platform.training.catalogue import catalogue
from rag_platform.training.fairness import impacts
from rag_platform.training.models.credit_risk_scorer import AUDITED, NOT_TO_LEND_ON, SPEC
from rag_platform.training.rows import DataFile
from rag_platform.training.task import TARGET
from rag_platform.training.trainer import Model, Services

SERVICES = Services(gateway=lambda purpose: pytest.fail("a model of trees asks nobody"))
FILE = next(SPEC.sample_path.glob("*.csv.gz"))


@cache
def rows() -> pd.DataFrame:
    found = SPEC.reader.read([DataFile(FILE.name, FILE, 0.0)], labelled=True)
    assert not found.bad
    return found.frame


@cache
def twin(trainer: str = "default") -> Model:
    """Fitted without the rows that are held back."""
    fitted_on = rows()[~SPEC.task.holdout(rows())]
    return SPEC.trainers[trainer].fit(fitted_on, seed=1, services=SERVICES)


def held_back() -> pd.DataFrame:
    return rows()[SPEC.task.holdout(rows())]


def test_the_sample_is_read_as_it_is() -> None:
    assert rows().shape[0] == 700
    assert rows()[TARGET].value_counts().to_dict() == {"good": 490, "bad": 210}
    assert rows()["age"].between(18, 80).all()
    assert SPEC.task.findings(rows()) == []
    assert SPEC.sample_path is not None
    assert (SPEC.sample_path / "README.md").exists()
    assert catalogue()["credit_risk_scorer"] is SPEC


def test_nothing_that_is_not_to_be_lent_on_is_a_feature() -> None:
    columns = {name.lower() for name in rows()}
    assert not columns & set(NOT_TO_LEND_ON)
    assert not columns & {"age_years", "row_id", "default"}
    for trainer in SPEC.trainers.values():
        assert set(AUDITED) <= set(getattr(trainer, "excluded"))  # noqa: B009


@pytest.mark.parametrize("trainer", SPEC.trainers)
def test_age_decides_no_answer(trainer: str) -> None:
    some = held_back()
    told = twin(trainer).predict(some)
    permuted = some.assign(age=some["age"].sample(frac=1, random_state=1).to_numpy())
    assert not permuted["age"].equals(some["age"])
    pd.testing.assert_frame_equal(twin(trainer).predict(permuted), told)
    pd.testing.assert_frame_equal(twin(trainer).predict(some.drop(columns="age")), told)


@pytest.mark.parametrize("trainer", SPEC.trainers)
def test_it_tells_good_from_bad_on_rows_that_it_has_not_seen(trainer: str) -> None:
    found = SPEC.task.measure(held_back(), twin(trainer).predict(held_back()))
    # 122 rows: the standard error of the area is some 0.05.
    assert found["auc"] > 0.70
    assert found["accuracy"] > 0.65
    assert found["brier"] < rows()[TARGET].eq("good").pipe(
        lambda good: good.mean() * (1 - good.mean())
    )


def test_it_has_learned_nothing_where_there_is_nothing_to_learn() -> None:
    chance = np.random.default_rng(1)
    blind = rows().assign(target=chance.permutation(rows()[TARGET]))
    held = SPEC.task.holdout(blind)
    model = SPEC.trainers["default"].fit(blind[~held], seed=1, services=SERVICES)
    found = SPEC.task.measure(blind[held], model.predict(blind[held]))
    assert found["auc"] < SPEC.gates["auc"] - 0.05


@pytest.mark.slow
def test_the_gates_are_passed_in_cross_validation() -> None:
    found, told = [], []
    for fitted, measured in SPEC.task.folds(rows(), folds=5, repeats=1, seed=3):
        model = SPEC.trainers["default"].fit(rows().iloc[fitted], seed=3, services=SERVICES)
        part = rows().iloc[measured]
        told.append((part, model.predict(part.drop(columns=TARGET))))
        found.append(SPEC.task.measure(part, told[-1][1]))
    means = pd.DataFrame(found).mean()
    for gate in ("accuracy", "precision", "recall", "auc"):
        assert means[gate] >= SPEC.gates[gate], gate
    answered, answers = (pd.concat(parts) for parts in zip(*told, strict=True))
    (age,) = impacts(SPEC, answered, answers, selected="good")
    assert age.value is not None
    assert age.value >= SPEC.gates["disparate_impact"]
    assert [group.group for group in age.groups] == [
        *("up to 25", "over 25 to 35", "over 35 to 50", "over 50")
    ]
