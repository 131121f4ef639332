"""Decisions of people: an asset that lets them take effect, and the set that they make up."""

from typing import Any

import dagster as dg

from rag_platform.defs.console import console_link
from rag_platform.defs.documents import metadata
from rag_platform.defs.shared import NETWORK_RETRIES, OWNERS, one_line
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings

GROUP = "enrichment"
REVIEW_DECISIONS = dg.AssetKey(["review_decisions"])
REVIEW_EVALUATION_SET = dg.AssetKey(["review_evaluation_set"])
JOB = "apply_reviews"


def review_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """review_decisions and review_evaluation_set; neither is partitioned."""
    is_remote = settings.storage.startswith("s3:") or settings.catalog_url.startswith("postgres")
    common: dict[str, Any] = {
        "group_name": GROUP,
        "owners": OWNERS,
        "retry_policy": NETWORK_RETRIES if is_remote else None,
        "code_version": "1",
    }

    @dg.asset(
        key=REVIEW_DECISIONS,
        kinds={"python"},
        description=(
            "What people decided in reviews, taken over once each: approved and corrected "
            "documents are published, rejected ones are not."
        ),
        **common,
    )
    def review_decisions(platform: PlatformResource) -> dg.MaterializeResult:
        parts = platform.parts
        with one_line():
            done = parts.reviews.apply()
        rows = [[source, window] for source, found in done.windows.items() for window in found]
        told: dict[str, Any] = {
            "decisions": metadata.bars(done.decisions, "decision"),
            "taken over": done.decisions.total(),
            "of texts that are gone": done.dropped,
            "pages": metadata.table(["source", "window"], sorted(rows)),
            "open reviews": len(parts.reviews.queue()),
        }
        return dg.MaterializeResult(metadata=told | console_link(settings, "reviews"))

    @dg.asset(
        key=REVIEW_EVALUATION_SET,
        deps=[REVIEW_DECISIONS],
        kinds={"parquet"},
        description=(
            "Every decided review with its text and what a person said: for the evaluation of "
            "prompts and models, and for calibration. One Parquet file."
        ),
        **common,
    )
    def review_evaluation_set(platform: PlatformResource) -> dg.MaterializeResult:
        from rag_platform.enrichment.evaluation import PATH, write_evaluation_set
        from rag_platform.enrichment.texts import texts_of

        parts = platform.parts

        def texts(source: str, window: str, wanted: Any) -> dict[str, str]:
            if source not in parts.settings.sources:
                return {}
            clean = parts.clean(source)
            return texts_of(clean, window, wanted, catalog=parts.catalog, pages=parts.pages)

        with one_line():
            written = write_evaluation_set(parts.catalog, parts.objects, texts)
        return dg.MaterializeResult(
            metadata={
                "decisions": metadata.bars(written.decisions, "decision"),
                "labels": metadata.bars(written.labels, "label"),
                "documents": written.decisions.total(),
                "without their text": written.without_text,
                "path": PATH,
            }
        )

    return [review_decisions, review_evaluation_set]
