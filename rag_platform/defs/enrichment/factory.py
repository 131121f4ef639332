"""The enrichment of one source: three steps that ask a model, and the stage that publishes."""

import os
from typing import TYPE_CHECKING, Any

import dagster as dg

from rag_platform.defs.console import console_link
from rag_platform.defs.enrichment import checks, metadata
from rag_platform.defs.shared import (
    FOLLOW,
    NETWORK_RETRIES,
    OWNERS,
    WINDOWS_PER_RUN,
    asset_key,
    one_line,
    partitions,
)
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings

if TYPE_CHECKING:
    from rag_platform.compute.jobs import Stage

_BACKFILL = "dagster/backfill"  # the tag of a backfill's runs
_STEPS: "dict[Stage, str]" = {
    "entities": "People, organizations, dates and topics of every document, as far as its text "
    "bears them out.",
    "summary": "A summary of every document, with the help of its entities.",
    "classification": "One of the labels for every document by its summary, and how sure that is.",
}

MODEL_STAGES = tuple(_STEPS)
STAGES = (*MODEL_STAGES, "enriched_docs")


class StepConfig(dg.Config):
    """What to ask about."""

    retry_failed: bool = False


def keys_of(source: str) -> list[dg.AssetKey]:
    """The assets of a source's enrichment, in the order in which they run."""
    return [asset_key(source, stage) for stage in STAGES]


def chain(source: str, settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of a source's enrichment."""
    above = ("clean_docs", *STAGES)
    steps = [_step(source, stage, above[n], settings) for n, stage in enumerate(_STEPS)]
    return [*steps, _enriched(source, settings)]


def _step(source: str, stage: "Stage", above: str, settings: Settings) -> dg.AssetsDefinition:
    # Without a key extractive methods stand in: nothing is waited for.
    is_remote = bool(os.environ.get("OPENAI_API_KEY"))

    @dg.asset(
        **_common(source, stage, [above], settings, is_remote=is_remote),
        kinds={"openai"} if is_remote else {"python"},
        pool="llm_api" if is_remote else None,
        code_version="1",
        description=(
            f"{_STEPS[stage]} An answer is paid for once per text and prompt version; what the "
            "budget does not reach waits for a later run, what fails is a dead letter."
        ),
    )
    def answers(
        context: dg.AssetExecutionContext, config: StepConfig, platform: PlatformResource
    ) -> dg.MaterializeResult:
        from rag_platform.compute.fill import fill
        from rag_platform.compute.jobs import Job

        parts = platform.parts
        step = getattr(parts.enrichment(source), stage)
        if settings.llm.batch_backfills and _BACKFILL in context.run.tags:
            with one_line():
                tenant = settings.sources[source].tenant
                batches = parts.llm.batches(f"{source}/{stage}", tenant)
                step.prefetch(context.partition_keys, batches.prefetch)
        with one_line():
            job = Job(stage, source)
            filled = {} if config.retry_failed else fill(parts, job, context.partition_keys)
        for window in context.partition_keys:
            with one_line():
                result = step.run(window, retry=config.retry_failed, filled=filled.get(window))
            context.add_asset_metadata(
                metadata.of_step(parts, step, window, result), partition_key=window
            )
        return dg.MaterializeResult()

    return answers


def _enriched(source: str, settings: Settings) -> dg.AssetsDefinition:
    rules = settings.enrichment.quality
    gates = (checks.STATUSES, checks.quality_gate(rules), checks.DEFERRED, checks.COVERAGE)

    @dg.asset(
        **_common(source, "enriched_docs", ["classification"], settings),
        kinds={"python", "parquet"},
        code_version="1",
        check_specs=[gate.spec(source) for gate in gates],
        description=(
            "Every document with what the steps made of it and one status. What is certain enough "
            f"(from {settings.enrichment.gate:g}) is published; a person is asked about the rest."
        ),
    )
    def enriched_docs(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:
        parts = platform.parts
        stage = parts.enrichment(source).enriched
        pages = {}
        for window in context.partition_keys:
            with one_line():
                result = stage.run(window)
            pages[window] = result.quality
            context.add_asset_metadata(
                metadata.of_page(parts, source, window, result)
                | metadata.of_calibration(parts, source, window)
                | console_link(settings, "reviews"),
                partition_key=window,
            )
        windows = context.partition_keys
        return dg.MaterializeResult(
            check_results=[
                checks.one_status_each(parts, source, windows),
                checks.quality_holds(source, pages, rules),
                checks.nothing_deferred(parts, source, windows),
                checks.enough_published(parts, source, windows),
            ]
        )

    return enriched_docs


def _common(
    source: str, stage: str, deps: list[str], settings: Settings, *, is_remote: bool = False
) -> dict[str, Any]:
    """What every asset of an enrichment shares with the chain of its source."""
    rules = settings.sources[source]
    is_remote |= settings.storage.startswith("s3:") or settings.catalog_url.startswith("postgres")
    return {
        "key": asset_key(source, stage),
        "deps": [asset_key(source, dep) for dep in deps],
        "partitions_def": partitions(rules),
        "backfill_policy": dg.BackfillPolicy.multi_run(WINDOWS_PER_RUN[rules.cadence]),
        "automation_condition": FOLLOW,
        "retry_policy": NETWORK_RETRIES if is_remote else None,
        "group_name": source,
        "owners": OWNERS,
    }
