"""Forecasts by a pool of simple ones, weighed by how well each has done of late.

Members are means, medians and exponential smoothing of the last weeks, the same week of last year,
and the level with last year's deviation from its own. Some of them are best for spending that moves
about a level, others after a shift of it: which ones is learned from the data. At each week of the
history, every member forecasts the next weeks from what was known then. Its absolute errors,
divided by the category's usual change from week to week, are averaged with a half-life of
`_HALF_LIFE` weeks, by category, and drawn towards the mean over all categories as if that were
`_SHRINKAGE` weeks more. A member whose error is by a share x above the least has
exp(-`_SHARPNESS` x) of the weight of the best one: the exponentially weighted average forecaster
(Cesa-Bianchi, Lugosi 2006, chapter 2).

The interval adds quantiles of the pool's own earlier errors, made the same number of weeks ahead,
of the category and, as if they were `_SHRINKAGE` weeks more, of all others. Every forecast that
these errors are of was made from earlier weeks alone, so they are as large as those to come (split
conformal prediction, for forecasts made one after the other).

Constants were chosen on the first three quarters of the weeks of three data sets; results hardly
depend on them. Gradient boosting over the same lags came out a little behind on all three, and
without intervals (`benchmarks/spending.py`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.tasks.forecast import INTERVAL, MAX_HORIZON
from rag_platform.training.trainer import Services, Trainer
from rag_platform.training.trainers.forecasts import Forecasts, load
from rag_platform.training.trainers.history import YEAR, Floats, History, mean, median

if TYPE_CHECKING:
    import pandas as pd

_MEANS = (1, 2, 4, 13, 52)
_MEDIANS = (4, 8, 13, 26, 52, 104)
_SMOOTHINGS = (0.3, 0.5, 0.7)
MEMBERS = (
    *(f"mean of {weeks}" for weeks in _MEANS),
    *(f"median of {weeks}" for weeks in _MEDIANS),
    *(f"smoothing {share}" for share in _SMOOTHINGS),
    "last year",
    "level and last year's deviation",
)
# Before a category has so many weeks nothing is forecast.
_LEAST_WEEKS = 8
_HALF_LIFE = 26.0
_SHRINKAGE = 60.0
_SHARPNESS = 20.0
# In units of the usual change: one week out of all order shall not decide.
_MOST_ERROR = 8.0


@dataclass(frozen=True)
class Lags(Trainer):
    """The pool over all categories. Nothing is drawn: the seed is not used."""

    requirements: ClassVar[tuple[str, ...]] = ()

    def fit(self, rows: "pd.DataFrame", *, seed: int, services: Services) -> Forecasts:
        """Forecasts of the weeks after the rows, and of those among them."""
        history = History.of(rows)
        pool = _Pool(history)
        prediction = np.concatenate([pool.forecast[:-1, 0], pool.forecast[-1]])
        scale = np.concatenate([pool.scale[:-1], pool.scale[-1:].repeat(MAX_HORIZON, axis=0)])
        low, high = pool.reach()
        ahead = np.concatenate([np.zeros(len(pool.scale) - 1, int), np.arange(MAX_HORIZON)])
        shares = pool.weights[-1].mean(axis=1)
        return Forecasts.of(
            history,
            prediction,
            prediction + scale * low[ahead],
            prediction + scale * high[ahead],
            {
                "heaviest_member": MEMBERS[int(shares.argmax())],
                "heaviest_weight": round(float(shares.max()), 4),
            },
        )

    def load(self, folder: Path, *, services: Services) -> Forecasts:
        """What `save` wrote. Raises `UnusableData` when the folder holds something else."""
        return load(folder)


class _Pool:
    """All forecasts that were made along a history.

    `forecast[t, h]` is of the week t + h, from the weeks before t; `scale[t]` is the usual change
    then; `weights[t]` has the shares of the members. Last axis: categories.
    """

    def __init__(self, history: History) -> None:
        amounts = history.amounts
        self._amounts = amounts
        weeks, categories = amounts.shape
        shape = (weeks + 1, MAX_HORIZON, len(MEMBERS), categories)
        self._members = np.full(shape, np.nan)
        self.scale = np.full((weeks + 1, categories), np.nan)
        self.weights = np.full((weeks + 1, len(MEMBERS), categories), 1 / len(MEMBERS))
        ledger = _Ledger(categories)
        for at in range(1, weeks + 1):
            self._members[at] = _members(amounts, at)
            self.scale[at] = _usual_change(amounts[:at])
            ledger.add(self._errors_of(at - 1))
            self.weights[at] = ledger.weights()
        self.forecast: Floats = (self._members * self.weights[:, None]).sum(axis=2)

    def _errors_of(self, week: int) -> Floats:
        """Scaled absolute errors of a week's forecasts, by horizon, member and category."""
        found = np.full(self._members.shape[1:], np.nan)
        for ahead in range(min(MAX_HORIZON, week)):
            at = week - ahead
            errors = np.abs(self._members[at, ahead] - self._amounts[week]) / self.scale[at]
            found[ahead] = np.minimum(errors, _MOST_ERROR)
        return found

    def reach(self) -> tuple[Floats, Floats]:
        """How far the interval goes down and up, in usual changes, by horizon and category."""
        weeks, categories = self._amounts.shape
        found = np.zeros((2, MAX_HORIZON, categories))
        for ahead in range(MAX_HORIZON):
            made = np.arange(1, max(1, weeks - ahead))
            errors = (self._amounts[made + ahead] - self.forecast[made, ahead]) / self.scale[made]
            weights = 0.5 ** ((weeks - made - ahead) / YEAR)
            for category in range(categories):
                found[:, ahead, category] = _quantiles(errors, weights, category)
        return found[0], found[1]


