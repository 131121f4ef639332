"""Forecasting amounts by category and week."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.task import TARGET, Draw, Finding, Metric, Task
from rag_platform.training.tasks import forecast_plots

if TYPE_CHECKING:
    import pandas as pd

CATEGORY, WEEK = "category", "week"
# Weeks ahead that are measured, and that a model is asked for at most.
HORIZON, MAX_HORIZON = 4, 8
# What share of the amounts the intervals are to hold.
INTERVAL = 0.8
# Fewer weeks are not fitted to.
LEAST_WEEKS = 16
MAX_SLICES = 20

Floats = NDArray[np.float64]


class Forecast(Task):
    """Rows have a `category` and a `week` (its Monday); predictions have an interval.

    Held back are the last `HORIZON` weeks. A fold is fitted on all weeks before an origin and
    measured on the `HORIZON` weeks from it on, as in service; a model never sees a later week. The
    models that are compared on the held-back weeks are those that would answer them in service: a
    champion of an earlier week has an older history and so forecasts further ahead.

    Errors of a category are measured in those of its seasonal naive forecast, so that each category
    weighs the same: MASE (Hyndman, Koehler 2006). The naive error is the mean absolute error of
    repeating the same week of last year, where there is a year of data and eight weeks, or else the
    week before, over the history that the model was fitted on. The model tells it (`naive_error`),
    as it does the mean of the last four weeks (`mean_4`). A category that never changed has none,
    and is left out of what needs it.

    A row without a prediction counts as one with the prediction 0, outside its interval.

    Of one category a fold measures `HORIZON` weeks, so by chance some of them are worse than the
    naive forecast in almost every fold, however good the model is. The mean over folds of the worst
    category would be above 1 for that alone. `below_naive` counts categories instead: its mean over
    folds moves little, and a naive forecast comes to about one half. `mase:CATEGORY` tells each.
    """

    metrics: ClassVar[Mapping[str, Metric]] = {
        "mase": Metric("mean absolute error, in that of the seasonal naive forecast", False),
        "below_naive": Metric("share of the categories with a MASE below 1"),
        "improvement_over_4_week_mean": Metric(
            "by what share the scaled error is below that of the mean of the last four weeks"
        ),
        "coverage": Metric("share of the amounts within their 80 % interval"),
        "interval_width": Metric("mean width of the intervals, in naive errors", False),
        "mae": Metric("mean absolute error, in the unit of the amounts", False),
        "wape": Metric("sum of absolute errors over the sum of absolute amounts", False),
    }
    primary: ClassVar[str] = "mase"
    prediction_columns: ClassVar[tuple[str, ...]] = (
        *("prediction", "lower", "upper"),
        *("mean_4", "naive_error", "note"),
    )
    watched_columns: ClassVar[tuple[str, ...]] = ("prediction",)
    paired: ClassVar[Literal["mcnemar", "bootstrap", "diebold_mariano"]] = "diebold_mariano"
    checks: ClassVar[tuple[str, ...]] = ("enough_weeks",)

    def findings(self, rows: "pd.DataFrame") -> list[Finding]:
        """Too few weeks to fit to some, measure on others, and hold back the last ones."""
        weeks, least = rows[WEEK].nunique(), LEAST_WEEKS + 2 * HORIZON
        if weeks >= least:
            return []
        return [Finding("enough_weeks", f"{weeks} weeks; at least {least} are needed")]

    def holdout(self, rows: "pd.DataFrame") -> NDArray[np.bool_]:
        """The last weeks that there are rows of."""
        weeks = np.sort(rows[WEEK].unique())
        return np.asarray(rows[WEEK].isin(weeks[-HORIZON:]), np.bool_)

    def folds(
        self, rows: "pd.DataFrame", *, folds: int, repeats: int, seed: int
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Rolling origins. The folds of a repeat follow one another without an overlap, back from
        the last week; repeats begin a part of the horizon earlier. Nothing is drawn.

        Origins before which there are fewer than `LEAST_WEEKS` weeks are left out.
        """
        weeks = np.sort(rows[WEEK].unique())
        place = np.searchsorted(weeks, rows[WEEK].to_numpy())
        for repeat in range(repeats):
            for fold in range(1, folds + 1):
                origin = len(weeks) - repeat * HORIZON // repeats - fold * HORIZON
                if origin >= LEAST_WEEKS:
                    ahead = (place >= origin) & (place < origin + HORIZON)
                    yield np.flatnonzero(place < origin), np.flatnonzero(ahead)

    def measure(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> dict[str, float]:
        """The metrics; of the parts `mase:CATEGORY`."""
        actual = rows[TARGET].to_numpy(np.float64)
        errors = np.abs(actual - _answers(predictions))
        measured = {"mae": float(errors.mean()), "coverage": float(_held(rows, predictions).mean())}
        if (total := np.abs(actual).sum()) > 0:
            measured["wape"] = float(errors.sum() / total)
        naive = predictions["naive_error"].to_numpy(np.float64)
        recent = np.abs(actual - predictions["mean_4"].to_numpy(np.float64))
        width = (predictions["upper"] - predictions["lower"]).to_numpy(np.float64)
        scale = np.where(naive > 0, naive, np.nan)
        scaled, reference = (
            _by_category(each / scale, rows[CATEGORY])
            for each in (np.where(np.isnan(recent), np.nan, errors), recent)
        )
        if reference.mean() > 0:
            improvement = 1 - scaled.mean() / reference.mean()
            measured["improvement_over_4_week_mean"] = float(improvement)
        by_category = _by_category(errors / scale, rows[CATEGORY])
        if len(by_category):
            measured["mase"] = float(by_category.mean())
            measured["below_naive"] = float((by_category < 1).mean())
            measured["interval_width"] = float(_by_category(width / scale, rows[CATEGORY]).mean())
        return measured | {f"mase:{name}": float(one) for name, one in by_category.items()}

    def losses(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> Floats:
        """Absolute errors, in the mean absolute amount of the category in these rows.

        The unit is one of the rows alone, so that it is the same for both models.
        """
        actual = rows[TARGET].to_numpy(np.float64)
        amounts = rows[TARGET].abs()
        unit = amounts.groupby(rows[CATEGORY]).transform("mean")
        unit = unit.where(unit > 0, amounts.mean()).to_numpy(np.float64)
        losses: Floats = np.abs(actual - _answers(predictions)) / np.where(unit > 0, unit, 1.0)
        return losses

    def periods(self, rows: "pd.DataFrame") -> NDArray[Any]:
        """The week."""
        return np.asarray(rows[WEEK].to_numpy())

    def clusters(self, rows: "pd.DataFrame") -> NDArray[Any]:
        """The category: errors of weeks that were forecast from one origin go together."""
        return np.asarray(rows[CATEGORY].to_numpy())

    def slices(self, rows: "pd.DataFrame") -> Mapping[str, NDArray[np.bool_]]:
        """The categories, those with the most money if there are many."""
        money = rows[TARGET].abs().groupby(rows[CATEGORY]).sum()
        return {
            f"category: {name}": (rows[CATEGORY] == name).to_numpy(np.bool_)
            for name in sorted(money.nlargest(MAX_SLICES).index)
        }

    def plots(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> Mapping[str, Draw]:
        """Forecasts beside what came, how many intervals held, and the error by weeks ahead."""
        return forecast_plots.plots(rows, predictions, _held(rows, predictions), INTERVAL)


def _answers(predictions: "pd.DataFrame") -> Floats:
    return np.asarray(np.nan_to_num(predictions["prediction"].to_numpy(np.float64)), np.float64)


def _held(rows: "pd.DataFrame", predictions: "pd.DataFrame") -> NDArray[np.bool_]:
    """Which amounts are within their intervals."""
    actual = rows[TARGET].to_numpy(np.float64)
    lower, upper = (predictions[name].to_numpy(np.float64) for name in ("lower", "upper"))
    return np.asarray((lower <= actual) & (actual <= upper), np.bool_)


def _by_category(values: Floats, categories: "pd.Series[Any]") -> "pd.Series[Any]":
    """Means by category, without those of which nothing is known."""
    import pandas as pd

    return pd.Series(values).groupby(categories.to_numpy()).mean().dropna()
