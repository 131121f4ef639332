"""The verb that says what models have cost."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from rag_platform.commands.context import as_json_option, open_platform, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from rag_platform.llm.ledger import By

_GROUPS = ("day", "model", "prompt", "asset", "run")
_COUNTS = ("calls", "attempts", "cached_calls", "input_tokens", "output_tokens")
_MONEY = ("total_usd", "unsettled_usd", "saved_usd")
_TITLES = {
    "calls": "calls",
    "attempts": "sent",
    "cached_calls": "cached",
    "input_tokens": "tokens in",
    "output_tokens": "out",
    "total_usd": "USD",
    "unsettled_usd": "unsettled",
    "saved_usd": "saved",
}


@click.command()
@click.option(
    "--by", type=click.Choice(_GROUPS), default="day", show_default=True, help="A row for each."
)
@click.option(
    "--since",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The first day (UTC); by default all there are.",
)
@as_json_option
def costs(by: "By", since: datetime | None, as_json: bool) -> None:
    """What models have cost, embeddings included.

    Money counts as billed, or at its worst case where that is not known ("unsettled"): requests
    that are under way, that broke off, or whose process died.
    """
    with open_platform() as platform:
        from rag_platform.llm import ledger

        found = ledger.costs(platform.catalog, by=by, since=since.date() if since else None)
        if as_json:
            print_json(found)
            return
        from rag_platform.commands.output import out
        from rag_platform.llm.budget import usd

        out().print(costs_table(found, by))
        out().print(*ledger.notes(found), sep="\n")
        limit = platform.settings.llm.budget.daily_usd
        out().print(f"Today: {usd(platform.llm.budget.spent())} of ${limit:,.2f}.")


def costs_table(found: Mapping[str, Any], by: str) -> "Table":
    """A line for each day, model, prompt, asset or run, and one for all."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from rag_platform.operations.terminal import escape

    table = Table(show_footer=True, box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column(by, "all", overflow="fold")
    for name in (*_COUNTS, *_MONEY):
        table.add_column(_TITLES[name], _cell(found, name), justify="right")
    for row in found["rows"]:
        group = "(embeddings)" if row[by] is None else escape(row[by])
        table.add_row(group, *(_cell(row, name) for name in (*_COUNTS, *_MONEY)))
    return table


def _cell(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:,.4f}" if name in _MONEY else f"{row[name]:,}"
