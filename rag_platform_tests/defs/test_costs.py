"""The costs in the UI."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import pytest
import yaml

from rag_platform.defs.operations.costs import costs_definitions, draw_days
from rag_platform.defs.plots import png
from rag_platform.defs.resources import platform_resource
from rag_platform.llm.budget import Attempt
from rag_platform.platform import Platform
from rag_platform.settings import Settings, load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    config = tmp_path / "platform.yaml"
    tree = {"automation": False, "llm": {"budget": {"daily_usd": 2, "run_usd": 2}}}
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(config))
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(tmp_path / "state"))
    return load()


def spend(settings: Settings, model: str, microusd: int, prompt: str | None = "p@v001") -> None:
    platform = Platform(settings)
    attempt = Attempt("e", model, "run", "manuals/summary", 10, microusd, prompt=prompt)
    reservation = platform.llm.budget.reserve(attempt)
    platform.llm.budget.settle(reservation, input_tokens=9, output_tokens=1, microusd=microusd)
    platform.close()


def defs(settings: Settings) -> dg.Definitions:
    resources = {"platform": platform_resource(settings)}
    return dg.Definitions.merge(costs_definitions(), dg.Definitions(resources=resources))


def materialized(settings: Settings) -> dict[str, dg.MetadataValue]:
    job = defs(settings).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process()
    [event] = result.get_asset_materialization_events()
    return dict(event.materialization.metadata)


def test_the_asset_shows_what_was_spent_on_what(settings: Settings) -> None:
    spend(settings, "large", 700_000)
    spend(settings, "a|b $x^$", 200_000)
    spend(settings, "embedder", 1_000, prompt=None)
    found = materialized(settings)
    assert found["cost today USD"].value == found["total USD"].value == 0.901
    assert found["daily limit USD"].value == 2.0
    assert (found["calls"].value, found["attempts"].value) == (3, 3)
    by_model = str(found["by model"].value).splitlines()
    assert by_model[2] == "| large | 1 | 1 | 0 | 0.7000 | 0.0000 | 0.0000 |"
    assert by_model[3].startswith("| a&#124;b $x^$ | 1 |")
    assert "| (embeddings) | 1 | 1 | 0 | 0.0010 |" in str(found["by prompt"].value)
    assert "| manuals/summary | 3 |" in str(found["by asset"].value)
    image = str(found["cost by day"].value)
    assert image.startswith("![plot](data:image/png;base64,")
    assert base64.b64decode(image.partition(",")[2][:-1]).startswith(PNG)


def test_an_empty_ledger_is_no_obstacle(settings: Settings) -> None:
    found = materialized(settings)
    assert found["total USD"].value == 0.0
    assert str(found["cost by day"].value).startswith("![plot](data:image/png;base64,")


def test_the_bars_of_a_day_stand_on_each_other() -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    days = ["2026-01-05", "2026-01-06"]
    daily = {"2026-01-06": {f"m{n}": float(n) for n in range(1, 11)}}  # two more than are named
    figure = Figure()
    draw_days(figure, days, daily, limit=5.0)
    [axes] = figure.axes
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle) and bar.get_height()]
    assert [(bar.get_y(), bar.get_height()) for bar in bars] == [
        (0.0, 10.0),
        (10.0, 9.0),
        (19.0, 8.0),
        (27.0, 7.0),
        (34.0, 6.0),
        (40.0, 5.0),
        (45.0, 4.0),
        (49.0, 3.0),
        (52.0, 3.0),  # m1 and m2
    ]
    labels = axes.get_legend_handles_labels()[1]
    assert sorted(labels) == sorted(["daily limit", "others", *(f"m{n}" for n in range(3, 11))])
    [limit] = [line for line in axes.lines if line.get_label() == "daily limit"]
    assert list(np.asarray(limit.get_ydata())) == [5.0, 5.0]


def test_texts_on_a_plot_are_no_formulas() -> None:
    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.bar(["$x^$", "plain"], [1, 1000])
        axes.set_title("$\\nonsense{$")
        axes.set_yscale("log")

    assert base64.b64decode(png(draw).value.partition(",")[2][:-1]).startswith(PNG)
