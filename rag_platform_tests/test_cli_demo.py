"""The demo: day by day, nothing twice, and an answer at the end."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rag_platform.settings import PROJECT_ROOT
from rag_platform_tests.training.conftest import mlflow_template  # noqa: F401


@pytest.fixture
def env(
    tmp_path: Path,
    mlflow_template: Path,  # noqa: F811
) -> Iterator[dict[str, str]]:
    (tmp_path / "home").mkdir()
    shutil.copyfile(mlflow_template, tmp_path / "home" / "mlflow.db")
    yield {
        "RAG_PLATFORM_CONFIG": str(PROJECT_ROOT / "platform.yaml"),
        "RAG_PLATFORM_HOME": str(tmp_path / "home"),
        "DAGSTER_HOME": str(tmp_path / "home" / "dagster"),
        "RAG_PLATFORM__AUTOMATION": "false",
        # Of the two models that the demo trains, the quicker one is enough here.
        "RAG_PLATFORM__MODELS__INTENT_CLASSIFIER__ENABLED": "false",
    }
    sys.modules.pop("rag_platform.definitions", None)


def run(env: dict[str, str], *args: str, code: int = 0) -> Result:
    from rag_platform.cli import main

    sys.modules.pop("rag_platform.definitions", None)
    result = CliRunner().invoke(main, args, env=env)
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def day_rows(result: Result) -> dict[str, list[str]]:
    """The table of what each day brought; that of its enrichment comes behind it."""
    days = result.stdout.partition("What extractive methods made")[0]
    lines = [line.split() for line in days.splitlines()]
    return {words[0]: words[1:] for words in lines if words and words[0].startswith("2026-")}


@pytest.mark.slow
def test_the_demo_goes_on_where_it_stopped_and_pays_nothing_twice(
    env: dict[str, str], tmp_path: Path
) -> None:
    first = run(env, "demo", "--days", "1")
    assert list(day_rows(first)) == ["2026-06-30"]
    assert day_rows(first)["2026-06-30"][:1] == ["188"]
    assert "181 " in first.stdout.partition("What extractive methods made")[2]
    assert "Approved by `demo`: published" in first.stdout
    assert "Rides of 2026-06-30 (simulated): 2,000" in first.stdout
    report = tmp_path / "home" / "storage" / "rides" / "reports" / "2026-06-30.html"
    assert str(report) in first.stdout
    assert report.is_file()
    assert "credit_risk_scorer version 1 serves. Gates: " in first.stdout
    assert "Question:" in first.stdout
    assert "rag-platform reset" in first.stdout
    second = run(env, "demo", "--days", "2")
    # 3 added, 5 modified of 191, as demo/README.md lists them; one edit left the text as it was.
    assert list(day_rows(second)) == ["2026-07-01"]
    assert day_rows(second)["2026-07-01"][:4] == ["191", "3", "4", "184"]
    third = run(env, "demo", "--days", "2")
    assert "Every day is recorded already" in third.stdout
    assert "Approved by" not in third.stdout
    assert "0 embedded" in third.stdout
    assert day_rows(third)["2026-07-01"][:2] == ["191", "191"]
    source = tmp_path / "home" / "demo" / "source"
    assert len([path for path in source.rglob("*") if path.is_file()]) == 191
    # A later page closes the days before it.
    run(env, "sync", "demo", "--window", "2026-07-10")
    error = run(env, "demo", code=1).stderr
    assert "the page of 2026-07-10 is written, so 2026-07-02 cannot be replayed" in error
    assert "rag-platform reset" in error


def test_the_demo_clears_its_own_folder_only(env: dict[str, str], tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.md").write_text("years of work")
    env["RAG_PLATFORM__SOURCES__DEMO__URL"] = str(mine)
    assert "it may be yours" in run(env, "demo", code=1).stderr
    assert [path.name for path in mine.iterdir()] == ["thesis.md"]
    config = tmp_path / "platform.yaml"
    config.write_text("sources: {}\n")
    env["RAG_PLATFORM_CONFIG"] = str(config)
    del env["RAG_PLATFORM__SOURCES__DEMO__URL"]
    assert "has no source `demo`" in run(env, "demo", code=1).stderr
