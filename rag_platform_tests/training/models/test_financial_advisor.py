"""The financial advisor as a whole, on its sample and without a key."""

from typing import Any

import pandas as pd
import pytest

from rag_platform.storage.catalog import Catalog
from rag_platform.training.models.financial_advisor import SPEC
from rag_platform.training.rows import DataFile
from rag_platform.training.spec import SEED
from rag_platform.training.tasks.answers import UNANSWERABLE
from rag_platform_tests.training.trainers.advising import Place


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    files = [DataFile(path.name, path, 0.0) for path in sorted(SPEC.sample_path.glob("*.jsonl.gz"))]
    return SPEC.reader.read(files, labelled=True).frame


def measured_rows(frame: pd.DataFrame) -> pd.DataFrame:
    developed = frame[~SPEC.task.holdout(frame)]
    ((_, places),) = SPEC.task.folds(developed, folds=5, repeats=3, seed=SEED)
    return developed.iloc[places]


def test_the_rules_meet_the_gates_with_room(frame: pd.DataFrame, catalog: Catalog) -> None:
    rows = measured_rows(frame)
    assert len(rows) == 200
    model = SPEC.trainers["default"].fit(frame, seed=SEED, services=Place(catalog).services())
    predictions = model.predict(rows.drop(columns="target"))
    measured = SPEC.task.measure(rows, predictions)
    for name, bound in SPEC.gates.items():
        room = 0.05 if SPEC.task.metrics[name].higher_is_better else -bound / 2
        assert (measured[name] - bound - room) * room >= 0, f"{name}: {measured[name]}"


def test_the_gates_stop_what_only_refuses(frame: pd.DataFrame) -> None:
    rows = measured_rows(frame)
    refusing = _all_say(rows, '{"derivation":"","answer":[],"scale":"","cites":[],"refused":true}')
    measured = SPEC.task.measure(rows, refusing)
    assert measured["refusal_recall"] == 1
    assert measured["exact_match"] < SPEC.gates["exact_match"]
    assert measured["answered"] < SPEC.gates["answered"]


def test_the_gates_stop_what_never_refuses_or_cites_nothing(frame: pd.DataFrame) -> None:
    rows = measured_rows(frame)
    said = '{"derivation":"","answer":["7"],"scale":"","cites":["p1"],"refused":false}'
    measured = SPEC.task.measure(rows, _all_say(rows, said))
    assert measured["refusal_recall"] == 0
    assert measured["grounded"] < SPEC.gates["grounded"]


def _all_say(rows: pd.DataFrame, said: str, **more: Any) -> pd.DataFrame:
    given = {"score": 1.0, "model": "m", "prompt": "p", "cost_usd": 0.0, "latency_s": 0.0}
    return pd.DataFrame(given | {"prediction": said} | more, index=rows.index)


def test_nothing_is_found_against_the_sample(frame: pd.DataFrame) -> None:
    assert SPEC.task.findings(frame) == []
    assert len(frame) >= SPEC.min_rows
    share = (frame["target"] == UNANSWERABLE.text()).mean()
    assert 0.1 < share < 0.25
