"""The verbs of index versions: what they do, JSON for programs, tables for people."""

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from click import Option
from click.testing import CliRunner, Result

from rag_platform.commands.group import Cli
from rag_platform.commands.indexes import experiment, indexes, promote, rollback
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform.storage.schema import search_log
from rag_platform_tests.indexing.life import point

SMALL = {"chunker": {"max_tokens": 60, "overlap": 0}, "embedder": "wordllama"}
BIG = {"chunker": {"max_tokens": 90, "overlap": 0}, "embedder": "wordllama"}


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions, the first one live, and no source: both hold all there is."""
    config = tmp_path / "platform.yaml"
    tree = {
        "indexes": {"docs_v1": SMALL, "docs_v2": BIG},
        "live": "docs_v1",
        "search": {"experiment": {"challenger": "docs_v2", "share": 10}},
    }
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(config))
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(tmp_path / "state"))


@pytest.fixture
def platform() -> Iterator[Platform]:
    """The platform itself."""
    opened = Platform(load())
    yield opened
    opened.close()


@pytest.fixture
def built(platform: Platform) -> Platform:
    """Both versions have their collections."""
    for name in ("docs_v1", "docs_v2"):
        version = platform.version(name)
        version.register(platform.catalog)
        recipe: dict[str, Any] = {
            "dimension": version.embedder.dimension,
            "fingerprint": version.fingerprint,
        }
        with platform.vectors.open(name, **recipe):
            pass
    return platform


def invoke(*arguments: str) -> Result:
    group = Cli("rag-platform", commands=[promote, rollback, indexes, experiment])
    group.params += [Option([f"--{name}"], is_flag=True) for name in ("debug", "verbose")]
    group.callback = lambda **_: None
    return CliRunner().invoke(group, list(arguments))


def told(*arguments: str) -> Any:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_forth_and_back(built: Platform) -> None:
    row = told("promote", "docs_v2", "--reason", "better", "--by", "ann")
    assert (row["action"], row["live"], row["previous"]) == ("promoted", "docs_v2", "docs_v1")
    assert [(v["name"], v["state"]) for v in told("indexes")] == [
        ("docs_v1", "kept"),
        ("docs_v2", "live"),
    ]
    result = invoke("rollback", "--reason", "worse", "--by", "bob")
    assert result.exit_code == 0
    assert result.stdout.startswith("docs_v1: answers since ")
    history = told("indexes", "history")
    assert [(row["action"], row["actor"], row["reason"]) for row in history] == [
        ("promoted", "ann", "better"),
        ("rolled_back", "bob", "worse"),
    ]
    shown = invoke("indexes", "history").stdout
    assert "rolled back" in shown
    assert "better" in shown


def test_a_refusal_is_told_and_exits_1() -> None:
    result = invoke("promote", "docs_v2")
    assert result.exit_code == 1
    assert result.stdout == "docs_v2: refused; docs_v1 goes on answering.\n"
    assert result.stderr == "error: docs_v2: has no collection\n"
    result = invoke("promote", "docs_v2", "--json")
    assert (result.exit_code, json.loads(result.stdout)["action"]) == (1, "refused")


def test_force_says_what_it_passed_over(built: Platform) -> None:
    # Points of nobody: the index does not agree with the catalog.
    version = built.version("docs_v2")
    recipe: dict[str, Any] = {
        "dimension": version.embedder.dimension,
        "fingerprint": version.fingerprint,
    }
    stranger = point("docs_v2", 1)
    vector = version.embedder.embed_query("a stranger")
    with built.vectors.open("docs_v2", **recipe) as collection:
        collection.upsert([dataclasses.replace(stranger, dense=vector)])
    assert invoke("promote", "docs_v2").exit_code == 1
    result = invoke("promote", "docs_v2", "--force", "--reason", "known [bold]")
    assert result.exit_code == 0
    assert "forced: 0 documents and 1 points differ" in result.stdout
    shown = invoke("indexes", "history").stdout
    assert "promoted by force" in shown
    assert "known [bold]" in shown


def test_unknown_names() -> None:
    for arguments in (("promote", "docs_v9"), ("indexes", "retire", "docs_v9"), ("rollback",)):
        result = invoke(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: index docs_v")
        assert len(result.stderr.splitlines()) == 1


def test_retired_by_hand(built: Platform) -> None:
    told("promote", "docs_v2")
    result = invoke("indexes", "retire", "docs_v1", "--reason", "old")
    assert result.exit_code == 0
    assert result.stdout == "docs_v1: retired. Take it out of platform.yaml.\n"
    assert built.vectors.names() == ["docs_v2"]
    assert "retired" in invoke("indexes").stdout
    assert invoke("indexes", "retire", "docs_v2").exit_code == 1


def test_the_experiment(platform: Platform) -> None:
    assert told("experiment") == {"arms": [], "queries": 0, "overlap": None}
    assert "has not answered a search in 30 days" in invoke("experiment").stdout
    rows = [
        {
            "at": time.time(),
            "unit": arm,
            "query": "q",
            "arm": arm,
            "index_name": index,
            "results": ["a", found],
            "took_ms": 10.0,
        }
        for arm, index, found in (("challenger", "docs_v2", "b"), ("live", "docs_v1", "c"))
    ]
    with platform.catalog.begin() as connection:
        connection.execute(sa.insert(search_log), rows)
    assert invoke("experiment", "chosen", "1", "2").exit_code == 0
    assert invoke("experiment", "chosen", "9", "1").stderr.startswith("error: search 9")
    found = told("experiment", "--days", "1")
    assert (found["queries"], found["overlap"]) == (1, 0.5)
    assert [(arm["index_name"], arm["mrr"]) for arm in found["arms"]] == [
        ("docs_v2", 0.5),
        ("docs_v1", None),
    ]
    shown = invoke("experiment").stdout
    assert "docs_v2" in shown
    assert "Of 1 queries asked of both, 50% of documents agree." in shown
