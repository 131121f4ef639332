"""`rag-platform train`, as a person or a script meets it."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from rag_platform.cli import main
from rag_platform.training import catalogue
from rag_platform.training.calendar import current_week
from rag_platform.training.pipeline import Training
from rag_platform_tests.copies import new_instance
from rag_platform_tests.servers.seaweed import S3Server
from rag_platform_tests.training.conftest import mlflow_template  # noqa: F401
from rag_platform_tests.training.tiny import NAME, SPEC, tiny_rows

PAST = "2026-03-02"


class Place:
    """Settings with a tiny model, and a state folder; runs the verb in this process."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self._patch = patch
        self.env = {
            "RAG_PLATFORM_CONFIG": str(root / "platform.yaml"),
            "RAG_PLATFORM_HOME": str(root / "home"),
            "DAGSTER_HOME": str(new_instance(root / "dagster")),
        }
        self.configure()

    def configure(self, more: dict[str, Any] | None = None, **rules: Any) -> None:
        tree = {"models": {NAME: {"data": str(self.write("data")), **rules}}, **(more or {})}
        (self.root / "platform.yaml").write_text(yaml.safe_dump(tree), "utf-8")

    def write(self, folder: str, **made: Any) -> Path:
        path = self.root / folder
        path.mkdir(exist_ok=True)
        tiny_rows(**made).drop(columns="group").to_csv(path / "rows.csv", index=False)
        return path

    def run(self, *args: str, code: int = 0) -> Result:
        # Read anew what a process of its own would read.
        self._patch.delitem(sys.modules, "rag_platform.definitions", raising=False)
        result = CliRunner().invoke(main, ["train", *args], env=self.env)
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    def json(self, *args: str, code: int = 0) -> Any:
        return json.loads(self.run(*args, "--json", code=code).stdout)


@pytest.fixture
def place(
    tmp_path: Path,
    mlflow_template: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    unrendered: None,
) -> Place:
    specs = {NAME: SPEC, "other_model": replace(SPEC, name="other_model")}
    monkeypatch.setattr(catalogue, "catalogue", lambda: specs)
    (tmp_path / "home").mkdir()
    shutil.copyfile(mlflow_template, tmp_path / "home" / "mlflow.db")
    return Place(tmp_path, monkeypatch)


def test_the_first_version_serves(place: Place) -> None:
    told = place.json(NAME)
    assert (told["model"], told["week"], told["rows"]) == (NAME, current_week(), 200)
    assert (told["success"], told["problems"], told["reused"]) == (True, [], False)
    assert (told["version"], told["serves_as"]) == ("1", "champion")
    assert told["metrics"]["accuracy"]["value"] > 0.8
    assert [(row["gate"], row["passed"]) for row in told["gates"]] == [
        ("accuracy", True),
        ("not_worse_than_champion", True),
    ]


@pytest.mark.slow
def test_the_same_rows_are_fitted_once_and_others_are_tried(place: Place) -> None:
    told, again = place.json(NAME), place.json(NAME)
    assert (again["reused"], again["version"], again["serves_as"]) == (True, "1", "champion")
    assert again["data_sha256"] == told["data_sha256"]
    assert again["run_id"] != told["run_id"]
    elsewhere = place.write("elsewhere", seed=1)
    shown = place.run(NAME, "--data", str(elsewhere))
    assert "Version 2 is tried beside the champion." in shown.stdout
    assert f"{NAME}, week of {current_week()}" in shown.stdout
    assert "accuracy" in shown.stdout


def test_a_gate_that_fails_ends_with_its_line(place: Place) -> None:
    blurred = place.write("blurred", seed=1, spread=1.0)
    result = place.run(NAME, "--data", blurred.as_uri(), code=1)
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {NAME}/evaluation: accuracy: 0.")
    assert line.endswith(("at least 0.8: failed, close", "at least 0.8: failed"))
    assert "NO" in result.stdout
    assert "Version" not in result.stdout


