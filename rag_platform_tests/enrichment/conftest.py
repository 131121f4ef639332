"""A source of a few files with its enrichment, without Dagster and without an index."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.enrichment.asking import AskFigures
from rag_platform.enrichment.chain import Enrichment, enrichment
from rag_platform.enrichment.enriched import EnrichedFigures
from rag_platform.enrichment.extractive import EXTRACTIVE
from rag_platform.enrichment.reviews import Reviews
from rag_platform.enrichment.schemas import Entities
from rag_platform.llm.admission import Admission
from rag_platform.llm.budget import Budget
from rag_platform.llm.cache import AnswerCache
from rag_platform.llm.completion import Ask, Extractive, ExtractiveAnswer
from rag_platform.llm.gateway import Gateway
from rag_platform.llm.prices import Prices
from rag_platform.llm.prompts import BUILT_IN, PromptLibrary
from rag_platform.settings_llm import LlmSettings, PriceSettings
from rag_platform.settings_pipelines import EnrichmentSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import enrichments, reviews
from rag_platform_tests.conformance.harness import SOURCE
from rag_platform_tests.documents.conftest import Docs
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer
from rag_platform_tests.servers.openai_chat import asked_schema

LABELS = {
    "billing": "invoices, payments, refunds and charges",
    "cards": "credit and debit cards, lost or stolen cards",
    "loans": "mortgages, loans and interest rates",
}
MODEL = "test-model"
WINDOWS = ("2026-07-01", "2026-07-02", "2026-07-03", "2026-07-04")
FIRST, SECOND, THIRD, _ = WINDOWS


@dataclass(frozen=True)
class Service:
    """Where a test's service is."""

    base_url: str
    api_key: str
    timeout_s: float = 10.0


def gateway_of(
    catalog: Catalog,
    service: Service | None,
    *,
    purpose: str,
    run_id: str = "run",
    usd: float = 1_000.0,
    folders: tuple[Path, ...] = (BUILT_IN,),
    extractive: Any = None,
) -> Gateway:
    """A gateway to a service whose tokens cost a dollar a million; extractive without one."""
    settings = LlmSettings(
        base_url=service.base_url if service else "https://api.openai.com/v1",
        tiers={"small": MODEL},
        concurrency=4,
    )
    price = PriceSettings.model_validate({"input_per_million": 1, "output_per_million": 1})
    budget = Budget(catalog, daily_usd=usd, run_usd=usd)
    return Gateway(
        connection=service,
        settings=settings,
        prompts=PromptLibrary(folders, {}, catalog, run_id),
        admission=Admission(
            catalog, budget, requests_per_minute=100_000, tokens_per_minute=100_000_000
        ),
        prices=Prices({MODEL: price}),
        cache=AnswerCache(catalog),
        run_id=run_id,
        purpose=purpose,
        extractive=EXTRACTIVE if extractive is None else extractive,
    )


