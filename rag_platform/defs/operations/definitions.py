"""What watches over all pipelines: automation conditions, the weekly reconciling."""

import dagster as dg

from rag_platform.defs.documents.automation import follow_sensor
from rag_platform.defs.operations.erasure import erase
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings


@dg.op(pool="vector_store", description="Compare every index with the catalog and repair it.")
def reconcile_indexes(context: dg.OpExecutionContext, platform: PlatformResource) -> None:
    """Repair drift and reclaim the space of deleted points. Costs no embedding."""
    disagreeing = []
    for index in platform.parts.indexes:
        report = platform.parts.reconciler(index).run(repair=True)
        context.log.info(f"{index}: {report}")
        if not report.agrees:
            disagreeing.append(f"{index}: {report.unrepaired:,} documents")
    if disagreeing:
        raise dg.Failure(
            f"not repaired: {'; '.join(disagreeing)}. Replay their pages: rag-platform replay",
            allow_retries=False,
        )


@dg.job(description="Finds and repairs what a vector store lost or gained behind our back.")
def reconcile() -> None:
    """One op over all indexes."""
    reconcile_indexes()


def _weekly(settings: Settings) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name="reconcile_weekly",
        job=reconcile,
        cron_schedule="0 4 * * 6",
        execution_timezone="UTC",
        default_status=(
            dg.DefaultScheduleStatus.RUNNING
            if settings.automation
            else dg.DefaultScheduleStatus.STOPPED
        ),
    )


def operations(settings: Settings) -> dg.Definitions:
    """Sensors and jobs that belong to no single pipeline."""
    return dg.Definitions(
        jobs=[reconcile, erase],
        schedules=[_weekly(settings)],
        sensors=[follow_sensor(settings)],
    )
