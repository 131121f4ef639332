"""`rag-platform train`: a model through all its stages, in this process and recorded in Dagster."""

import time
from typing import TYPE_CHECKING, Any

import click

from rag_platform.commands.context import (
    as_json_option,
    fail_on_problems,
    open_runs,
    print_json,
)

if TYPE_CHECKING:
    from rag_platform.training.pipeline import Training

_ROLES = {
    "champion": "serves as champion",
    "challenger": "is tried beside the champion",
    "retired": "served or was tried before, and does no longer; see `rag-platform models history`",
}


@click.command()
@click.argument("model")
@click.option("--data", metavar="URL", help="Labelled data, other than the settings say.")
@click.option("--week", metavar="MONDAY", help="The week; by default the current one.")
@click.option("--refresh", is_flag=True, help="Read the data of a week that has ended again.")
@as_json_option
def train(model: str, data: str | None, week: str | None, refresh: bool, as_json: bool) -> None:
    """Validate, train, evaluate, register and deploy MODEL.

    The first version that passes its gates serves at once; a later one answers in shadow beside
    it. One that does not pass changes nothing: what serves goes on serving.
    """
    with open_runs() as runs:
        from rag_platform.training.calendar import check_week, current_week

        chosen = check_week(week) if week else current_week()
        training = runs.platform.models.training(model)
        config = {"url": _url(data) if data else None, "refresh": refresh}
        began = time.time()
        done = runs.run(
            model,
            [chosen],
            job=f"{model}_training",
            config={"ops": {f"{model}__training_data": {"config": config}}},
        )
        report = _report(training, chosen, began) | {"success": done[0].success}
        if as_json:
            print_json(report | {"run_id": done[0].run_id, "problems": list(done[0].problems)})
        else:
            _show(report)
    fail_on_problems(done)


def _url(data: str) -> str:
    """A path or a URL, as the settings would take it."""
    from pydantic import TypeAdapter, ValidationError

    from rag_platform.settings_values import Location

    try:
        return str(TypeAdapter(Location).validate_python(data))
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.BadParameter(told, param_hint="--data") from error


def _report(training: "Training", week: str, began: float) -> dict[str, Any]:
    """What the stages of the week have found since the run began, as far as they came."""
    from rag_platform.training.stages import CANDIDATE, DATA, DEPLOYED, DRIFT, EVALUATION

    def of(stage: str) -> dict[str, Any]:
        facts = training.known(stage, week)
        return facts if facts is not None and facts["at"] >= began else {}

    # The rows of a week that has ended are older than this run; they hold where it went on.
    data = (training.known(DATA, week) if of(DRIFT) else None) or {}
    candidate, evaluation, deployed = of(CANDIDATE), of(EVALUATION).get("report", {}), of(DEPLOYED)
    return {
        "model": training.spec.name,
        "week": week,
        "rows": data.get("rows"),
        "data_sha256": data.get("sha256"),
        "mlflow_run_id": candidate.get("run_id"),
        "reused": candidate.get("reused"),
        "metrics": evaluation.get("metrics", {}),
        "gates": evaluation.get("verdicts", []),
        "version": deployed.get("version"),
        "serves_as": deployed.get("arm"),
    }


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table

    from rag_platform.commands.output import out
    from rag_platform.operations.terminal import escape

    shown = Table(title=f"{report['model']}, week of {report['week']}", title_justify="left")
    for name in ("gate", "value", "bound", "holds", ""):
        shown.add_column(name)
    for row in report["gates"]:
        holds = "[green]yes[/]" if row["passed"] else "[red]NO[/]"
        shown.add_row(
            escape(row["gate"]),
            _figure(row["value"]),
            _figure(row["bound"]),
            holds,
            escape(row["told"]),
        )
    if report["gates"]:
        out().print(shown)
    if report["version"]:
        out().print(f"Version {report['version']} {_ROLES[report['serves_as']]}.")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
