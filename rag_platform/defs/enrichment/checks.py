"""Quality gates of the enrichment, as asset checks over all windows of a run."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from rag_platform.defs.documents.checks import Gate
from rag_platform.platform import Platform
from rag_platform.settings_pipelines import QualitySettings

if TYPE_CHECKING:
    from rag_platform.enrichment.quality import PageQuality

_WARN = dg.AssetCheckSeverity.WARN
_ENOUGH_PUBLISHED = 0.5

STATUSES = Gate(
    "every_document_has_one_status",
    "enriched_docs",
    True,
    "Every document with a text has exactly one status, and an open review if it is in review.",
)
DEFERRED = Gate(
    "no_enrichment_is_deferred",
    "enriched_docs",
    False,
    "No document waits for the budget or for the service.",
    _WARN,
)
COVERAGE = Gate(
    "half_is_published",
    "enriched_docs",
    False,
    "At least half of the documents that do not wait are published without a review.",
    _WARN,
)


def quality_gate(rules: QualitySettings) -> Gate:
    """The gate on a page as a whole; it blocks what follows where it stops the page."""
    stops = rules.reaction == "stop"
    return Gate(
        "page_quality_holds",
        "enriched_docs",
        stops,
        "Few enough required fields are missing, and few enough documents are outliers.",
        dg.AssetCheckSeverity.ERROR if stops else _WARN,
    )


def one_status_each(parts: Platform, source: str, windows: Sequence[str]) -> dg.AssetCheckResult:
    """Documents with a text against their enrichments and reviews."""
    from rag_platform.enrichment.report import status_problems

    problems = status_problems(parts.catalog, source, windows)
    return STATUSES.result(source, "; ".join(problems[:5]) or None)


def quality_holds(
    source: str, pages: "Mapping[str, PageQuality]", rules: QualitySettings
) -> dg.AssetCheckResult:
    """What the quality gate found on each page, and what follows from it."""
    follows = {
        "stop": "nothing of it is published. See its odd documents in the metadata of "
        "enriched_docs. Mend them, or raise the limit in enrichment.quality or set its reaction to "
        "review; then run the window again",
        "review": "all of it went to the review queue: rag-platform reviews list",
        "warn": "what is certain enough is published all the same",
    }[rules.reaction]
    problems = [f"{window}: {text}" for window, page in pages.items() for text in page.problems]
    text = f"{'; '.join(problems[:5])}; {follows}" if problems else None
    return quality_gate(rules).result(source, text)


def nothing_deferred(parts: Platform, source: str, windows: Sequence[str]) -> dg.AssetCheckResult:
    """Documents that wait for the budget or for the service."""
    count = _with_status(parts, source, windows, "deferred")
    problem = (
        f"{count:,} documents wait for the budget or the service; the next run takes them. Raise "
        "llm.budget, also for a document that is dearer than a run may be, or run again after "
        "00:00 UTC"
        if count
        else None
    )
    return DEFERRED.result(source, problem, metadata={"documents waiting": count})


def enough_published(parts: Platform, source: str, windows: Sequence[str]) -> dg.AssetCheckResult:
    """How much the confidence gate lets through."""
    published = _with_status(parts, source, windows, "published")
    waiting = _with_status(parts, source, windows, "deferred")
    total = sum(sum(_page(parts, source, window).values()) for window in windows) - waiting
    share = published / total if total else 1.0
    problem = (
        f"{published:,} of {total:,} documents are published. See the calibration in the metadata; "
        "review some, sharpen the labels' meanings, or change enrichment.gate"
        if share < _ENOUGH_PUBLISHED
        else None
    )
    return COVERAGE.result(source, problem, metadata={"published share": share})


def _with_status(parts: Platform, source: str, windows: Sequence[str], status: str) -> int:
    return sum(_page(parts, source, window).get(status, 0) for window in windows)


def _page(parts: Platform, source: str, window: str) -> dict[str, int]:
    from rag_platform.enrichment.report import page_enrichment

    return page_enrichment(parts.catalog, source, window, now=time.time()).statuses
