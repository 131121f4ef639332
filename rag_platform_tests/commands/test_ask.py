"""rag-platform ask: for people and for programs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click import Option
from click.testing import CliRunner, Result

from rag_platform.commands.ask import ask, library, mcp
from rag_platform.commands.group import Cli
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform.storage.schema import search_log
from rag_platform_tests.llm.gateways import rows
from rag_platform_tests.retrieval.shelves import DOCUMENTS, filled
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer

QUESTION = "How long is black tea steeped?"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, server: OpenAIServer) -> dict[str, str]:
    price = {"input_per_million": 1, "output_per_million": 1}
    llm = {
        "base_url": server.base_url,
        "tiers": {"small": "tiny", "large": "tiny"},
        "prices": {"tiny": price},
    }
    return filled(tmp_path_factory.mktemp("platform"), llm=llm)


@pytest.fixture(autouse=True)
def environment(state: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in state.items():
        monkeypatch.setenv(name, value)


def invoke(*arguments: str, code: int = 0) -> Result:
    group = Cli("rag-platform", commands=[ask, mcp], callback=lambda **_: None)
    group.params += [Option([f"--{name}"], is_flag=True) for name in ("debug", "verbose")]
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code == code, done.output
    return done


def asked(*arguments: str) -> Any:
    return json.loads(invoke("ask", *arguments, "--tenant", "acme", "--json").stdout)


def test_without_a_key_for_a_program() -> None:
    answer = asked(QUESTION)
    text = DOCUMENTS["tea.md"][2]
    assert answer["sentences"][0] == {"text": text, "citations": [1]}
    cited = answer["citations"][0]
    assert (cited["uri"], cited["quote"], cited["start"], cited["end"]) == (
        "file:///tea.md",
        text,
        0,
        len(text),
    )
    assert (answer["model"], answer["refusal"], answer["microusd"]) == ("extractive", None, 0)


def test_without_a_key_for_a_person() -> None:
    lines = invoke("ask", QUESTION, "--tenant", "acme").stdout.splitlines()
    assert lines[0] == f"{DOCUMENTS['tea.md'][2]} [1]"
    assert "[1] tea.md" in lines
    assert "    file:///tea.md" in lines
    assert lines[-1].startswith("extractive:")
    told = invoke("ask", "Who won the world cup of 1998?", "--tenant", "acme").stdout
    assert told == "No answer: what was found is not like the question.\n"


def test_a_reader_gets_answers_from_what_the_reader_may_see() -> None:
    question = "Where does the key to the tea cellar hang?"
    assert "cellar.md" not in json.dumps(asked(question))
    staff = asked(question, "--as", "staff")
    assert staff["sentences"][0]["text"] == DOCUMENTS["cellar.md"][2]
    other = asked(question, "--as", "staff", "--filter", "key=tea.md")
    assert "cellar.md" not in json.dumps(other)
    assert asked(question, "--filter", "key=no.md")["refusal"] == "nothing_found"


def test_questions_take_part_in_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = filled(
        tmp_path,
        indexes={"a": {}, "b": {"chunker": {"strategy": "fixed"}}},
        live="a",
        search={"experiment": {"challenger": "b", "share": 50}},
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # The readers are the same in both.
    answers = [asked(f"Where does key {n} to the tea cellar hang?") for n in range(8)]
    assert "cellar.md" not in json.dumps(answers)
    platform = Platform(load())
    reader = platform.reader("acme", ())
    found = library(platform, reader).search("Where does key 0 to the tea cellar hang?", 3, {})
    assert "cellar.md" not in {result.doc_id for result in found}
    with platform.catalog.read() as connection:
        log = connection.execute(sa.select(search_log).order_by(search_log.c.id)).all()
    platform.close()
    assert {(row.arm, row.index_name) for row in log} == {("live", "a"), ("challenger", "b")}
    # A question goes to the same arm, whoever asks it and however.
    assert (len(log), log[-1].arm, log[-1].unit) == (9, log[0].arm, log[0].unit)


def test_what_cannot_be_asked_is_said_in_a_line() -> None:
    several = invoke("ask", QUESTION, code=1)
    assert several.stderr.startswith("error: tenant: say whose documents")
    assert "write KEY=VALUE" in invoke("ask", QUESTION, "--filter", "tenant=rival", code=2).stderr
    assert "1 to 1,000" in invoke("ask", " ", "--tenant", "acme", code=1).stderr
    assert "say whose documents" in invoke("mcp", code=1).stderr
    open_to_all = invoke("mcp", "--http", "--host", "0.0.0.0", "--tenant", "acme", code=1)
    assert "RAG_PLATFORM_MCP_TOKEN" in open_to_all.stderr


def test_a_model_answers_on_the_account_of_ask(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    said = {
        "text": "Four minutes [bold]long[/]\x1b[2J.",
        "citations": [{"passage": 1, "quote": "steeped for four minutes"}],
    }
    unfounded = {"text": "Made up.", "citations": [{"passage": 1, "quote": "for five minutes"}]}
    server.chat.answer = lambda body: {"refused": False, "sentences": [said, unfounded]}
    lines = invoke("ask", QUESTION, "--tenant", "acme").stdout.splitlines()
    assert lines[0] == "Four minutes [bold]long[/][2J. [1]"
    assert "    steeped for four minutes" in lines
    assert lines[-1] == "left out, for want of a citation that holds: 1"
    again = asked(QUESTION)
    assert (again["model"], again["cached"], again["microusd"]) == ("tiny", True, 0)
    platform = Platform(load())
    booked = rows(platform.catalog)
    platform.close()
    assert [(row.purpose, row.status) for row in booked] == [("ask", "settled"), ("ask", "cached")]
    # Another tenant's question is that tenant's own.
    invoke("ask", QUESTION, "--tenant", "rival")
    assert len([request for request in server.requests if request.body]) == 2
