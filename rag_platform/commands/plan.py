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

_BYTES_PER_TOKEN = 3  # of a translation, whatever the script


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
        "translation": {
            source: _translation(platform, source)
            for source in sources
            if platform.source_settings(source).translate is not None
        },
        "enrichment": {
            source: _enrichment(platform, source)
            for source in sources
            if source in platform.settings.enrichment.sources
        },
    }


def _translation(platform: Platform, source: str) -> dict[str, Any]:
    """Pieces of text that have no translation yet; as long as the text, at the dearest tier."""
    from rag_platform.documents.translation import PROMPT

    stage, gateway = platform.translated(source), platform.llm.gateway("plan")
    pieces = microusd = 0
    for window in written_windows(platform.catalog, source):
        for text in stage.unasked(window):
            size = len(text.encode())
            pieces += 1
            microusd += gateway.estimate(PROMPT, size, output_tokens=-(-size // _BYTES_PER_TOKEN))
    return {"pieces": pieces, "cost_usd": microusd / 1_000_000}


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
