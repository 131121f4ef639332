"""Intervals and paired tests, against other formulas, scipy and published figures."""

import math
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rag_platform.training.statistics import (
    RESAMPLES,
    bootstrap_estimates,
    bootstrap_means,
    diebold_mariano,
    mcnemar,
    paired,
    repeated_estimate,
)
from rag_platform.training.task import GROUP, UNIT
from rag_platform_tests.training.tiny import TinyTask, tiny_rows

some = settings(max_examples=40, deadline=None)
losses = st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]), min_size=20, max_size=60)


class ByBootstrap(TinyTask):
    """Its loss is whatever is predicted."""

    paired: ClassVar[Literal["mcnemar", "bootstrap", "diebold_mariano"]] = "bootstrap"

    def losses(self, rows: pd.DataFrame, predictions: pd.DataFrame) -> Any:
        return predictions["prediction"].to_numpy(np.float64)


class ByTime(ByBootstrap):
    paired = "diebold_mariano"

    def periods(self, rows: pd.DataFrame) -> Any:
        return rows["week"].to_numpy()


class ByCount(ByBootstrap):
    paired = "mcnemar"


class Mean(TinyTask):
    """The mean of what is predicted, and a metric that only rows with an odd one have."""

    metrics: ClassVar = {}

    def measure(self, rows: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, float]:
        assert (rows.index == predictions.index).all()
        assert rows.index.is_unique
        assert (rows["x"] == predictions["prediction"]).all()  # the frames stay together
        told = {"mean": float(predictions["prediction"].mean()), "none": math.nan}
        return told | ({"rare": 1.0} if (rows[UNIT] == "u0").any() else {})


def _rows(count: int, groups: int | None = None) -> pd.DataFrame:
    numbers = np.arange(count)
    return pd.DataFrame(
        {
            UNIT: [f"u{number}" for number in numbers],
            GROUP: [f"g{number % (groups or count)}" for number in numbers],
            "week": [f"2026-W{number % 12:02d}" for number in numbers],
        }
    )


def _answers(values: Any) -> pd.DataFrame:
    return pd.DataFrame({"prediction": list(values), "score": 0.0})


# Repeated cross-validation


def test_interval_of_repeated_cross_validation_by_the_formula_written_out() -> None:
    values = [0.81, 0.79, 0.84, 0.80, 0.77, 0.83, 0.82, 0.78, 0.80, 0.85]
    found = repeated_estimate(values, measured_over_fitted=1 / 4)
    mean = sum(values) / 10
    variance = sum((value - mean) ** 2 for value in values) / 9
    # t at 97.5 % with 9 degrees of freedom, from a printed table.
    reach = 2.262157 * math.sqrt(variance * (0.1 + 0.25))
    assert found.value == pytest.approx(mean)
    assert found.low == pytest.approx(mean - reach, abs=1e-6)
    assert found.high == pytest.approx(mean + reach, abs=1e-6)


def test_without_shared_rows_the_interval_is_that_of_the_t_test() -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = repeated_estimate(values, measured_over_fitted=0)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_fold_has_no_interval_over_folds() -> None:
    with pytest.raises(ValueError, match="two"):
        repeated_estimate([0.5], measured_over_fitted=0.25)


def test_the_corrected_interval_holds_the_truth_where_the_plain_one_does_not() -> None:
    """The accuracy of a threshold, by 5 folds times 3, on 300 samples of 60 rows."""
    held = np.zeros(2)
    random = np.random.default_rng(7)
    truth = stats.norm.cdf(1.0)  # of the best threshold between two normals at -1 and 1
    for _ in range(300):
        is_yes = np.arange(60) % 2 == 0
        x = np.where(is_yes, 1.0, -1.0) + random.normal(size=60)
        values = []
        for _ in range(3):
            order = random.permutation(60)
            for fold in range(5):
                test = order[fold::5]
                fit = np.setdiff1d(order, test)
                at = (x[fit][is_yes[fit]].mean() + x[fit][~is_yes[fit]].mean()) / 2
                values.append(float(((x[test] >= at) == is_yes[test]).mean()))
        for number, ratio in enumerate((0.25, 0.0)):
            found = repeated_estimate(values, measured_over_fitted=ratio)
            held[number] += found.low <= truth <= found.high
    corrected, plain = held / 300
    assert corrected >= 0.92
    assert plain <= 0.85


