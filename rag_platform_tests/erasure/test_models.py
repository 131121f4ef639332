"""What models said of a document is erased with it, and nothing of it is asked again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.platform_erasure import eraser
from rag_platform.settings import Settings
from rag_platform.storage.schema import enrichments, memo, reviews
from rag_platform.storage.schema_models import llm_cache
from rag_platform_tests.conformance.corpus import Folder
from rag_platform_tests.conformance.embedders import CountingEmbedder
from rag_platform_tests.conformance.harness import SOURCE, CountedPlatform, in_memory_server
from rag_platform_tests.conformance.model import embedder
from rag_platform_tests.enrichment.conftest import LABELS, MODEL, Model
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer
from rag_platform_tests.servers.openai_chat import asked_schema

FIRST, SECOND = "2026-07-01", "2026-07-02"
MARKER = "Zwiebelfisch"
COMMON = "Bitte bezahlen Sie die Rechnung bis zum Ende des Monats an die Bank in Hamburg."
LETTER = f"# {MARKER}\n\nDie Bank schreibt dem Kunden {MARKER} wegen seiner Karte.\n\n"


class Translator(Model):
    """A model that translates as well: it says everything in capitals, and in English."""

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        if list(asked_schema(body)["properties"]) != ["text"]:
            return super().answer(body)
        text = body["messages"][1]["content"].partition("<<<DATA text")[2]
        text = text.partition(">>>\n")[2].partition("\n<<<END")[0]
        return {"text": f"{text} This is what the bank has written to the customer."}


class World:
    """A source whose documents are translated and enriched by a service."""

    def __init__(self, root: Path, server: OpenAIServer) -> None:
        self.folder = Folder(root / "docs")
        self.server = server
        self.embedder = CountingEmbedder(embedder("wordllama"), batch_size=8)
        settings = Settings.model_validate(
            {
                "home": root / "home",
                "sources": {
                    SOURCE: {
                        "url": self.folder.root.as_uri(),
                        "start": "2026-07-01",
                        "max_deletion_share": 0.9,
                        "translate": {"to": "en"},
                    }
                },
                "indexes": {"docs_v1": {"embedder": {"model": "wordllama"}}},
                "live": "docs_v1",
                "enrichment": {"sources": [SOURCE], "labels": LABELS},
                "llm": {
                    "base_url": server.base_url,
                    "tiers": {"small": MODEL},
                    "prices": {MODEL: {"input_per_million": 1, "output_per_million": 1}},
                },
            }
        )
        self.platform = CountedPlatform(
            settings, embedders={"wordllama": self.embedder}, quick=True
        )
        self.platform.__dict__["vectors"] = in_memory_server()

    def run(self, window: str) -> None:
        parts = self.platform
        parts.raw(SOURCE).run(window)
        self.after_raw(window)

    def after_raw(self, window: str) -> None:
        parts = self.platform
        parts.parsed(SOURCE).run(window)
        parts.clean(SOURCE).run(window)
        parts.translated(SOURCE).run(window)
        chain = parts.enrichment(SOURCE)
        for step in chain.steps:
            step.run(window)
        chain.enriched.run(window)
        parts.chunks(SOURCE, "docs_v1").run(window)
        parts.embeddings(SOURCE, "docs_v1").run(window)
        parts.vector_index(SOURCE, "docs_v1").run(window)

    def rows(self, table: sa.Table) -> list[Any]:
        with self.platform.catalog.read() as connection:
            return list(connection.execute(sa.select(table)))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAIServer() as server:
        Translator(server)
        made = World(tmp_path, server)
        yield made
        made.platform.close()


def test_answers_and_translations(world: World) -> None:
    world.folder.write("common.md", f"# Karte\n\n## Zahlung\n\n{COMMON}\n")
    world.folder.write("english.md", "# Loans\n\nThe bank lends money to people who ask for it.\n")
    world.run(FIRST)
    bare = {bytes(row.key) for row in world.rows(memo)}
    asked = len(world.server.requests)
    world.folder.write("anna.md", f"{LETTER}## Zahlung\n\n{COMMON}\n")
    world.run(SECOND)
    full = {bytes(row.key) for row in world.rows(memo)}
    assert len(full - bare) >= 5
    assert len(world.server.requests) > asked + 3
    world.folder.remove("anna.md")
    world.run(SECOND)
    asked = len(world.server.requests)
    paid = len(world.embedder.texts)

    cached = len(world.rows(llm_cache))
    erasing = eraser(world.platform, SOURCE)
    erasing.request(["anna.md"], by="anna", reason="asked for")
    (done,) = erasing.run()
    assert done.receipt is not None
    places = {place["place"]: place["found"] for place in done.receipt["places"]}
    stages = ("parsed_docs", "clean_docs", "translated_docs", "docs_v1 chunks", "enriched_docs")
    assert all(places[f"pages {stage}"] for stage in stages)
    assert places["pages summary"] == places["pages entities"] == 1
    assert {bytes(row.key) for row in world.rows(memo)} == bare
    assert 0 < places["llm_cache"] == cached - len(world.rows(llm_cache))
    assert len(world.rows(enrichments)) == 2
    assert all(MARKER not in str(row) for row in [*world.rows(enrichments), *world.rows(reviews)])

    # All that is left stands where it belongs: nothing is made, asked or paid again.
    for window in (FIRST, SECOND):
        assert world.platform.translated(SOURCE).run(window).translated == 0
        for step in world.platform.enrichment(SOURCE).steps:
            assert step.run(window).memo_hits == 0
        world.after_raw(window)
    report = world.platform.reconciler("docs_v1").run(repair=True, full=True)
    assert (report.agrees, report.drifted) == (True, 0)
    assert (len(world.server.requests), len(world.embedder.texts)) == (asked, paid)
