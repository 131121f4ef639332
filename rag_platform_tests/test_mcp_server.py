"""The MCP server as a real client meets it, over standard input and output and over HTTP."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from rag_platform.errors import PlatformError
from rag_platform.mcp_server import Library, mcp_server
from rag_platform.retrieval.answers import Answer
from rag_platform.retrieval.search import Result
from rag_platform_tests.retrieval.shelves import DOCUMENTS, ORDER, filled, result, text_hash

QUESTION = "How long is black tea steeped?"
TOKEN = "a-token-of-many-letters"


def run(test: Callable[[Client], Coroutine[Any, Any, None]], server: Any) -> None:
    """A test with a client of the server."""

    async def connected() -> None:
        async with Client(server, read_timeout_seconds=60) as client:
            await test(client)

    anyio.run(connected)


def text_of(found: Any) -> str:
    return "\n".join(part.text for part in found.content)


class Shelf:
    """A library that notes what it was asked; `fails` is raised instead."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.fails: Exception | None = None
        self.results = [result(f"Tea.\u200b {ORDER}", "tea.md", page=2)]

    def library(self) -> Library:
        return Library(self.search, self.ask, self.passage)

    def note(self, *asked: Any) -> None:
        self.asked.append(asked)
        if self.fails:
            raise self.fails

    def search(self, query: str, k: int, filters: Any) -> list[Result]:
        self.note(query, k, dict(filters))
        return self.results

    def ask(self, question: str, filters: Any) -> Answer:
        self.note(question, dict(filters))
        return Answer(question, 0.1, "weak_retrieval")

    def passage(self, name: str) -> Result | None:
        self.note(name)
        return self.results[0] if name == "0" * 32 else None


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_two_tools_and_a_passage_are_offered_and_all_only_read(shelf: Shelf) -> None:
    async def test(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == {"search", "ask"}
        assert all(tool.annotations.read_only_hint for tool in tools)
        arguments = {name for tool in tools for name in tool.input_schema["properties"]}
        assert arguments == {"query", "k", "filters", "question"}
        assert not any(tool.input_schema["additionalProperties"] for tool in tools)
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == ["passage://{hash}"]
        assert (await client.list_resources()).resources == []

    run(test, mcp_server(shelf.library()))


def test_what_is_found_speaks_to_no_model(shelf: Shelf) -> None:
    async def test(client: Client) -> None:
        filters = {"source": ["notes", "wiki"]}
        found = await client.call_tool("search", {"query": "tea", "k": 3, "filters": filters})
        assert not found.is_error
        assert shelf.asked == [("tea", 3, filters)]
        (passage,) = found.structured_content["passages"]
        assert json.loads(text_of(found)) == found.structured_content
        assert passage["text"] == "Tea. [instruction removed]"
        assert (passage["uri"], passage["page"]) == ("file:///tea.md", 2)
        assert passage["resource"] == f"passage://{text_hash(shelf.results[0].text)}"
        read = await client.read_resource(f"passage://{'0' * 32}")
        assert read.contents[0].text == "Tea. [instruction removed]"
        answer = await client.call_tool("ask", {"question": "Which tea?"})
        assert answer.structured_content["refusal"] == "weak_retrieval"
        assert shelf.asked[-1] == ("Which tea?", {})

    run(test, mcp_server(shelf.library()))


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("search", {"query": "tea", "tenant": "rival"}, "tenant"),
        ("search", {"query": "tea", "groups": ["staff"]}, "groups"),
        ("search", {"query": "tea", "filters": {"tenant": ["rival"]}}, "a field is one of"),
        ("search", {"query": "tea", "filters": {"acl": ["staff"]}}, "a field is one of"),
        ("ask", {"question": "tea", "filters": {"acl": ["staff"]}}, "a field is one of"),
        ("search", {"query": "tea", "filters": {"source": []}}, "filters.source"),
        ("search", {"query": "tea", "filters": {"source": ["x"] * 21}}, "filters.source"),
        ("search", {"query": "tea", "filters": {"source": ["x" * 501]}}, "filters.source"),
        ("search", {"query": "tea", "k": 21}, "k"),
        ("search", {"query": "tea", "k": 0}, "k"),
        ("search", {"query": "tea", "k": "5"}, "k"),
        ("search", {"query": ""}, "query"),
        ("search", {"query": "x" * 1_001}, "query"),
        ("ask", {}, "question"),
    ],
)
def test_what_a_client_may_not_ask_is_an_error_in_a_line(
    shelf: Shelf, tool: str, arguments: dict[str, Any], told: str
) -> None:
    async def test(client: Client) -> None:
        found = await client.call_tool(tool, arguments)
        assert found.is_error
        assert told in text_of(found)
        assert "\n" not in text_of(found)

    run(test, mcp_server(shelf.library()))
    assert shelf.asked == []