# One fold


def test_one_fold_is_resampled_by_groups() -> None:
    rows = tiny_rows(120)
    rows[GROUP] = [f"g{number % 30}" for number in range(120)]
    rows["x"] = [float(number % 30) for number in range(120)]  # the same within a group
    answers = _answers(rows["x"])
    found = bootstrap_estimates(Mean(), rows, answers, seed=1)
    # The mean of 30 independent values, not of 120.
    error = float(np.std(np.arange(30)) / math.sqrt(30))
    assert found["mean"].value == pytest.approx(14.5)
    assert found["mean"].high - found["mean"].low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert "none" not in found
    assert found["rare"].low == found["rare"].high == 1.0


def test_the_order_of_the_rows_does_not_matter_to_one_fold() -> None:
    rows = tiny_rows(50)
    order = np.random.default_rng(1).permutation(50)
    found = bootstrap_estimates(Mean(), rows, _answers(rows["x"]), seed=1)
    mixed = rows.iloc[order].reset_index(drop=True)
    again = bootstrap_estimates(Mean(), mixed, _answers(mixed["x"]), seed=1)
    assert again["mean"].low == pytest.approx(found["mean"].low)
    assert again["mean"].high == pytest.approx(found["mean"].high)


def test_a_metric_that_most_resamples_cannot_tell_is_left_out() -> None:
    rows = tiny_rows(40).assign(x=1.0)
    rows.loc[rows.index[0], GROUP] = "alone"

    class Rare(Mean):
        def measure(self, rows: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, float]:
            times = int((rows[GROUP] == "alone").sum())
            return {"rare": 1.0} if times in (1, 3) else {}

    # Drawn once in 37 % of the resamples, thrice in 6 %.
    assert bootstrap_estimates(Rare(), rows, _answers(rows["x"]), seed=1) == {}


# McNemar


def test_mcnemar_on_a_published_table() -> None:
    """Approval of a prime minister asked twice (Agresti, Categorical Data Analysis, table 10.1):
    150 of 1,600 approved at first only, 86 at second only; 95 % interval -.06 to -.02."""
    found = mcnemar(worse=86, better=150, units=1600)
    assert found.difference == pytest.approx(-0.04)
    assert (found.low, found.high) == pytest.approx((-0.0587, -0.0213), abs=2e-4)
    # z² is 17.36 there; the exact tail is near that of the normal distribution.
    assert found.p_better == pytest.approx(stats.norm.sf(math.sqrt(17.36)), rel=0.4)


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (1, 0), (3, 9), (9, 3), (60, 31)])
def test_mcnemar_is_an_exact_sign_test(worse: int, better: int) -> None:
    found = mcnemar(worse, better, 200)
    n = worse + better
    tail = sum(math.comb(n, k) for k in range(worse, n + 1)) / 2**n
    assert found.p_worse == pytest.approx(tail)
    if n:
        exact = stats.binomtest(better, n, 0.5, alternative="greater").pvalue
        assert found.p_better == pytest.approx(exact)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
def test_the_interval_of_mcnemar_holds_the_difference(worse: int, better: int, same: int) -> None:
    found = mcnemar(worse, better, worse + better + same - 1 or 1)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.difference <= found.high


def test_a_group_counts_once_for_mcnemar() -> None:
    rows = _rows(40, groups=10)
    wrong = np.zeros(40)
    wrong[rows[GROUP] == "g3"] = 1.0  # four rows of one group
    found = paired(ByCount(), rows, _answers(wrong), _answers(np.zeros(40)), seed=0)
    assert (found.units, found.difference, found.p_worse) == (10, 0.1, 0.5)


# The bootstrap


