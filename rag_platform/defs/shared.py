"""What assets of all pipelines share: owners, retries, partitions, keys, and errors in a line."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from rag_platform.errors import PlatformError
from rag_platform.settings import SourceSettings

OWNERS = ["team:data-platform"]
# How many windows one run of a backfill takes.
WINDOWS_PER_RUN = {"daily": 7, "hourly": 24}
# The tags by which Dagster gives a run its first and its last window.
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
NETWORK_RETRIES = dg.RetryPolicy(
    max_retries=2, delay=20, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)

# Downstream stages follow their inputs in the newest window when the gates have passed. A missing
# partition is no reason to run: filling a new index is a backfill that somebody plans and pays.
FOLLOW = (
    dg.AutomationCondition.in_latest_time_window()
    & dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
)


def partitions(source: SourceSettings) -> dg.TimeWindowPartitionsDefinition:
    """The windows of a source, the running one included."""
    start = source.start
    if source.cadence == "daily":
        return dg.DailyPartitionsDefinition(start_date=start.strftime("%Y-%m-%d"), end_offset=1)
    return dg.HourlyPartitionsDefinition(start_date=start.strftime("%Y-%m-%d-%H:%M"), end_offset=1)


def asset_key(source: str, stage: str, index: str | None = None) -> dg.AssetKey:
    """[source, stage], or [source, index, stage] for the stages of an index version."""
    return dg.AssetKey([source, index, stage] if index else [source, stage])


@contextmanager
def one_line() -> Iterator[None]:
    """Our own errors say what, where and what to do: they fail the step as they are."""
    try:
        yield
    except PlatformError as error:
        raise dg.Failure(description=str(error), allow_retries=error.transient) from error
