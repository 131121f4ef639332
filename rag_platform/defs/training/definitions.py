"""The models of the settings: six assets each, a job and a schedule, and what watches over all."""

from collections.abc import Iterator

import dagster as dg

from rag_platform.platform import Platform
from rag_platform.settings import Settings


def model_lines(platform: Platform) -> Iterator[str]:
    """Each model in a line, for the weekly digest."""
    from rag_platform.training.calendar import current_week
    from rag_platform.training.drift.log import DriftLog
    from rag_platform.training.overview import line

    for name in platform.models.names:
        yield line(platform.models.training(name), platform.models.promotions)
    yield from DriftLog(platform.catalog).lines(current_week())


def training(settings: Settings) -> dg.Definitions:
    """Nothing where the settings have no models."""
    if not settings.enabled_models:
        return dg.Definitions()
    # What models are made of imports numpy: a location without models need not.
    from rag_platform.defs.training import automation
    from rag_platform.defs.training.factory import assets
    from rag_platform.defs.training.scores import scores, scores_job, scores_schedule
    from rag_platform.resources.mlflow import MlflowResource
    from rag_platform.training.catalogue import model_spec

    specs = {name: model_spec(name) for name in settings.enabled_models}
    jobs = {name: automation.training_job(spec) for name, spec in specs.items()}
    scored = [spec for name, spec in specs.items() if settings.models[name].scoring]
    master = automation.master_job()
    definitions = dg.Definitions(
        assets=[asset for spec in specs.values() for asset in assets(spec, settings)],
        jobs=[*jobs.values(), master],
        schedules=[
            *(automation.schedule(spec, settings, jobs[name]) for name, spec in specs.items()),
            automation.master_schedule(settings, master),
        ],
        sensors=[
            automation.drift_sensor(settings, jobs),
            automation.master_sensor(settings, jobs),
        ],
        resources={"mlflow": MlflowResource()},
    )
    if not scored:
        return definitions
    job = scores_job(scored)
    return dg.Definitions.merge(
        definitions,
        dg.Definitions(
            assets=[scores(spec, settings) for spec in scored],
            jobs=[job],
            schedules=[scores_schedule(settings, job)],
        ),
    )
