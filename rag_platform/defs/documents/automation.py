"""When the documents pipeline runs by itself: by the clock, and when a source has new objects."""

import hashlib
from collections.abc import Iterator
from typing import Any

import dagster as dg

from rag_platform.defs.documents.factory import chain
from rag_platform.documents.sources import SourceUnavailable
from rag_platform.platform import Platform
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings

Job = Any  # what define_asset_job returns; Dagster does not export its type

_SCHEDULES = {"daily": "30 0 * * *", "hourly": "5 * * * *"}
_SENSOR_SECONDS = {"file": 60, "s3": 300}


def job_name(source: str) -> str:
    """The job that materializes the whole chain of a source."""
    return f"{source}_documents"


def chain_job(source: str, settings: Settings) -> Job:
    """All stages of one window, or of several."""
    keys = [asset.key for asset in chain(source, settings)]
    return dg.define_asset_job(
        job_name(source),
        selection=dg.AssetSelection.assets(*keys),
        description=f"From {settings.sources[source].url} to every index version.",
        # A run whose machine died is started again: every stage can be.
        tags={"dagster/max_retries": "1"},
    )


def schedule(source: str, job: Job, settings: Settings) -> dg.ScheduleDefinition:
    """The current window by the source's cadence, and windows whose runs broke off."""
    rules = settings.sources[source]

    @dg.schedule(
        name=f"{source}_schedule",
        job=job,
        cron_schedule=rules.schedule or _SCHEDULES[rules.cadence],
        execution_timezone="UTC",
        default_status=_schedule_status(settings),
        description="Asks for the current window, and again for windows that are unfinished.",
    )
    def by_cadence(
        context: dg.ScheduleEvaluationContext, platform: PlatformResource
    ) -> Iterator[dg.RunRequest]:
        moment = context.scheduled_execution_time
        current = platform.parts.calendar(source).current(moment)
        for window in [*_unfinished(platform.parts, source), current]:
            yield dg.RunRequest(
                run_key=f"{source}-{window}-{moment.isoformat()}", partition_key=window
            )

    return by_cadence


def _unfinished(parts: Platform, source: str) -> list[str]:
    from rag_platform.indexing.progress import unfinished_windows

    current = parts.calendar(source).current()
    windows = unfinished_windows(parts.catalog, source, list(parts.settings.indexes))
    return [window for window in windows if window != current]


def new_objects_sensor(source: str, job: Job, settings: Settings) -> dg.SensorDefinition:
    """Asks for the current window when the source's listing is not what it was."""
    rules = settings.sources[source]

    @dg.sensor(
        name=f"{source}_new_objects",
        job=job,
        minimum_interval_seconds=_SENSOR_SECONDS[rules.url.partition(":")[0]],
        default_status=_sensor_status(settings),
        description="Compares the source's listing with the last one seen.",
    )
    def new_objects(
        context: dg.SensorEvaluationContext, platform: PlatformResource
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            digest = listing_digest(platform.parts, source)
        except SourceUnavailable as error:
            return dg.SkipReason(str(error))
        if digest == context.cursor:
            return dg.SkipReason(f"{rules.url}: as last time")
        window = platform.parts.calendar(source).current()
        # No run key: a source may well come back to a state that was asked for before.
        request = dg.RunRequest(partition_key=window)
        return dg.SensorResult(run_requests=[request], cursor=digest)

    return new_objects


def listing_digest(parts: Platform, source: str) -> str:
    """A digest over keys and etags of a listing, whatever its order."""
    total = 0
    raw = parts.raw(source)
    for batch in raw.source.batches():
        for found in batch:
            identity = f"{len(found.key)}:{found.key}{found.etag}".encode()
            total ^= int.from_bytes(hashlib.sha256(identity).digest(), "big")
    return f"{total:064x}"


def follow_sensor(settings: Settings) -> dg.AutomationConditionSensorDefinition:
    """Evaluates the automation conditions of the assets."""
    return dg.AutomationConditionSensorDefinition(
        "stages_follow_their_inputs",
        target=dg.AssetSelection.all(),
        default_status=_sensor_status(settings),
        minimum_interval_seconds=60,
    )


def _sensor_status(settings: Settings) -> dg.DefaultSensorStatus:
    status = dg.DefaultSensorStatus
    return status.RUNNING if settings.automation else status.STOPPED


def _schedule_status(settings: Settings) -> dg.DefaultScheduleStatus:
    status = dg.DefaultScheduleStatus
    return status.RUNNING if settings.automation else status.STOPPED
