"""How far a measured figure can be believed, and whether one of two models is the better one.

Intervals are two-sided at 95 %. The rows of a cluster (a group, `task.GROUP`, or what the task
says) are no independent witnesses, so wherever rows are resampled or counted, whole clusters are.
Nothing depends on the order of the rows.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.task import GROUP, UNIT, Task

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
# With fewer, intervals of the bootstrap are too narrow, and a few periods have mostly been forecast
# from one origin, so that their errors go together: over 4 weeks, Diebold and Mariano's test told
# forecasts of the same method apart in 55 % of the cases instead of 10 %.
LEAST_UNITS = 10
RESAMPLES = 2_000
# Metrics cost more than a mean.
METRIC_RESAMPLES = 500
_AT_ONCE = 50  # resamples held in memory

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval, which contains it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the losses of model `a` differ from those of model `b` on the same rows.

    `difference` is the mean loss of `a` less that of `b`: above zero, `a` is worse. `p_worse` is
    one-sided: small where `a` is worse by more than chance gives; `p_better` likewise. Both are 1
    and the interval is None where there are too few `units` to tell (clusters of rows, or periods).
    """

    test: str
    units: int
    difference: float
    low: float | None
    high: float | None
    p_worse: float
    p_better: float


def repeated_estimate(values: Sequence[float], *, measured_over_fitted: float) -> Estimate:
    """The mean of a metric over the folds of repeated cross-validation, with its interval.

    The folds' models share most of their rows, so the plain standard error is far too small. The
    corrected resampled t-test takes 1/n + n_test/n_train in the place of 1/n (Nadeau and Bengio,
    2003, Machine Learning 52), with n - 1 degrees of freedom for n = folds times repeats (Bouckaert
    and Frank, 2004, PAKDD). `measured_over_fitted` is n_test/n_train.

    Needs two values or more. The interval may pass the range of the metric.
    """
    from scipy import stats

    if len(values) < 2:
        raise ValueError("an interval over folds needs at least two of them")
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    error = float(array.std(ddof=1)) * math.sqrt(1 / len(array) + measured_over_fitted)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(array) - 1)) * error
    return Estimate(mean, mean - reach, mean + reach)


def bootstrap_estimates(
    task: Task, rows: "pd.DataFrame", predictions: "pd.DataFrame", *, seed: int
) -> dict[str, Estimate]:
    """The metrics of one set of predictions, with intervals, where there is one fold only.

    A plain percentile bootstrap of whole clusters. A resample that cannot tell a metric has no part
    in that metric's interval; one that no more than half of them can tell is left out.
    """
    ordered = _order(rows)
    rows, predictions = rows.iloc[ordered], predictions.iloc[ordered]
    measured = finite(task.measure(rows, predictions))
    found: dict[str, list[float]] = {name: [] for name in measured}
    codes = _codes(task.clusters(rows))
    members = np.split(np.argsort(codes, kind="stable"), np.bincount(codes).cumsum()[:-1])
    for draws in _resamples(len(members), METRIC_RESAMPLES, seed):
        for draw in draws:
            taken = np.concatenate([members[at] for at in draw])
            # A row may be there twice: an index of its own keeps the two frames together.
            part = rows.iloc[taken].reset_index(drop=True)
            # And a group of its own: metrics of groups would take a group drawn twice for one.
            part[GROUP] = np.repeat(np.arange(len(draw)), [len(members[at]) for at in draw])
            told = task.measure(part, predictions.iloc[taken].reset_index(drop=True))
            for name, value in finite(told).items():
                if name in found:
                    found[name].append(value)
    return {
        name: _percentiles(value, np.array(found[name]))
        for name, value in measured.items()
        if len(found[name]) > METRIC_RESAMPLES / 2
    }


def paired(
    task: Task, rows: "pd.DataFrame", a: "pd.DataFrame", b: "pd.DataFrame", *, seed: int
) -> Comparison:
    """The predictions of `a` against those of `b` on the same labelled rows, by the task's test.

    All three frames are in the same order. `Task.losses` has to be of 0 and 1 for McNemar's test.
    For that of Diebold and Mariano the task has to tell the `periods` of the rows, which are its
    units; where there are fewer than `LEAST_UNITS` of them, clusters are resampled instead. Raises
    `ValueError` without a row, or where a loss is not finite.
    """
    if not len(rows):
        raise ValueError("two models cannot be compared without a row")
    loss_a, loss_b = task.losses(rows, a), task.losses(rows, b)
    order = _order(rows, loss_a, loss_b)
    rows, differences = rows.iloc[order], (loss_a - loss_b)[order]
    if not np.isfinite(differences).all():
        raise ValueError(f"{type(task).__name__}.losses: every row needs a finite loss")
    if task.paired == "diebold_mariano":
        if (periods := task.periods(rows)) is None:
            raise ValueError(f"{type(task).__name__}.periods: the order in time is needed")
        means = _means(_codes(periods), differences)
        if len(means) >= LEAST_UNITS:
            # How far ahead is not known here; the cube root of the periods is a usual choice.
            return diebold_mariano(means, horizon=round(len(means) ** (1 / 3)))
    codes = _codes(task.clusters(rows))
    if task.paired == "mcnemar":
        net = _means(codes, differences)
        return mcnemar(int((net > 0).sum()), int((net < 0).sum()), len(net))
    return bootstrap_means(_means(codes, differences), np.bincount(codes), seed=seed)


