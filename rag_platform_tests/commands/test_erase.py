"""The verbs that erase: what they refuse, JSON for programs, lines and tables for people."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from click import Option
from click.testing import CliRunner, Result

from rag_platform.commands.erase import erase, receipts
from rag_platform.commands.group import Cli
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform.storage.schema import erasures

WINDOW = "2026-07-01"


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two documents, in a state folder of its own."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("anna", "rest"):
        (folder / f"{name}.md").write_text(f"# {name}\n\nA text about {name}.\n", encoding="utf-8")
    config = tmp_path / "platform.yaml"
    source = {"url": folder.as_uri(), "start": WINDOW, "max_deletion_share": 0.9}
    tree = {"sources": {"manuals": source}, "indexes": {"docs_v1": {}}, "live": "docs_v1"}
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(config))
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(tmp_path / "state"))
    return folder


@pytest.fixture
def platform(docs: Path) -> Iterator[Platform]:
    """The source was listed, and again after one of them went."""
    opened = Platform(load())
    opened.raw("manuals").run(WINDOW)
    (docs / "anna.md").unlink()
    opened.raw("manuals").run(WINDOW)
    yield opened
    opened.close()


def run(*arguments: str) -> Result:
    group = Cli("rag-platform", commands=[erase, receipts])
    group.params += [Option([f"--{name}"], is_flag=True) for name in ("debug", "verbose")]
    group.callback = lambda **_: None
    return CliRunner().invoke(group, list(arguments))


def test_erase_and_receipts(platform: Platform) -> None:
    done = run("erase", "manuals", "--gone", "--reason", "asked for", "--by", "anna", "--json")
    assert done.exit_code == 0, done.output
    (receipt,) = json.loads(done.stdout)
    assert (receipt["key"], receipt["requested_by"], receipt["reason"]) == (
        "anna.md",
        "anna",
        "asked for",
    )
    assert receipt["intact"]
    found = {place["place"]: place["found"] for place in receipt["places"]}
    assert (found["documents"], found["pages raw_docs"]) == (1, 1)
    assert {place["left"] for place in receipt["places"]} == {0}
    assert json.loads(run("receipts", "--json").stdout) == [receipt]
    shown = run("receipts", "manuals")
    assert "anna.md" in shown.output
    again = run("erase", "manuals", "--gone", "--reason", "asked for")
    assert again.output == "manuals: nothing to erase.\n"


def test_what_is_refused(platform: Platform) -> None:
    assert "--reason" in run("erase", "manuals", "anna.md").output
    refused = run("erase", "manuals", "anna.md", "rest.md", "--reason", "x")
    assert refused.exit_code == 1
    assert "error: manuals: 'rest.md' is in the source and would come back" in refused.output
    assert (
        "either KEY... or --gone" in run("erase", "manuals", "a", "--gone", "--reason", "x").output
    )
    assert json.loads(run("receipts", "--json").stdout) == []


def test_a_forged_receipt_is_told(platform: Platform) -> None:
    run("erase", "manuals", "anna.md", "--reason", "asked for")
    with platform.catalog.begin() as connection:
        written = connection.scalar(sa.select(erasures.c.receipt))
        forged = {**(written or {}), "reason": "never"}
        connection.execute(sa.update(erasures).values(receipt=forged))
    told = run("receipts")
    assert told.exit_code == 1
    assert "error: receipt 1: is not as it was written" in told.output
