"""What the next sync of some sources would do, over sources and indexes; records nothing."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from rag_platform.documents.changelog import implausible_loss
from rag_platform.indexing.plan import index_need
from rag_platform.indexing.progress import unfinished_windows
from rag_platform.operations.status import written_windows
from rag_platform.platform import Platform


def plan_of(platform: Platform, sources: Sequence[str]) -> dict[str, Any]:
    """The stable JSON form of the plan. Raises `SourceUnavailable`, `RecipeMismatch`."""
    return {
        "sources": {source: _source(platform, source) for source in sources},
        "indexes": {
            index: index_need(
                (platform.chunks(source, index) for source in sources),
                catalog=platform.catalog,
                memo=platform.memo,
                price=partial(platform.cost_microusd, index),
            ).as_json()
            for index in platform.indexes
        },
        "enrichment": {
            source: _enrichment(platform, source)
            for source in sources
            if source in platform.settings.enrichment.sources
        },
    }


def _enrichment(platform: Platform, source: str) -> dict[str, Any]:
    from rag_platform.enrichment.plan import enrichment_need

    return enrichment_need(
        platform.enrichment(source),
        written_windows(platform.catalog, source),
        gateway=platform.llm.gateway("plan"),
        prompts=platform.llm.prompts,
    ).as_json()


def _source(platform: Platform, source: str) -> dict[str, Any]:
    settings = platform.source_settings(source)
    window = platform.calendar(source).current()
    found = platform.raw(source).preview(window)
    unfinished = unfinished_windows(platform.catalog, source, platform.indexes)
    counts = asdict(found)
    known = counts.pop("known")
    return {
        "url": settings.url,
        "window": window,
        **counts,
        "refused": implausible_loss(
            found.listed, found.gone, known=known, share=settings.max_deletion_share
        ),
        "unfinished_windows": unfinished,
    }
