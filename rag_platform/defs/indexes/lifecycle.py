"""The life of index versions in the UI: how they stand, what happened, and their end."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from rag_platform.defs.console import console_link
from rag_platform.defs.documents import metadata
from rag_platform.defs.shared import OWNERS, one_line
from rag_platform.platform import Platform
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings

if TYPE_CHECKING:
    from rag_platform.indexing.versions import VersionState

KEY = dg.AssetKey(["index_versions"])
_LIVE_IS_BUILT = "live_index_is_built"
_ROWS_SHOWN = 50
# How long searches of an experiment are kept.
_SEARCHES_S = 90 * 86_400


@dg.asset(
    key=KEY,
    group_name="indexes",
    owners=OWNERS,
    kinds={"python", "sql", "qdrant"},
    pool="vector_store",
    # Without inputs: versions are filled by all sources, and promoted by people.
    automation_condition=dg.AutomationCondition.on_cron("20 * * * *"),
    check_specs=[
        dg.AssetCheckSpec(
            _LIVE_IS_BUILT,
            asset=KEY,
            description="The index that answers is in the settings and holds something.",
        )
    ],
    description=(
        "Every index version, and what happened to them: which one answers, what was promoted, "
        "rolled back and refused. Retires those that were replaced and whose time is over. Looked "
        "at anew every hour."
    ),
)
def index_versions(platform: PlatformResource) -> dg.MaterializeResult:
    """Retirement, then tables."""
    from rag_platform.indexing.versions import versions_of
    from rag_platform.retrieval.experiment import forget_searches

    parts = platform.parts
    with one_line():
        gone = parts.retirement.run()
        forget_searches(parts.catalog, before=time.time() - _SEARCHES_S)
    found = versions_of(parts.settings, parts.catalog)
    return dg.MaterializeResult(
        metadata={
            "retired now": ", ".join(gone) or "none",
            **_tables(parts, found),
            **console_link(parts.settings, "indexes"),
        },
        check_results=[_live_is_built(parts, found)],
    )


def _live_is_built(parts: Platform, found: "list[VersionState]") -> dg.AssetCheckResult:
    live = parts.promotions.live()
    state = next((version for version in found if version.name == live), None)
    problem = None
    if state is None or not state.in_settings:
        problem = f"{live} answers and is not in platform.yaml; add it, or promote another"
    elif state.chunks == 0 and any(version.chunks for version in found):
        problem = f"{live} answers and holds nothing; replay its sources, or promote another"
    return dg.AssetCheckResult(
        check_name=_LIVE_IS_BUILT,
        asset_key=KEY,
        passed=problem is None,
        description=problem or f"{live} answers",
    )


def _tables(parts: Platform, found: "list[VersionState]") -> dict[str, Any]:
    history = parts.promotions.history()[-_ROWS_SHOWN:]
    return {
        "live": parts.promotions.live(),
        "versions": metadata.table(
            ["index", "state", "documents", "chunks", "behind", "built", "kept until", "retired"],
            [
                [
                    version.name,
                    version.state if version.in_settings else f"{version.state}, not in settings",
                    version.documents,
                    version.chunks,
                    version.behind,
                    *map(_day, (version.created_at, version.keep_until, version.retired_at)),
                ]
                for version in found
            ],
        ),
        "history": metadata.table(
            ["at", "what", "index", "answers", "by", "reason"],
            [
                [
                    _day(row.at),
                    row.action.replace("_", " "),
                    row.index,
                    row.live,
                    row.actor,
                    "; ".join([row.reason, *row.problems]),
                ]
                for row in reversed(history)
            ],
        ),
    }


def _day(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


class PromoteConfig(dg.Config):
    """Which index, why, and whether to pass over gates."""

    index: str
    reason: str
    by: str = "dagster"
    force: bool = False


@dg.op(pool="vector_store", description="Let an index answer in place of the live one.")
def promote_index(
    context: dg.OpExecutionContext, config: PromoteConfig, platform: PlatformResource
) -> None:
    """Fails where a gate refuses; then the live index goes on answering."""
    with one_line():
        row = platform.parts.promotions.promote(
            config.index, actor=config.by, reason=config.reason, force=config.force
        )
    if row.action == "refused":
        raise dg.Failure(f"{row.index}: {'; '.join(row.problems)}", allow_retries=False)
    context.log.info(f"{row.live} answers instead of {row.previous}")


@dg.job(description="Lets an index version answer in place of the live one, if its gates pass.")
def promote() -> None:
    """One op."""
    promote_index()


class RollbackConfig(dg.Config):
    """Why."""

    reason: str
    by: str = "dagster"


@dg.op(description="Let the index answer again that answered before the live one.")
def rollback_index(
    context: dg.OpExecutionContext, config: RollbackConfig, platform: PlatformResource
) -> None:
    """One step back."""
    with one_line():
        row = platform.parts.promotions.rollback(actor=config.by, reason=config.reason)
    context.log.info(f"{row.live} answers instead of {row.previous}")


@dg.job(description="Lets the index version answer again that answered before the live one.")
def rollback() -> None:
    """One op."""
    rollback_index()


def lifecycle(settings: Settings) -> dg.Definitions:
    """Nothing without sources: there is nothing to index."""
    if not settings.sources:
        return dg.Definitions()
    return dg.Definitions(assets=[index_versions], jobs=[promote, rollback])
