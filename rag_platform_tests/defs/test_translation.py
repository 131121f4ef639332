"""translated_docs in Dagster: between clean_docs and chunks, also when it cannot end."""

from collections.abc import Iterator

import dagster as dg
import pytest

from rag_platform.defs.operations.launch import stages_of
from rag_platform.defs.shared import asset_key
from rag_platform_tests.defs.location import INDEX, SOURCE, Location, Outcome
from rag_platform_tests.documents.test_translation import ENGLISH, GERMAN, WORDS, translate
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer

MODEL = "test-model"
WINDOW, NEXT = "2026-06-01", "2026-06-02"
PRICE = {MODEL: {"input_per_million": 1, "output_per_million": 1}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with OpenAIServer() as opened:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        opened.chat.answer = translate
        yield opened


@pytest.fixture
def translated(location: Location, server: OpenAIServer) -> Location:
    """A source whose documents are translated to English."""
    configure(location, server)
    return location


def configure(location: Location, server: OpenAIServer, **budget: float) -> None:
    llm = {"base_url": server.base_url, "tiers": {"small": MODEL}, "prices": PRICE}
    location.configure(
        source={"translate": {"to": "en"}}, llm=llm | ({"budget": budget} if budget else {})
    )


def run(location: Location, window: str) -> Outcome:
    return location.run(window, stages=stages_of(location.settings, SOURCE))


def texts(location: Location) -> str:
    """What the index holds."""
    return "\n".join(sorted(payload["text"] for payload in location.contents().values()))


def test_it_stands_between_clean_docs_and_chunks(translated: Location) -> None:
    graph = translated.defs.resolve_asset_graph()
    own = asset_key(SOURCE, "translated_docs")
    assert graph.get(own).parent_keys == {asset_key(SOURCE, "clean_docs")}
    assert graph.get(asset_key(SOURCE, "chunks", INDEX)).parent_keys == {own}
    assert isinstance(graph.get(own).partitions_def, dg.DailyPartitionsDefinition)


def test_the_index_holds_translations_and_keeps_them_while_the_budget_is_spent(
    translated: Location, server: OpenAIServer
) -> None:
    translated.write("rechnung.md", GERMAN)
    outcome = run(translated, WINDOW)
    assert (outcome.success, outcome.failed()) == (True, {})
    before = texts(translated)
    assert all(english.strip("| ") in before for english in WORDS.values() if english in ENGLISH)
    assert "Mahnung" not in before
    figures = outcome.metadata("translated_docs", WINDOW)
    assert (figures["translated"], figures["left"]) == (1, 0)
    assert figures["cost in USD"] > 0

    translated.write("neu.md", f"# Die Rechnung\n\nDas ist neu und noch nicht bezahlt. {GERMAN}")
    configure(translated, server, daily_usd=0.0001, run_usd=0.0001)
    outcome = run(translated, NEXT)
    assert not outcome.success
    assert {"translated_docs", "chunks"}.isdisjoint(outcome.stages)
    assert texts(translated) == before
