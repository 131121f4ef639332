"""Pictures of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.training.gates import NOT_WORSE, Verdict
from rag_platform.training.statistics import Estimate
from rag_platform.training.task import Draw, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BARS = 12
_PASSED, _FAILED, _BOUND, _POINT = "#4c8c5c", "#c8342b", "#222222", "#8a9bb0"


def gates(task: Task, verdicts: Sequence[Verdict]) -> Draw:
    """Each measured gate as a bar with its interval, and its bound as a line across.

    Gates of one unit stand beside each other. The comparison with the champion has no bar.
    """
    shown = [
        verdict for verdict in verdicts if verdict.value is not None and verdict.gate != NOT_WORSE
    ]
    by_unit: dict[str, list[Verdict]] = {}
    for verdict in shown[:MAX_BARS]:
        by_unit.setdefault(_unit(task, verdict.gate), []).append(verdict)

    def draw(figure: "Figure") -> None:
        if not by_unit:
            _say(figure, "no gate could be measured")
            return
        widths = [len(group) for group in by_unit.values()]
        panels = figure.subplots(1, len(by_unit), width_ratios=widths, squeeze=False)[0]
        for axes, (unit, group) in zip(panels, by_unit.items(), strict=True):
            _bars(axes, group)
            axes.set_ylabel(unit)

    return draw


def _bars(axes: "Axes", verdicts: Sequence[Verdict]) -> None:
    at = np.arange(len(verdicts))
    values = np.array([verdict.value for verdict in verdicts], np.float64)
    colors = [_PASSED if verdict.passed else _FAILED for verdict in verdicts]
    axes.bar(at, values, width=0.6, color=colors)
    for place, verdict in zip(at, verdicts, strict=True):
        if verdict.low is not None and verdict.high is not None:
            axes.vlines(place, verdict.low, verdict.high, color=_BOUND, linewidth=1)
        if verdict.bound is not None:
            axes.hlines(verdict.bound, place - 0.42, place + 0.42, color=_BOUND, linestyle="--")
    axes.set_xticks(at, [_label(verdict.gate) for verdict in verdicts], rotation=20)
    axes.margins(y=0.15)


def folds(
    task: Task, values: Mapping[str, Sequence[float]], metrics: Mapping[str, Estimate]
) -> Draw:
    """Every fold's value of every metric as a point, with the mean and its interval.

    Metrics of parts (`f1:ORG`) are left out. A panel for each unit.
    """
    names = [name for name in metrics if ":" not in name][:MAX_BARS]
    by_unit: dict[str, list[str]] = {}
    for name in names:
        by_unit.setdefault(_unit(task, name), []).append(name)

    def draw(figure: "Figure") -> None:
        if not by_unit:
            _say(figure, "no metric could be measured")
            return
        widths = [len(group) for group in by_unit.values()]
        panels = figure.subplots(1, len(by_unit), width_ratios=widths, squeeze=False)[0]
        for axes, (unit, group) in zip(panels, by_unit.items(), strict=True):
            _points(axes, group, values, metrics)
            axes.set_ylabel(unit)

    return draw


def _points(
    axes: "Axes",
    names: Sequence[str],
    values: Mapping[str, Sequence[float]],
    metrics: Mapping[str, Estimate],
) -> None:
    for place, name in enumerate(names):
        found, estimate = values[name], metrics[name]
        beside = place + np.linspace(-0.25, 0.25, len(found)) if len(found) > 1 else [place]
        axes.scatter(beside, found, s=14, color=_POINT, linewidths=0)
        axes.vlines(place, estimate.low, estimate.high, color=_BOUND, linewidth=1)
        axes.hlines(estimate.value, place - 0.3, place + 0.3, color=_BOUND)
    axes.set_xticks(range(len(names)), [_label(name) for name in names], rotation=20)


def _unit(task: Task, gate: str) -> str:
    """The unit of a gate's metric; a gate that is no metric (a ratio) has none."""
    metric = task.metrics.get(gate.partition(":")[0])
    return metric.unit if metric else ""


def _label(name: str) -> str:
    return name.replace("_", " ")[:40]


def _say(figure: "Figure", told: str) -> None:
    axes: Any = figure.subplots()
    axes.axis("off")
    axes.text(0.5, 0.5, told, ha="center", va="center")
