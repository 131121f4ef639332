"""Drift as a person looks at it: which columns, and how they lay before and lie now."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from rag_platform.training.drift.difference import MAX_P, ColumnDrift
from rag_platform.training.task import Draw
from rag_platform.training.tasks.classification_plots import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BARS = 25
MAX_PANELS = 6
_DRIFTED, _OTHER, _BEFORE = "#d62728", "#1f77b4", "#888888"


def plots(columns: list[ColumnDrift]) -> Mapping[str, Draw]:
    """By title: `drift` is the effect of each column, `columns` the bins of the foremost."""
    if not columns:
        return {}
    return {"drift": _effects(columns[:MAX_BARS]), "columns": _panels(columns[:MAX_PANELS])}


def _effects(columns: list[ColumnDrift]) -> Draw:
    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        shown = columns[::-1]
        colours = [_DRIFTED if column.drifted else _OTHER for column in shown]
        axes.barh(range(len(shown)), [column.effect for column in shown], color=colours)
        axes.set_yticks(range(len(shown)), [_name(column) for column in shown])
        axes.axvline(1, color=_BEFORE, linestyle="--")
        title = f"Effect in multiples of its bound (red: drifted, p < {MAX_P})"
        axes.set(xlabel="effect / bound", title=title)

    return draw


def _panels(columns: list[ColumnDrift]) -> Draw:
    def draw(figure: "Figure") -> None:
        rows = -(-len(columns) // 2)
        grid = figure.subplots(rows, 2, squeeze=False)
        for axes, column in zip(grid.flat, columns, strict=False):
            _panel(axes, column)
        for axes in list(grid.flat)[len(columns) :]:
            axes.set_axis_off()

    return draw


def _panel(axes: "Axes", column: ColumnDrift) -> None:
    places = np.arange(len(column.bins))
    axes.bar(places - 0.2, column.before, 0.4, color=_BEFORE, label="before")
    axes.bar(places + 0.2, column.now, 0.4, color=_OTHER, label="now")
    axes.set_xticks(places, [label(name) for name in column.bins], rotation=60, fontsize=6)
    axes.set_title(_name(column), color=_DRIFTED if column.drifted else "black", fontsize=8)
    axes.legend(fontsize=6)


def _name(column: ColumnDrift) -> str:
    aspect = " (missing)" if column.aspect == "missing" else ""
    along = f" along {column.along}" if column.along else ""
    return f"{column.part}: {label(column.column)}{along}{aspect}"
