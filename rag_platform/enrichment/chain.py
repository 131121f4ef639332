"""The enrichment of one source: three steps and the stage that publishes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rag_platform.documents.clean import CleanDocs
from rag_platform.enrichment import recipes
from rag_platform.enrichment.enriched import EnrichedDocs
from rag_platform.enrichment.steps import Recipe, Step
from rag_platform.llm.gateway import Gateway
from rag_platform.settings_pipelines import EnrichmentSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo
from rag_platform.storage.pages import PageStore


@dataclass(frozen=True)
class Enrichment:
    """The stages, in the order in which they run over a window."""

    source: str
    entities: Step
    summary: Step
    classification: Step
    enriched: EnrichedDocs

    @property
    def steps(self) -> tuple[Step, ...]:
        """Those that ask a model."""
        return (self.entities, self.summary, self.classification)


def enrichment(
    clean: CleanDocs,
    *,
    rules: EnrichmentSettings,
    max_injection: float,
    gateway: Callable[[str], Gateway],
    catalog: Catalog,
    memo: Memo,
    pages: PageStore,
) -> Enrichment:
    """The stages over the clean documents of a source; `gateway` opens one for a purpose.

    A document whose text speaks to a model by more than `max_injection` goes to a person.
    """

    def step(recipe: Recipe, before: Step | None = None) -> Step:
        return Step(
            recipe,
            clean,
            before,
            gateway=partial(gateway, f"{clean.name}/{recipe.stage}"),
            catalog=catalog,
            memo=memo,
            pages=pages,
        )

    entities = step(recipes.entities())
    summary = step(recipes.summary(), entities)
    classification = step(recipes.classification(rules.labels), summary)
    enriched = EnrichedDocs(
        clean,
        (entities, summary, classification),
        rules=rules,
        max_injection=max_injection,
        catalog=catalog,
        pages=pages,
    )
    return Enrichment(clean.name, entities, summary, classification, enriched)
