"""A scripted service and a folder of documents that all sites share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_platform_tests.compute.site import write_documents
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer
from rag_platform_tests.servers.openai_chat import Body, filled


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    """A service whose key is in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAIServer() as running:
        running.chat.answer = same_answer
        yield running


def same_answer(body: Body) -> Any:
    """Prompts hold random marks, so that no two are the same: a model's answer does not."""
    *before, last = body["messages"]
    return filled(body | {"messages": [*before, last | {"content": "a house"}]})


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Twelve documents of four passages; 37 of their 48 passages differ."""
    write_documents(tmp_path / "docs", 12)
    return tmp_path / "docs"
