"""Addresses in Dagster and MLflow."""

from pathlib import Path

import pytest

from rag_platform.console.links import Links
from rag_platform.settings import Settings

LINKS = Links("https://dagster.test", "https://mlflow.test")


def test_addresses() -> None:
    assert LINKS.asset("notes", "v1", "chunks") == "https://dagster.test/assets/notes/v1/chunks"
    assert LINKS.asset("notes", "raw_docs", partition="2026-06-01-00:00") == (
        "https://dagster.test/assets/notes/raw_docs?view=partitions&partition=2026-06-01-00%3A00"
    )
    assert LINKS.run("r 1") == "https://dagster.test/runs/r%201"
    assert LINKS.backfill("abc") == "https://dagster.test/runs/b/abc"
    assert LINKS.mlflow_run("a/b") == "https://mlflow.test/#/runs/a%2Fb"
    assert LINKS.mlflow_model("m") == "https://mlflow.test/#/models/m"
    assert LINKS.mlflow_version("m", "3") == "https://mlflow.test/#/models/m/versions/3"
    assert Links("https://dagster.test", None).mlflow_run("a") is None


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        ({}, None),
        ({"mlflow": {"tracking_uri": "http://ann:secret@mlflow:5000/"}}, "http://mlflow:5000"),
        ({"mlflow": {"tracking_uri": "postgresql://db/mlflow"}}, None),
        (
            {
                "mlflow": {"tracking_uri": "http://mlflow:5000"},
                "console": {"mlflow_url": "https://mlflow.test/"},
            },
            "https://mlflow.test",
        ),
    ],
)
def test_where_mlflow_is_shown(tmp_path: Path, tree: dict[str, object], found: str | None) -> None:
    links = Links.of(Settings.model_validate({"home": str(tmp_path), **tree}))
    assert (links.dagster, links.mlflow) == ("http://127.0.0.1:3000", found)
