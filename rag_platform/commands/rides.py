"""The verbs for rides: simulate a day, and cluster one file."""

import time
from collections import Counter
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import click

from rag_platform.commands.context import as_json_option, print_json
from rag_platform.errors import PlatformError

if TYPE_CHECKING:
    import pyarrow as pa

    from rag_platform.rides.records import BadRow

ADAPTERS = ("simulated", "nyc_tlc", "chicago")
_MOST_RIDES = 10_000_000
_file = click.Path(dir_okay=False, path_type=Path)


class NoRides(PlatformError):
    """A file holds no rides that can be read, or there is no place for some."""


@click.group()
def rides() -> None:
    """Clusters and anomalies of taxi rides."""


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
    rides are counted, and written beside it as OUTPUT.bad.jsonl.
    """
    if output.suffix.lower() != ".parquet":
        raise click.BadParameter("must end with .parquet", param_hint="--output")
    if output.resolve() == source.resolve():
        raise click.BadParameter("must not be the input", param_hint="--output")
    started = time.monotonic()
    from rag_platform.rides.clustering import find_clusters
    from rag_platform.rides.labels import label
    from rag_platform.rides.saving import save, save_lines

    table, bad = _read(source, adapter)
    found = find_clusters(table)
    labelled = label(table, found)
    save(labelled, output)
    beside = output.with_suffix(".bad.jsonl")
    if bad:
        save_lines([asdict(row) for row in bad], beside)
    else:
        beside.unlink(missing_ok=True)
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
        return
    _show(counts, labelled, output)
    if bad:
        click.echo(f"{len(bad):,} records are no rides, see {beside}", err=True)


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
        f"{counts['rides']:,} rides in {counts['clusters']} clusters, "
        f"{counts['anomalies']:,} anomalous, in {counts['seconds']:.1f} s: {output}",
        *(f"  {name}: {count:,}" for name, count in why.most_common()),
        sep="\n",
        markup=False,
    )


@click.command("simulate-rides")
@click.option(
    "--date",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
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
