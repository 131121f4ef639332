"""`rag-platform predict`: the rows of a file answered by the version that serves."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag_platform.commands.context import as_json_option, open_platform, print_json
from rag_platform.errors import PlatformError
from rag_platform.storage.files import keep_bad, whole

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.training.predictor import Alias
    from rag_platform.training.rows import Rows
    from rag_platform.training.spec import ModelSpec

_ENDINGS = (".csv", ".jsonl", ".parquet")


class NothingToPredict(PlatformError):
    """No record of a file is a row of the model."""


@click.command()
@click.argument("model")
@click.option(
    "--input",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The rows: CSV, JSON lines or Parquet, in a form that the model is trained on.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The .csv, .jsonl or .parquet file to write.",
)
@click.option(
    "--alias",
    type=click.Choice(["champion", "challenger"]),
    help="Who answers; by default each unit's own.",
)
@as_json_option
def predict(model: str, source: Path, output: Path, alias: "Alias | None", as_json: bool) -> None:
    """Let MODEL answer the rows of a file; a target in it is not looked at.

    The output has a line for each row, in the order of the input: row (the number of its record),
    unit, the prediction with its score or interval, and the version that gave it. Records that are
    no rows are counted, and written beside it as OUTPUT.bad.jsonl.

    The JSON is: model, rows, bad, versions (rows by version), seconds, output.
    """
    if output.suffix.lower() not in _ENDINGS:
        raise click.BadParameter(f"must end with {', '.join(_ENDINGS)}", param_hint="--output")
    beside = output.with_suffix(".bad.jsonl")
    if source.resolve() in (output.resolve(), beside.resolve()):
        raise click.BadParameter("must not be the input", param_hint="--output")
    started = time.monotonic()
    with open_platform() as platform:
        spec, predictor = platform.models.spec(model), platform.models.predictor(model)
        rows = _read(spec, source)
        answers = predictor.predict(rows.frame, alias=alias)
        told = keep_bad(rows.bad, beside, what="rows")
        _write(_lines(spec, rows.frame, answers), output)
    found: dict[str, Any] = {
        "model": model,
        "rows": len(answers),
        "bad": len(rows.bad),
        "versions": dict(Counter(answers["version"])),
        "seconds": round(time.monotonic() - started, 3),
        "output": str(output),
    }
    if as_json:
        print_json(found)
    else:
        who = ", ".join(f"version {number}: {n:,}" for number, n in found["versions"].items())
        click.echo(f"{found['rows']:,} rows ({who}) in {found['seconds']:.1f} s: {output}")
    if told:
        click.echo(f"{source}: {told}", err=True)


def _read(spec: "ModelSpec", source: Path) -> "Rows":
    """The rows of a file. Raises `UnusableData`, `NothingToPredict`."""
    from rag_platform.training.rows import DataFile

    file = DataFile(source.name, source, source.stat().st_mtime)
    rows = spec.reader.read([file], labelled=False)
    whole = next((bad for bad in rows.bad if bad.number is None), None)
    if whole is not None:
        raise NothingToPredict(f"{source}: {whole.reason}: {whole.detail}")
    if rows.frame.empty:
        why = f": the first is {rows.bad[0].reason}, {rows.bad[0].detail}" if rows.bad else ""
        raise NothingToPredict(f"{source}: none of {rows.records:,} records is a row{why}")
    return rows


def _lines(spec: "ModelSpec", rows: "pd.DataFrame", answers: "pd.DataFrame") -> "pd.DataFrame":
    """What is written: in the order of the records, since a reader may have sorted its rows."""
    columns = list(spec.task.prediction_columns)
    lines = answers[[*columns, "version"]].copy()
    lines.insert(0, "unit", rows["unit"])
    lines.insert(0, "row", rows.index)
    return lines.sort_values("row", kind="stable")


def _write(lines: "pd.DataFrame", path: Path) -> None:
    """Write the answers in the form that the file's ending says, whole or not at all."""
    with whole(path) as place:
        if path.suffix.lower() == ".parquet":
            lines.to_parquet(place, index=False)
        elif path.suffix.lower() == ".csv":
            shown = lines.map(lambda value: _json(value) if _is_nested(value) else value)
            shown.to_csv(place, index=False)
        else:
            with place.open("w", encoding="utf-8") as file:
                for record in lines.to_dict("records"):
                    file.write(_json(record) + "\n")


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | tuple | dict) or hasattr(value, "tolist")


def _json(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """A value as JSON knows it: arrays as lists, moments in ISO 8601, what is missing as null."""
    import pandas as pd

    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or value is pd.NA or value != value:
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value
