"""Forecasts are measured against the seasonal naive one and the mean of four weeks."""

import numpy as np
import pandas as pd
import pytest

from rag_platform.pictures import png_bytes
from rag_platform.training.statistics import paired
from rag_platform.training.tasks.forecast import HORIZON, LEAST_WEEKS, Forecast

TASK = Forecast()


def rows(categories: dict[str, list[float]]) -> pd.DataFrame:
    weeks = pd.date_range("2024-01-01", periods=max(map(len, categories.values())), freq="7D")
    table = [
        {"category": name, "week": week, "target": amount}
        for name, amounts in categories.items()
        for week, amount in zip(weeks, amounts, strict=False)
    ]
    frame = pd.DataFrame(table)
    group = frame["week"].dt.strftime("%Y-%m-%d")
    return frame.assign(unit=frame["category"] + "|" + group, group=group)


def told(
    prediction: list[float], naive: list[float], *, mean_4: float = 0.0, reach: float = 1.0
) -> pd.DataFrame:
    values = np.array(prediction)
    return pd.DataFrame(
        {
            "prediction": values,
            "lower": values - reach,
            "upper": values + reach,
            "mean_4": mean_4,
            "naive_error": naive,
            "note": "",
        }
    )


def test_metrics_by_hand() -> None:
    # Errors: a 1, 3 in naive errors of 2: .5, 1.5. b 10, 0 in those of 10: 1, 0.
    found = rows({"a": [4.0, 8.0], "b": [100.0, 80.0]})
    answers = told([5.0, 5.0, 90.0, 80.0], [2.0, 2.0, 10.0, 10.0], mean_4=8.0)
    measured = TASK.measure(found, answers)
    assert measured["mase:a"] == pytest.approx(1.0)
    assert measured["mase:b"] == pytest.approx(0.5)
    assert measured["mase"] == pytest.approx(0.75)
    assert measured["below_naive"] == pytest.approx(0.5)
    assert measured["mae"] == pytest.approx(14 / 4)
    assert measured["wape"] == pytest.approx(14 / 192)
    assert measured["coverage"] == pytest.approx(2 / 4)
    # Widths are 2: in naive errors 1 and .2. Errors of the mean: a 4, 0 (1); b 92, 72 (8.2).
    assert measured["interval_width"] == pytest.approx(0.6)
    assert measured["improvement_over_4_week_mean"] == pytest.approx(1 - 0.75 / 4.6)


def test_a_row_without_an_answer_counts_as_zero_and_outside() -> None:
    found = rows({"a": [4.0, 8.0]})
    answers = told([float("nan"), 8.0], [2.0, 2.0])
    measured = TASK.measure(found, answers)
    assert measured["mae"] == pytest.approx(2.0)
    assert measured["coverage"] == pytest.approx(0.5)
    assert TASK.losses(found, answers) == pytest.approx([4 / 6, 0])


def test_categories_without_a_naive_error_are_left_out_of_what_needs_it() -> None:
    found = rows({"a": [4.0, 8.0], "b": [5.0, 5.0]})
    answers = told([4.0, 7.0, 0.0, 0.0], [1.0, 1.0, 0.0, float("nan")])
    measured = TASK.measure(found, answers)
    assert measured["mase"] == pytest.approx(0.5)
    assert "mase:b" not in measured
    only = TASK.measure(found.iloc[2:], answers.iloc[2:])
    assert set(only) == {"mae", "coverage", "wape"}


def test_improvement_needs_both_forecasts_of_a_row() -> None:
    found = rows({"a": [4.0, 8.0]})
    answers = told([3.0, 3.0], [1.0, 1.0]).assign(mean_4=[2.0, float("nan")])
    assert TASK.measure(found, answers)["improvement_over_4_week_mean"] == pytest.approx(1 - 1 / 2)


def test_losses_are_of_the_same_unit_for_both_models() -> None:
    found = rows({"a": [4.0, 8.0], "b": [0.0, 0.0]})
    answers = told([5.0, 5.0, 2.0, 0.0], [2.0] * 4)
    assert TASK.losses(found, answers) == pytest.approx([1 / 6, 3 / 6, 2 / 3, 0])
    other = answers.assign(naive_error=99.0)
    assert TASK.losses(found, other) == pytest.approx(TASK.losses(found, answers))