class _Ledger:
    """Errors of the members so far, and the weights that follow."""

    def __init__(self, categories: int) -> None:
        self._sums = np.zeros((len(MEMBERS), categories))
        self._counts = np.zeros(categories)

    def add(self, errors: Floats) -> None:
        """A week later, with the errors of its forecasts by horizon, member and category."""
        known = np.asarray(~np.isnan(errors).any(axis=1))
        decay = 0.5 ** (1 / _HALF_LIFE)
        self._sums = self._sums * decay + np.where(known[:, None], errors, 0.0).sum(axis=0)
        self._counts = self._counts * decay + known.sum(axis=0)

    def weights(self) -> Floats:
        """Shares of the members by category."""
        pooled = self._sums.sum(axis=1, keepdims=True) / max(self._counts.sum(), 1.0)
        more = _SHRINKAGE * MAX_HORIZON
        drawn = (self._sums + more * pooled) / (self._counts + more)
        least = drawn.min(axis=0)
        above = np.divide(drawn, least, out=np.ones_like(drawn), where=least > 0) - 1
        weights = np.exp(-_SHARPNESS * above)
        return np.asarray(weights / weights.sum(axis=0))


def _members(amounts: Floats, at: int) -> Floats:
    """What each member says at a week of the weeks from it on, by horizon, member, category."""
    past = amounts[:at]
    fallback = mean(past)
    level = median(past[-13:])
    same = [
        *(mean(past[-weeks:]) for weeks in _MEANS),
        *(median(past[-weeks:]) for weeks in _MEDIANS),
        *(mean(past, np.power(1 - share, np.arange(at)[::-1])) for share in _SMOOTHINGS),
    ]
    found = np.empty((MAX_HORIZON, len(MEMBERS), amounts.shape[1]))
    found[:, : len(same)] = same
    for ahead in range(MAX_HORIZON):
        then = at + ahead - YEAR
        last_year = amounts[then] if then >= 0 else level
        usual = mean(amounts[max(0, then - 6) : then + 7]) if then >= 0 else level
        around = mean(amounts[max(0, then - 1) : then + 2]) if then >= 0 else level
        found[ahead, -2] = np.where(np.isnan(last_year), level, last_year)
        found[ahead, -1] = level + np.nan_to_num(0.5 * (around - usual))
    found = np.where(np.isnan(found), fallback, found)
    known = np.count_nonzero(~np.isnan(past), axis=0)
    found[:, :, known < _LEAST_WEEKS] = np.nan
    return found


def _usual_change(past: Floats) -> Floats:
    """By category the mean change from week to week in the last year; of what never changes, 1."""
    year = past[-YEAR - 1 :]
    changes = mean(np.abs(np.diff(year, axis=0)))
    # No two weeks in a row are known where every other one is a gap.
    changes = np.where(np.isnan(changes), mean(np.abs(year - median(year))), changes)
    return np.where(changes > 0, changes, 1.0)


def _quantiles(errors: Floats, weights: Floats, category: int) -> NDArray[np.float64]:
    """The two ends of the interval of the errors of one category, helped by those of all others."""
    known = ~np.isnan(errors)
    weigh = np.where(known, weights[:, None], 0.0)
    own = weigh[:, category].sum()
    weigh = weigh * (_SHRINKAGE / max(weigh.sum(), 1e-9))
    weigh[:, category] += np.where(known[:, category], weights, 0.0)
    values, weigh = errors[known], weigh[known]
    if not len(values):
        return np.zeros(2)
    order = np.argsort(values, kind="stable")
    # One more error is to come, and it may be larger than all (conformal prediction).
    points = np.cumsum(weigh[order]) / (weigh.sum() + weigh.sum() / (own + _SHRINKAGE))
    low = int(np.searchsorted(points, (1 - INTERVAL) / 2, side="right")) - 1
    high = int(np.searchsorted(points, (1 + INTERVAL) / 2))
    return np.array([values[order[max(low, 0)]], values[order[min(high, len(values) - 1)]]])
