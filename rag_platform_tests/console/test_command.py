"""`rag-platform console`: what it refuses, and that it serves until it is told to stop."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import yaml
from click.testing import CliRunner

from rag_platform.console.command import TOKEN, console
from rag_platform_tests.catalogs import new_catalog

SECRET = "a-token-of-many-letters"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty platform, in the environment."""
    new_catalog(tmp_path / "home" / "catalog.db")
    (tmp_path / "platform.yaml").write_text("automation: false\n")
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(tmp_path / "platform.yaml"))
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(TOKEN, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("host", "token", "told"),
    [
        ("0.0.0.0", "", f"other machines reach it. Set a token in {TOKEN}"),
        ("::", " ", f"Set a token in {TOKEN}"),
        ("0.0.0.0", "fifteen-letters", f"{TOKEN}: has fewer than 16 characters"),
        ("127.0.0.1", "short", f"{TOKEN}: has fewer than 16 characters"),
        ("console.example.org", SECRET, "give an IP address"),
    ],
)
def test_it_is_not_served_to_everybody(
    state: Path, monkeypatch: pytest.MonkeyPatch, host: str, token: str, told: str
) -> None:
    monkeypatch.setenv(TOKEN, token)
    import click

    from rag_platform.commands.group import Cli

    group = Cli("rag-platform", commands=[console])
    group.params += [click.Option([f"--{name}"], is_flag=True) for name in ("debug", "verbose")]
    group.callback = lambda **_: None
    result = CliRunner().invoke(group, ["console", "--host", host, "--port", "0"])
    assert result.exit_code == 1
    assert told in result.stderr
    assert TOKEN not in os.environ, "a child would have it"


def test_it_serves_who_knows_the_token(state: Path) -> None:
    tree = {"sources": {"a": {"url": str(state), "tenant": "one", "start": "2026-01-01"}}}
    (state / "platform.yaml").write_text(yaml.safe_dump(tree))
    program = "from rag_platform.cli import main; main()"
    command = [sys.executable, "-c", program, "console", "--host", "0.0.0.0", "--port", "0"]
    child = subprocess.Popen(
        command, env={**os.environ, TOKEN: SECRET}, stderr=subprocess.PIPE, text=True
    )
    try:
        line = child.stderr.readline()
        assert line.startswith("Console at http://0.0.0.0:"), line + child.stderr.read()
        url = line.split()[-1].replace("0.0.0.0", "127.0.0.1")
        with httpx2.Client(base_url=url, timeout=30) as client:
            answer = client.get("/", headers={"accept": "text/html"})
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2F")
            assert "server" not in answer.headers
            # What a client says of its own address is not believed.
            forged = {"x-forwarded-for": "127.0.0.1", "x-forwarded-user": "root"}
            assert client.get("/", headers=forged).status_code == 401
            token = {"authorization": f"Bearer {SECRET}"}
            assert "everybody of one may read" in client.get("/", headers=token).text
            assert [*client.cookies] == [f"rag_platform_{url.rpartition(':')[2]}"]
        child.send_signal(signal.SIGINT)
        assert child.wait(20) in (0, 1, 130, -signal.SIGINT)
    finally:
        child.kill()
        child.wait()
        child.stderr.close()
