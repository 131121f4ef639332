"""The verbs of the models: what serves, how that came about, and changing it."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

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

    from rag_platform.platform import Platform
    from rag_platform.training.ledger import Promotion

_NO_VALUE = "·"
_CROWNING = ("promoted", "rolled_back")
_LEVEL = 0.05  # one-sided, as of the gate


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

        found = [_model(platform, name) for name in catalogue()]
        if as_json:
            print_json(found)
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
        row = platform.models.promotions.promote(model, version, actor=by, reason=reason)
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
        row = platform.models.promotions.rollback(model, actor=by, reason=reason)
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
        _check(model)
        one, two = _pair(platform, model, a, b)
        paired = _paired(two, one) or _paired(one, two)
        found = {"model": model, "a": _measured(one), "b": _measured(two), "paired": paired}
        if as_json:
            print_json(found)
            return
        from rag_platform.commands.output import out

        out().print(*_side_by_side(found), sep="\n")


def _check(model: str) -> None:
    """Raises `NoSuchModel`."""
    from rag_platform.training.catalogue import model_spec

    model_spec(model)


# What is found


def _model(platform: "Platform", name: str) -> dict[str, Any]:
    from rag_platform.training.catalogue import model_spec

    settings = platform.settings.models.get(name)
    promotions = platform.models.promotions
    rows, rollout = promotions.history(name), promotions.rollout(name)
    champion = next((row.version for row in reversed(rows) if row.action in _CROWNING), None)
    challenger = None
    if rollout is not None and rollout.challenger != champion:
        challenger = _version(rows, rollout.challenger) | {
            "share": rollout.share,
            "units": rollout.units,
        }
    return {
        "model": name,
        "enabled": name in platform.settings.enabled_models,
        "trainer": settings.trainer if settings else "default",
        "data": settings.data if settings else None,
        "schedule": (settings.schedule if settings else None) or model_spec(name).schedule,
        "champion": _version(rows, champion) if champion else None,
        "challenger": challenger,
    }


def _version(rows: "list[Promotion]", number: str) -> dict[str, Any]:
    """What the ledger has of a version that serves or is tried."""
    mine = [row for row in rows if row.version == number]
    entered = next(row for row in reversed(mine) if row.action in (*_CROWNING, "challenger"))
    registered = next((row for row in mine if row.action == "registered"), None)
    judged = next((row for row in mine if "verdicts" in row.facts), None)
    verdicts = judged.facts["verdicts"] if judged else []
    keys = ("gate", "value", "bound", "passed")
    return {
        "version": number,
        "since": _moment(entered.at),
        "registered_at": _moment(registered.at) if registered else None,
        "gates": [{key: verdict.get(key) for key in keys} for verdict in verdicts],
    }


def _row(row: "Promotion") -> dict[str, Any]:
    return row.as_json() | {"at": _moment(row.at)}


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _pair(
    platform: "Platform", model: str, a: str | None, b: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The evaluations of two versions, with their numbers. Raises `NoSuchModel`."""
    from rag_platform.training.errors import NoSuchModel

    registry = platform.models.registry
    first, second = (a, b) if b else ("champion", a or "challenger")
    found = []
    for wanted in (first, second):
        version = registry.version(model, str(wanted))
        if version is None:
            raise NoSuchModel(f"{model}: there is no {wanted}; see: rag-platform models history")
        found.append({"version": version.number, **(registry.report(version.run_id) or {})})
    return found[0], found[1]


def _measured(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": report["version"],
        "units": report.get("units"),
        "metrics": report.get("metrics", {}),
        "holdout": report.get("holdout", {}),
    }


def _paired(candidate: Mapping[str, Any], champion: Mapping[str, Any]) -> dict[str, Any] | None:
    """The paired test of a candidate's evaluation, where it was against this champion."""
    comparison = candidate.get("comparison")
    if not comparison or candidate.get("champion_version") != champion["version"]:
        return None
    return {"version": candidate["version"], "against": champion["version"], **comparison}


# What is shown


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


def _overview(found: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    from rag_platform.operations.terminal import escape

    table = Table()
    for name in ("model", "champion", "challenger", "gates", "registered (UTC)", "data"):
        table.add_column(name, overflow="fold")
    for row in found:
        champion, challenger = row["champion"], row["challenger"]
        tried = f"{challenger['version']}, {_share(challenger['share'])}" if challenger else ""
        table.add_row(
            row["model"] if row["enabled"] else f"[dim]{row['model']} (not enabled)[/]",
            champion["version"] if champion else "none",
            tried,
            _gates(champion["gates"]) if champion else "",
            (champion["registered_at"] or "")[:16].replace("T", " ") if champion else "",
            escape(row["data"] or "sample"),
        )
    return table


def _share(share: int) -> str:
    return f"{share} %" if share else "in shadow"


def _gates(gates: list[dict[str, Any]]) -> str:
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
            _moment(row.at)[:16].replace("T", " "),
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

    one, two = found["a"], found["b"]
    table = Table(title=f"{found['model']}: means of cross-validation", title_justify="left")
    table.add_column("metric", overflow="fold")
    for each in (one, two):
        table.add_column(f"version {each['version']}", justify="right")
    names = [*one["metrics"], *(name for name in two["metrics"] if name not in one["metrics"])]
    for name in names:
        table.add_row(escape(name), *(_estimate(each["metrics"].get(name)) for each in (one, two)))
    return [table, _verdict(found["paired"])]


def _estimate(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return _NO_VALUE
    return f"{estimate['value']:.4g} ({estimate['low']:.4g} to {estimate['high']:.4g})"


def _verdict(paired: Mapping[str, Any] | None) -> str:
    """What the paired test says, in words."""
    if paired is None:
        return "The two were not compared on the same rows."
    names = f"version {paired['version']} is"
    against = f"than version {paired['against']}"
    how = f"{paired['test']}, {paired['units']:,} units"
    if paired["low"] is None or not math.isfinite(paired["difference"]):
        return f"Too few units to tell whether {names} better or worse {against} ({how})."
    word = "worse" if paired["difference"] > 0 else "better"
    p = paired["p_worse"] if word == "worse" else paired["p_better"]
    sure = "" if p < _LEVEL else "not significantly "
    return f"On the held-back rows, {names} {sure}{word} {against} (p = {p:.3g}; {how})."