def test_the_bootstrap_agrees_with_scipy_and_with_student() -> None:
    differences = np.random.default_rng(3).gamma(2.0, size=80) - 1.8
    found = bootstrap_means(differences, np.ones(80, int), seed=5)
    by_scipy = stats.bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert found.low is not None
    assert found.high is not None
    width = by_scipy.high - by_scipy.low
    assert found.low == pytest.approx(by_scipy.low, abs=0.06 * width)
    assert found.high == pytest.approx(by_scipy.high, abs=0.06 * width)
    student = stats.ttest_1samp(differences, 0, alternative="greater").pvalue
    assert found.p_worse == pytest.approx(student, abs=0.02)


def test_how_often_equal_models_are_told_apart() -> None:
    """One side at 5 %, on 25 skewed differences with mean 0: near 5 % of 400."""
    random = np.random.default_rng(11)
    told = np.zeros(2)
    for seed in range(400):
        differences = random.exponential(size=25) - random.exponential(size=25)
        found = bootstrap_means(differences, np.ones(25, int), seed=seed)
        told += (found.p_worse < 0.05, found.p_better < 0.05)
    assert (told / 400 <= 0.085).all()
    assert (told / 400 >= 0.02).all()


def test_equal_answers_are_no_reason_for_anything() -> None:
    same = bootstrap_means(np.zeros(30), np.ones(30, int), seed=0)
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert same.p_worse == same.p_better == 1
    flat = diebold_mariano(np.zeros(12))
    assert flat.p_worse == flat.p_better == 1
    assert mcnemar(0, 0, 50).p_worse == 1


def test_too_few_units_tell_nothing() -> None:
    groups = bootstrap_means(np.ones(9), np.ones(9, int), seed=0)
    weeks = diebold_mariano(np.array([1.0, 2.0, 1.0]), horizon=3)
    for found in (groups, weeks):
        assert found.low is None
        assert found.high is None
        assert found.p_worse == found.p_better == 1
    assert (groups.units, groups.difference, weeks.units) == (9, 1.0, 3)


# Diebold and Mariano


