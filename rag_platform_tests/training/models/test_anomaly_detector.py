"""The anomaly detector on the series that come with the platform."""

from functools import cache

import pandas as pd
import pytest

from rag_platform.training.catalogue import catalogue
from rag_platform.training.models.anomaly_detector import SPEC
from rag_platform.training.rows import DataFile
from rag_platform.training.task import TARGET
from rag_platform.training.trainer import Services

SERVICES = Services(gateway=lambda purpose: pytest.fail("a forest asks nobody"))


@cache
def rows(folder: str = "") -> pd.DataFrame:
    files = [
        DataFile(str(path.relative_to(SPEC.sample_path)), path, 0.0)
        for path in sorted(SPEC.sample_path.rglob("*"))
        if path.is_file() and (folder in path.parts or path.name == "windows.json")
    ]
    return SPEC.reader.read(files, labelled=True).frame


def test_the_sample_is_read_as_it_is() -> None:
    found = rows("realAWSCloudwatch")
    assert found["series"].nunique() == 3
    assert found["unit"].is_unique
    assert found[found[TARGET] == "anomaly"]["group"].nunique() == 6
    assert SPEC.task.findings(found) == []
    assert SPEC.sample_path is not None
    assert (SPEC.sample_path / "README.md").exists()
    assert catalogue()["anomaly_detector"] is SPEC


def test_it_finds_the_windows_of_series_that_it_has_not_seen() -> None:
    model = SPEC.trainers["default"].fit(rows("realTraffic"), seed=1, services=SERVICES)
    seen = rows("realAWSCloudwatch")
    found = SPEC.task.measure(seen, model.predict(seen.drop(columns=TARGET)))
    assert found["roc_auc"] >= SPEC.gates["roc_auc"]
    assert found["average_precision"] >= SPEC.gates["average_precision"]
    assert found["alert_rate"] <= SPEC.gates["alert_rate"]
