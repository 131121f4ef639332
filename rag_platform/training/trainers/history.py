"""What was spent before: the weeks of every category side by side, for trainers of forecasts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.errors import UnusableData
from rag_platform.training.task import TARGET
from rag_platform.training.tasks.forecast import CATEGORY, WEEK

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

YEAR = 52
# Older weeks say nothing of the next ones that these do not.
MAX_WEEKS = 5 * YEAR
# With fewer pairs of a week and the same one of the year before, the error of repeating last year
# is not known.
_LEAST_PAIRS = 8
_RECENT = 4


@dataclass(frozen=True)
class History:
    """`amounts` has a row for each week from the first to the last one, without a gap, and a column
    for each of `categories`; NaN where a week is not known. `first` is a Monday."""

    first: np.datetime64
    categories: tuple[str, ...]
    amounts: Floats

    @classmethod
    def of(cls, rows: "pd.DataFrame") -> Self:
        """Of labelled rows in any order. Raises `UnusableData` where there are none."""
        table = rows.assign(**{WEEK: weeks_of(rows)}).pivot_table(
            index=WEEK, columns=CATEGORY, values=TARGET, aggfunc="sum"
        )
        if table.empty:
            raise UnusableData("no week of any category: there is nothing to forecast from.")
        weeks = table.index.to_numpy().astype("datetime64[D]")
        steps = (weeks - weeks[0]) // np.timedelta64(7, "D")
        amounts = np.full((int(steps[-1]) + 1, len(table.columns)), np.nan)
        amounts[steps.astype(np.int64)] = table.to_numpy(np.float64)
        first = weeks[0] + max(0, len(amounts) - MAX_WEEKS) * np.timedelta64(7, "D")
        amounts = amounts[-MAX_WEEKS:]
        is_told = ~np.isnan(amounts).all(axis=0)
        return cls(first, tuple(map(str, table.columns[is_told])), amounts[:, is_told])

    def naive_error(self) -> Floats:
        """By category: the mean absolute error of repeating the same week of last year, or, where
        fewer than `_LEAST_PAIRS` such weeks are known, the week before. NaN where neither is."""
        found = np.full(len(self.categories), np.nan)
        for lag in (1, YEAR):
            errors = np.abs(self.amounts[lag:] - self.amounts[:-lag])
            known = (~np.isnan(errors)).sum(axis=0)
            least = 1 if lag == 1 else _LEAST_PAIRS
            means = np.nansum(errors, axis=0) / np.maximum(known, 1)
            found = np.where(known >= least, means, found)
        return found

    def recent_mean(self, at: int) -> Floats:
        """By category the mean of the four weeks before the week at a place; NaN without any."""
        return mean(self.amounts[max(0, at - _RECENT) : at])


def weeks_of(rows: "pd.DataFrame") -> "pd.Series[Any]":
    """The Mondays of rows. Raises `UnusableData` where there are no weeks that can be read."""
    import pandas as pd

    missing = [name for name in (CATEGORY, WEEK) if name not in rows]
    if missing:
        raise UnusableData(f"rows lack {' and '.join(missing)}, which forecasts are made for.")
    try:
        days = pd.to_datetime(rows[WEEK]).astype("datetime64[us]")
    except (ValueError, TypeError) as error:
        raise UnusableData(f"{WEEK}: not all values are dates ({type(error).__name__}).") from error
    if days.isna().any():
        raise UnusableData(f"{WEEK}: {int(days.isna().sum())} of {len(days)} values are missing.")
    return (days - pd.to_timedelta(days.dt.day_of_week, unit="D")).dt.normalize()


def mean(amounts: Floats, weights: Floats | None = None) -> Floats:
    """The mean of each column over the rows that are known; NaN where none is."""
    known = ~np.isnan(amounts)
    weigh = known * (1.0 if weights is None else weights[:, None])
    total = weigh.sum(axis=0)
    sums = (np.where(known, amounts, 0.0) * weigh).sum(axis=0)
    means: Floats = np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0)
    return means


def median(amounts: Floats) -> Floats:
    """The median of each column over the rows that are known; NaN where none is."""
    known = (~np.isnan(amounts)).sum(axis=0)
    ordered = np.sort(amounts, axis=0)  # NaN comes last
    columns = np.arange(amounts.shape[1])
    low, high = np.maximum(known - 1, 0) // 2, known // 2
    if not len(amounts):
        return np.full(len(columns), np.nan)
    high = np.minimum(high, len(amounts) - 1)
    middle: Floats = (ordered[low, columns] + ordered[high, columns]) / 2
    return middle
