"""When the documents pipeline runs by itself: by the clock, and when a source has new objects."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import dagster as dg

from rag_platform.defs.documents.factory import chain
from rag_platform.defs.shared import RANGE_TAGS, WINDOWS_PER_RUN
from rag_platform.documents.lag import windows_to_ask
from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.documents.sources.registry import kind_of
from rag_platform.platform import Platform
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings

Job = Any  # what define_asset_job returns; Dagster does not export its type

_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
_SCHEDULES = {"daily": "30 0 * * *", "hourly": "5 * * * *"}


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
        windows = _windows(platform.parts, source, moment)
        broken_off = [w for w in _unfinished(platform.parts, source) if w not in windows]
        for asked in [*([window] for window in broken_off), windows]:
            yield _request(asked, run_key=f"{source}-{asked[0]}-{moment.isoformat()}")

    return by_cadence


def _windows(parts: Platform, source: str, moment: datetime | None = None) -> list[str]:
    """The current window; of a feed whose history goes where it belongs all that wait, in order."""
    rules = parts.source_settings(source)
    raw = parts.raw(source)
    try:
        return windows_to_ask(
            raw.source,
            raw.cursor(),
            calendar=raw.calendar,
            dated_by=rules.dated_by,
            written=raw.written(),
            most=WINDOWS_PER_RUN[rules.cadence],
            now=moment,
        )
    except SourceUnavailable:  # the run says what is wrong
        return [raw.calendar.current(moment)]


def _request(windows: list[str], run_key: str | None = None) -> dg.RunRequest:
    """One run for windows that follow each other: beside each other, they might change places."""
    if len(windows) == 1:
        return dg.RunRequest(run_key=run_key, partition_key=windows[0])
    tags = dict(zip(RANGE_TAGS, (windows[0], windows[-1]), strict=True))
    return dg.RunRequest(run_key=run_key, tags=tags)


def _unfinished(parts: Platform, source: str) -> list[str]:
    from rag_platform.indexing.progress import unfinished_windows

    current = parts.calendar(source).current()
    windows = unfinished_windows(parts.catalog, source, parts.indexes)
    return [window for window in windows if window != current]


def new_objects_sensor(source: str, job: Job, settings: Settings) -> dg.SensorDefinition:
    """Asks when the source's listing is not what it was, or a feed has lag: for the current window,
    or for those that wait."""
    rules = settings.sources[source]

    @dg.sensor(
        name=f"{source}_new_objects",
        job=job,
        minimum_interval_seconds=kind_of(source, rules.url).sensor_seconds,
        default_status=_sensor_status(settings),
        description="Compares the source's listing, or a feed's end, with the last one seen.",
    )
    def new_objects(
        context: dg.SensorEvaluationContext, platform: PlatformResource
    ) -> dg.SensorResult | dg.SkipReason:
        raw = platform.parts.raw(source)
        try:
            word = raw.source.signal(raw.cursor())
        except SourceUnavailable as error:
            return dg.SkipReason(str(error))
        if word in ("", context.cursor):
            return dg.SkipReason(f"{rules.url}: as last time")
        windows = _windows(platform.parts, source)
        # A feed has something new at every tick: what a run will find needs no further one.
        if not raw.source.complete and _is_under_way(context.instance, source, windows[0]):
            return dg.SkipReason(f"{rules.url}: {windows[0]} is being run; asked again after that")
        # No run key: a source may well come back to a state that was asked for before.
        return dg.SensorResult(run_requests=[_request(windows)], cursor=word)

    return new_objects


def _is_under_way(instance: dg.DagsterInstance, source: str, window: str) -> bool:
    """Whether a run has begun, or waits to begin, that asks for a window."""
    of_source = dg.RunsFilter(job_name=job_name(source), statuses=_UNDER_WAY)
    for run in instance.get_runs(of_source):
        only = run.tags.get("dagster/partition", "")
        first, last = (run.tags.get(tag, only) for tag in RANGE_TAGS)
        if first <= window <= last:
            return True
    return False


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
