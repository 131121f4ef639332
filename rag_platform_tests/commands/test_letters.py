"""`rag-platform dead-letters`, as a person or a script meets it."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from rag_platform.commands.group import Cli
from rag_platform.commands.letters import dead_letters
from rag_platform.operations.audit import Audit, Entry
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform_tests.copies import new_instance

SOURCE, WINDOW = "notes", "2026-06-01"
BROKEN = b"%PDF-1.7 broken"


@click.group(cls=Cli)
@click.option("--debug", is_flag=True)
@click.option("--verbose", is_flag=True)
def main(debug: bool, verbose: bool) -> None:
    """The verbs of this part alone."""


main.add_command(dead_letters)


class Place:
    """A page with two broken documents, an archive and a note."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.docs = root / "docs"
        self.docs.mkdir()
        config = root / "platform.yaml"
        source = {"url": str(self.docs), "start": WINDOW, "max_dead_letter_share": 1.0}
        tree = {"sources": {SOURCE: source}, "indexes": {"v1": {}}, "automation": False}
        config.write_text(yaml.safe_dump(tree), encoding="utf-8")
        patch.setenv("RAG_PLATFORM_CONFIG", str(config))
        patch.setenv("RAG_PLATFORM_HOME", str(root / "home"))
        patch.setenv("DAGSTER_HOME", str(new_instance(root / "home" / "dagster")))
        for name in ("a.pdf", "b.pdf"):
            (self.docs / name).write_bytes(BROKEN + name.encode())
        (self.docs / "c.zip").write_bytes(b"PK\x03\x04 packed")
        (self.docs / "note.md").write_text("A note.", encoding="utf-8")
        platform = Platform(load())
        for stage in (platform.raw, platform.parsed, platform.clean):
            stage(SOURCE).run(WINDOW)
        platform.close()

    def run(self, *args: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, ["dead-letters", *args])
        assert result.exit_code == code, result.output
        return result

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args, "--json").stdout)

    def attempts(self) -> dict[str, int]:
        return {letter["key"]: letter["attempts"] for letter in self.json("list")}

    def audited(self) -> list[Entry]:
        """What is on record, the newest first."""
        platform = Platform(load())
        found = Audit(platform.catalog).entries()
        platform.close()
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_single_letters_are_replayed_and_others_left_alone(place: Place) -> None:
    assert place.attempts() == {"a.pdf": 1, "b.pdf": 1, "c.zip": 1}
    found = place.json("replay", SOURCE, "--key", "a.pdf")
    assert (found["tried"], found["healed"], found["quarantined"]) == (1, 0, 0)
    assert [run["window"] for run in found["runs"]] == [WINDOW]
    assert place.attempts() == {"a.pdf": 2, "b.pdf": 1, "c.zip": 1}
    found = place.json("replay", SOURCE, "--key", "a.pdf")
    assert (found["tried"], found["quarantined"], found["runs"]) == (0, 1, [])
    found = place.json("replay", "--reason", "corrupt")
    assert (found["tried"], found["quarantined"]) == (1, 1)
    assert place.attempts() == {"a.pdf": 2, "b.pdf": 2, "c.zip": 1}
    told = place.run("replay", "--via=console", "--key=a.pdf", "--key=b.pdf", "--", SOURCE).stdout
    assert "0 tried again, 0 have a text now, 2 left in quarantine." in told
    assert [(e.via, e.subject, e.facts["of_reason"], e.detail) for e in place.audited()] == [
        ("console", SOURCE, None, "0 of 0 have a text now"),
        ("cli", "all", "corrupt", "0 of 1 have a text now"),
        ("cli", SOURCE, None, "0 of 0 have a text now"),
        ("cli", SOURCE, None, "0 of 1 have a text now"),
    ]


def test_list_by_reason_and_what_is_not_there(place: Place) -> None:
    assert [letter["key"] for letter in place.json("--reason", "unsupported")] == ["c.zip"]
    assert "No dead letters." in place.run("list", "--reason", "pii").stdout
    for args, words in (
        (["--key", "a.pdf"], "give SOURCE, too"),
        ([SOURCE, "--key", "d.pdf"], "no such dead letter: d.pdf"),
        ([SOURCE, "--key", "a.pdf", "--reason", "pii"], "no such dead letter: a.pdf"),
    ):
        assert words in place.run("replay", *args, code=2).stderr