class World(Docs):
    """A folder, its documents, and their enrichment by a service or by extractive methods."""

    def __init__(self, root: Path, *, catalog: str | None = None, **source: Any) -> None:
        super().__init__(root, limits={}, catalog=catalog, max_deletion_share=0.9, **source)
        self.service: Service | None = None
        self.rules: dict[str, Any] = {}
        self.gateway: dict[str, Any] = {}

    @property
    def chain(self) -> Enrichment:
        """The stages, as a new run has them."""
        platform = self.platform
        rules = {"sources": [SOURCE], "labels": LABELS, **self.rules}
        return enrichment(
            platform.clean(SOURCE),
            rules=EnrichmentSettings.model_validate(rules),
            max_injection=platform.settings.sources[SOURCE].safety.max_injection,
            gateway=lambda purpose: gateway_of(
                platform.catalog, self.service, purpose=purpose, **self.gateway
            ),
            catalog=platform.catalog,
            memo=platform.memo,
            pages=platform.pages,
        )

    @property
    def reviews(self) -> Reviews:
        """The review queue."""
        return Reviews(self.platform.catalog, labels=tuple(LABELS))

    def ask_steps(self, window: str, *, retry: bool = False) -> dict[str, AskFigures]:
        """The three steps over a page, by stage."""
        chain = self.chain
        return {step.stage: step.run(window, retry=retry) for step in chain.steps}

    def enrich(self, window: str, *, retry: bool = False) -> EnrichedFigures:
        """The three steps and enriched_docs over a page that is clean."""
        self.ask_steps(window, retry=retry)
        return self.chain.enriched.run(window)

    def enrich_rest(self, window: str) -> EnrichedFigures:
        """All stages but the first."""
        chain = self.chain
        chain.summary.run(window)
        chain.classification.run(window)
        return chain.enriched.run(window)

    def sync(self, window: str, *, retry: bool = False) -> EnrichedFigures:
        """The whole of it, from the folder."""
        self.run(window)
        return self.enrich(window, retry=retry)

    def rows(self) -> dict[str, Any]:
        """The enrichments by key of their documents."""
        from rag_platform.storage.schema import documents

        with self.platform.catalog.read() as connection:
            found = connection.execute(
                sa.select(enrichments, documents.c.key).join(
                    documents, documents.c.doc_id == enrichments.c.doc_id
                )
            )
            return {row.key: row for row in found}

    def statuses(self) -> dict[str, str]:
        """The status of each document by its key."""
        return {key: row.status for key, row in self.rows().items()}

    def review_rows(self) -> list[Any]:
        """Every review, oldest first."""
        with self.platform.catalog.read() as connection:
            return list(connection.execute(sa.select(reviews).order_by(reviews.c.id)))


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    """Makes sources, each in a folder of its own."""
    made: list[World] = []

    def make(**source: Any) -> World:
        made.append(World(tmp_path / f"world{len(made)}", **source))
        return made[-1]

    yield make
    for world in made:
        world.platform.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """An empty folder, enriched by extractive methods."""
    return make_world()


class Model:
    """What the scripted service answers: the words of a document decide, as a model would.

    `probability` is that of the label's tokens.
    """

    def __init__(self, server: OpenAIServer) -> None:
        self.server = server
        self.probability = 0.99
        server.chat.answer = self.answer
        server.chat.logprob = lambda token: math.log(self.probability if token in LABELS else 1.0)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """By the form that is asked for."""
        fields = asked_schema(body)["properties"]
        said = body["messages"][-1]["content"]
        if "people" in fields:
            people = [name for name in ("Jane Smith", "Ann Lee") if name in said]
            return {"people": people, "organizations": [], "dates": [], "topics": []}
        if "summary" in fields:
            return {"summary": f"About {self.label(said)}."}
        return {"label": self.label(said)}

    def label(self, said: str) -> str:
        """The first label that the text names."""
        return next((name for name in LABELS if name in said), "billing")

    @property
    def asked(self) -> list[str]:
        """The prompts of all requests, by the field that they ask for."""
        forms = (asked_schema(request.body)["properties"] for request in self.server.requests)
        return [next(n for n in ("people", "summary", "label") if n in form) for form in forms]


@pytest.fixture
def model() -> Iterator[Model]:
    """A service that answers."""
    with OpenAIServer() as server:
        yield Model(server)


@pytest.fixture
def paid(world: World, model: Model) -> World:
    """An empty folder, enriched by the service."""
    world.service = Service(model.server.base_url, KEY)
    return world


def plainly(ask: Ask[Any]) -> ExtractiveAnswer:
    """A method that says what the text says: "sure 0.55" is its confidence, "unsure" none."""
    said = " ".join(ask.variables.values())
    if ask.prompt_name == "document_entities":
        return ExtractiveAnswer(
            Entities(people=[], organizations=[], dates=[], topics=[]).model_dump(), None
        )
    if ask.prompt_name == "document_summary":
        summary = "" if "no summary" in said else f"In short: {ask.variables['text'][:80]}"
        return ExtractiveAnswer({"summary": summary}, None)
    label = next((name for name in LABELS if name in ask.variables["text_start"]), "billing")
    sure = re.search(r"\bsure (\d\.\d+)", said)
    confidence = None if "unsure" in said else float(sure[1]) if sure else 0.9
    return ExtractiveAnswer({"label": label}, confidence)


PLAIN: dict[str, Extractive] = dict.fromkeys(EXTRACTIVE, plainly)


@pytest.fixture
def plain(world: World) -> World:
    """An empty folder, enriched by what its documents say themselves."""
    world.gateway = {"extractive": PLAIN}
    return world


def text(label: str, *more: str) -> str:
    """A document of that category, long enough for its language to be told."""
    prose = f"This is a letter to the bank about {label}, and it was written in plain English."
    return "\n\n".join([f"# About {label}", prose, *more])
