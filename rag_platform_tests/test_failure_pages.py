"""The pages about failures: found by alerts and symptoms, and with commands that there are."""

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from rag_platform.cli import main as cli
from rag_platform.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "docs" / "failures"
PAGES = sorted(FOLDER.glob("*.md"))
CODE = re.compile(r"^ *```sh\n(.*?)^ *```", re.M | re.S)
COMMAND = re.compile(r"`(rag-platform [a-z][^`]*)`")


def commands(page: Path) -> list[str]:
    text = page.read_text("utf-8")
    lines = [line for block in CODE.findall(text) for line in block.splitlines()]
    return [*COMMAND.findall(text), *(line for line in lines if "rag-platform" in line)]


@pytest.mark.parametrize(
    "command", sorted({command for page in PAGES for command in commands(page)})
)
def test_commands_are_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "somebody")
    words = shlex.split(command.strip(), comments=True)[1:]
    context = click.Context(cli, info_name="rag-platform")
    found: click.Command = cli
    while isinstance(found, click.Group) and words:
        _, found, words = found.resolve_command(context, words)  # type: ignore[assignment]
    found.make_context(found.name, words, resilient_parsing=False)


def test_every_alert_has_its_page() -> None:
    file = PROJECT_ROOT / "deploy" / "prometheus" / "rag_platform.rules.yml"
    groups = yaml.safe_load(file.read_text("utf-8"))["groups"]
    linked = {
        rule["annotations"]["runbook_url"].rpartition("/")[2]
        for group in groups
        for rule in group["rules"]
    }
    assert linked
    assert linked <= {page.name for page in PAGES}


@pytest.mark.parametrize("index", ["failures/README.md", "operations.md"])
def test_every_page_is_found(index: str) -> None:
    text = (PROJECT_ROOT / "docs" / index).read_text("utf-8")
    linked = set(re.findall(r"\]\((?:failures/)?([\w-]+\.md)[#)]", text))
    assert {page.name for page in PAGES if page.name != "README.md"} <= linked
