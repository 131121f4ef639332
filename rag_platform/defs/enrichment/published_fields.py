"""published_fields: one asset for each source and index, brings points to what is published."""

from dataclasses import asdict

import dagster as dg

from rag_platform.defs.documents import metadata
from rag_platform.defs.enrichment.reviews import REVIEW_DECISIONS
from rag_platform.defs.shared import NETWORK_RETRIES, OWNERS, asset_key, one_line
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings


def published_key(source: str, index: str) -> dg.AssetKey:
    """The asset that publishes a source's fields to an index."""
    return asset_key(source, "published_fields", index)


def published_fields(source: str, index: str, settings: Settings) -> dg.AssetsDefinition:
    """Not partitioned: it looks at what is behind, whatever window that came in."""
    applied = asset_key(source, "vector_index", index)
    # What vector_index writes carries the fields already; only what is published later is news.
    published = dg.AutomationCondition.any_deps_updated().ignore(dg.AssetSelection.assets(applied))

    @dg.asset(
        key=published_key(source, index),
        deps=[asset_key(source, "enriched_docs"), REVIEW_DECISIONS, applied],
        automation_condition=(
            published.since_last_handled()
            & ~dg.AutomationCondition.any_deps_in_progress()
            & ~dg.AutomationCondition.in_progress()
        ),
        retry_policy=NETWORK_RETRIES if settings.vector_store != "embedded" else None,
        pool="vector_store",
        group_name=source,
        owners=OWNERS,
        kinds={"qdrant"},
        code_version="1",
        description=(
            f"Category, topics, people and organizations in the payload of {index}, as filters. "
            "Only payloads are written: nothing is embedded."
        ),
    )
    def fields(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:
        stage = platform.parts.published_fields(source, index)
        with one_line():
            result = stage.run()
        return dg.MaterializeResult(
            metadata=metadata.figures(asdict(result)) | {"waiting": stage.waiting()}
        )

    return fields
