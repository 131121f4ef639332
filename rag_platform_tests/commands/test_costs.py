"""rag-platform costs: JSON for programs, a table for people."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from rag_platform.commands.costs import costs
from rag_platform.commands.group import Cli
from rag_platform.llm.budget import Attempt
from rag_platform.platform import Platform
from rag_platform.settings import load


@pytest.fixture(autouse=True)
def spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was answered, and an embedding whose process died before its lease was over."""
    config = tmp_path / "platform.yaml"
    config.write_text(yaml.safe_dump({"llm": {"budget": {"daily_usd": 2}}}), encoding="utf-8")
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(config))
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(tmp_path / "state"))
    platform = Platform(load())
    call = Attempt("e", "large", "r1", "manuals/summary", 10, 500_000, prompt="[red]p@v001")
    number = platform.llm.budget.reserve(call)
    platform.llm.budget.settle(number, input_tokens=1234, output_tokens=56, microusd=250_000)
    dead = Attempt("e", "embedder", "r2", "docs_v1/embeddings", 10, 100_000, lease_s=-1)
    platform.llm.budget.reserve(dead)
    platform.close()


def invoke(*arguments: str) -> Result:
    group = Cli("rag-platform", commands=[costs])
    options = ("debug", "verbose")
    from click import Option

    group.params += [Option([f"--{name}"], is_flag=True) for name in options]
    group.callback = lambda **_: None
    return CliRunner().invoke(group, ["costs", *arguments])


def test_json() -> None:
    result = invoke("--by", "model", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    rows = found.pop("rows")
    assert found == {
        "total_usd": 0.35,
        "calls": 2,
        "attempts": 2,
        "input_tokens": 1234,
        "output_tokens": 56,
        "cached_calls": 0,
        "unsettled_usd": 0.1,
        "abandoned_usd": 0.1,
        "saved_usd": 0.0,
    }
    assert [(row["model"], row["total_usd"]) for row in rows] == [
        ("large", 0.25),
        ("embedder", 0.1),
    ]


def test_a_table_for_people() -> None:
    result = invoke("--by", "prompt")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["[red]p@v001", "1", "1", "0", "1,234", "56", "0.2500", "0.0000", "0.0000"] in lines
    assert ["(embeddings)", "1", "1", "0", "0", "0", "0.1000", "0.1000", "0.0000"] in lines
    assert ["all", "2", "2", "0", "1,234", "56", "0.3500", "0.1000", "0.0000"] in lines
    assert "$0.100000 of the unsettled belong to requests that were abandoned" in result.stdout
    assert "Today: $0.35 of $2.00." in result.stdout


def test_since() -> None:
    assert json.loads(invoke("--json", "--since", "2999-01-01").stdout)["rows"] == []
    assert invoke("--since", "yesterday").exit_code == 2


def test_the_groups_are_those_of_the_ledger() -> None:
    from rag_platform.commands.costs import _GROUPS
    from rag_platform.llm.ledger import GROUPS

    assert _GROUPS == GROUPS
