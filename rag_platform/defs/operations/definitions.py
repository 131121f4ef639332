"""What watches over all pipelines: failed runs, automation conditions, the weekly reconciling."""

import dagster as dg

from rag_platform.defs.documents.automation import follow_sensor
from rag_platform.defs.documents.factory import RANGE_TAGS
from rag_platform.defs.operations.problems import problems, shown
from rag_platform.operations.notifications import LogNotifier, RunFailed
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings


def failure_message(context: dg.RunFailureSensorContext) -> RunFailed:
    """What failed, from the events of the run."""
    run = context.dagster_run
    kinds = {dg.DagsterEventType.ASSET_CHECK_EVALUATION, dg.DagsterEventType.STEP_FAILURE}
    logs = context.instance.all_logs(run.run_id, of_type=kinds)
    events = [log.dagster_event for log in logs if log.dagster_event is not None]
    steps = [event.step_key for event in events if event.is_step_failure and event.step_key]
    window = run.tags.get("dagster/partition") or " to ".join(
        run.tags[tag] for tag in RANGE_TAGS if tag in run.tags
    )
    return RunFailed(
        run.run_id,
        run.job_name,
        window,
        shown(steps[0]) if steps else "",
        problems([*events, context.failure_event])[0].text,
        f"/runs/{run.run_id}",
    )


def _failed_runs(settings: Settings) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="failed_runs",
        description="Tells people of every failed run.",
        default_status=(
            dg.DefaultSensorStatus.RUNNING
            if settings.automation
            else dg.DefaultSensorStatus.STOPPED
        ),
        monitor_all_code_locations=True,
    )
    def failed_runs(context: dg.RunFailureSensorContext) -> None:
        LogNotifier().send(failure_message(context))

    return failed_runs


@dg.op(pool="vector_store", description="Compare every index with the catalog and repair it.")
def reconcile_indexes(context: dg.OpExecutionContext, platform: PlatformResource) -> None:
    """Repair drift and reclaim the space of deleted points. Costs no embedding."""
    disagreeing = []
    for index in platform.parts.settings.indexes:
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
        jobs=[reconcile],
        schedules=[_weekly(settings)],
        sensors=[_failed_runs(settings), follow_sensor(settings)],
    )
