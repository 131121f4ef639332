"""Who is told what: failed runs at once, everything else within half a minute, the week weekly."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from rag_platform.defs.operations.problems import problems, shown
from rag_platform.defs.shared import RANGE_TAGS, one_line
from rag_platform.operations.notifications import RunFailed, failure_key
from rag_platform.platform import Platform
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings

# A line for each model, for the weekly digest.
ModelLines = Callable[[Platform], Iterable[str]]

_FAILURE_SECONDS = 10
_DELIVERY_SECONDS = 30
# Clocks differ, and a run may be written down a little after it ended.
_OVERLAP = timedelta(minutes=10)
_FAILURE_EVENTS = {
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
}
_WILL_RETRY = "dagster/will_retry"


def failure_message(
    instance: dg.DagsterInstance, run: dg.DagsterRun, *, dagster_url: str | None = None
) -> RunFailed:
    """What failed, from the events of the run."""
    logs = instance.all_logs(run.run_id, of_type=_FAILURE_EVENTS)
    events = [log.dagster_event for log in logs if log.dagster_event is not None]
    steps = [event.step_key for event in events if event.is_step_failure and event.step_key]
    window = run.tags.get("dagster/partition") or " to ".join(
        run.tags[tag] for tag in RANGE_TAGS if tag in run.tags
    )
    found = problems(events)
    return RunFailed(
        run.run_id,
        run.job_name,
        window,
        shown(steps[0]) if steps else "",
        found[0].text if found else "no reason on record",
        f"{dagster_url or ''}/runs/{run.run_id}",
    )


def is_final(run: dg.DagsterRun) -> bool:
    """Whether no retry follows a failed run: then it is told, and else only the last of them.

    Dagster decides on retries when a run fails and writes that down in a tag. What a command runs
    in its own process it cannot start again, whatever the tag says.
    """
    return run.tags.get(_WILL_RETRY) != "true" or run.remote_job_origin is None


def tell_failure(instance: dg.DagsterInstance, run: dg.DagsterRun, platform: Platform) -> bool:
    """Write the message of a failed run; False where there is one, or a retry follows."""
    url = platform.settings.notifications.dagster_url
    if not is_final(run) or platform.outbox.is_told(failure_key(run.run_id)):
        return False
    message = failure_message(instance, run, dagster_url=url)
    return platform.outbox.tell(message.key, message.text())


def deliver(platform: Platform) -> dict[str, int]:
    """Deliver what waits; how many messages went out, by channel."""
    from rag_platform.operations.channels import deliverer

    return deliverer(platform.settings.notifications, platform.catalog).deliver()


def _failed_runs(status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="failed_runs",
        description="Tells people of every failed run that is not tried again.",
        minimum_interval_seconds=_FAILURE_SECONDS,
        default_status=status,
        monitor_all_code_locations=True,
    )
    def failed_runs(context: dg.RunFailureSensorContext, platform: PlatformResource) -> None:
        if tell_failure(context.instance, context.dagster_run, platform.parts):
            deliver(platform.parts)

    return failed_runs


def _notifications(status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    @dg.sensor(
        name="notifications",
        minimum_interval_seconds=_DELIVERY_SECONDS,
        default_status=status,
        description="Delivers what people are to be told, such as budget alerts and overdue "
        "reviews, and what could not be delivered before.",
    )
    def notifications(
        context: dg.SensorEvaluationContext, platform: PlatformResource
    ) -> dg.SensorResult:
        now = datetime.now(UTC)
        since = datetime.fromisoformat(context.cursor) if context.cursor else now
        tell_failures_since(context.instance, since - _OVERLAP, platform.parts)
        sent = deliver(platform.parts)
        shown = ", ".join(f"{count:,} by {name}" for name, count in sent.items())
        return dg.SensorResult(
            skip_reason=dg.SkipReason(f"delivered: {shown}"), cursor=now.isoformat()
        )

    return notifications


def tell_failures_since(instance: dg.DagsterInstance, since: datetime, platform: Platform) -> None:
    """Write the messages that `failed_runs` could not write: Dagster gives it each run once, and
    a catalog that is down has runs fail and hides them at the same time.
    """
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    for run in reversed(instance.get_runs(filters)):
        tell_failure(instance, run, platform)


class DigestConfig(dg.Config):
    """The day on which a digest is told; the week before it is what it is about."""

    day: str


def _digest_job(model_lines: ModelLines) -> dg.JobDefinition:
    @dg.op(
        name="tell_the_week",
        description="Write the digest of a week, once, and deliver it.",
        retry_policy=dg.RetryPolicy(max_retries=2, delay=60),
    )
    def tell_the_week(
        context: dg.OpExecutionContext, config: DigestConfig, platform: PlatformResource
    ) -> None:
        from rag_platform.operations.digest import Week, digest

        parts, week = platform.parts, Week(date.fromisoformat(config.day))
        with one_line():
            text = digest(
                parts.catalog,
                week,
                failed_runs=_failed_by_job(context.instance, *week.seconds),
                model_lines=lambda: model_lines(parts),
            )
            is_new = parts.outbox.tell(week.key, text)
        context.log.info(text if is_new else f"{week.key}: told before")
        deliver(parts)

    @dg.job(name="digest", description="Tells people about the past week in one message.")
    def job() -> None:
        tell_the_week()

    return job


def _failed_by_job(instance: dg.DagsterInstance, start: float, end: float) -> dict[str, int]:
    """How many runs failed for good between two times, by job."""
    filters = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        updated_after=datetime.fromtimestamp(start, UTC) - _OVERLAP,
    )
    counts: dict[str, int] = {}
    for record in instance.get_run_records(filters):
        run = record.dagster_run
        if start <= (record.end_time or 0) < end and is_final(run):
            counts[run.job_name] = counts.get(run.job_name, 0) + 1
    return counts


def _weekly_digest(settings: Settings, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="weekly_digest",
        job=job,
        cron_schedule=settings.notifications.digest,
        execution_timezone="UTC",
        default_status=(
            dg.DefaultScheduleStatus.RUNNING
            if settings.automation
            else dg.DefaultScheduleStatus.STOPPED
        ),
    )
    def weekly_digest(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = context.scheduled_execution_time.astimezone(UTC).date().isoformat()
        return dg.RunRequest(
            run_key=day, run_config={"ops": {"tell_the_week": {"config": {"day": day}}}}
        )

    return weekly_digest


def _no_models(_: Platform) -> Iterable[str]:
    return ()


def notification_definitions(
    settings: Settings, model_lines: ModelLines = _no_models
) -> dg.Definitions:
    """The sensors that tell of failed runs and deliver, and the weekly digest."""
    status = (
        dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED
    )
    job = _digest_job(model_lines)
    return dg.Definitions(
        jobs=[job],
        schedules=[_weekly_digest(settings, job)],
        sensors=[_failed_runs(status), _notifications(status)],
    )
