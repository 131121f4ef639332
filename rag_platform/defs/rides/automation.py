"""When the rides are asked for: in the morning for yesterday, and again when files came late."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg

from rag_platform.defs.rides.factory import KEYS
from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings
from rag_platform.settings_pipelines import RidesSettings

JOB = "rides"
_SENSOR_SECONDS = {"file": 60, "s3": 300}


def rides_job() -> Any:
    """All four stages of one day, or of several."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(*KEYS),
        description="From the ride files of a day to its report.",
        # A run whose machine died is started again: every stage can be.
        tags={"dagster/max_retries": "1"},
    )


def schedule(settings: Settings, rules: RidesSettings, job: Any) -> dg.ScheduleDefinition:
    """Yesterday where the rides are, and what the runs of the last days left undone."""
    status = dg.DefaultScheduleStatus

    @dg.schedule(
        name="rides_schedule",
        job=job,
        cron_schedule=rules.schedule,
        execution_timezone=rules.timezone,
        default_status=status.RUNNING if settings.automation else status.STOPPED,
        description="Asks for yesterday, and again for days whose runs broke off or whose "
        "summaries wait.",
    )
    def every_morning(
        context: dg.ScheduleEvaluationContext, platform: PlatformResource
    ) -> Iterator[dg.RunRequest]:
        moment = context.scheduled_execution_time
        rides = platform.parts.rides
        yesterday = rides.days.yesterday(moment)
        if yesterday < rides.days.start:
            return
        for day in dict.fromkeys([*rides.unfinished(), yesterday.isoformat()]):
            yield dg.RunRequest(run_key=f"rides-{day}-{moment.isoformat()}", partition_key=day)

    return every_morning


def late_files_sensor(settings: Settings, rules: RidesSettings, job: Any) -> dg.SensorDefinition:
    """Asks again for a day whose files are not those that its table was made of."""
    status = dg.DefaultSensorStatus

    @dg.sensor(
        name="rides_late_files",
        job=job,
        minimum_interval_seconds=_SENSOR_SECONDS[rules.url.partition(":")[0]],
        default_status=status.RUNNING if settings.automation else status.STOPPED,
        description="Compares the files of the last seven days with those that were read.",
    )
    def late_files(
        context: dg.SensorEvaluationContext, platform: PlatformResource
    ) -> dg.SensorResult | dg.SkipReason:
        from rag_platform.rides.pipeline import LOOK_BACK

        try:
            changed = platform.parts.rides.raw.changed(LOOK_BACK)
        except SourceUnavailable as error:
            return dg.SkipReason(str(error))
        # What was asked for once is not asked for again, whether that run is under way or failed.
        asked = json.loads(context.cursor or "{}")
        due = [day for day, state in sorted(changed.items()) if asked.get(day) != state]
        if not due:
            return dg.SkipReason(f"{rules.url}: no late files")
        return dg.SensorResult(
            run_requests=[dg.RunRequest(partition_key=day) for day in due],
            cursor=json.dumps(changed, sort_keys=True),
        )

    return late_files
