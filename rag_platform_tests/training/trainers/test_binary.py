"""Trainers of two classes on tables: XGBoost and HistGB."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from rag_platform.training.errors import UnusableData
from rag_platform.training.task import TARGET
from rag_platform.training.trainer import Services
from rag_platform.training.trainers.binary import BinaryModel, BinaryTrainer, middle_threshold
from rag_platform.training.trainers.histgb import HistGB
from rag_platform.training.trainers.xgboost import XGBoost

SERVICES = Services(gateway=lambda purpose: pytest.fail("a model of trees asks nobody"))
TRAINERS = [XGBoost("yes", "no", excluded=("age",)), HistGB("yes", "no", excluded=("age",))]
trainers = pytest.mark.parametrize("trainer", TRAINERS, ids=["xgboost", "histgb"])


def table(count: int = 200, seed: int = 0) -> pd.DataFrame:
    """Yes is likelier for a high x and for the colour red; age tells all."""
    chance = np.random.default_rng(seed)
    x, colour = chance.normal(size=count), chance.choice(["red", "green", "blue"], count)
    is_yes = x + 1.5 * (colour == "red") + chance.normal(0, 0.5, count) > 0.5
    units = [f"u{number}" for number in range(count)]
    return pd.DataFrame(
        {
            "unit": units,
            "group": units,
            "target": np.where(is_yes, "yes", "no"),
            "age": np.where(is_yes, 60, 20),
            "x": x,
            "colour": colour,
            "constant": 1,
        }
    )


@cache
def fitted(trainer: BinaryTrainer) -> BinaryModel:
    """To the table."""
    return trainer.fit(table(), seed=1, services=SERVICES)


@trainers
def test_what_it_learns_holds_on_rows_it_has_not_seen(trainer: BinaryTrainer) -> None:
    model = fitted(trainer)
    fresh = table(300, seed=9)
    told = model.predict(fresh.drop(columns=TARGET))
    assert list(told.columns) == ["prediction", "score"]
    assert told.index.equals(fresh.index)
    assert roc_auc_score(fresh[TARGET] == "yes", told["score"]) > 0.9
    threshold = model.parameters()["threshold"]
    assert ((told["score"] >= threshold) == (told["prediction"] == "yes")).all()
    assert model.parameters()["features"] == 2


@trainers
def test_a_saved_model_answers_the_same(trainer: BinaryTrainer, tmp_path: Path) -> None:
    model = fitted(trainer)
    model.save(tmp_path)
    loaded = trainer.load(tmp_path, services=SERVICES)
    fresh = table(50, seed=3)
    pd.testing.assert_frame_equal(loaded.predict(fresh), model.predict(fresh))
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".skops"}


@trainers
def test_the_same_rows_in_any_order_give_the_same_model(trainer: BinaryTrainer) -> None:
    rows, fresh = table(), table(50, seed=3)
    shuffled = rows.sample(frac=1, random_state=1)[sorted(rows.columns)]
    first, again = fitted(trainer), trainer.fit(shuffled, seed=1, services=SERVICES)
    pd.testing.assert_frame_equal(first.predict(fresh), again.predict(fresh))
    other = trainer.fit(rows, seed=6, services=SERVICES)
    assert not np.array_equal(other.predict(fresh)["score"], first.predict(fresh)["score"])


@trainers
def test_no_prediction_hangs_on_an_excluded_column(trainer: BinaryTrainer) -> None:
    fresh, model = table(50, seed=3), fitted(trainer)
    told = model.predict(fresh)
    for changed in (
        fresh.drop(columns="age"),
        fresh.assign(age=fresh["age"].sample(frac=1, random_state=1).to_numpy()),
        fresh.assign(age=None),
    ):
        pd.testing.assert_frame_equal(model.predict(changed), told)
    # Nor does what is learned.
    blind = trainer.fit(table().drop(columns="age"), seed=1, services=SERVICES)
    pd.testing.assert_frame_equal(blind.predict(fresh), told)


@trainers
def test_nulls_and_unknown_categories_are_answered(trainer: BinaryTrainer) -> None:
    model = fitted(trainer)
    rows = pd.DataFrame({"x": [0.1, None, 0.1], "colour": ["red", None, "purple"]})
    score = model.predict(rows)["score"]
    assert score.between(0, 1).all()
    # An unknown category is what a missing one is.
    missing = model.predict(pd.DataFrame({"x": [0.1], "colour": [None]}))["score"]
    assert score[2] == missing[0]


@trainers
def test_rows_that_cannot_be_read_are_refused_with_the_column(trainer: BinaryTrainer) -> None:
    model = fitted(trainer)
    with pytest.raises(UnusableData, match="1 columns that the model needs are missing: 'colour'"):
        model.predict(pd.DataFrame({"x": [0.1]}))
    for value in ("secret", float("inf")):
        rows = pd.DataFrame({"x": pd.Series([0.1, value], dtype=object), "colour": ["red", "red"]})
        with pytest.raises(UnusableData, match="'x': 1 of 2 values are no finite numbers") as error:
            model.predict(rows)
        assert "secret" not in str(error.value)
    with pytest.raises(UnusableData, match="'colour': holds lists"):
        model.predict(pd.DataFrame({"x": [0.1], "colour": [["red"]]}))


@trainers
def test_numbers_as_text_and_no_rows_are_answered(trainer: BinaryTrainer) -> None:
    model = fitted(trainer)
    number, text = (
        model.predict(pd.DataFrame({"x": [value], "colour": ["red"]})) for value in (0.25, "0.25")
    )
    pd.testing.assert_frame_equal(number, text)
    assert len(model.predict(table(0))) == 0


@trainers
def test_rows_of_one_class_are_refused(trainer: BinaryTrainer) -> None:
    rows = table()
    for classes in ("yes", ["maybe" if one == "yes" else one for one in rows[TARGET]]):
        with pytest.raises(UnusableData, match="need both 'yes' and 'no'"):
            trainer.fit(rows.assign(target=classes), seed=1, services=SERVICES)


@trainers
def test_a_folder_with_something_else_is_refused(trainer: BinaryTrainer, tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="train it again"):
        trainer.load(tmp_path, services=SERVICES)
    fitted(trainer).save(tmp_path)
    other = next(one for one in TRAINERS if one is not trainer)
    with pytest.raises(UnusableData, match="no model of"):
        other.load(tmp_path, services=SERVICES)
    (trees,) = (path for path in tmp_path.iterdir() if path.stem == "trees")
    trees.write_bytes(b"{}")
    with pytest.raises(UnusableData, match="train it again"):
        trainer.load(tmp_path, services=SERVICES)
    (tmp_path / "model.json").write_text(json.dumps({"threshold": 0.5}), encoding="utf-8")
    with pytest.raises(UnusableData, match="ValidationError"):
        trainer.load(tmp_path, services=SERVICES)


def test_the_fingerprint_names_all_that_decides() -> None:
    prints = {trainer.fingerprint() for trainer in TRAINERS}
    prints |= {XGBoost("yes", "no").fingerprint(), XGBoost("no", "yes").fingerprint()}
    assert len(prints) == 4
    assert XGBoost("yes", "no").fingerprint() == XGBoost("yes", "no").fingerprint()


def test_the_threshold_is_the_middle_of_those_that_are_near_the_best() -> None:
    # Between .3 and .6 nothing lies: all thresholds between are as good.
    positive = np.array([False] * 50 + [True] * 50)
    score = np.r_[np.linspace(0.05, 0.3, 50), np.linspace(0.6, 0.95, 50)]
    assert middle_threshold(positive, score) == pytest.approx(0.46)


@given(st.integers(0, 2**32 - 1), st.integers(30, 300))
@settings(max_examples=40, deadline=None)
def test_the_threshold_is_hardly_less_accurate_than_the_best(seed: int, count: int) -> None:
    chance = np.random.default_rng(seed)
    score = chance.random(count)
    positive = chance.random(count) < score
    threshold = middle_threshold(positive, score)
    reached = float(((score >= threshold) == positive).mean())
    best = max(float(((score >= one) == positive).mean()) for one in np.arange(5, 96) / 100)
    assert 0.05 <= threshold <= 0.95
    assert reached >= best - 0.5 * np.sqrt(best * (1 - best) / count) - 1e-9