def test_the_last_weeks_are_held_back_of_every_category() -> None:
    found = rows({"a": [1.0] * 30, "b": [1.0] * 28})
    found = found[found["week"] != found["week"].unique()[28]]  # a gap
    held = found[TASK.holdout(found)]
    assert held.groupby("category").size().to_dict() == {"a": 4, "b": 3}
    assert found[~TASK.holdout(found)]["week"].max() < held["week"].min()


def test_folds_are_rolling_origins() -> None:
    found = rows({"a": [1.0] * 39, "b": [1.0] * 39}).sample(frac=1, random_state=3)
    pairs = list(TASK.folds(found, folds=5, repeats=3, seed=1))
    origins = []
    for fit_on, measure_on in pairs:
        fitted, measured = found.iloc[fit_on], found.iloc[measure_on]
        assert fitted["week"].max() + pd.Timedelta(days=7) == measured["week"].min()
        assert measured["week"].nunique() == HORIZON
        assert len(measured) == 2 * HORIZON
        origins.append(fitted["week"].nunique())
    assert origins == [35, 31, 27, 23, 19, 34, 30, 26, 22, 18, 33, 29, 25, 21, 17]
    assert all(origin >= LEAST_WEEKS for origin in origins)
    again = TASK.folds(found, folds=5, repeats=3, seed=2)
    assert all((a[0] == b[0]).all() for a, b in zip(pairs, again, strict=True))
    few = rows({"a": [1.0] * (LEAST_WEEKS + HORIZON)})
    assert len(list(TASK.folds(few, folds=5, repeats=3, seed=1))) == 1


@pytest.mark.parametrize(("weeks", "findings"), [(23, 1), (24, 0)])
def test_few_weeks_are_a_finding(weeks: int, findings: int) -> None:
    assert len(TASK.findings(rows({"a": [1.0] * weeks}))) == findings


def test_two_models_are_compared_week_by_week() -> None:
    random = np.random.default_rng(5)
    actual = random.normal(100, 10, (3, 30))
    found = rows({name: list(line) for name, line in zip("abc", actual, strict=True)})
    near = told(list(actual.ravel() + random.normal(0, 1, 90)), [1.0] * 90)
    far = told(list(actual.ravel() + random.normal(0, 9, 90)), [1.0] * 90)
    comparison = paired(TASK, found, far, near, seed=1)
    assert comparison.units == 30
    assert comparison.p_worse < 0.001
    assert paired(TASK, found, near, far, seed=1).p_worse > 0.999


def test_a_few_weeks_are_compared_by_category() -> None:
    random = np.random.default_rng(6)
    found = rows({f"c{n:02}": list(random.normal(100, 10, 4)) for n in range(15)})
    assert set(TASK.clusters(found)) == {f"c{n:02}" for n in range(15)}
    near, far = (
        told(list(found["target"] + random.normal(0, spread, 60)), [1.0] * 60) for spread in (1, 9)
    )
    assert paired(TASK, found, far, near, seed=1).units == 15
    assert paired(TASK, found, far, near, seed=1).p_worse < 0.01


def test_slices_are_the_categories_with_the_most_money() -> None:
    found = rows({f"c{n:02}": [float(n)] * 3 for n in range(25)})
    slices = TASK.slices(found)
    assert list(slices) == [f"category: c{n:02}" for n in range(5, 25)]
    assert all(mask.sum() == 3 for mask in slices.values())


@pytest.mark.parametrize("categories", [1, 5, 30])
def test_plots_are_drawn_whatever_the_categories_are_called(categories: int) -> None:
    found = rows({f"$x_{n}$ <b>\n" + "y" * 90: [float(n)] * 4 for n in range(categories)})
    answers = told([float("nan")] + [1.0] * (4 * categories - 1), [0.0] + [1.0] * (len(found) - 1))
    drawn = TASK.plots(found, answers)
    assert set(drawn) == {"forecasts", "coverage", "error_by_week"}
    for draw in drawn.values():
        assert png_bytes(draw).startswith(b"\x89PNG")
