"""What a person looks at to judge forecasts. Names of categories come from data: shown as text."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.task import TARGET, Draw

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MAX_CATEGORIES = 6
_MAX_BARS = 20
_MAX_NAME = 28
_BLUE, _BLACK, _GREY = "#1f77b4", "#222222", "#888888"


def plots(
    rows: "pd.DataFrame", predictions: "pd.DataFrame", held: NDArray[np.bool_], interval: float
) -> Mapping[str, Draw]:
    """Plots by title. `held` says which amounts are within their intervals."""
    table = rows[["category", "week"]].assign(
        actual=rows[TARGET].to_numpy(np.float64),
        held=held,
        **{
            name: predictions[name].to_numpy(np.float64)
            for name in ("prediction", "lower", "upper", "mean_4", "naive_error")
        },
    )
    return {
        "forecasts": _forecasts(table),
        "coverage": _coverage(table, interval),
        "error_by_week": _error_by_week(table),
    }


def _label(name: Any) -> str:
    short = " ".join(str(name).split())
    return short if len(short) <= _MAX_NAME else short[: _MAX_NAME - 1] + "…"


def _largest(table: "pd.DataFrame", most: int) -> list[str]:
    money = table["actual"].abs().groupby(table["category"]).sum()
    return list(money.nlargest(most).index)


def _forecasts(table: "pd.DataFrame") -> Draw:
    """The categories with the most money, each with forecasts, intervals and what came."""
    names = _largest(table, MAX_CATEGORIES)

    def draw(figure: "Figure") -> None:
        rows = 1 if len(names) <= 3 else 2
        grid = figure.subplots(rows, -(-len(names) // rows), squeeze=False).ravel()
        for axes, name in zip(grid, names, strict=False):
            part = table[table["category"] == name].sort_values("week")
            weeks = part["week"].dt.strftime("%d %b")
            axes.fill_between(weeks, part["lower"], part["upper"], color=_BLUE, alpha=0.2)
            axes.plot(weeks, part["prediction"], color=_BLUE, marker="o", label="forecast")
            axes.plot(weeks, part["actual"], color=_BLACK, marker="x", label="came")
            axes.set_title(_label(name), fontsize=9)
            axes.tick_params(labelsize=7)
            axes.locator_params(axis="x", nbins=4) if len(part) > 12 else None
        for axes in grid[len(names) :]:
            axes.set_visible(False)
        grid[0].legend(fontsize=7)

    return draw


def _coverage(table: "pd.DataFrame", interval: float) -> Draw:
    """How many of the amounts of each category were within the interval."""
    shares = table.groupby("category")["held"].mean()
    names = _largest(table, _MAX_BARS)[::-1]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.barh([_label(name) for name in names], shares[names], color=_BLUE)
        axes.axvline(interval, color=_BLACK, linestyle="--")
        axes.set(xlim=(0, 1), xlabel="share", title=f"Amounts within their {interval:.0%} interval")
        axes.tick_params(axis="y", labelsize=7)

    return draw


def _error_by_week(table: "pd.DataFrame") -> Draw:
    """The error week by week, from the first one that was forecast on, beside the simple mean's."""
    scale = table["naive_error"].where(table["naive_error"] > 0)
    table = table.assign(
        model=(table["actual"] - table["prediction"].fillna(0.0)).abs() / scale,
        simple=(table["actual"] - table["mean_4"]).abs() / scale,
    )
    means = table.groupby("week")[["model", "simple"]].mean()
    weeks = np.arange(1, len(means) + 1)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.plot(weeks, means["simple"], color=_GREY, marker="o", label="mean of four weeks")
        axes.plot(weeks, means["model"], color=_BLUE, marker="o", label="model")
        axes.set(
            xlabel="week measured", ylabel="naive errors", title="Error by week", ylim=(0, None)
        )
        axes.legend()

    return draw
