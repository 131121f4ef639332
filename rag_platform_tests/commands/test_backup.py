"""The verbs `backup` and `restore`: what they refuse, what they say."""

import json
from pathlib import Path

import pytest
import yaml
from click import Option
from click.testing import CliRunner, Result

from rag_platform.commands.backup import backup, restore
from rag_platform.commands.group import Cli
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform_tests.catalogs import new_catalog

WINDOW = "2026-07-01"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings with one document, whose listing is recorded."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Anna\n\nA text about Anna.\n", encoding="utf-8")
    source = {"url": docs.as_uri(), "start": WINDOW}
    tree = {"sources": {"manuals": source}, "indexes": {"docs_v1": {}}, "live": "docs_v1"}
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(tmp_path / "platform.yaml"))
    _home(tmp_path / "state", monkeypatch)
    platform = Platform(load())
    platform.raw("manuals").run(WINDOW)
    platform.close()
    return tmp_path


def _home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_catalog(home / "catalog.db")
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(home))


def run(*arguments: str, said: str | None = None) -> Result:
    group = Cli("rag-platform", commands=[backup, restore])
    group.params += [Option([f"--{name}"], is_flag=True) for name in ("debug", "verbose")]
    group.callback = lambda **_: None
    return CliRunner().invoke(group, list(arguments), input=said)


@pytest.fixture
def made(place: Path) -> str:
    """The name of a backup in ./kept."""
    done = run("backup", "kept", "--json")
    assert done.exit_code == 0, done.output
    return str(json.loads(done.stdout)["name"])


def test_backup(place: Path) -> None:
    done = run("backup", "kept", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    keys = {"name", "rows", "objects", "files", "size", "added", "added_size", "removed"}
    assert told.keys() == keys
    # One document, one change, one pass.
    assert (told["objects"], told["removed"]) == (1, 0)
    again = run("backup", (place / "kept").as_uri(), "--keep", "1")
    assert again.exit_code == 0, again.output
    assert "0 of them new (0.0 MB); 1 older backups removed" in again.stdout
    assert len(list((place / "kept" / "backups").iterdir())) == 1


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("state/backups", "lies within"),
        ("state/storage", "lies within"),
        ("ftp://host/x", "must be a folder"),
        ("s3://UPPER", "must be a folder"),
    ],
)
def test_targets_that_are_refused(place: Path, target: str, why: str) -> None:
    done = run("backup", target)
    assert done.exit_code == 2
    assert why in done.stderr
    assert not (place / "state" / "backups").exists()


def test_restore(place: Path, made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _home(place / "restored", monkeypatch)
    asked = run("restore", "kept", said="n\n")
    assert asked.exit_code == 1
    assert f"Restore {made} of " in asked.stderr
    assert "nothing restored" in asked.stderr
    assert not any((place / "restored" / "storage").iterdir())
    done = run("restore", "kept", "--backup", made, "--yes", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told.keys() == {"name", "made_at", "rows", "objects", "files", "indexes"}
    assert (told["name"], told["objects"]) == (made, 1)
    assert [index["agrees"] for index in told["indexes"]] == [True]
    again = run("restore", "kept", "--yes")
    assert again.exit_code == 1
    assert "not empty; nothing was restored" in again.stderr


@pytest.mark.usefixtures("place")
def test_restore_of_nothing(place: Path) -> None:
    (place / "kept").mkdir()
    for arguments, why in (
        (["kept"], "there is no backup here"),
        (["kept", "--backup", "x"], "no such backup here"),
        (["elsewhere"], "no such folder"),
    ):
        done = run("restore", *arguments, "--yes")
        assert done.exit_code == 1
        assert why in done.stderr
    assert not (place / "elsewhere").exists()
