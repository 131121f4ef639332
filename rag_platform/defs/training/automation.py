"""When models are trained: weekly, when rows drift, and on Mondays all of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from rag_platform.defs.operations.notifications import is_final
from rag_platform.defs.training.factory import RUN_TAGS, keys
from rag_platform.platform import Platform
from rag_platform.resources.mlflow import MlflowResource
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings
from rag_platform.training.calendar import current_week
from rag_platform.training.spec import ModelSpec

if TYPE_CHECKING:
    from rag_platform.training.master import Outcome

MASTER_TAG = "rag_platform/master"
DECIDE_RETRIES = dg.RetryPolicy(max_retries=2, delay=60)
_CHECK_SECONDS = 600
_FOLLOW_SECONDS = 30


def job_name(model: str) -> str:
    """The job that takes a model through all its stages."""
    return f"{model}_training"


def training_job(spec: ModelSpec) -> Any:
    """All six stages of one week."""
    return dg.define_asset_job(
        job_name(spec.name),
        selection=dg.AssetSelection.assets(*keys(spec.name)),
        description=f"{spec.name}: validate, drift, train, evaluate, register, deploy.",
        tags=RUN_TAGS,
    )


def schedule(spec: ModelSpec, settings: Settings, job: Any) -> dg.ScheduleDefinition:
    """The current week, once a week."""
    status = dg.DefaultScheduleStatus

    @dg.schedule(
        name=f"{spec.name}_schedule",
        job=job,
        cron_schedule=settings.models[spec.name].schedule or spec.schedule,
        execution_timezone="UTC",
        default_status=status.RUNNING if settings.automation else status.STOPPED,
        description=f"Trains {spec.name} on the data of the current week.",
    )
    def weekly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        moment = context.scheduled_execution_time
        return dg.RunRequest(
            run_key=f"{spec.name}-{moment.isoformat()}", partition_key=current_week(moment)
        )

    return weekly


def drift_sensor(settings: Settings, jobs: dict[str, Any]) -> dg.SensorDefinition:
    """Asks for training where rows have drifted, at most once in a model's cool-down."""
    status = dg.DefaultSensorStatus

    @dg.sensor(
        name="models_drift",
        jobs=list(jobs.values()),
        minimum_interval_seconds=_CHECK_SECONDS,
        default_status=status.RUNNING if settings.automation else status.STOPPED,
        description="Asks for training when the rows that a model is given are not those it knows.",
    )
    def models_drift(
        context: dg.SensorEvaluationContext, platform: PlatformResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        import time

        from rag_platform.training.drift.log import DriftLog

        log, now, asked = DriftLog(platform.parts.catalog), time.time(), 0
        for name in jobs:
            days = settings.models[name].retrain_cooldown_days
            found = log.due(name, cooldown_days=days, now=now)
            if found is None:
                continue
            # Noted before it is asked for: a tick that dies here asks too little, not too much.
            log.asked(name, now)
            asked += 1
            yield dg.RunRequest(
                job_name=job_name(name),
                partition_key=current_week(),
                tags={"rag_platform/why": found[:200]},
            )
        if not asked:
            yield dg.SkipReason("no drift that asks for training")

    return models_drift


def master_job() -> Any:
    """Decides on a Monday what is done about each model."""

    @dg.op(
        description="Freshness of every model's data; drift of those that rest.",
        retry_policy=DECIDE_RETRIES,
    )
    def decide(
        context: dg.OpExecutionContext, platform: PlatformResource, mlflow: MlflowResource
    ) -> None:
        from rag_platform.training.master import Master

        models, monday = mlflow.models(platform.parts), current_week()
        trainings = {name: models.training(name) for name in models.names}
        for decision in Master(platform.parts.catalog).decide(monday, trainings):
            context.log.info(f"{decision.model}: {decision.decision} ({decision.reason})")
            # The others look at their drift while they are trained.
            if not decision.is_training and decision.model in trainings:
                _look(context, trainings[decision.model], monday)

    @dg.job(
        name="models_master",
        description="Every model on a Monday: trained where its data is fresh, else skipped with "
        "the reason; the sensor `models_master_runs` asks for the trainings and sums up.",
    )
    def models_master() -> None:
        decide()

    return models_master


def _look(context: dg.OpExecutionContext, training: Any, monday: str) -> None:
    from rag_platform.errors import PlatformError

    try:
        report = training.look(monday)
    except PlatformError as error:
        # Its data is why it rests: that it cannot be looked at either stops nothing.
        context.log.warning(f"{training.spec.name}: drift is unknown: {error}")
        return
    context.log.info(f"{training.spec.name}: {report.told if report else 'no champion yet'}")


def master_schedule(settings: Settings, job: Any) -> dg.ScheduleDefinition:
    """Mondays at one."""
    status = dg.DefaultScheduleStatus
    return dg.ScheduleDefinition(
        name="models_master_schedule",
        job=job,
        cron_schedule="0 1 * * 1",
        execution_timezone="UTC",
        default_status=status.RUNNING if settings.automation else status.STOPPED,
    )


def master_sensor(settings: Settings, jobs: dict[str, Any]) -> dg.SensorDefinition:
    """Asks for the trainings that the master decided on, all at once; tells when all have ended."""
    status = dg.DefaultSensorStatus

    @dg.sensor(
        name="models_master_runs",
        jobs=list(jobs.values()),
        minimum_interval_seconds=_FOLLOW_SECONDS,
        default_status=status.RUNNING if settings.automation else status.STOPPED,
        description="Carries out what the master of Monday decided, and sums it up in a message.",
    )
    def models_master_runs(
        context: dg.SensorEvaluationContext, platform: PlatformResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        from rag_platform.training.drift.log import DriftLog
        from rag_platform.training.master import Master, summary

        master = Master(platform.parts.catalog)
        monday = master.newest()
        # What a week did not bring to its end is not taken up in the next one.
        if monday in (None, context.cursor) or monday != current_week():
            yield dg.SkipReason("no master is under way")
            return
        # A model may have left the settings since.
        decisions = [row for row in master.of(monday) if row.model in jobs]
        trained = [row.model for row in decisions if row.is_training]
        runs = _runs(context.instance, monday)
        for name in trained:
            if name not in runs:
                yield dg.RunRequest(
                    run_key=f"master-{monday}-{name}",
                    job_name=job_name(name),
                    partition_key=monday,
                    tags={MASTER_TAG: monday},
                )
        under_way = [name for name in trained if name in runs and not _has_ended(runs[name])]
        if under_way:
            yield dg.SkipReason(f"{monday}: under way: {', '.join(under_way)}")
        elif runs.keys() >= {*trained}:
            outcomes = {
                name: _outcome(platform.parts, name, monday, runs[name]) for name in trained
            }
            drift = DriftLog(platform.parts.catalog).lines(monday)
            text = summary(monday, decisions, outcomes, drift)
            platform.parts.outbox.tell(f"master-{monday}", text)
            context.update_cursor(monday)
            yield dg.SkipReason(f"{monday}: all models are done")

    return models_master_runs


def _runs(instance: dg.DagsterInstance, monday: str) -> dict[str, dg.DagsterRun]:
    """The newest run of each model that a master asked for: a retry stands for what it repeats."""
    found: dict[str, dg.DagsterRun] = {}
    for run in instance.get_runs(dg.RunsFilter(tags={MASTER_TAG: monday})):  # newest first
        found.setdefault(run.job_name.removesuffix("_training"), run)
    return found


def _has_ended(run: dg.DagsterRun) -> bool:
    """Whether a run is over, and not to be tried again by Dagster."""
    return run.is_finished and (run.status is not dg.DagsterRunStatus.FAILURE or is_final(run))


def _outcome(parts: Platform, name: str, monday: str, run: dg.DagsterRun) -> "Outcome":
    from rag_platform.training.master import Outcome
    from rag_platform.training.stages import DEPLOYED

    if run.status is not dg.DagsterRunStatus.SUCCESS:
        base = parts.settings.notifications.dagster_url or ""
        return Outcome(False, f"{run.status.value.lower()}, see {base}/runs/{run.run_id}")
    facts = parts.models.training(name).known(DEPLOYED, monday)
    return Outcome(True, f"done, version {facts['version']} as {facts['arm']}" if facts else "done")