def test_one_step_ahead_it_is_the_paired_t_test() -> None:
    a, b = np.random.default_rng(2).gamma(2, size=(2, 15))
    found = diebold_mariano(a - b)
    expected = stats.ttest_rel(a, b, alternative="greater")
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.p_worse == pytest.approx(expected.pvalue)
    assert found.p_better == pytest.approx(1 - expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_two_steps_ahead_by_the_formula_written_out() -> None:
    d = [0.5, 0.8, 0.2, 0.1, 0.9, 1.1, 0.4, -0.2, 0.3, 0.6]
    n, h = 10, 2
    mean = sum(d) / n
    gamma0 = sum((x - mean) ** 2 for x in d) / n
    gamma1 = sum((d[t] - mean) * (d[t - 1] - mean) for t in range(1, n)) / n
    statistic = mean / math.sqrt((gamma0 + 2 * gamma1) / n)
    corrected = statistic * math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    found = diebold_mariano(np.array(d), horizon=2)
    assert found.p_worse == pytest.approx(float(stats.t.sf(corrected, n - 1)))


def test_a_variance_that_is_not_positive_is_that_of_one_period() -> None:
    swinging = np.array([1.0, -0.8] * 6)
    assert diebold_mariano(swinging, horizon=2) == diebold_mariano(swinging, horizon=1)


def test_losses_are_averaged_by_period() -> None:
    rows = _rows(60)
    values = np.random.default_rng(4).random((2, 60))
    found = paired(ByTime(), rows, _answers(values[0]), _answers(values[1]), seed=0)
    by_week = pd.Series(values[0] - values[1]).groupby(rows["week"]).mean()
    assert found == diebold_mariano(by_week.to_numpy(), horizon=2)  # the cube root of 12 is 2.3
    assert found.units == 12


class BySeries(ByTime):
    """Whose series are what is drawn as a whole."""

    def clusters(self, rows: pd.DataFrame) -> Any:
        return rows[GROUP].to_numpy()


def test_a_few_weeks_are_compared_by_whole_series() -> None:
    rows = _rows(60, groups=15).assign(week=[f"W{number // 15}" for number in range(60)])
    rows[UNIT] = rows[GROUP] + rows["week"]
    values = np.random.default_rng(4).random(60)
    found = paired(BySeries(), rows, _answers(values), _answers(np.zeros(60)), seed=0)
    assert (found.test, found.units) == ("paired bootstrap", 15)
    assert found.difference == pytest.approx(values.mean())
    few = paired(
        ByTime(), rows.assign(group=rows["week"]), _answers(values), _answers(values * 0), seed=0
    )
    assert (few.units, few.low, few.p_worse) == (4, None, 1.0)


def test_periods_that_go_together_are_rarely_taken_for_a_difference() -> None:
    """Sums over four periods, one side at 5 %, over 26 periods: plain, 20 % are told apart."""
    random = np.random.default_rng(1)
    told = np.zeros(2)
    for _ in range(400):
        shocks = random.normal(size=29)
        sums = np.array([shocks[at : at + 4].sum() for at in range(26)])
        rows = _rows(26).assign(week=range(26))
        for number, found in enumerate(
            (
                paired(ByTime(), rows, _answers(sums), _answers(np.zeros(26)), seed=0),
                diebold_mariano(sums),
            )
        ):
            told[number] += found.p_worse < 0.05
    corrected, plain = told / 400
    assert corrected < 0.12
    assert plain > 0.15


# What holds for all of them


@pytest.mark.parametrize("task", [ByCount(), ByBootstrap(), ByTime()])
@some
@given(data=st.data())
def test_swapping_the_models_swaps_the_answer(task: TinyTask, data: st.DataObject) -> None:
    a = data.draw(losses)
    b = data.draw(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=len(a), max_size=len(a)))
    rows = _rows(len(a), groups=data.draw(st.sampled_from([None, 12, 15])))
    one = paired(task, rows, _answers(a), _answers(b), seed=3)
    other = paired(task, rows, _answers(b), _answers(a), seed=3)
    assert one.low is not None
    assert one.high is not None
    assert other.low is not None
    assert one.low - 1e-12 <= one.difference <= one.high + 1e-12
    assert (one.difference, one.low) == pytest.approx((-other.difference, -(other.high or 0)))
    slack = 3 / RESAMPLES if task.paired == "bootstrap" else 1e-9  # ties in the last digit
    assert (one.p_worse, one.p_better) == pytest.approx((other.p_better, other.p_worse), abs=slack)


@pytest.mark.parametrize("task", [ByCount(), ByBootstrap(), ByTime()])
@some
@given(a=losses, random=st.randoms())
def test_the_order_of_the_rows_does_not_matter(task: TinyTask, a: list[float], random: Any) -> None:
    rows = _rows(len(a), groups=12)
    answers = [_answers(a), _answers(np.roll(a, 1))]
    order = list(range(len(a)))
    random.shuffle(order)
    mixed = [frame.iloc[order] for frame in (rows, *answers)]
    assert paired(task, *mixed, seed=3) == paired(task, rows, *answers, seed=3)


def test_what_cannot_be_compared_is_refused() -> None:
    rows = _rows(12)
    with pytest.raises(ValueError, match="without a row"):
        paired(ByBootstrap(), rows[:0], _answers([]), _answers([]), seed=0)
    with pytest.raises(ValueError, match="finite"):
        paired(ByBootstrap(), rows, _answers([math.nan] * 12), _answers([0.0] * 12), seed=0)


def test_another_seed_gives_nearly_the_same() -> None:
    differences = np.random.default_rng(8).normal(0.1, 1, 200)
    found = [bootstrap_means(differences, np.ones(200, int), seed=seed) for seed in range(8)]
    assert bootstrap_means(differences, np.ones(200, int), seed=0) == found[0]
    assert np.ptp([one.p_worse for one in found]) < 0.04