def mcnemar(worse: int, better: int, units: int) -> Comparison:
    """McNemar's test, exact however many pairs are discordant: a sign test of these.

    `worse` counts the units that only the second model answered rightly, `better` those that only
    the first did. A unit of several rows counts once, by the net of its rows. The interval of the
    difference is Wald's after half a unit was added to each of the four cells (Agresti and Min,
    2005, Statistics in Medicine 24).
    """
    from scipy import stats

    discordant, total = worse + better, units + 2
    middle = (worse - better) / total
    error = math.sqrt((discordant + 1) / total - middle**2) / math.sqrt(total)
    reach = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    return Comparison(
        test="McNemar",
        units=units,
        difference=(worse - better) / units,
        low=middle - reach,
        high=middle + reach,
        p_worse=float(stats.binom.sf(worse - 1, discordant, 0.5)),
        p_better=float(stats.binom.sf(better - 1, discordant, 0.5)),
    )


def bootstrap_means(means: Floats, sizes: NDArray[np.int_], *, seed: int) -> Comparison:
    """Paired bootstrap of a mean difference over all rows, given the mean and size of each cluster.

    A plain percentile bootstrap of whole clusters. Resamples spread by sqrt((n - 1) / n) too
    little, which is put right (Hesterberg, 2015, The American Statistician 69). A resample without
    any difference counts for neither model.
    """
    sums, units = means * sizes, len(means)
    mean = float(sums.sum() / sizes.sum())
    if units < LEAST_UNITS:
        return Comparison("paired bootstrap", units, mean, None, None, 1.0, 1.0)
    drawn = np.concatenate(
        [sums[at].sum(1) / sizes[at].sum(1) for at in _resamples(units, RESAMPLES, seed)]
    )
    drawn = mean + (drawn - mean) * math.sqrt(units / (units - 1))
    interval = _percentiles(mean, drawn)
    return Comparison(
        test="paired bootstrap",
        units=units,
        difference=mean,
        low=interval.low,
        high=interval.high,
        p_worse=float((1 + (drawn <= 0).sum()) / (1 + RESAMPLES)),
        p_better=float((1 + (drawn >= 0).sum()) / (1 + RESAMPLES)),
    )


def diebold_mariano(differences: Floats, *, horizon: int = 1) -> Comparison:
    """The test of Diebold and Mariano (1995) of loss differences in the order of time.

    With the small-sample correction of Harvey, Leybourne and Newbold (1997, International Journal
    of Forecasting 13): its factor, and Student's t with one degree of freedom less than there are
    periods, of which it takes `horizon` + 1 at least. Forecasts `horizon` periods ahead have errors
    that are correlated over `horizon` - 1 periods; where the variance estimated from these is not
    positive, that of one period is taken.
    """
    from scipy import stats

    periods, mean = len(differences), float(differences.mean())
    name = "Diebold-Mariano"
    if periods < horizon + 1:
        return Comparison(name, periods, mean, None, None, 1.0, 1.0)
    away = differences - mean
    covariances = [float(away[lag:] @ away[: periods - lag]) / periods for lag in range(horizon)]
    variance = covariances[0] + 2 * sum(covariances[1:])
    if variance <= 0:
        variance, horizon = covariances[0], 1
    factor = (periods + 1 - 2 * horizon + horizon * (horizon - 1) / periods) / periods
    error = math.sqrt(variance / periods / factor)
    if error == 0:  # every period differs by the same
        p_worse, p_better = (float(mean <= 0), float(mean >= 0))
    else:
        p_worse = float(stats.t.sf(mean / error, periods - 1))
        p_better = float(stats.t.cdf(mean / error, periods - 1))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, periods - 1)) * error
    return Comparison(name, periods, mean, mean - reach, mean + reach, p_worse, p_better)


def finite(measured: dict[str, float]) -> dict[str, float]:
    """The metrics that are numbers; not a number, or infinite, is as good as not told."""
    return {name: float(value) for name, value in measured.items() if math.isfinite(value)}


def _percentiles(value: float, drawn: Floats) -> Estimate:
    """The middle of the resampled values, stretched to the estimate where it lies outside."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, min(float(low), value), max(float(high), value))


def _resamples(units: int, resamples: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Positions drawn with replacement, a row for each resample, some rows at a time."""
    random = np.random.default_rng(seed)
    for first in range(0, resamples, _AT_ONCE):
        yield random.integers(units, size=(min(_AT_ONCE, resamples - first), units))


def _means(codes: NDArray[np.intp], values: Floats) -> Floats:
    """The mean of the values of each code."""
    return np.asarray(np.bincount(codes, values) / np.bincount(codes), np.float64)


def _codes(values: Any) -> NDArray[np.intp]:
    """The number of each value's place among the sorted distinct ones."""
    import pandas as pd

    return np.asarray(pd.factorize(values, sort=True)[0])


def _order(rows: "pd.DataFrame", *losses: Floats) -> NDArray[np.intp]:
    """The rows by unit and losses: the same whatever order they came in."""
    return np.lexsort([*losses[::-1], _codes(rows[UNIT])])
