"""The verbs for rides: run a day, cluster one file, and simulate a day."""

import time
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import click

from rag_platform.commands.context import (
    as_json_option,
    fail_on_problems,
    open_runs,
    print_json,
)
from rag_platform.errors import PlatformError
from rag_platform.storage.files import keep_bad

if TYPE_CHECKING:
    import pyarrow as pa

    from rag_platform.rides.pipeline import Rides
    from rag_platform.rides.records import BadRow

ADAPTERS = ("simulated", "nyc_tlc", "chicago")
_MOST_RIDES = 10_000_000
_day = click.DateTime(["%Y-%m-%d"])
_file = click.Path(dir_okay=False, path_type=Path)


class NoRides(PlatformError):
    """A file holds no rides that can be read, or there is no place for some."""


@click.group()
def rides() -> None:
    """Clusters and anomalies of taxi rides."""


@rides.command("run")
@click.option("--date", "first", type=_day, help="The day; by default yesterday.")
@click.option("--to", "last", type=_day, help="The last day, of several.")
@as_json_option
def run(first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """Run the job `rides` of a day, or of several: from their files to their reports."""
    with open_runs() as runs:
        from rag_platform.defs.rides.automation import JOB
        from rag_platform.defs.rides.factory import DAYS_PER_RUN

        rides = runs.platform.rides
        days = _days(rides, first, last)
        done = []
        for at in range(0, len(days), DAYS_PER_RUN):
            done += runs.run("rides", days[at : at + DAYS_PER_RUN], job=JOB)
        found = [_reported(rides, day) for day in days]
    if as_json:
        print_json(found)
    else:
        for row in found:
            click.echo(_line(row))
    fail_on_problems(done)


def _line(row: dict[str, Any]) -> str:
    if row["report"] is None:
        return f"{row['date']}: no report"
    return f"{row['date']}: {row['rides']:,} rides, {row['anomalies']:,} anomalous: {row['report']}"


def _days(rides: "Rides", first: datetime | None, last: datetime | None) -> list[str]:
    """The keys of some days that have ended. Raises `UnknownDay`, `NoRides`."""
    yesterday = rides.days.yesterday()
    begin = first.date() if first else yesterday
    end = last.date() if last else begin
    days = [(begin + timedelta(days=n)).isoformat() for n in range((end - begin).days + 1)]
    if not days:
        raise click.BadParameter("must not be before --date", param_hint="--to")
    if end > yesterday:
        raise NoRides(f"{begin} to {end}: the last day that has ended is {yesterday}")
    for day in (days[0], days[-1]):
        rides.days.check(day)
    return days


def _reported(rides: "Rides", key: str) -> dict[str, Any]:
    """The day's row for dashboards, and where its report lies; null where it has none."""
    from rag_platform.rides.report import report_schema
    from rag_platform.rides.tables import REPORT

    day = date.fromisoformat(key)
    if rides.tables.known_facts(REPORT, day) is None:
        return {"date": key, **dict.fromkeys(report_schema().names), "report": None}
    [row] = rides.tables.read(REPORT, day).to_pylist()
    return {"date": key, **row, "report": rides.report_url(day)}


@rides.command("cluster")
@click.option(
    "--input",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="A CSV, JSON, JSON lines or Parquet file.",
)
@click.option("--output", type=_file, required=True, help="The Parquet file to write.")
@click.option(
    "--adapter",
    type=click.Choice(ADAPTERS),
    default="simulated",
    show_default=True,
    help="Form of the records.",
)
@as_json_option
def cluster(source: Path, output: Path, adapter: str, as_json: bool) -> None:
    """Find clusters and anomalous rides of one file.

    The output has the rides with cluster, is_anomaly, score, why and reason. Records that are no
    rides are counted, and written beside it as OUTPUT.bad.jsonl. Rides need no times.
    """
    if output.suffix.lower() != ".parquet":
        raise click.BadParameter("must end with .parquet", param_hint="--output")
    beside = output.with_suffix(".bad.jsonl")
    if source.resolve() in (output.resolve(), beside.resolve()):
        raise click.BadParameter("must not be the input", param_hint="--output")
    started = time.monotonic()
    from rag_platform.rides.clustering import find_clusters
    from rag_platform.rides.labels import label
    from rag_platform.rides.saving import save
    from rag_platform.rides.validation import doubtful_units

    table, bad = _read(source, adapter)
    told = keep_bad(bad, beside, what="rides")
    if bad and not table.num_rows:
        raise NoRides(f"{source}: {told}")
    found = find_clusters(table)
    labelled = label(table, found)
    save(labelled, output)
    counts = {
        "rides": table.num_rows,
        "clusters": found.clusters,
        "anomalies": int(found.is_anomaly.sum()),
        "bad": len(bad),
        "eps": round(found.eps, 4) if found.eps < float("inf") else None,
        "seconds": round(time.monotonic() - started, 3),
    }
    if as_json:
        print_json(counts)
    else:
        _show(counts, labelled, output)
    for problem in (told, doubtful_units(table)):
        if problem:
            click.echo(f"{source}: {problem}", err=True)


def _read(source: Path, adapter: str) -> "tuple[pa.Table, list[BadRow]]":
    import pyarrow as pa

    from rag_platform.rides.reading import read_file
    from rag_platform.rides.schema import ride_schema

    tables, bad = [ride_schema().empty_table()], []
    for chunk, refused in read_file(source, source.name, adapter):
        tables.append(chunk)
        bad += refused
    for row in bad:
        if row.number is None:
            raise NoRides(f"{source}: {row.reason}: {row.detail}")
    return pa.concat_tables(tables), sorted(bad, key=lambda row: row.number or 0)


def _show(counts: dict[str, Any], labelled: "pa.Table", output: Path) -> None:
    import pyarrow.compute as pc

    from rag_platform.commands.output import out

    why = Counter(pc.list_flatten(labelled["why"]).to_pylist())
    out().print(
        f"{counts['rides']:,} rides in {counts['clusters']} "
        f"cluster{'s' * (counts['clusters'] != 1)}, "
        f"{counts['anomalies']:,} anomalous, in {counts['seconds']:.1f} s: {output}",
        *(f"  {name}: {count:,}" for name, count in why.most_common()),
        sep="\n",
        markup=False,
    )


@click.command("simulate-rides")
@click.option(
    "--date",
    "day",
    type=_day,
    required=True,
    help="The day (UTC) on which the rides start.",
)
@click.option(
    "--rides",
    "count",
    type=click.IntRange(0, _MOST_RIDES),
    default=10_000,
    show_default=True,
    help="How many.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Another seed, another day.",
)
@click.option(
    "--output",
    type=_file,
    help="A .parquet, .csv, .json or .jsonl file; by default DATE.parquet in the folder of "
    "`rides.url`.",
)
@as_json_option
def simulate_rides(
    day: datetime, count: int, seed: int, output: Path | None, as_json: bool
) -> None:
    """Write a day of rides in a city that does not exist."""
    from rag_platform.rides.saving import save
    from rag_platform.rides.simulation import simulate

    path = output or _place_of(day.date())
    save(simulate(day.date(), count, seed), path)
    if as_json:
        print_json({"rides": count, "file": str(path)})
    else:
        click.echo(f"{count:,} rides: {path}")


def _place_of(day: date) -> Path:
    """The file of a day in the folder of the settings; the folder is made. Raises `NoRides`."""
    from rag_platform.settings import load

    settings = load().rides
    if settings is None:
        raise NoRides("no `rides` in the settings: set rides.url to a folder, or give --output")
    parts = urlsplit(settings.url)
    if parts.scheme != "file":
        raise NoRides(f"rides.url is {settings.url}, not a folder: give --output and copy the file")
    folder = Path(unquote(parts.path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NoRides(f"{folder}: cannot be made: {error.strerror}") from error
    return folder / f"{day.isoformat()}.parquet"
