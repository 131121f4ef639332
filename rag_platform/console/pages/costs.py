"""What models have cost: by day, model, prompt and asset, and what is left of the budget."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rag_platform.console import charts, web
from rag_platform.console.links import links
from rag_platform.llm import ledger
from rag_platform.llm.budget import usd

# Not by run: there is no bound to how many there are.
GROUPS: tuple[ledger.By, ...] = tuple(by for by in get_args(ledger.By) if by != "run")
COLUMNS = (
    *("calls", "attempts", "cached_calls", "input_tokens", "output_tokens"),
    *("total_usd", "unsettled_usd", "abandoned_usd", "saved_usd"),
)
_DAYS = 30
_MOST_DAYS = 366
# With one of these a cell may be a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which days, both included, and a row for each what; `told` corrects what was asked for."""

    first: date
    last: date
    by: ledger.By
    told: str | None = None

    @property
    def days(self) -> list[str]:
        """All days of the range."""
        count = (self.last - self.first).days + 1
        return [(self.first + timedelta(days=n)).isoformat() for n in range(count)]


def wanted(request: Request, today: date) -> Wanted:
    """What the query string asks for; the last 30 days by model without it."""
    query = request.query_params
    by: ledger.By = next((each for each in GROUPS if each == query.get("by")), "model")
    first, last = _day(query.get("from")), _day(query.get("to"))
    told = None
    if (query.get("from") and first is None) or (query.get("to") and last is None):
        told = "A date is written as 2026-11-30."
    last = last or today
    first = first or last - timedelta(days=min(_DAYS - 1, (last - date.min).days))
    if first > last:
        first, last = last, first
    if (last - first).days >= _MOST_DAYS:
        first = last - timedelta(days=_MOST_DAYS - 1)
        told = f"At most {_MOST_DAYS} days are shown."
    return Wanted(first, last, by, told)


def _day(written: str | None) -> date | None:
    try:
        return date.fromisoformat(written or "")
    except ValueError:
        return None


def costs(request: Request) -> Response:
    """A chart by day, the budget of today, and a table."""
    platform = web.platform(request)
    asked = wanted(request, datetime.now(UTC).date())
    found = ledger.costs(platform.catalog, by=asked.by, since=asked.first, until=asked.last)
    daily = ledger.daily_by_model(platform.catalog, since=asked.first, until=asked.last)
    today = platform.llm.budget.today()
    limit = float(platform.settings.llm.budget.daily_usd)
    chart = charts.stacked("US dollars by day and model", asked.days, daily, unit="$", rule=limit)
    rows = found.pop("rows")
    return web.page(
        request,
        "costs.html",
        asked=asked,
        groups=GROUPS,
        totals=found,
        rows=rows[-web.A_PAGE :][::-1] if asked.by == "day" else rows[: web.A_PAGE],
        left_out=max(0, len(rows) - web.A_PAGE),
        notes=list(ledger.notes(found)),
        chart=chart if daily else None,
        budget={name: usd(getattr(today, name)) for name in ("limit", "spent", "reserved", "left")},
        is_spent=today.left == 0,
        assets=_assets(request, rows) if asked.by == "asset" else {},
    )


def _assets(request: Request, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Addresses of those that are assets of Dagster: commands and index versions ask, too."""
    known = {*web.platform(request).settings.sources, "rides"}
    found = {}
    for row in rows:
        parts = row["asset"].split("/")
        if len(parts) == 2 and parts[0] in known:
            found[row["asset"]] = links(request).asset(*parts)
    return found


def download(request: Request) -> Response:
    """The table as CSV, all of its rows."""
    asked = wanted(request, datetime.now(UTC).date())
    found = ledger.costs(
        web.platform(request).catalog, by=asked.by, since=asked.first, until=asked.last
    )
    name = f"costs_by_{asked.by}_{asked.first}_{asked.last}.csv"
    return Response(
        as_csv(asked.by, found["rows"]),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def as_csv(by: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A row for each group; no cell of it is a formula."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow([by, *COLUMNS])
    writer.writerows(_cells(by, rows))
    return written.getvalue()


def _cells(by: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Any]]:
    for row in rows:
        name = "(embeddings)" if row[by] is None else str(row[by])
        safe = f"'{name}" if name.startswith(_FORMULA) else name
        yield [safe, *(row[column] for column in COLUMNS)]


ROUTES = [Route("/costs", costs), Route("/costs.csv", download)]
