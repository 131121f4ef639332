"""Quality gates of the documents pipeline, as asset checks over all windows of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from rag_platform.platform import Platform

if TYPE_CHECKING:
    from rag_platform.indexing.index_writer import ApplyFigures


@dataclass(frozen=True)
class Gate:
    """A check: its name says what holds. A blocking one stops the stages after it."""

    name: str
    stage: str
    blocking: bool
    description: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR

    def spec(self, source: str, index: str | None = None) -> dg.AssetCheckSpec:
        """The check of one asset."""
        return dg.AssetCheckSpec(
            self.name,
            asset=_key(source, self.stage, index),
            blocking=self.blocking,
            description=self.description,
        )

    def result(
        self,
        source: str,
        problem: str | None,
        *,
        index: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> dg.AssetCheckResult:
        """Passed without a problem, failed with one."""
        return dg.AssetCheckResult(
            passed=problem is None,
            check_name=self.name,
            asset_key=_key(source, self.stage, index),
            severity=self.severity,
            description=problem or self.description,
            metadata=metadata or {},
        )


def _key(source: str, stage: str, index: str | None) -> dg.AssetKey:
    return dg.AssetKey([source, index, stage] if index else [source, stage])


LISTING = Gate(
    "listing_is_plausible",
    "raw_docs",
    True,
    "The source was listed to its end and did not lose more documents than it may at once.",
)
OUTCOMES = Gate(
    "outcomes_sum_to_listed",
    "clean_docs",
    True,
    "Every document that was listed has exactly one outcome.",
)
DEAD_LETTERS = Gate(
    "dead_letter_share_is_in_bounds",
    "clean_docs",
    True,
    "No more documents failed than the source's max_dead_letter_share.",
)
SCHEMA = Gate(
    "clean_docs_fit_their_schema",
    "clean_docs",
    True,
    "Every row has an id and an address, and either a text with its hash or a reason.",
)
CHUNK_SIZES = Gate(
    "chunks_are_in_bounds",
    "chunks",
    True,
    "No chunk is empty or larger than max_tokens, and each stands in its document.",
)
EMBEDDINGS = Gate(
    "embeddings_are_valid",
    "embeddings",
    True,
    "Every vector has the index's dimension, finite values and a length.",
)
DEFERRED = Gate(
    "nothing_is_deferred",
    "embeddings",
    False,
    "No document waits for the budget.",
    dg.AssetCheckSeverity.WARN,
)
AGREES = Gate(
    "index_agrees_with_catalog",
    "vector_index",
    False,
    "The collection has as many points as the catalog says, and what was written reads back.",
)


def outcomes_sum(parts: Platform, source: str, windows: Sequence[str]) -> dg.AssetCheckResult:
    """Outcomes of each page's newest pass against what it listed."""
    from rag_platform.documents.report import report

    problems = []
    for window in windows:
        page = report(parts.catalog, source, window)
        if page is not None and not page.sums:
            problems.append(
                f"{window}: {sum(page.outcomes.values()):,} outcomes for {page.listed:,} listed, "
                f"{page.undecided:,} changes without one; run this window again"
            )
    return OUTCOMES.result(source, "; ".join(problems) or None)


def dead_letters_in_bounds(
    parts: Platform, source: str, windows: Sequence[str], max_share: float
) -> dg.AssetCheckResult:
    """The share of dead letters of each page."""
    from rag_platform.documents.report import report, too_many_dead

    problems, dead = [], 0
    for window in windows:
        page = report(parts.catalog, source, window)
        if page is None:
            continue
        dead += page.dead
        if problem := too_many_dead(page, max_share):
            problems.append(f"{window}: {problem}")
    advice = (
        ". See `rag-platform dead-letters list`; exclude what cannot be parsed, or raise "
        f"sources.{source}.max_dead_letter_share"
    )
    text = "; ".join(problems) + advice if problems else None
    return DEAD_LETTERS.result(source, text, metadata={"dead letters": dead})


def clean_schema_holds(parts: Platform, source: str, windows: Sequence[str]) -> dg.AssetCheckResult:
    """The rows of the clean parts, column by column."""
    problems = parts.clean(source).schema_problems(windows)
    return SCHEMA.result(source, "; ".join(problems[:5]) or None)


def chunk_sizes_hold(
    parts: Platform, source: str, index: str, windows: Sequence[str]
) -> dg.AssetCheckResult:
    """The chunks of the windows against the recipe."""
    problems = parts.chunks(source, index).size_problems(
        windows, max_tokens=parts.index_settings(index).chunker.max_tokens
    )
    return CHUNK_SIZES.result(source, "; ".join(problems[:5]) or None, index=index)


def embeddings_are_valid(
    parts: Platform, source: str, index: str, windows: Sequence[str]
) -> dg.AssetCheckResult:
    """Vectors as they were kept, read back."""
    problems = parts.embeddings(source, index).invalid(windows)
    return EMBEDDINGS.result(source, "; ".join(problems[:5]) or None, index=index)


def nothing_deferred(
    parts: Platform, source: str, index: str, windows: Sequence[str]
) -> dg.AssetCheckResult:
    """Chunks without a vector because the budget was spent."""
    count = sum(parts.embeddings(source, index).without_vector(window) for window in windows)
    problem = (
        f"{count:,} chunks wait for the budget; the next run takes them. Raise llm.budget, or run "
        "again after 00:00 UTC"
        if count
        else None
    )
    return DEFERRED.result(source, problem, index=index, metadata={"chunks waiting": count})


def index_agrees(source: str, index: str, results: "Sequence[ApplyFigures]") -> dg.AssetCheckResult:
    """The collection's size and a read-back of what was written."""
    last = results[-1]
    differing = sum(result.disagreeing for result in results)
    problem = None
    if last.points != last.expected or differing:
        problem = (
            f"{last.points:,} points in the collection, {last.expected:,} in the catalog, "
            f"{differing:,} documents read back otherwise than written. Repair it at no cost: "
            "rag-platform reconcile --repair"
        )
    return AGREES.result(
        source,
        problem,
        index=index,
        metadata={"points": last.points, "points in the catalog": last.expected},
    )
