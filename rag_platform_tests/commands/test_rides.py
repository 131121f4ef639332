import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from rag_platform.commands.group import Cli
from rag_platform.commands.rides import rides, simulate_rides
from rag_platform.rides.schema import clustered_schema, ride_schema
from rag_platform.rides.simulation import MOST_RIDES


@click.group(cls=Cli)
@click.option("--debug", is_flag=True)
def main(debug: bool) -> None:
    """The verbs of this module alone."""


main.add_command(rides)
main.add_command(simulate_rides)

DAY = ("--date", "2026-06-30")


class Place:
    """A folder to work in, with settings that may have rides."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings: dict[str, Any] = {}

    def run(self, *args: str, code: int = 0) -> Result:
        config = self.root / "platform.yaml"
        config.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        env = {"RAG_PLATFORM_CONFIG": str(config), "RAG_PLATFORM_HOME": str(self.root / "home")}
        result = CliRunner().invoke(main, args, env=env)
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    def simulated(self, name: str, count: int = 3_000) -> Path:
        path = self.root / name
        self.run("simulate-rides", *DAY, "--rides", str(count), "--output", str(path))
        return path

    def clustered(self, source: Path) -> tuple[dict[str, Any], pa.Table]:
        output = self.root / "out.parquet"
        command = ("rides", "cluster", "--input", str(source), "--output", str(output))
        told = json.loads(self.run(*command, "--json").stdout)
        return told, pq.read_table(output)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("ending", ["parquet", "csv", "json", "jsonl"])
def test_every_form_of_a_simulated_day_is_clustered_alike(place: Place, ending: str) -> None:
    told, table = place.clustered(place.simulated(f"day.{ending}"))
    assert list(told) == ["rides", "clusters", "anomalies", "bad", "eps", "seconds"]
    assert told["rides"] == table.num_rows == 3_000
    assert told["clusters"] == 1
    assert told["bad"] == 0
    assert told["eps"] > 0
    assert table.schema.equals(clustered_schema())
    assert told["anomalies"] == sum(table["is_anomaly"].to_pylist()) > 5
    reference = place.clustered(place.simulated("reference.parquet"))[1]
    np.testing.assert_array_equal(table["cluster"], reference["cluster"])
    assert table["why"].equals(reference["why"])


def test_people_read_what_was_found(place: Place) -> None:
    source = place.simulated("day.parquet")
    output = place.root / "out.parquet"
    shown = place.run("rides", "cluster", "--input", str(source), "--output", str(output))
    assert "3,000 rides in 1 clusters" in shown.stdout
    assert "long_time: " in shown.stdout


def test_records_that_are_no_rides_are_counted_and_kept_beside(place: Place) -> None:
    source = place.simulated("day.csv", count=500)
    lines = source.read_text(encoding="utf-8").splitlines()
    fields = lines[3].split(",")
    fields[2:4] = ["far", "long"]
    lines[3] = ",".join(fields)
    lines.append("only,two")
    source.write_text("\n".join(lines), encoding="utf-8")
    told, table = place.clustered(source)
    assert (told["rides"], told["bad"], table.num_rows) == (499, 2, 499)
    beside = place.root / "out.bad.jsonl"
    rows = [json.loads(line) for line in beside.read_text(encoding="utf-8").splitlines()]
    assert [row["number"] for row in rows] == [3, 501]
    assert all(row["reason"] for row in rows)
    place.clustered(place.simulated("clean.csv", count=500))
    assert not beside.exists()


def test_no_rides_at_all(place: Place) -> None:
    told, table = place.clustered(place.simulated("none.parquet", count=0))
    assert (told["rides"], told["clusters"], told["anomalies"], told["eps"]) == (0, 0, 0, None)
    assert table.schema.equals(clustered_schema())


def test_a_file_that_cannot_be_read_is_told(place: Place) -> None:
    broken = place.root / "broken.parquet"
    broken.write_bytes(b"PAR1 and then nothing")
    output = place.root / "out.parquet"
    command = ("rides", "cluster", "--input", str(broken), "--output", str(output))
    error = place.run(*command, code=1).stderr
    assert error.startswith(f"error: {broken}: ")
    assert error.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize(
    ("output", "said"), [("out.csv", "must end with .parquet"), ("day.parquet", "must not be the")]
)
def test_an_impossible_output_is_refused(place: Place, output: str, said: str) -> None:
    source = place.simulated("day.parquet", count=10)
    before = source.read_bytes()
    command = ("rides", "cluster", "--input", str(source), "--output", str(place.root / output))
    assert said in place.run(*command, code=2).stderr
    assert source.read_bytes() == before


def test_an_output_that_cannot_be_written_is_told(place: Place) -> None:
    source = place.simulated("day.parquet", count=10)
    output = place.root / "no" / "folder.parquet"
    command = ("rides", "cluster", "--input", str(source), "--output", str(output))
    assert f"{output}: cannot be written" in place.run(*command, code=1).stderr


def test_a_day_goes_into_the_folder_of_the_settings(place: Place) -> None:
    place.settings = {"rides": {"url": str(place.root / "the rides")}}
    told = place.run("simulate-rides", *DAY, "--rides", "20", "--seed", "4", "--json")
    file = place.root / "the rides" / "2026-06-30.parquet"
    assert json.loads(told.stdout) == {"rides": 20, "file": str(file)}
    first = file.read_bytes()
    assert pq.read_table(file).schema.equals(ride_schema())
    place.run("simulate-rides", *DAY, "--rides", "20", "--seed", "4")
    assert file.read_bytes() == first
    place.run("simulate-rides", *DAY, "--rides", "20", "--seed", "5")
    assert file.read_bytes() != first
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "no `rides` in the settings"),
        ({"rides": {"url": "s3://rides/raw"}}, "rides.url is s3://rides/raw, not a folder"),
    ],
)
def test_without_a_folder_the_day_has_no_place(place: Place, settings: Any, said: str) -> None:
    place.settings = settings
    assert said in place.run("simulate-rides", *DAY, code=1).stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ("--date", "30.6.2026"),
        (*DAY, "--rides", "-1"),
        (*DAY, "--rides", str(MOST_RIDES + 1)),
        (*DAY, "--seed", "-1"),
        (),
    ],
)
def test_wrong_options_are_usage_errors(place: Place, wrong: tuple[str, ...]) -> None:
    place.run("simulate-rides", *wrong, code=2)


def test_an_unknown_ending_is_refused(place: Place) -> None:
    output = place.root / "day.xlsx"
    command = ("simulate-rides", *DAY, "--output", str(output))
    assert "must end with .parquet, .csv, .json, .jsonl" in place.run(*command, code=1).stderr
    assert not output.exists()