def test_errors_of_ours_are_told_and_others_are_kept(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(client: Client) -> None:
        shelf.fails = PlatformError("collection docs_v1:\nnot built. Build it.")
        found = await client.call_tool("search", {"query": "tea"})
        assert (found.is_error, text_of(found)) == (
            True,
            "collection docs_v1: not built. Build it.",
        )
        with pytest.raises(MCPError, match=r"docs_v1: not built\. Build it\."):
            await client.read_resource(f"passage://{'0' * 32}")
        shelf.fails = RuntimeError("/secret/path of the machine")
        found = await client.call_tool("search", {"query": "tea"})
        assert found.is_error
        assert "secret" not in text_of(found)
        shelf.fails = None
        for uri in (f"passage://{'1' * 32}", "passage://../../etc", "file:///etc/passwd"):
            with pytest.raises(MCPError, match="no such passage"):
                await client.read_resource(uri)
        with pytest.raises(MCPError, match="no tool of this name"):
            await client.call_tool("delete", {})

    run(test, mcp_server(shelf.library()))
    assert "secret" in caplog.text


# With a platform, in a process of its own


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a platform whose index holds `DOCUMENTS`."""
    return filled(tmp_path_factory.mktemp("platform"))


async def keys(client: Client, query: str = "black tea key") -> set[str]:
    found = await client.call_tool("search", {"query": query, "k": 20})
    assert not found.is_error, text_of(found)
    return {passage["title"] for passage in found.structured_content["passages"]}


def command(*arguments: str) -> list[str]:
    return ["-c", "from rag_platform.cli import main; main()", "mcp", *arguments]


def test_over_standard_input_and_output(state: dict[str, str]) -> None:
    async def test(client: Client) -> None:
        seen: list[set[str]] = []

        async def look() -> None:
            seen.append(await keys(client))

        async with anyio.create_task_group() as at_once:
            for _ in range(4):
                at_once.start_soon(look)
        assert seen == 4 * [{"tea.md", "bad.md"}]
        answer = (await client.call_tool("ask", {"question": QUESTION})).structured_content
        assert answer["model"] == "extractive"
        assert answer["sentences"][0]["text"] == DOCUMENTS["tea.md"][2]
        assert answer["citations"][0]["uri"] == "file:///tea.md"
        refused = await client.call_tool("ask", {"question": "Who won the world cup of 1998?"})
        assert refused.structured_content["refusal"] == "weak_retrieval"
        # What others may read is not read by its name either.
        for key, readable in (("tea.md", True), ("rival.md", False), ("cellar.md", False)):
            name = text_hash(DOCUMENTS[key][2])
            if readable:
                read = await client.read_resource(f"passage://{name}")
                assert read.contents[0].text == DOCUMENTS[key][2]
            else:
                with pytest.raises(MCPError, match="no such passage"):
                    await client.read_resource(f"passage://{name}")

    server = StdioServerParameters(
        command=sys.executable, args=command("--tenant", "acme"), env={**os.environ, **state}
    )
    run(test, server)


@contextmanager
def served(state: dict[str, str], *arguments: str, token: str | None = None) -> Iterator[str]:
    """The address of a server in another process."""
    environment = {**os.environ, **state} | ({"RAG_PLATFORM_MCP_TOKEN": token} if token else {})
    process = subprocess.Popen(
        [sys.executable, *command("--http", "--port", "0", *arguments)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_over_http_with_a_token_for_a_reader_in_a_group(state: dict[str, str]) -> None:
    import httpx2

    async def test(client: Client) -> None:
        assert await keys(client) == {"tea.md", "cellar.md", "bad.md"}

    with served(state, "--tenant", "acme", "--as", "staff", token=TOKEN) as url:
        for header in (None, "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN):
            headers = {"Authorization": header} if header else {}
            refused = httpx2.post(url, json={"jsonrpc": "2.0", "id": 1}, headers=headers)
            assert refused.status_code == 401
        # A page in a browser may not ask either, nor by a name that it gave this machine.
        known = {"Authorization": f"Bearer {TOKEN}"}
        strange = httpx2.post(url, json={}, headers=known | {"Origin": "http://evil.example"})
        assert strange.status_code == 403
        renamed = httpx2.post(url, json={}, headers=known | {"Host": "evil.example:80"})
        assert renamed.status_code == 421

        async def connected() -> None:
            async with (
                httpx2.AsyncClient(headers=known) as http,
                Client(streamable_http_client(url, http_client=http)) as client,
            ):
                await test(client)

        anyio.run(connected)
