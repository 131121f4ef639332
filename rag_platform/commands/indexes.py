"""The verbs of index versions: what there is, which one answers, changing that, and trying one."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from rag_platform.actions import Actions
from rag_platform.commands.context import (
    as_json_option,
    by_option,
    fail,
    open_platform,
    print_json,
    reason_option,
)
from rag_platform.commands.group import DefaultsToList

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from rag_platform.indexing.promotion import Promotion
    from rag_platform.indexing.versions import VersionState
    from rag_platform.retrieval.experiment import ExperimentReport

_DAY_S = 86_400


@click.command()
@click.argument("index")
@click.option("--force", is_flag=True, help="Even where a gate does not pass; say why.")
@reason_option
@by_option
@as_json_option
def promote(index: str, force: bool, reason: str, by: str, as_json: bool) -> None:
    """Let INDEX answer in place of the live one, at once, if its gates pass.

    It has to hold every document, agree with the catalog, and answer the golden queries not worse
    than the live one by more than `promotion.margin`. Exits 1 where it is refused. The JSON is a
    row as of `indexes history`.
    """
    with open_platform() as platform:
        row = Actions(platform, by, "cli").promote_index(index, reason=reason, force=force)
        _say(row, as_json=as_json)
    if row.action == "refused":
        fail([f"{index}: {problem}" for problem in row.problems])


@click.command()
@reason_option
@by_option
@as_json_option
def rollback(reason: str, by: str, as_json: bool) -> None:
    """Let the index answer that answered before the live one, at once.

    The same reason twice is one rollback: to go further back, give another. The JSON is a row as of
    `indexes history`.
    """
    with open_platform() as platform:
        row = Actions(platform, by, "cli").roll_back_index(reason=reason)
        _say(row, as_json=as_json)


@click.group(cls=DefaultsToList)
def indexes() -> None:
    """Index versions: list them (by default), their history, or retire one."""


@indexes.command("list")
@as_json_option
def list_(as_json: bool) -> None:
    """Each version as it stands.

    The JSON is a list of: name, state (live, challenger, kept, beside, retired or unbuilt),
    in_settings, documents, chunks, behind (documents that it does not hold as they are now),
    created_at, keep_until, retired_at (UTC seconds since 1970, or null), recipe.
    """
    with open_platform() as platform:
        from rag_platform.indexing.versions import versions_of

        found = versions_of(platform.settings, platform.catalog)
        if as_json:
            print_json([version.as_json() for version in found])
            return
        from rag_platform.commands.output import out

        out().print(version_table(found))


@indexes.command()
@as_json_option
def history(as_json: bool) -> None:
    """Which index answered since when, by whose decision, and what was refused.

    The JSON is a list of: id, at, action (promoted, rolled_back, refused or retired), index, live
    (that answers afterwards), previous, actor, reason, facts.
    """
    with open_platform() as platform:
        rows = platform.promotions.history()
        if as_json:
            print_json([row.as_json() for row in rows])
            return
        from rag_platform.commands.output import out

        out().print(history_table(rows) if rows else "Nothing has happened yet.")


@indexes.command()
@click.argument("index")
@reason_option
@by_option
def retire(index: str, reason: str, by: str) -> None:
    """Remove all that INDEX keeps, now. Its record stays; embeddings stay remembered."""
    with open_platform() as platform:
        Actions(platform, by, "cli").retire_index(index, reason=reason)
    click.echo(f"{index}: retired. Take it out of platform.yaml.")


@click.group(invoke_without_command=True)
@click.option("--days", type=click.IntRange(min=1), default=30, show_default=True)
@as_json_option
@click.pass_context
def experiment(context: click.Context, days: int, as_json: bool) -> None:
    """How the live index and its challenger answered the searches of the last days.

    The JSON is: arms (a list of arm, index_name, searches, units, mean_ms, p95_ms, chosen, mrr),
    queries (that both were asked) and overlap (mean share of documents that both found among the
    first ten, or null).
    """
    if context.invoked_subcommand is not None:
        return
    with open_platform() as platform:
        from rag_platform.retrieval.experiment import ExperimentReport, report

        rules = platform.settings.search.experiment
        since = time.time() - days * _DAY_S
        found = (
            report(platform.catalog, rules.challenger, since=since)
            if rules
            else ExperimentReport((), 0, None)
        )
        if as_json:
            print_json(found.as_json())
            return
        from rag_platform.commands.output import out

        if rules is None:
            out().print("No experiment: set search.experiment in platform.yaml.")
        elif not found.arms:
            out().print(f"{rules.challenger} has not answered a search in {days} days.")
        else:
            out().print(arm_table(found), _overlap(found), sep="\n")


@experiment.command()
@click.argument("search", type=int)
@click.argument("rank", type=click.IntRange(min=1))
def chosen(search: int, rank: int) -> None:
    """Note that the result at RANK (1 for the first) of SEARCH was taken."""
    with open_platform() as platform:
        from rag_platform.retrieval.experiment import note_choice

        note_choice(platform.catalog, search, rank)


def _say(row: "Promotion", *, as_json: bool) -> None:
    if as_json:
        print_json(row.as_json())
    elif row.action == "refused":
        click.echo(f"{row.index}: refused; {row.live} goes on answering.")
    else:
        click.echo(f"{row.live}: answers since {_moment(row.at)} UTC.")
        for problem in row.problems:
            click.echo(f"  forced: {problem}")


def version_table(found: "Sequence[VersionState]") -> "Table":
    """A line for each version."""
    from rich.table import Table

    from rag_platform.operations.terminal import escape

    table = Table()
    for name in ("index", "state", "documents", "chunks", "behind", "built (UTC)", "until (UTC)"):
        is_count = name in ("documents", "chunks", "behind")
        table.add_column(name, justify="right" if is_count else "left", overflow="fold")
    for row in found:
        counts = [f"{count:,}" for count in (row.documents, row.chunks, row.behind)]
        ends = row.retired_at or row.keep_until
        name = escape(row.name) if row.in_settings else f"[dim]{escape(row.name)}[/]"
        table.add_row(name, row.state, *counts, _moment(row.created_at), _moment(ends))
    return table


def history_table(rows: "Sequence[Promotion]") -> "Table":
    """A line for each thing that happened."""
    from rich.table import Table

    from rag_platform.operations.terminal import escape

    table = Table()
    for name in ("at (UTC)", "what", "index", "answers", "by", "reason"):
        table.add_column(name, overflow="fold")
    for row in rows:
        what = row.action.replace("_", " ") + (" by force" if row.facts.get("forced") else "")
        reason = "; ".join([row.reason, *row.problems])
        table.add_row(
            _moment(row.at),
            what,
            escape(row.index),
            escape(row.live),
            escape(row.actor),
            escape(reason),
        )
    return table


def arm_table(found: "ExperimentReport") -> "Table":
    """A line for each arm."""
    from rich.table import Table

    from rag_platform.operations.terminal import escape

    table = Table()
    for name in ("arm", "index", "searches", "units", "mean ms", "p95 ms", "taken", "MRR"):
        table.add_column(name, justify="left" if name in ("arm", "index") else "right")
    for arm in found.arms:
        mrr = "·" if arm.mrr is None else f"{arm.mrr:.3f}"
        times = (f"{arm.mean_ms:,.1f}", f"{arm.p95_ms:,.1f}")
        counts = (f"{arm.searches:,}", f"{arm.units:,}")
        table.add_row(arm.arm, escape(arm.index_name), *counts, *times, f"{arm.chosen:,}", mrr)
    return table


def _overlap(found: "ExperimentReport") -> str:
    if found.overlap is None:
        return "No query was asked of both."
    return f"Of {found.queries:,} queries asked of both, {found.overlap:.0%} of documents agree."


def _moment(seconds: float | None) -> str:
    """A time for people; nothing for none."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
