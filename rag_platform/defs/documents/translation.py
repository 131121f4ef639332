"""The stage between clean_docs and chunks of a source whose documents are translated."""

import os
from dataclasses import asdict

import dagster as dg

from rag_platform.defs.documents import metadata
from rag_platform.defs.documents.checks import Gate
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

STAGE = "translated_docs"
_SHOWN = 20

COMPLETE = Gate(
    "documents_are_translated_whole",
    STAGE,
    False,
    "Every part of a translated document has a translation that could be used.",
    dg.AssetCheckSeverity.WARN,
)


def translated(source: str, settings: Settings) -> dg.AssetsDefinition:
    """translated_docs of a source that has `translate` in the settings."""
    rules = settings.sources[source]
    assert rules.translate is not None

    @dg.asset(
        key=asset_key(source, STAGE),
        deps=[asset_key(source, "clean_docs")],
        partitions_def=partitions(rules),
        backfill_policy=dg.BackfillPolicy.multi_run(WINDOWS_PER_RUN[rules.cadence]),
        automation_condition=FOLLOW,
        retry_policy=NETWORK_RETRIES,
        group_name=source,
        owners=OWNERS,
        kinds={"openai", "parquet"},
        pool="llm_api" if os.environ.get("OPENAI_API_KEY") else None,
        code_version="1",
        check_specs=[COMPLETE.spec(source)],
        description=(
            f"The clean documents in {rules.translate.to}: those in other languages translated, "
            "the rest as they are. A piece of text is paid for once. Where the budget ends before "
            "the page does, the indexes keep what they have."
        ),
    )
    def translated_docs(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:
        stage = platform.parts.translated(source)
        for window in context.partition_keys:
            with one_line():
                result = asdict(stage.run(window))
            cost = result.pop("microusd") / 1_000_000
            context.add_asset_metadata(
                metadata.figures(result) | {"cost in USD": cost}, partition_key=window
            )
        left = list(stage.untranslated(context.partition_keys))
        problem = f"{len(left)} documents are in part as they were" if left else None
        shown = metadata.table(["window", "document", "pieces"], left[:_SHOWN])
        return dg.MaterializeResult(
            check_results=[
                COMPLETE.result(source, problem, metadata={"documents": shown} if left else None)
            ]
        )

    return translated_docs
