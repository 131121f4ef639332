"""The rides pipeline, where the settings have rides."""

import dagster as dg

from rag_platform.defs.rides.automation import late_files_sensor, rides_job, schedule
from rag_platform.defs.rides.factory import assets
from rag_platform.settings import Settings


def rides(settings: Settings) -> dg.Definitions:
    """Four assets with their checks, a job, the morning's schedule and a sensor for late files."""
    if settings.rides is None:
        return dg.Definitions()
    job = rides_job()
    return dg.Definitions(
        assets=assets(settings),
        jobs=[job],
        schedules=[schedule(settings, settings.rides, job)],
        sensors=[late_files_sensor(settings, settings.rides, job)],
    )
