"""The enrichment of the sources that the settings name; nothing without any."""

import dagster as dg

from rag_platform.defs.enrichment.automation import (
    chain_job,
    reviews_job,
    reviews_sensor,
    schedule,
)
from rag_platform.defs.enrichment.factory import chain
from rag_platform.defs.enrichment.published_fields import published_fields
from rag_platform.defs.enrichment.reviews import review_assets
from rag_platform.settings import Settings


def enrichment(settings: Settings) -> dg.Definitions:
    """Assets with their gates, jobs and schedules by source, and the reviews of all of them."""
    sources = settings.enrichment.sources
    if not sources:
        return dg.Definitions()
    jobs = {source: chain_job(source, settings) for source in sources}
    decisions = reviews_job(settings)
    return dg.Definitions(
        assets=[
            *(asset for source in sources for asset in chain(source, settings)),
            *(published_fields(s, index, settings) for s in sources for index in settings.indexes),
            *review_assets(settings),
        ],
        jobs=[*jobs.values(), decisions],
        schedules=[schedule(source, job, settings) for source, job in jobs.items()],
        sensors=[reviews_sensor(decisions, settings)],
    )
