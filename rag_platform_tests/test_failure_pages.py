"""The pages about failures: reached by every alert, and with commands that there are."""

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
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
CODE = re.compile(r"^ *```sh\n(.*?)^ *```", re.M | re.S)
COMMAND = re.compile(r"`(rag-platform [a-z][^`]*)`")


def commands(page: Path) -> list[str]:
    text = page.read_text("utf-8")
    lines = [line for block in CODE.findall(text) for line in block.splitlines()]
    return [*COMMAND.findall(text), *(line for line in lines if "rag-platform" in line)]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for name, anchor in LINK.findall(page.read_text("utf-8")):
        to = (page.parent / name).resolve() if name else page
        assert to.exists(), name
        assert not anchor or anchor in anchors(to), (name, anchor)


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
