"""What the pictures of an evaluation show."""

import io
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from rag_platform.pictures import png_bytes
from rag_platform.training import plots
from rag_platform.training.evaluation import evaluate, figures
from rag_platform.training.gates import NOT_WORSE, Verdict
from rag_platform.training.statistics import Estimate
from rag_platform.training.task import TARGET, Metric
from rag_platform.training.tasks.classification import BinaryClassification
from rag_platform_tests.training.tiny import SERVICES, SPEC, TinyTask, tiny_rows

VERDICTS = [
    Verdict("accuracy", 0.8, 0.9, 0.85, 0.95, True, ""),
    Verdict("accuracy:a$x^2$", 0.8, 0.7, 0.65, 0.75, False, ""),
    Verdict("recall", 0.8, None, None, None, False, ""),
    Verdict(NOT_WORSE, 0.05, 0.4, None, None, True, ""),
]


class Money(TinyTask):
    metrics: ClassVar = {
        **TinyTask.metrics,
        "cost": Metric("money", higher_is_better=False, unit="USD"),
    }


def _drawn(draw: Any) -> Figure:
    figure = Figure()
    draw(figure)
    return figure


def test_gates_are_bars_with_intervals_and_bounds() -> None:
    (axes,) = _drawn(plots.gates(TinyTask(), VERDICTS)).axes
    assert [bar.get_height() for bar in axes.patches] == [0.9, 0.7]  # type: ignore[attr-defined]
    passed, failed = (bar.get_facecolor() for bar in axes.patches)
    assert passed != failed
    lines = [np.ravel(found.get_segments()).tolist() for found in axes.collections]  # type: ignore[attr-defined]
    assert [0, 0.85, 0, 0.95] in lines  # the interval
    assert [-0.42, 0.8, 0.42, 0.8] in lines  # the bound
    assert [text.get_text() for text in axes.get_xticklabels()] == ["accuracy", "accuracy:a$x^2$"]


def test_each_unit_has_a_panel_of_its_own() -> None:
    cost = Verdict("cost", 20.0, 12.0, 10.0, 14.0, True, "")
    figure = _drawn(plots.gates(Money(), [*VERDICTS, cost]))
    assert [axes.get_ylabel() for axes in figure.axes] == ["", "USD"]
    values = {"cost": [10.0, 14.0], "accuracy": [0.8, 0.9, 0.7], "accuracy:part": [0.5]}
    estimates = {name: Estimate(float(np.mean(x)), 0.1, 20.0) for name, x in values.items()}
    figure = _drawn(plots.folds(Money(), values, estimates))
    assert [axes.get_ylabel() for axes in figure.axes] == ["USD", ""]
    points = figure.axes[1].collections[0].get_offsets()
    assert np.asarray(points)[:, 1].tolist() == [0.8, 0.9, 0.7]


@pytest.mark.parametrize(
    "draw", [plots.gates(TinyTask(), VERDICTS[2:]), plots.folds(TinyTask(), {}, {})]
)
def test_nothing_measured_is_said(draw: Any) -> None:
    (axes,) = _drawn(draw).axes
    assert "could be measured" in axes.texts[0].get_text()


def test_a_picture_is_a_png_of_the_size_that_was_asked_for() -> None:
    png = png_bytes(plots.gates(TinyTask(), VERDICTS), width=6, height=3)
    assert png.startswith(b"\x89PNG\r\n")
    assert imread(io.BytesIO(png)).shape[:2] == (300, 600)


def test_a_name_with_dollar_signs_is_no_formula() -> None:
    odd = [Verdict(r"accuracy:$\frac{$", 0.8, 0.9, 0.85, 0.95, True, "")]
    assert png_bytes(plots.gates(TinyTask(), odd))  # a formula would not parse


def test_a_logarithmic_axis_has_plain_numbers() -> None:
    seen = []

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([1, 1000], [1, 2])
        axes.set_xscale("log")
        seen.append(axes)

    png_bytes(draw)
    assert "1000" in [text.get_text() for text in seen[0].get_xticklabels()]


def test_the_tasks_own_plots_stand_beside_those_of_every_evaluation() -> None:
    task = BinaryClassification(positive="yes", negative="no")
    spec, rows = replace(SPEC, task=task), tiny_rows(300)
    held = task.holdout(rows)
    trainer = SPEC.trainers["default"]
    twin = trainer.fit(rows[~held], seed=0, services=SERVICES)
    found = evaluate(
        spec,
        trainer,
        rows,
        gates={},
        twin=twin,
        champion=None,
        champion_version=None,
        seed=1,
        services=SERVICES,
    )
    answered = twin.predict(rows[held].drop(columns=TARGET))
    drawn = figures(spec, rows[held], answered, found)
    assert set(drawn) > {"gates", "folds", "confusion", "calibration"}
    assert len({png_bytes(draw) for draw in drawn.values()}) == len(drawn)
    assert set(figures(spec, rows[:0], answered[:0], found)) == {"gates", "folds"}
