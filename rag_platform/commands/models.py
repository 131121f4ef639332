"""The verbs of the models: what serves, how that came about, and changing it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from rag_platform.actions import Actions
from rag_platform.commands.context import (
    as_json_option,
    by_option,
    open_platform,
    print_json,
    reason_option,
)
from rag_platform.commands.group import DefaultsToList

if TYPE_CHECKING:
    from rich.table import Table

    from rag_platform.training.ledger import Promotion
    from rag_platform.training.overview import Standing

_NO_VALUE = "·"


@click.group(cls=DefaultsToList)
def models() -> None:
    """Models that are trained here."""


@models.command("list")
@as_json_option
def list_(as_json: bool) -> None:
    """Each model: its champion, its challenger, the gates it passed, and its data.

    The JSON is a list of: model, enabled, trainer, data (null for the sample), schedule, champion
    and challenger (null for none). Both have version, since, registered_at and gates (a list of
    gate, value, bound, passed); the challenger has share and units, too.
    """
    with open_platform() as platform:
        from rag_platform.training.catalogue import catalogue
        from rag_platform.training.overview import standing

        promotions = platform.models.promotions
        found = [standing(platform.settings, promotions, name) for name in catalogue()]
        if as_json:
            print_json([row.as_json() for row in found])
            return
        from rag_platform.commands.output import out

        out().print(_overview(found))


@models.command()
@click.argument("model")
@as_json_option
def history(model: str, as_json: bool) -> None:
    """What happened to the versions of MODEL, oldest first.

    The JSON is a list of: id, model, at, action (registered, challenger, step, promoted,
    rolled_back or withdrawn), version, champion (that serves afterwards), share, actor, run_id,
    reason, facts.
    """
    with open_platform() as platform:
        _check(model)
        rows = platform.models.promotions.history(model)
        if as_json:
            print_json([_row(row) for row in rows])
            return
        from rag_platform.commands.output import out

        out().print(_told(rows) if rows else f"{model}: nothing has happened yet.")


@models.command()
@click.argument("model")
@click.option("--version", metavar="NUMBER", help="The version; by default the challenger.")
@reason_option
@by_option
@as_json_option
def promote(model: str, version: str | None, reason: str, by: str, as_json: bool) -> None:
    """Let a version of MODEL serve all units, at once. The JSON is a row as of `history`."""
    with open_platform() as platform:
        _check(model)
        row = Actions(platform, by, "cli").promote_model(model, version, reason=reason)
        _say(row, as_json=as_json)


@models.command()
@click.argument("model")
@reason_option
@by_option
@as_json_option
def rollback(model: str, reason: str, by: str, as_json: bool) -> None:
    """Undo the last change of what serves. The JSON is a row as of `history`.

    A challenger that answers units is withdrawn, and the champion stays. Otherwise the version
    that served before serves again. The same reason twice is one rollback: to go further back, give
    another.
    """
    with open_platform() as platform:
        _check(model)
        row = Actions(platform, by, "cli").roll_back_model(model, reason=reason)
        _say(row, as_json=as_json)


@models.command()
@click.argument("model")
@click.argument("a", required=False)
@click.argument("b", required=False)
@as_json_option
def compare(model: str, a: str | None, b: str | None, as_json: bool) -> None:
    """The metrics of two versions side by side: champion and challenger, or A and B.

    With A alone, champion and A. The JSON is: model, a and b (each version, units, metrics with
    value, low and high, and holdout), and paired (null where they were not compared on the same
    rows): version, against, test, units, difference (of mean losses, above zero: worse), low,
    high, p_worse, p_better.
    """
    with open_platform() as platform:
        from rag_platform.training.comparing import side_by_side

        _check(model)
        found = side_by_side(platform.models.registry, model, a, b)
        if as_json:
            print_json(found)
            return
        from rag_platform.commands.output import out

        out().print(*_side_by_side(found), sep="\n")


def _check(model: str) -> None:
    """Raises `NoSuchModel`."""
    from rag_platform.training.catalogue import model_spec

    model_spec(model)


# What is shown


def _minute(at: float) -> str:
    return _moment(at)[:16].replace("T", " ")


def _row(row: "Promotion") -> dict[str, Any]:
    return row.as_json() | {"at": _moment(row.at)}


def _moment(at: float) -> str:
    from rag_platform.training.overview import moment

    return moment(at)


def _say(row: "Promotion", *, as_json: bool) -> None:
    if as_json:
        print_json(_row(row))
    elif row.action == "withdrawn":
        click.echo(
            f"{row.model}: version {row.version} is tried no longer; version {row.champion} goes "
            f"on serving (since {_moment(row.at)})."
        )
    else:
        click.echo(f"{row.model}: version {row.version} serves since {_moment(row.at)}.")


def _overview(found: "Sequence[Standing]") -> "Table":
    from rich.table import Table

    from rag_platform.operations.terminal import escape

    table = Table()
    for name in ("model", "champion", "challenger", "gates", "registered (UTC)", "data"):
        table.add_column(name, overflow="fold")
    for row in found:
        champion, rollout = row.champion, row.rollout
        registered_at = champion.registered_at if champion else None
        table.add_row(
            row.model if row.enabled else f"[dim]{row.model} (not enabled)[/]",
            champion.version if champion else "none",
            f"{rollout.challenger}, {_share(rollout.share)}" if rollout else "",
            _gates(champion.gates) if champion else "",
            _minute(registered_at) if registered_at else "",
            escape(row.data or "sample"),
        )
    return table


def _share(share: int) -> str:
    return f"{share} %" if share else "in shadow"


def _gates(gates: Sequence[Mapping[str, Any]]) -> str:
    from rag_platform.operations.terminal import escape

    if not gates:
        return "not on record"
    failed = [escape(row["gate"]) for row in gates if not row["passed"]]
    if failed:
        return f"[red]failed: {', '.join(failed)}[/]"
    return f"[green]{len(gates)} of {len(gates)}[/]"


def _told(rows: "list[Promotion]") -> "Table":
    from rich.table import Table

    from rag_platform.operations.terminal import escape

    table = Table()
    for name in ("at (UTC)", "what", "version", "serves", "by", "reason"):
        table.add_column(name, overflow="fold")
    for row in rows:
        share = f" {row.share} %" if row.action == "step" else ""
        table.add_row(
            _minute(row.at),
            row.action.replace("_", " ") + share,
            row.version,
            row.champion or "none",
            escape(row.actor),
            escape(row.reason),
        )
    return table


def _side_by_side(found: Mapping[str, Any]) -> "list[Table | str]":
    from rich.table import Table

    from rag_platform.operations.terminal import escape
    from rag_platform.training.comparing import verdict

    one, two = found["a"], found["b"]
    table = Table(title=f"{found['model']}: means of cross-validation", title_justify="left")
    table.add_column("metric", overflow="fold")
    for each in (one, two):
        table.add_column(f"version {each['version']}", justify="right")
    names = [*one["metrics"], *(name for name in two["metrics"] if name not in one["metrics"])]
    for name in names:
        table.add_row(escape(name), *(_estimate(each["metrics"].get(name)) for each in (one, two)))
    return [table, verdict(found["paired"])]


def _estimate(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return _NO_VALUE
    return f"{estimate['value']:.4g} ({estimate['low']:.4g} to {estimate['high']:.4g})"
