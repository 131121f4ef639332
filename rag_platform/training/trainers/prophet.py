"""Forecasts by Prophet (Taylor, Letham 2018), a model for each category.

Prophet fits a trend that may bend, and a yearly course where there are two years of data. Its
intervals come from drawn courses of the trend. The model keeps the forecasts alone: Prophet is not
needed to serve them. Weeks of the history are answered by the fitted course.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rag_platform.training.errors import UnusableData
from rag_platform.training.tasks.forecast import INTERVAL, MAX_HORIZON
from rag_platform.training.trainer import Services, Trainer
from rag_platform.training.trainers.forecasts import Forecasts, load
from rag_platform.training.trainers.history import YEAR, Floats, History

if TYPE_CHECKING:
    import pandas as pd

_LEAST_WEEKS = 8
_COURSES = 300


@dataclass(frozen=True)
class Prophet(Trainer):
    """Needs the extra `prophet` for fitting."""

    requirements: ClassVar[tuple[str, ...]] = ()

    def fit(self, rows: "pd.DataFrame", *, seed: int, services: Services) -> Forecasts:
        """Forecasts of the weeks after the rows, and the fitted course among them.

        Raises `UnusableData` where the library is not installed.
        """
        history = History.of(rows)
        shape = len(history.amounts) + MAX_HORIZON, len(history.categories)
        found = np.full((3, *shape), np.nan)
        library = _library()
        with _drawing(seed):
            for place in range(shape[1]):
                if (~np.isnan(history.amounts[:, place])).sum() >= _LEAST_WEEKS:
                    found[:, :, place] = _course(library, history, place)
        return Forecasts.of(history, found[0], found[1], found[2], {})

    def load(self, folder: Path, *, services: Services) -> Forecasts:
        """What `save` wrote. Raises `UnusableData` when the folder holds something else."""
        return load(folder)


def _library() -> Any:
    # It tells at length that it cannot draw, which nobody asks of it.
    logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)
    try:
        import prophet
    except ImportError as error:
        raise UnusableData("trainer prophet: install rag_platform[prophet].") from error
    return prophet


def _course(library: Any, history: History, place: int) -> Floats:
    """Prediction and ends of the interval of all weeks and those after them, of one category."""
    import pandas as pd

    amounts = history.amounts[:, place]
    weeks = history.first + 7 * np.arange(len(amounts) + MAX_HORIZON)
    every = pd.DataFrame({"ds": weeks.astype("datetime64[ns]")})
    known = every.iloc[: len(amounts)].assign(y=amounts).dropna()
    model = library.Prophet(
        yearly_seasonality=len(known) >= 2 * YEAR,
        weekly_seasonality=False,
        daily_seasonality=False,
        interval_width=INTERVAL,
        uncertainty_samples=_COURSES,
    ).fit(known)
    told = model.predict(every)[["yhat", "yhat_lower", "yhat_upper"]]
    return np.asarray(told.to_numpy(np.float64).T)


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Prophet draws from numpy's global generator, and tells of each fit at length."""
    before = np.random.get_state()
    loggers = [logging.getLogger(name) for name in ("prophet", "cmdstanpy")]
    levels = [logger.level for logger in loggers]
    np.random.seed(seed % 2**32)
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        np.random.set_state(before)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
