"""Answering: its metrics on a few rows by hand, what is measured on, and what is compared."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from rag_platform.training.errors import UnusableData
from rag_platform.training.splits import point
from rag_platform.training.tasks.answering import HELD_BACK, MEASURED, Answering
from rag_platform.training.tasks.answers import UNANSWERABLE, Answer, Target, as_json

TASK = Answering()
CONTEXT = "[t1] | 2019\n[t2] Other | 44.1\n[p1] Contracts are fixed-price."


def row(target: Target, question: str = "What is Other in 2019?") -> dict[str, Any]:
    return {"question": question, "context": CONTEXT, "target": target.text()}


def said(*answer: str, cites: tuple[str, ...] = (), refused: bool = False) -> str:
    return as_json(
        Answer(derivation="", answer=list(answer), scale="", cites=list(cites), refused=refused)
    )


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    found = pd.DataFrame(rows)
    found["unit"] = [f"q{number}" for number in range(len(rows))]
    found["group"] = found["unit"]
    return found


def predicted(answers: list[str | None], **more: Any) -> pd.DataFrame:
    given = {"score": 1.0, "model": "m", "prompt": "p", "cost_usd": 0.01, "latency_s": 2.0, **more}
    return pd.DataFrame({"prediction": answers, **given}, columns=[*TASK.prediction_columns])


ROWS = frame(
    [
        row(Target(answers=["44.1"], source="table", cites=["t2"])),
        row(Target(answers=["fixed-price type contracts"], source="text", cites=["p1"])),
        row(Target(answers=["7"], type="arithmetic")),
        row(Target(answers=["8"], type="arithmetic")),
        row(UNANSWERABLE),
        row(UNANSWERABLE),
    ]
)
PREDICTIONS = predicted(
    [
        said("44.1", cites=("t2",)),
        said("contracts", cites=("t2",)),  # P 1, R 1/3: F1 1/2; its words stand elsewhere
        said(refused=True),
        None,
        said(refused=True),
        said("44.1", cites=("t2",)),
    ],
    cost_usd=[0.01, 0.03, math.nan, math.nan, 0.02, math.nan],
    latency_s=[1.0, 2.0, 9.0, math.nan, math.nan, math.nan],
)


def test_the_metrics_by_hand() -> None:
    assert TASK.measure(ROWS, PREDICTIONS) == pytest.approx(
        {
            "exact_match": 1 / 4,
            "f1": 1.5 / 4,
            "grounded": 2 / 3,
            "on_evidence": 1 / 2,
            "refusal_recall": 1 / 2,
            "refusal_precision": 1 / 2,
            "answered": 2 / 4,
            "failed": 1 / 6,
            "cost_per_answer": 0.02,
            "latency_p50": 2.0,
        }
    )


def test_what_cannot_be_told_is_left_out() -> None:
    only = TASK.measure(
        ROWS[4:5], predicted([said(refused=True)], cost_usd=math.nan, latency_s=math.nan)
    )
    assert only == {"refusal_recall": 1, "refusal_precision": 1, "failed": 0}


def test_all_metrics_are_declared() -> None:
    assert set(TASK.measure(ROWS, PREDICTIONS)) == set(TASK.metrics)
    assert TASK.primary in TASK.metrics


def test_losses_count_wrong_refusals_and_missing_answers_fully() -> None:
    assert TASK.losses(ROWS, PREDICTIONS).tolist() == [0, 0.5, 1, 1, 0, 1]


def test_page_ids_stand_for_the_parts_of_a_page() -> None:
    page = "[p5.1] Cash 7\n[p54.1] Cash 8"
    rows = frame([row(Target(answers=["8"], cites=["p5"])) | {"context": page}] * 2)
    answers = predicted([said("8", cites=("p54.1",)), said("8", cites=("p5.1",))])
    assert TASK.measure(rows[:1], answers[:1])["on_evidence"] == 0
    assert TASK.measure(rows[1:], answers[1:])["on_evidence"] == 1


def test_slices_are_types_and_sources_with_enough_rows() -> None:
    many = frame(
        [row(Target(answers=["1"], source="table"))] * 25
        + [row(Target(answers=["1"], source="text", type="count"))] * 5
        + [row(UNANSWERABLE)] * 20
    )
    sizes = {name: int(part.sum()) for name, part in TASK.slices(many).items()}
    assert sizes == {"source: table": 25, "type: span": 25, "type: unanswerable": 20}


def test_both_kinds_of_questions_are_needed() -> None:
    assert TASK.findings(ROWS) == []
    for part, kind in ((ROWS[:4], "without"), (ROWS[4:], "with")):
        (finding,) = TASK.findings(part)
        assert finding.check in TASK.checks
        assert f"{kind} an answer" in finding.told


def test_a_target_of_another_form_is_told() -> None:
    with pytest.raises(UnusableData, match="target"):
        TASK.findings(pd.DataFrame({"target": ["42"]}))


# Which rows are measured on


def groups(count: int, size: int) -> pd.DataFrame:
    names = [f"g{number}" for number in range(count) for _ in range(size)]
    return pd.DataFrame({"group": names, "unit": [f"u{n}" for n in range(len(names))]})


def lowest(rows: pd.DataFrame, most: int) -> set[str]:
    return set(sorted(rows["unit"], key=lambda unit: point(unit, "measured"))[:most])


def test_some_rows_of_the_groups_held_back_are_held_back() -> None:
    few, many = groups(50, 5), groups(500, 7)
    assert TASK.holdout(few).tolist() == _is_held(few).tolist()
    assert set(many["unit"][TASK.holdout(many)]) == lowest(many[_is_held(many)], HELD_BACK)
    shuffled = many.sample(frac=1, random_state=2)
    assert set(shuffled["unit"][TASK.holdout(shuffled)]) == lowest(many[_is_held(many)], HELD_BACK)


def test_one_pair_without_rows_to_fit_on() -> None:
    rows = groups(500, 7)
    rest = rows[~TASK.holdout(rows)]
    ((fit_on, measure_on),) = TASK.folds(rest, folds=5, repeats=3, seed=1)
    assert len(fit_on) == 0
    measured = rest.iloc[measure_on]
    assert set(measured["unit"]) == lowest(rows[~_is_held(rows)], MEASURED)
    # Nothing is measured of a document that is held back, even in part.
    assert not set(measured["group"]) & set(rows["group"][_is_held(rows)])
    ((_, all_of_few),) = TASK.folds(groups(10, 3), folds=2, repeats=1, seed=7)
    assert len(all_of_few) == (~_is_held(groups(10, 3))).sum()


def _is_held(rows: pd.DataFrame) -> "pd.Series[bool]":
    return rows["group"].map(lambda group: point(group, "holdout") < 0.2)


def test_the_plots_can_be_drawn() -> None:
    plots = TASK.plots(ROWS, PREDICTIONS)
    assert set(plots) == {"f1_by_type", "refusals"}
    for draw in plots.values():
        figure = Figure()
        draw(figure)
        figure.canvas.draw()
        assert figure.axes[0].get_title()


def test_measuring_again_costs_little() -> None:
    """Intervals come of some hundred resamples of the same answers."""
    import time

    rows = ROWS.iloc[np.arange(200) % 6].reset_index(drop=True)
    answers = PREDICTIONS.iloc[np.arange(200) % 6].reset_index(drop=True)
    TASK.measure(rows, answers)
    began = time.process_time()
    for _ in range(20):
        TASK.measure(rows, answers)
    assert (time.process_time() - began) / 20 < 0.05
