"""`rag-platform models` and `rag-platform predict`, as a person or a script meets them."""

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

from rag_platform.commands.group import Cli
from rag_platform.commands.models import models
from rag_platform.commands.predict import predict
from rag_platform.platform import Platform
from rag_platform.training import catalogue
from rag_platform_tests.training.conftest import mlflow_template  # noqa: F401
from rag_platform_tests.training.put import Put
from rag_platform_tests.training.tiny import NAME, SPEC, TinyModel, TinyTask

WHY = ("--reason", "agreed on Tuesday")


@click.group(cls=Cli)
@click.option("--debug", is_flag=True)
@click.option("--verbose", is_flag=True)
def main(debug: bool, verbose: bool) -> None:
    """The verbs of this part alone."""


main.add_command(models)
main.add_command(predict)


class Place:
    """Settings, and a state folder with an empty MLflow; runs verbs in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "platform.yaml"
        self.config.write_text(yaml.safe_dump({"models": {NAME: {"data": str(root)}}}), "utf-8")
        self.env = {
            "RAG_PLATFORM_CONFIG": str(self.config),
            "RAG_PLATFORM_HOME": str(root / "home"),
            "USER": "ann",
        }

    @contextmanager
    def platform(self) -> Iterator[Platform]:
        from rag_platform.settings import load

        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            platform = Platform(load())
        yield platform
        platform.close()

    def put(self, *thresholds: float) -> None:
        with self.platform() as platform:
            for threshold in thresholds:
                version = Put(platform.models.registry)(threshold)
                verdict = {"gate": "accuracy", "value": 0.9, "bound": 0.8, "passed": True}
                platform.models.promotions.enter(
                    NAME,
                    version.number,
                    actor="training",
                    reason="passed",
                    facts={"verdicts": [{**verdict, "told": "accuracy 0.9, at least 0.8"}]},
                )

    def step(self, share: int) -> None:
        with self.platform() as platform:
            platform.models.promotions.step(NAME, share, actor="rollout", reason="well")

    def run(self, *args: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, args, env=self.env)
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def predict(self, source: Path, output: Path, *args: str) -> Any:
        return self.json("predict", NAME, "--input", str(source), "--output", str(output), *args)

    def numbers(self, name: str = "in.csv") -> Path:
        """Ten rows, of which the fourth is none; their targets are wrong on purpose."""
        path = self.root / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["unit", "x", "target"])
            for number in range(10):
                x = "many" if number == 3 else str(number / 10)
                writer.writerow([f"u{9 - number}", x, "never"])
        return path


@pytest.fixture
def place(
    tmp_path: Path,
    mlflow_template: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    monkeypatch.setattr(catalogue, "catalogue", lambda: {NAME: SPEC})
    (tmp_path / "home").mkdir()
    shutil.copyfile(mlflow_template, tmp_path / "home" / "mlflow.db")
    return Place(tmp_path)


# models


def test_a_model_that_never_was_trained(place: Place) -> None:
    [row] = place.json("models")
    assert row == {
        "model": NAME,
        "enabled": True,
        "trainer": "default",
        "data": place.root.as_uri(),
        "schedule": "0 2 * * 0",
        "champion": None,
        "challenger": None,
    }
    assert "none" in place.run("models").stdout
    assert place.json("models", "history", NAME) == []
    place.config.write_text("{}", "utf-8")
    [row] = place.json("models", "list")
    assert (row["enabled"], row["data"]) == (False, None)
    assert "not enabled" in place.run("models", "list").stdout


def test_a_model_with_champion_and_challenger(place: Place) -> None:
    place.put(0.3, 0.6)
    place.step(25)
    [row] = place.json("models")
    assert (row["champion"]["version"], row["challenger"]["version"]) == ("1", "2")
    assert (row["challenger"]["share"], row["challenger"]["units"]) == (25, 0)
    assert row["champion"]["gates"] == [
        {"gate": "accuracy", "value": 0.9, "bound": 0.8, "passed": True}
    ]
    shown = place.run("models").stdout
    assert "2, 25 %" in shown
    assert "1 of 1" in shown


def test_history_promotion_and_rollback(place: Place) -> None:
    place.put(0.3, 0.6)
    row = place.json("models", "promote", NAME, *WHY)
    assert (row["action"], row["version"], row["champion"]) == ("promoted", "2", "2")
    assert (row["actor"], row["reason"]) == ("ann", "agreed on Tuesday")
    assert "version 1 serves since" in place.run("models", "rollback", NAME, *WHY).stdout
    again = place.json("models", "promote", NAME, "--version", "2", *WHY, "--by", "[bob]")
    assert again["actor"] == "[bob]"
    rows = place.json("models", "history", NAME)
    assert [each["action"] for each in rows] == [
        "registered",
        "promoted",
        "registered",
        "challenger",
        "promoted",
        "rolled_back",
        "promoted",
    ]
    assert set(rows[0]) == {
        *("id", "model", "at", "action", "version", "champion"),
        *("share", "actor", "run_id", "reason", "facts"),
    }
    assert "[bob]" in place.run("models", "history", NAME).stdout


def test_rolling_back_a_challenger_says_who_goes_on(place: Place) -> None:
    place.put(0.3, 0.6)
    place.step(5)
    told = place.run("models", "rollback", NAME, *WHY).stdout
    assert "version 2 is tried no longer; version 1 goes on serving" in told


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("promote", NAME, *WHY), 1, "there is no challenger"),
        (("promote", NAME, "--version", "9", *WHY), 1, "there is no version 9"),
        (("rollback", NAME, *WHY), 1, "none served before version 1"),
        (("promote", "other", *WHY), 1, "there are: tiny_model"),
        (("history", "other"), 1, "there are: tiny_model"),
        (("compare", NAME), 1, "there is no challenger"),
    ],
)
def test_what_cannot_be_done_is_told(
    place: Place, args: tuple[str, ...], code: int, said: str
) -> None:
    place.put(0.3)
    assert said in place.run("models", *args, code=code).stderr


def test_versions_side_by_side(place: Place) -> None:
    place.put(0.3, 0.6, 0.9)
    comparison = {
        "test": "mcnemar",
        "units": 100,
        "difference": -0.02,
        "low": -0.05,
        "high": 0.01,
        "p_worse": 0.9,
        "p_better": 0.1,
    }
    with place.platform() as platform:
        for number, accuracy in (("1", 0.9), ("3", 0.92)):
            version = platform.models.registry.version(NAME, number)
            assert version is not None
            report = {
                "units": 200,
                "metrics": {"accuracy": {"value": accuracy, "low": 0.8, "high": 0.95}},
                "holdout": {"accuracy": accuracy},
                "champion_version": "1",
                "comparison": comparison if number == "3" else None,
            }
            platform.models.registry.log_evaluation(version.run_id, {}, {}, report)
    found = place.json("models", "compare", NAME)
    assert (found["a"]["version"], found["b"]["version"]) == ("1", "3")
    assert found["b"]["metrics"]["accuracy"]["value"] == 0.92
    assert found["paired"] == {"version": "3", "against": "1", **comparison}
    assert place.json("models", "compare", NAME, "3", "1")["paired"] == found["paired"]
    shown = place.run("models", "compare", NAME).stdout
    assert "version 3 is not significantly better than version 1" in shown
    two = place.json("models", "compare", NAME, "2")
    assert (two["a"]["version"], two["b"]["version"]) == ("1", "2")
    assert (two["b"]["metrics"], two["paired"]) == ({}, None)
    assert "not compared" in place.run("models", "compare", NAME, "2").stdout


# predict


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_rows_are_answered_in_their_order(place: Place, ending: str) -> None:
    place.put(0.5)
    output = place.root / f"out.{ending}"
    told = place.predict(place.numbers(), output)
    assert told == {
        "model": NAME,
        "rows": 9,
        "bad": 1,
        "versions": {"1": 9},
        "seconds": told["seconds"],
        "output": str(output),
    }
    if ending == "csv":
        found = pd.read_csv(output, dtype={"version": "str"})
    elif ending == "jsonl":
        lines = output.read_text("utf-8").splitlines()
        found = pd.DataFrame([json.loads(line) for line in lines])
    else:
        found = pd.read_parquet(output)
    assert list(found.columns) == ["row", "unit", "prediction", "score", "version"]
    numbers = [number for number in range(10) if number != 3]
    assert found["row"].tolist() == [number + 1 for number in numbers]
    assert found["unit"].tolist() == [f"u{9 - number}" for number in numbers]
    assert found["prediction"].tolist() == ["yes" if n >= 5 else "no" for n in numbers]
    assert found["version"].tolist() == ["1"] * 9
    [bad] = (place.root / "out.bad.jsonl").read_text("utf-8").splitlines()
    assert (json.loads(bad)["number"], json.loads(bad)["reason"]) == (4, "no_number")


def test_the_challenger_answers_when_asked(place: Place) -> None:
    place.put(0.3, 0.6)
    output = place.root / "out.csv"
    assert place.predict(place.numbers(), output)["versions"] == {"1": 9}
    asked = place.predict(place.numbers(), output, "--alias", "challenger")
    assert asked["versions"] == {"2": 9}


def test_people_read_who_answered(place: Place) -> None:
    place.put(0.5)
    args = ("--input", str(place.numbers()), "--output", str(place.root / "out.csv"))
    result = place.run("predict", NAME, *args)
    assert result.stdout.startswith("9 rows (version 1: 9) in ")
    assert "1 records are no rows (1 no_number), see " in result.stderr


def test_answers_with_lists_and_without_values(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put(0.5)

    def entities(self: TinyModel, rows: pd.DataFrame) -> pd.DataFrame:
        said = [[{"label": "ORG", "begin": 0}] if x > 0.5 else [] for x in rows["x"]]
        scores = [None if x > 0.5 else x for x in rows["x"]]
        return pd.DataFrame({"prediction": said, "score": scores}, index=rows.index)

    monkeypatch.setattr(TinyModel, "predict", entities)
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        place.predict(place.numbers(), place.root / name)
    last = [{"label": "ORG", "begin": 0}]
    first, *_, line = (place.root / "out.jsonl").read_text("utf-8").splitlines()
    assert json.loads(first)["prediction"] == []
    assert (json.loads(line)["prediction"], json.loads(line)["score"]) == (last, None)
    with (place.root / "out.csv").open(encoding="utf-8", newline="") as file:
        *_, row = csv.DictReader(file)
    assert (json.loads(row["prediction"]), row["score"]) == (last, "")
    table = pd.read_parquet(place.root / "out.parquet")
    assert list(table["prediction"].iloc[-1]) == last


@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        ("out.xlsx", 2, "must end with .csv, .jsonl, .parquet"),
        ("in.csv", 2, "must not be the input"),
        ("no/folder/out.csv", 1, "cannot be written"),
    ],
)
def test_an_output_that_cannot_be_is_told(place: Place, output: str, code: int, said: str) -> None:
    place.put(0.5)
    source = place.numbers()
    before = source.read_bytes()
    args = ("--input", str(source), "--output", str(place.root / output))
    assert said in place.run("predict", NAME, *args, code=code).stderr
    assert source.read_bytes() == before


def test_nothing_is_written_where_nothing_can_be_answered(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = place.numbers(), place.root / "out.csv"
    args = ("predict", NAME, "--input", str(source), "--output", str(output))
    assert "rag-platform train tiny_model" in place.run(*args, code=1).stderr
    place.put(0.5)
    output.write_text("before", "utf-8")
    monkeypatch.setattr(TinyTask, "prediction_columns", ("prediction", "missing"))
    place.run(*args, code=1)
    assert output.read_text("utf-8") == "before"
    source.write_text("a,b\n1,2\n", "utf-8")
    assert "no column x" in place.run(*args, code=1).stderr
    source.write_text("unit,x\nu1,one\n", "utf-8")
    assert "none of 1 records is a row" in place.run(*args, code=1).stderr
    place.config.write_text("{}", "utf-8")
    assert "not in the settings" in place.run(*args, code=1).stderr
    assert output.read_text("utf-8") == "before"
