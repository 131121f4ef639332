import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from rag_platform.cli import main
from rag_platform.rides.saving import save
from rag_platform.rides.schema import clustered_schema, ride_schema
from rag_platform.rides.simulation import MOST_RIDES

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
    assert "3,000 rides in 1 cluster, " in shown.stdout
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


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_rides_need_no_times_and_no_ids(place: Place, ending: str) -> None:
    day = pq.read_table(place.simulated("day.parquet", count=400))
    kept = {"distance_km": "Distance (km)", "duration_s": "duration", "speed_kmh": "speed"}
    kept |= {name: name for name in ("news", "weather", "traffic")}
    source = place.root / f"plain.{ending}"
    save(day.select(list(kept)).rename_columns(list(kept.values())), source)
    told, table = place.clustered(source)
    assert (told["rides"], told["bad"]) == (400, 0)
    assert table["started_at"].null_count == 400
    assert len(set(table["ride_id"].to_pylist())) == 400
    np.testing.assert_array_equal(table["distance_km"], day["distance_km"])
    assert table["weather"].equals(day["weather"])


def test_a_file_whose_records_are_all_bad_is_an_error(place: Place) -> None:
    source = place.root / "day.csv"
    source.write_text("distance,duration\n-1,60\n-2,60\n5,\n", encoding="utf-8")
    output = place.root / "out.parquet"
    command = ("rides", "cluster", "--input", str(source), "--output", str(output))
    assert place.run(*command, code=1).stderr == (
        f"error: {source}: 3 records are no rides (2 range_distance_km, 1 missing_duration_s), "
        f"see {place.root / 'out.bad.jsonl'}\n"
    )
    assert not output.exists()


def test_units_that_no_city_has_are_a_warning(place: Place) -> None:
    source = place.root / "day.csv"
    rows = "".join(f"{n},6,{15 + n % 9}\n" for n in range(40))
    source.write_text(f"id,distance,duration\n{rows}", encoding="utf-8")
    output = place.root / "out.parquet"
    command = ("rides", "cluster", "--input", str(source), "--output", str(output))
    shown = place.run(*command)
    assert "are the units those of the columns' names (see duration_min" in shown.stderr
    assert pq.read_table(output).num_rows == 40


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


def test_what_is_written_beside_the_output_does_not_take_the_input_s_place(place: Place) -> None:
    source = place.simulated("day.jsonl", count=10).rename(place.root / "day.bad.jsonl")
    before = source.read_bytes()
    output = place.root / "day.parquet"
    command = ("rides", "cluster", "--input", str(source), "--output", str(output))
    assert "must not be the" in place.run(*command, code=2).stderr
    assert source.read_bytes() == before


def test_an_output_that_cannot_be_written_is_told(place: Place) -> None:
    source = place.simulated("day.parquet", count=10)
    output = place.root / "no" / "folder.parquet"
    command = ("rides", "cluster", "--input", str(source), "--output", str(output))
    assert f"{output}: cannot be written" in place.run(*command, code=1).stderr


def test_days_are_run_from_their_files_to_their_reports(place: Place) -> None:
    place.settings = {"rides": {"url": str(place.root / "rides"), "start": "2026-06-01"}}
    place.run("simulate-rides", *DAY, "--rides", "400")
    found = json.loads(place.run("rides", "run", *DAY, "--to", "2026-07-01", "--json").stdout)
    assert [row["date"] for row in found] == ["2026-06-30", "2026-07-01"]
    assert [row["rides"] for row in found] == [400, 0]
    assert Path(found[0]["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    (place.root / "rides" / "broken.parquet").write_bytes(b"nothing")
    again = place.run("rides", "run", *DAY, code=1)
    assert again.stdout.startswith("2026-06-30: 400 rides, ")
    assert "files that cannot be read to their end: 1" in again.stderr


@pytest.mark.parametrize(
    ("days", "code", "said"),
    [
        (("--date", "2026-05-31"), 1, "the rides run from 2026-06-01"),
        (("--date", "2100-01-01"), 1, "the last day that has ended is"),
        ((*DAY, "--to", "2026-06-29"), 2, "must not be before --date"),
    ],
)
def test_days_that_cannot_be_run(place: Place, days: tuple[str, ...], code: int, said: str) -> None:
    place.settings = {"rides": {"url": str(place.root), "start": "2026-06-01"}}
    assert said in place.run("rides", "run", *days, code=code).stderr


def test_without_rides_in_the_settings_there_is_no_day_to_run(place: Place) -> None:
    assert "rides" in place.run("rides", "run", *DAY, code=1).stderr


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
