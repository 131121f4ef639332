"""Figures of classification, by scikit-learn or by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn import metrics

from rag_platform.training.task import GROUP, TARGET, UNIT
from rag_platform.training.tasks.classification import (
    BinaryClassification,
    Classification,
    calibration_curve,
    calibration_error,
)

CREDIT = BinaryClassification(
    positive="good", negative="bad", false_positive_cost=5, false_negative_cost=1
)


def frames(
    true: list[str], told: list[str], score: list[float] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    units = [f"u{number}" for number in range(len(true))]
    rows = pd.DataFrame({UNIT: units, GROUP: units, TARGET: true}, index=range(5, 5 + len(true)))
    scores = np.full(len(true), 0.5) if score is None else np.array(score)
    return rows, pd.DataFrame({"prediction": told, "score": scores}, index=rows.index)


def random_frames(classes: list[str], count: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    chance = np.random.default_rng(seed)
    true = chance.choice(classes, count)
    told = np.where(chance.random(count) < 0.7, true, chance.choice(classes, count))
    return frames(true.tolist(), told.tolist(), chance.random(count).tolist())


def test_the_figures_of_many_classes_are_those_of_scikit_learn() -> None:
    rows, told = random_frames(["a", "b", "c", "d"], 400, seed=1)
    found = Classification().measure(rows, told)
    pair = rows[TARGET], told["prediction"]
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(*pair))
    for name, measured in (
        ("macro_f1", metrics.f1_score),
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
    ):
        expected = measured(*pair, average="macro", zero_division=0)
        assert found[name] == pytest.approx(expected), name
    right = (pair[0] == pair[1]).astype(int)
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(right, told["score"]))
    assert "out_of_scope_recall" not in found


def test_a_class_that_is_only_told_counts_as_in_scikit_learn() -> None:
    rows, told = frames(["a", "a", "b"], ["a", "c", "b"])
    expected = metrics.f1_score(rows[TARGET], told["prediction"], average="macro", zero_division=0)
    assert Classification().measure(rows, told)["macro_f1"] == pytest.approx(expected)


def test_rows_out_of_scope_are_measured_apart() -> None:
    true = ["a", "a", "b", "oos", "oos", "oos", "oos"]
    told = ["a", "oos", "b", "oos", "oos", "oos", "a"]
    found = Classification(out_of_scope="oos").measure(*frames(true, told))
    assert found["out_of_scope_recall"] == pytest.approx(3 / 4)
    assert found["out_of_scope_precision"] == pytest.approx(3 / 4)
    assert found["in_scope_accuracy"] == pytest.approx(2 / 3)


def test_without_such_rows_nothing_is_told_of_them() -> None:
    found = Classification(out_of_scope="oos").measure(*frames(["a", "b"], ["a", "b"]))
    assert found["in_scope_accuracy"] == 1
    assert "out_of_scope_recall" not in found
    assert "out_of_scope_precision" not in found


def test_the_figures_of_two_classes_are_those_of_scikit_learn() -> None:
    rows, told = random_frames(["good", "bad"], 300, seed=2)
    found = CREDIT.measure(rows, told)
    true, positive = rows[TARGET] == "good", told["prediction"] == "good"
    score = told["score"]
    assert found["precision"] == pytest.approx(metrics.precision_score(true, positive))
    assert found["recall"] == pytest.approx(metrics.recall_score(true, positive))
    assert found["f1"] == pytest.approx(metrics.f1_score(true, positive))
    assert found["specificity"] == pytest.approx(metrics.recall_score(~true, ~positive))
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(true, score))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(true, score))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(true, score))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(true, score))
    assert set(found) == set(CREDIT.metrics)


def test_the_cost_of_decisions_by_hand() -> None:
    true = ["good", "good", "good", "bad", "bad"]
    told = ["good", "bad", "bad", "good", "bad"]
    # One bad accepted for 5, two good refused for 1 each, over five.
    assert CREDIT.measure(*frames(true, told))["cost"] == pytest.approx((5 + 2) / 5)


def test_the_cost_curve_by_hand() -> None:
    pair = frames(["bad", "good", "bad", "good"], ["good"] * 4, [0.105, 0.205, 0.305, 0.405])
    thresholds, costs = CREDIT.cost_curve(*pair)
    by_threshold = dict(zip(np.round(thresholds, 2), costs, strict=True))
    # All accepted; the first bad one refused; one good one refused too; all but the last; none.
    assert by_threshold[0.0] == pytest.approx(10 / 4)
    assert by_threshold[0.15] == pytest.approx(5 / 4)
    assert by_threshold[0.25] == pytest.approx(6 / 4)
    assert by_threshold[0.35] == pytest.approx(1 / 4)
    assert by_threshold[1.0] == pytest.approx(2 / 4)


def test_what_needs_both_classes_is_left_out_where_there_is_one() -> None:
    found = CREDIT.measure(*frames(["bad", "bad"], ["bad", "bad"], [0.2, 0.3]))
    assert not {"auc", "average_precision", "log_loss", "recall", "f1"} & set(found)
    assert found["precision"] == 0
    assert found["specificity"] == 1


def test_losses_are_errors_of_decisions_or_of_scores() -> None:
    rows, told = frames(["good", "bad", "bad"], ["good", "good", "bad"], [0.9, 0.6, 0.3])
    assert Classification().losses(rows, told).tolist() == [0, 1, 0]
    assert CREDIT.losses(rows, told) == pytest.approx([0.01, 0.36, 0.09])


def test_the_calibration_error_by_hand() -> None:
    score = np.array([0.2] * 10 + [0.8] * 10)
    right = np.array([1.0] * 5 + [0.0] * 5 + [1.0] * 8 + [0.0] * 2)
    # Ten rows said .2 where .5 was right, ten said .8 where .8 was.
    assert calibration_error(score, right) == pytest.approx((0.3 + 0.0) / 2)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 200), digits=st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_calibration_does_not_hang_on_the_order_of_the_rows(
    seed: int, count: int, digits: int
) -> None:
    chance = np.random.default_rng(seed)
    score = chance.random(count).round(digits)
    right = (chance.random(count) < score).astype(float)
    order = chance.permutation(count)
    assert calibration_error(score, right) == pytest.approx(
        calibration_error(score[order], right[order])
    )
    mean, share, size = calibration_curve(score, right)
    assert size.sum() == count
    assert np.average(mean, weights=size) == pytest.approx(score.mean())
    assert np.average(share, weights=size) == pytest.approx(right.mean())


def test_findings_name_what_forbids_training() -> None:
    def checks(task: Classification, true: list[str]) -> list[str]:
        return [finding.check for finding in task.findings(frames(true, true)[0])]

    assert checks(Classification(), ["a"] * 50) == ["class_balance"]
    assert checks(Classification(), ["a"] * 50 + ["b"] * 50) == []
    assert checks(Classification(), ["a"] * 50 + ["b"] * 9) == ["rows_per_class"]
    assert checks(Classification(), ["a"] * 960 + ["b"] * 40) == ["class_balance"]
    assert checks(CREDIT, ["good"] * 50 + ["bad"] * 20) == []
    assert checks(CREDIT, ["good"] * 50 + ["bad"] * 20 + ["ugly"] * 20) == ["class_balance"]
    assert set(Classification.checks) == {"class_balance", "rows_per_class"}


def test_slices_are_groups_that_are_large_enough() -> None:
    rows = pd.DataFrame(
        {
            "age": [20] * 25 + [40] * 30 + [70] * 5,
            "text": ["one two"] * 30 + ["one two three four"] * 30,
        }
    )
    found = Classification(sliced={"age": (25, 50), "text": (3,), "absent": ()}).slices(rows)
    assert {name: int(part.sum()) for name, part in found.items()} == {
        "age: up to 25": 25,
        "age: over 25 to 50": 30,
        "text: up to 3 words": 30,
        "text: over 3 words": 30,
    }


def drawn(draw: Any) -> str:
    figure = Figure()
    draw(figure)
    figure.canvas.draw()
    (axes,) = figure.axes
    return str(axes.get_title())


def test_all_plots_can_be_drawn_whatever_the_classes_are_called() -> None:
    hostile = ["$\\frac{", "<script>", "a\nb" * 40, "Σ"]
    pair = random_frames(hostile, 200, seed=3)
    assert set(Classification().plots(*pair)) == {"confusion", "calibration"}
    assert all(drawn(draw) for draw in Classification().plots(*pair).values())
    many = random_frames([f"class {number}" for number in range(40)], 400, seed=4)
    assert "mistakes" in drawn(Classification().plots(*many)["confusion"])


def test_the_plots_of_two_classes_show_area_and_cost() -> None:
    pair = random_frames(["good", "bad"], 200, seed=5)
    plots = CREDIT.plots(*pair)
    assert set(plots) == {"confusion", "calibration", "roc", "precision_recall", "cost"}
    titles = {name: drawn(draw) for name, draw in plots.items()}
    assert f"{CREDIT.measure(*pair)['auc']:.3f}" in titles["roc"]
    assert f"{CREDIT.cost_curve(*pair)[1].min():.3f}" in titles["cost"]
    one_class = frames(["bad", "bad"], ["bad", "good"], [0.2, 0.3])
    assert set(CREDIT.plots(*one_class)) == {"confusion", "calibration"}
