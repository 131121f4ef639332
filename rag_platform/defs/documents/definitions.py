"""The documents pipeline of every source in the settings."""

import dagster as dg

from rag_platform.defs.documents.automation import chain_job, new_objects_sensor, schedule
from rag_platform.defs.documents.factory import chain
from rag_platform.settings import Settings


def documents(settings: Settings) -> dg.Definitions:
    """Assets with their gates, a job, a schedule and a sensor for each source."""
    jobs = {source: chain_job(source, settings) for source in settings.sources}
    return dg.Definitions(
        assets=[asset for source in settings.sources for asset in chain(source, settings)],
        jobs=list(jobs.values()),
        schedules=[schedule(source, job, settings) for source, job in jobs.items()],
        sensors=[new_objects_sensor(source, job, settings) for source, job in jobs.items()],
    )
