"""rag-platform evaluate and compare: JSON for programs, tables for people."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from rag_platform.commands.evaluate import compare, evaluate
from rag_platform.commands.group import Cli
from rag_platform.platform import Platform
from rag_platform.settings import load

WINDOW = "2026-06-01"
TOPICS = ("tea", "bread", "trains", "glass", "bees", "salt", "maps", "clocks", "rain", "ink")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two index versions of ten documents, and a question about each."""
    root = tmp_path_factory.mktemp("evaluate")
    docs, golden = root / "docs", root / "golden"
    docs.mkdir()
    golden.mkdir()
    for topic in TOPICS:
        (docs / f"{topic}.md").write_text(f"# About {topic}\n\nAll there is to say of {topic}.")
    queries = [{"_id": t, "text": f"what is {t}", "slice": f"of {len(t)}"} for t in TOPICS]
    written = "".join(json.dumps(query) + "\n" for query in queries)
    (golden / "queries.jsonl").write_text(written)
    (golden / "qrels.tsv").write_text("h\n" + "".join(f"{t}\t{t}\t1\n" for t in TOPICS))
    tree = {
        "sources": {"notes": {"url": str(docs), "start": "2026-01-01"}},
        "indexes": {"docs_v1": {"sparse": "english"}, "docs_v2": {}},
        "live": "docs_v1",
        "golden": {"topics": {"url": str(golden)}},
    }
    (root / "platform.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    environ = {"RAG_PLATFORM_HOME": str(root / "state")}
    platform = Platform(load(root / "platform.yaml", environ))
    for stage in (platform.raw, platform.parsed, platform.clean):
        stage("notes").run(WINDOW)
    for index in tree["indexes"]:
        builds: tuple[Callable[[str, str], Any], ...]
        builds = (platform.chunks, platform.embeddings, platform.vector_index)
        for build in builds:
            build("notes", index).run(WINDOW)
    platform.close()
    return root


@pytest.fixture(autouse=True)
def environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(place / "platform.yaml"))
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(place / "state"))


def invoke(*arguments: str) -> Result:
    group = Cli("rag-platform", commands=[evaluate, compare])
    group.params += [click.Option([f"--{name}"], is_flag=True) for name in ("debug", "verbose")]
    group.callback = lambda **_: None
    return CliRunner().invoke(group, list(arguments))


def test_the_live_index_is_measured() -> None:
    result = invoke("evaluate", "--json")
    assert result.exit_code == 0, result.output
    [found] = json.loads(result.stdout)
    assert (found["index"], found["golden"], found["points"]) == ("docs_v1", "topics", 10)
    slices = found["slices"]
    assert list(slices) == ["all", "of 3", "of 4", "of 5", "of 6"]
    assert slices["all"]["queries"] == 10
    assert slices["all"]["means"]["mrr@10"] == 1
    assert "scores" not in found


def test_people_get_a_table() -> None:
    lines = invoke("evaluate", "--index", "docs_v2", "--golden", "topics").stdout.splitlines()
    assert lines[0] == "docs_v2 on topics, 10 points"
    [told] = [line.split() for line in lines if line.startswith("all")]
    assert told == ["all", "10", "1.000", "1.000", "1.000", "1.000"]


def test_two_versions_are_compared() -> None:
    result = invoke("compare", "docs_v2", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == [
        {
            "golden": "topics",
            "index": "docs_v2",
            "other": "docs_v1",
            "metric": "ndcg@10",
            "queries": 10,
            "difference": 0.0,
            "low": 0.0,
            "high": 0.0,
            "p_worse": 1.0,
            "p_better": 1.0,
            "index_mean": 1.0,
            "other_mean": 1.0,
        }
    ]
    shown = invoke("compare", "docs_v1", "docs_v2", "--metric", "mrr@10").stdout
    assert "docs_v1 against docs_v2" in shown
    assert "+0.000 to +0.000" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("evaluate", "--golden", "nothing"), "golden set 'nothing'"),
        (("evaluate", "--index", "nothing"), "index 'nothing'"),
        (("compare", "nothing"), "index 'nothing'"),
        (("compare", "docs_v2", "--metric", "luck"), "choose from ndcg@10"),
    ],
)
def test_what_is_not_there_is_told(arguments: tuple[str, ...], told: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code != 0
    assert told in result.stderr


def test_without_golden_queries(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = place / "none.yaml"
    config.write_text(yaml.safe_dump({"indexes": {"docs_v1": {}}}), encoding="utf-8")
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(config))
    result = invoke("evaluate")
    assert result.exit_code == 1
    assert "no golden queries: add a set" in result.stderr
