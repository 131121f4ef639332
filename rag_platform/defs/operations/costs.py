"""What models cost, looked at in the UI."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from rag_platform.defs.console import console_link
from rag_platform.defs.documents import metadata
from rag_platform.defs.plots import png
from rag_platform.defs.shared import OWNERS
from rag_platform.platform import Platform
from rag_platform.resources.platform import PlatformResource

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DAYS_SHOWN = 30
_MODELS_SHOWN = 8
_ROWS_SHOWN = 20
_COLUMNS = ("calls", "attempts", "cached_calls", "total_usd", "unsettled_usd", "saved_usd")


@dg.asset(
    group_name="operations",
    owners=OWNERS,
    kinds={"python", "sql"},
    # Without inputs: the ledger is written by all assets that ask models, and by the command line.
    automation_condition=dg.AutomationCondition.on_cron("10 * * * *"),
    description=(
        "What models have cost, from the ledger that every request is booked in: by day and model, "
        "beside the daily limit. Looked at anew every hour."
    ),
)
def llm_costs(platform: PlatformResource) -> dg.MaterializeResult:
    """The ledger as a plot and tables."""
    return dg.MaterializeResult(metadata=cost_metadata(platform.parts, datetime.now(UTC).date()))


def cost_metadata(parts: Platform, today: date) -> dict[str, Any]:
    """Figures of the last 30 days, as Dagster metadata."""
    from rag_platform.llm import ledger

    first = today - timedelta(days=_DAYS_SHOWN - 1)
    days = [(first + timedelta(days=n)).isoformat() for n in range(_DAYS_SHOWN)]
    limit = float(parts.settings.llm.budget.daily_usd)
    daily = ledger.daily_by_model(parts.catalog, since=first)
    by_model = ledger.costs(parts.catalog, by="model", since=first)
    by_prompt = ledger.costs(parts.catalog, by="prompt", since=first)
    by_asset = ledger.costs(parts.catalog, by="asset", since=first)
    spent_today = sum(daily.get(days[-1], {}).values())
    totals = {name: value for name, value in by_model.items() if name != "rows"}
    return {
        "cost by day": png(lambda figure: draw_days(figure, days, daily, limit=limit)),
        "cost today USD": round(spent_today, 6),
        "daily limit USD": limit,
        **{f"{name.replace('_usd', ' USD').replace('_', ' ')}": n for name, n in totals.items()},
        "by model": _table("model", by_model["rows"]),
        "by prompt": _table("prompt", by_prompt["rows"]),
        "by asset": _table("asset", by_asset["rows"]),
        **console_link(parts.settings, "costs"),
    }


def draw_days(
    figure: "Figure", days: Sequence[str], daily: Mapping[str, Mapping[str, float]], *, limit: float
) -> None:
    """A bar for each day with a part for each model, and the daily limit as a line."""
    sums: dict[str, float] = {}
    for costs in daily.values():
        for model, dollars in costs.items():
            sums[model] = sums.get(model, 0.0) + dollars
    ranked = sorted(sums, key=lambda model: -sums[model])
    named, others = ranked[:_MODELS_SHOWN], ranked[_MODELS_SHOWN:]
    axes = figure.subplots()
    bottoms = [0.0] * len(days)
    for label, models in [*((name, [name]) for name in named), ("others", others)]:
        heights = [sum(daily.get(day, {}).get(name, 0.0) for name in models) for day in days]
        if any(heights):
            axes.bar(range(len(days)), heights, bottom=bottoms, label=label[:40])
            bottoms = [below + height for below, height in zip(bottoms, heights, strict=True)]
    axes.axhline(limit, color="black", linestyle="--", linewidth=1, label="daily limit")
    axes.set_xticks(range(0, len(days), 7), [day[5:] for day in days[::7]])
    axes.set_ylabel("US dollars")
    figure.legend(loc="outside right upper", fontsize="small")


def _table(by: str, rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    cells = [
        [row[by] or "(embeddings)", *(_cell(row[name]) for name in _COLUMNS)]
        for row in rows[:_ROWS_SHOWN]
    ]
    if more := len(rows) - len(cells):
        cells.append([f"{more:,} more: rag-platform costs --by {by}", *[""] * len(_COLUMNS)])
    names = [name.replace("_usd", " USD").replace("_", " ") for name in _COLUMNS]
    return metadata.table([by, *names], cells)


def _cell(value: float) -> str:
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"


def costs_definitions() -> dg.Definitions:
    """The asset over the ledger."""
    return dg.Definitions(assets=[llm_costs])
