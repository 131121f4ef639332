"""Isolation Forest: unusual rows without labels."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from rag_platform.training.errors import UnusableData
from rag_platform.training.task import TARGET
from rag_platform.training.tasks.anomaly import ANOMALY, NORMAL
from rag_platform.training.trainer import Services
from rag_platform.training.trainers.isolation_forest import IsolationForest, IsolationModel

SERVICES = Services(gateway=lambda purpose: pytest.fail("a forest asks nobody"))
TRAINER = IsolationForest(alert_rate=0.05, excluded=("series",))


def table(count: int = 400, seed: int = 0, planted: int = 8) -> pd.DataFrame:
    """The first rows lie apart; their kind is rare."""
    chance = np.random.default_rng(seed)
    x, y = chance.normal(size=(2, count))
    kind = chance.choice(["a", "b"], count).astype(object)
    x[:planted] += 8
    kind[:planted] = "c"
    units = [f"u{number}" for number in range(count)]
    return pd.DataFrame(
        {
            "unit": units,
            "group": units,
            "target": [ANOMALY if number < planted else NORMAL for number in range(count)],
            "x": x,
            "y": y * 1_000,
            "kind": kind,
            "series": [f"s{number % 3}" for number in range(count)],
        }
    )


@cache
def fitted() -> IsolationModel:
    """To the table."""
    return TRAINER.fit(table(), seed=1, services=SERVICES)


def test_what_was_planted_is_found_without_labels() -> None:
    rows = table()
    model = TRAINER.fit(rows.drop(columns=TARGET), seed=1, services=SERVICES)
    told = model.predict(rows)
    assert roc_auc_score(rows[TARGET] == ANOMALY, told["score"]) > 0.99
    assert (told["prediction"][:8] == ANOMALY).all()
    assert told["score"].between(0, 1).all()
    # One in twenty of the training rows.
    assert (told["prediction"] == ANOMALY).mean() == pytest.approx(0.05, abs=0.003)
    assert model.parameters()["features"] == 3


def test_labels_are_never_fitted_to() -> None:
    rows = table()
    exchanged = rows.assign(target=rows[TARGET].to_numpy()[::-1])
    second = TRAINER.fit(exchanged, seed=1, services=SERVICES)
    pd.testing.assert_frame_equal(fitted().predict(rows), second.predict(rows))


def test_a_saved_model_answers_the_same(tmp_path: Path) -> None:
    model = fitted()
    model.save(tmp_path)
    loaded = TRAINER.load(tmp_path, services=SERVICES)
    fresh = table(50, seed=2)
    pd.testing.assert_frame_equal(loaded.predict(fresh), model.predict(fresh))
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "forest.skops"}
    (tmp_path / "forest.skops").write_bytes(b"PK")
    with pytest.raises(UnusableData, match="no Isolation Forest"):
        TRAINER.load(tmp_path, services=SERVICES)


def test_the_order_and_the_unit_of_measurement_do_not_matter() -> None:
    rows = table()
    first = fitted().predict(rows)
    shuffled = rows.sample(frac=1, random_state=3)
    again = TRAINER.fit(shuffled, seed=1, services=SERVICES).predict(rows)
    pd.testing.assert_frame_equal(first, again)
    scaled = rows.assign(x=rows["x"] * 1024)
    other = TRAINER.fit(scaled, seed=1, services=SERVICES).predict(scaled)
    np.testing.assert_allclose(other["score"], first["score"], atol=1e-3)


def test_one_value_far_out_does_not_hide_the_others() -> None:
    rows = table()
    rows.loc[100, "x"] = 1e12
    told = TRAINER.fit(rows, seed=1, services=SERVICES).predict(rows)
    assert (told["prediction"][:8] == ANOMALY).all()


def test_nulls_are_usual_and_new_categories_are_not() -> None:
    rows, model = table(), fitted()
    usual = {"x": rows["x"].median(), "y": rows["y"].median(), "kind": "a"}
    known, missing, new = (
        model.predict(pd.DataFrame([usual | change]))["score"].iloc[0]
        for change in ({}, {"x": None, "y": None}, {"kind": "z"})
    )
    assert missing == known
    assert new > known


def test_tables_of_one_sort_of_column() -> None:
    for columns in (["kind"], ["x", "y"]):
        rows = table()[["unit", "group", *columns]]
        told = TRAINER.fit(rows, seed=1, services=SERVICES).predict(rows)
        assert told["score"][:8].mean() > told["score"][8:].mean() + 0.05


def test_a_missing_column_is_named() -> None:
    model = fitted()
    with pytest.raises(UnusableData, match="missing: 'kind'"):
        model.predict(table().drop(columns="kind"))


def test_the_fingerprint_holds_the_alert_rate() -> None:
    assert IsolationForest(alert_rate=0.02).fingerprint() != IsolationForest().fingerprint()
    assert IsolationForest(alert_rate=0.01).fingerprint() == IsolationForest().fingerprint()
