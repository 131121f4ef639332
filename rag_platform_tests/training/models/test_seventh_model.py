"""A model that there is not: what a seventh takes is its spec, of parts that are there."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rag_platform.training.readers.tabular import TabularReader
from rag_platform.training.rows import DataFile
from rag_platform.training.spec import ModelSpec
from rag_platform.training.task import TARGET
from rag_platform.training.tasks.classification import BinaryClassification
from rag_platform.training.trainer import Services
from rag_platform.training.trainers.histgb import HistGB

CHURN = ModelSpec(
    name="churn_scorer",
    description="Whether a customer will leave.",
    task=BinaryClassification(positive="stays", negative="leaves", false_positive_cost=3),
    reader=TabularReader(
        target=("churn",),
        classes={"leaves": ("yes", "1"), "stays": ("no", "0")},
        unit=("customer",),
        audited={"region": ("area",)},
        drop=("phone",),
    ),
    trainers={"default": HistGB("stays", "leaves", excluded=("region",))},
    gates={"auc": 0.75, "disparate_impact": 0.8},
    schedule="0 5 * * 2",
    sample="churn_scorer",
    audited={"region": ()},
    unit="customer",
)
SERVICES = Services(gateway=lambda purpose: pytest.fail("a model of trees asks nobody"))


def customers(folder: Path, count: int = 300) -> DataFile:
    """Who calls often and has been here for a short time leaves."""
    chance = np.random.default_rng(4)
    calls, months = chance.poisson(2, count), chance.integers(1, 60, count)
    risk = calls - months / 10 + chance.normal(0, 1, count)
    table = pd.DataFrame(
        {
            "customer": range(count),
            "phone": [f"555-{number:04}" for number in range(count)],
            "area": chance.choice(["north", "south"], count),
            "plan": chance.choice(["basic", "plus"], count),
            "calls": calls,
            "months": months,
            "churn": np.where(risk > 0, "Yes", "No"),
        }
    )
    table.to_csv(folder / "customers.csv", index=False)
    return DataFile("customers.csv", folder / "customers.csv", 0.0)


def test_from_a_file_to_answers(tmp_path: Path) -> None:
    rows = CHURN.reader.read([customers(tmp_path)], labelled=True).frame
    assert list(rows.columns) == [*("unit", "group", "target", "region", "plan", "calls", "months")]
    assert CHURN.task.findings(rows) == []
    held = CHURN.task.holdout(rows)
    trainer = CHURN.trainers["default"]
    model = trainer.fit(rows[~held], seed=1, services=SERVICES)
    folder = tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    told = trainer.load(folder, services=SERVICES).predict(rows[held].drop(columns=TARGET))
    assert set(told["prediction"]) == {"stays", "leaves"}
    assert CHURN.task.measure(rows[held], told)["auc"] > CHURN.gates["auc"]
