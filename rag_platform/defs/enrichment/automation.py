"""When the enrichment runs by itself: for documents that wait, and for decisions of people."""

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from rag_platform.defs.enrichment.factory import keys_of
from rag_platform.defs.enrichment.published_fields import published_key
from rag_platform.defs.enrichment.reviews import JOB, REVIEW_DECISIONS, REVIEW_EVALUATION_SET
from rag_platform.defs.shared import RANGE_TAGS
from rag_platform.platform import Platform
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings

Job = Any  # what define_asset_job returns; Dagster does not export its type

# Between the schedules of hourly and of daily sources: their pages are clean by then.
_EVERY_HOUR = "50 * * * *"
_SENSOR_SECONDS = 30
# A run over the same decisions that failed is asked for again after this.
_ASK_AGAIN_S = 600
# A run that began before that, and has not ended, may have died: nobody ends one whose process was
# killed. If it goes on, the two do not get in each other's way, and nothing is paid twice.
_LONGEST_RUN = timedelta(hours=6)
_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def job_name(source: str) -> str:
    """The job that materializes the enrichment of a source."""
    return f"{source}_enrichment"


def chain_job(source: str, settings: Settings) -> Job:
    """All stages of one window, or of several, and what is published to the indexes."""
    published = [published_key(source, index) for index in settings.indexes]
    return dg.define_asset_job(
        job_name(source),
        selection=dg.AssetSelection.assets(*keys_of(source), *published),
        description="Entities, summary, category, and what of it is published.",
        # A run whose machine died is started again: every stage can be.
        tags={"dagster/max_retries": "1"},
    )


def schedule(source: str, job: Job, settings: Settings) -> dg.ScheduleDefinition:
    """Windows with documents that wait; the newest pages are followed by automation."""

    @dg.schedule(
        name=f"{source}_enrichment_schedule",
        job=job,
        cron_schedule=_EVERY_HOUR,
        execution_timezone="UTC",
        default_status=(
            dg.DefaultScheduleStatus.RUNNING
            if settings.automation
            else dg.DefaultScheduleStatus.STOPPED
        ),
        description="Asks again for windows whose documents wait for the budget or the service.",
    )
    def what_waits(
        context: dg.ScheduleEvaluationContext, platform: PlatformResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        moment = context.scheduled_execution_time
        under_way = _under_way(context.instance, source)
        wanted = [
            window
            for window in waiting(platform.parts, source)
            if not any(first <= window <= last for first, last in under_way)
        ]
        for window in wanted:
            yield dg.RunRequest(
                run_key=f"{source}-enrichment-{window}-{moment.isoformat()}", partition_key=window
            )
        if not wanted:
            yield dg.SkipReason("no document waits")

    return what_waits


def waiting(parts: Platform, source: str) -> list[str]:
    """Windows with documents that wait, and the newest page if it was never enriched: it came
    while nobody evaluated the conditions, or just before a window ended."""
    from rag_platform.enrichment.progress import newest_window, unaccounted, unfinished_windows

    windows = set(unfinished_windows(parts.catalog, source))
    newest = newest_window(parts.catalog, source)
    if newest is not None and unaccounted(parts.catalog, source, [newest]):
        windows.add(newest)
    return sorted(windows)


def _under_way(instance: dg.DagsterInstance, source: str) -> list[tuple[str, str]]:
    """The first and last windows of runs that enrich now: they look unfinished until these end."""
    keys = set(keys_of(source))
    spans = []
    recent = dg.RunsFilter(statuses=_UNDER_WAY, created_after=datetime.now(UTC) - _LONGEST_RUN)
    for run in instance.get_runs(recent):
        if run.job_name == job_name(source) or keys & set(run.asset_selection or ()):
            only = run.tags.get("dagster/partition", "")
            first, last = (run.tags.get(tag, only) for tag in RANGE_TAGS)
            spans.append((first, last))
    return spans


def reviews_job(settings: Settings) -> Job:
    """Takes over decisions, writes the evaluation set anew, and publishes to the indexes."""
    sources = settings.enrichment.sources
    published = [published_key(s, index) for s in sources for index in settings.indexes]
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(REVIEW_DECISIONS, REVIEW_EVALUATION_SET, *published),
        description="Publishes what people approved or corrected.",
    )


def reviews_sensor(job: Job, settings: Settings) -> dg.SensorDefinition:
    """Asks for review_decisions when there is one to take over; tells of overdue reviews."""

    @dg.sensor(
        name="review_decisions",
        job=job,
        minimum_interval_seconds=_SENSOR_SECONDS,
        default_status=(
            dg.DefaultSensorStatus.RUNNING
            if settings.automation
            else dg.DefaultSensorStatus.STOPPED
        ),
        description="Looks for decisions that have not taken effect, and for overdue reviews.",
    )
    def decisions(
        _context: dg.SensorEvaluationContext, platform: PlatformResource
    ) -> dg.RunRequest | dg.SkipReason:
        parts = platform.parts
        told = parts.reviews.tell_overdue(parts.outbox)
        numbers = parts.reviews.unapplied()
        if not numbers:
            return dg.SkipReason(f"nothing decided; {told} reviews newly overdue")
        # The same decisions are asked for once, and again when the run over them has failed.
        digest = hashlib.sha256(repr(numbers).encode()).hexdigest()[:16]
        return dg.RunRequest(run_key=f"reviews-{digest}-{int(time.time() // _ASK_AGAIN_S)}")

    return decisions