@pytest.mark.slow
def test_a_gate_that_fails_after_one_that_held_shows_only_itself(place: Place) -> None:
    place.run(NAME)
    blurred = place.write("blurred", seed=1, spread=1.0)
    told = place.json(NAME, "--data", str(blurred), code=1)
    assert (told["success"], told["version"]) == (False, None)
    assert [row["passed"] for row in told["gates"] if row["gate"] == "accuracy"] == [False]
    assert [problem.split(": ")[:2] for problem in told["problems"]] == [
        [f"{NAME}/evaluation", "accuracy"]
    ]


@pytest.mark.slow
def test_data_that_is_refused_tells_nothing_of_an_earlier_run(place: Place) -> None:
    place.run(NAME)
    few = place.write("few", count=12)
    told = place.json(NAME, "--data", str(few), code=1)
    assert (told["rows"], told["metrics"], told["gates"], told["version"]) == (None, {}, [], None)
    assert any("12 rows" in problem for problem in told["problems"])


@pytest.mark.slow
def test_a_week_that_is_over_keeps_its_rows(place: Place) -> None:
    first = place.json(NAME, "--week", PAST)
    assert (first["week"], first["rows"]) == (PAST, 200)
    place.write("data", seed=5, count=250)
    assert place.json(NAME, "--week", PAST)["data_sha256"] == first["data_sha256"]
    renewed = place.json(NAME, "--week", PAST, "--refresh")
    assert (renewed["rows"], renewed["serves_as"]) == (250, "challenger")


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("tiny_modle",), 1, "'tiny_modle': there is none; there are: tiny_model, other_model"),
        (("other_model",), 1, "not in the settings, or not enabled"),
        ((NAME, "--week", "2026-03-03"), 1, "weeks are named by their Mondays"),
        ((NAME, "--week", "soon"), 1, "no date"),
        ((NAME, "--data", "http://example.org/x"), 2, "--data"),
        ((NAME, "--data", "/nowhere/at all"), 1, "neither a file nor a folder"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    place: Place, args: tuple[str, ...], code: int, told: str
) -> None:
    result = place.run(*args, code=code)
    assert told in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"trainer": "magic"}, "models.tiny_model.trainer: 'magic' is none of its trainers"),
        ({"gates": {"acuracy": 0.9}}, "no metric for gate 'acuracy'; there are: accuracy"),
    ],
)
def test_settings_that_cannot_be_are_told_in_a_line(
    place: Place, rules: dict[str, Any], told: str
) -> None:
    place.configure(**rules)
    [line] = place.run(NAME, code=1).stderr.splitlines()[-1:]
    assert line.startswith("error: ")
    assert told in line


def test_a_source_may_not_have_the_name_of_a_model(place: Place) -> None:
    place.configure({"sources": {NAME: {"url": str(place.root), "start": "2026-06-01"}}})
    assert "there is a source of this name" in place.run(NAME, code=1).stderr


def test_an_unexpected_error_is_told_without_waiting(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("nobody thought of it")

    monkeypatch.setattr(Training, "run_candidate", fail)
    result = place.run(NAME, code=1)
    assert f"error: {NAME}/candidate_model: ValueError: nobody thought of it" in result.stderr


@pytest.mark.slow
def test_the_data_may_lie_in_a_bucket(
    place: Place, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_server.make_bucket()
    body = (place.root / "data" / "rows.csv").read_bytes()
    s3_server.client().put_object(Bucket=bucket, Key="in/rows.csv", Body=body)
    place.configure({"s3": {"endpoint_url": s3_server.endpoint, "region": "us-east-1"}})
    place.env |= {"AWS_ACCESS_KEY_ID": s3_server.key, "AWS_SECRET_ACCESS_KEY": s3_server.secret}
    told = place.json(NAME, "--data", f"s3://{bucket}/in")
    assert (told["rows"], told["serves_as"]) == (200, "champion")
    assert os.environ.get("AWS_ACCESS_KEY_ID") is None
