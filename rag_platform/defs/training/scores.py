"""The rows of a day, answered by champion and challenger; and the rollout that follows from it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from rag_platform.defs.documents.metadata import table
from rag_platform.defs.training.factory import MAX_RUNTIME_S, OWNERS, RETRIES, key, stage
from rag_platform.defs.training.metadata import plots
from rag_platform.resources.mlflow import MlflowResource
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings
from rag_platform.training.spec import ModelSpec

if TYPE_CHECKING:
    from rag_platform.storage.letters import Letter
    from rag_platform.training.scoring import ScoreFigures

SCORES = "scores"
JOB = "models_scores"
_FIRST_DAY = datetime(2026, 1, 1)
_NEWEST = dg.LastPartitionMapping()
DAYS = dg.DailyPartitionsDefinition(start_date=_FIRST_DAY, timezone="UTC")
LIKE_TRAINING = "rows_are_like_the_champions"
ARRIVED = "day_has_rows"
GUARDRAILS = "challenger_keeps_the_guardrails"


def scores(spec: ModelSpec, settings: Settings) -> dg.AssetsDefinition:
    """The daily scores of one model."""
    asset_key = key(spec.name, SCORES)

    @dg.asset(
        key=asset_key,
        # The version that serves, not that of any one week.
        deps=[dg.AssetDep(key(spec.name, "deployment"), partition_mapping=_NEWEST)],
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        retry_policy=RETRIES,
        group_name=spec.name,
        owners=OWNERS,
        kinds={"mlflow", "parquet"},
        code_version="1",
        check_specs=[
            dg.AssetCheckSpec(
                ARRIVED, asset=asset_key, description="The day has rows that can be answered."
            ),
            dg.AssetCheckSpec(
                LIKE_TRAINING,
                asset=asset_key,
                description="The day's rows and scores are distributed as the champion knows them.",
            ),
            dg.AssetCheckSpec(
                GUARDRAILS,
                asset=asset_key,
                description="Errors, latency, scores, fairness and labels speak for the "
                "challenger, or there is none. One that breaks a guardrail is withdrawn.",
            ),
        ],
        description=(
            f"The rows of {settings.models[spec.name].scoring} of a day, answered by the champion "
            "and, in shadow or for its share of the units, by the challenger."
        ),
    )
    def day_scores(
        context: dg.AssetExecutionContext, platform: PlatformResource, mlflow: MlflowResource
    ) -> dg.MaterializeResult:
        from rag_platform.training.scoring import NoRows

        found: list[ScoreFigures] = []
        empty: list[str] = []
        scoring = mlflow.models(platform.parts).scoring(spec.name)
        for day in context.partition_keys:
            with stage(context):
                try:
                    figures = scoring.run(day, run_id=context.run.run_id)
                except NoRows as error:
                    empty.append(str(error))
                    context.add_asset_metadata({"rows": 0}, partition_key=day)
                    continue
            letters = scoring.letters.of(SCORES, day)
            context.add_asset_metadata(_metadata(figures, letters), partition_key=day)
            found.append(figures)
        return dg.MaterializeResult(check_results=list(_checks(asset_key, found, empty)))

    return day_scores


def _checks(
    asset: dg.AssetKey, found: "Sequence[ScoreFigures]", empty: Sequence[str]
) -> Iterator[dg.AssetCheckResult]:
    yield dg.AssetCheckResult(
        passed=not empty,
        check_name=ARRIVED,
        asset_key=asset,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(empty) or "There are rows.",
    )
    drifted = [f"{day.day}: {day.drift.told}" for day in found if day.drift.drifted]
    yield dg.AssetCheckResult(
        passed=not drifted,
        check_name=LIKE_TRAINING,
        asset_key=asset,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(drifted) or "No drift.",
    )
    broken = [f"{day.day}: {'; '.join(day.violations)}" for day in found if day.violations]
    yield dg.AssetCheckResult(
        passed=not broken,
        check_name=GUARDRAILS,
        asset_key=asset,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(broken) or "Nothing broken.",
    )


def _metadata(found: "ScoreFigures", letters: "Sequence[Letter]") -> dict[str, Any]:
    told: dict[str, Any] = {
        "rows": found.rows,
        "unusable records": found.bad,
        "champion": found.champion,
        "challenger": found.challenger or "none",
        "served by the challenger": found.served_by_challenger,
        "labelled units": found.labelled,
        "drift": found.drift.told,
    }
    arms = [("champion", found.champion, found.champion_answers)]
    if found.challenger and found.challenger_answers:
        arms.append(("challenger", found.challenger, found.challenger_answers))
    told["answers"] = table(
        ["arm", "version", "units", "without answer", "ms a unit"],
        [[arm, v, a.units, a.failed, f"{a.seconds * 1e3:.2f}"] for arm, v, a in arms],
    )
    if found.comparison is not None:
        told["difference of losses"] = found.comparison.difference
        told["p that the challenger is worse"] = found.comparison.p_worse
    if found.decision is not None:
        told["rollout"] = f"{found.decision.action}: {found.decision.reason}"
        told["share in %"] = found.decision.share
    if letters:
        rows = [[letter.item, letter.reason, letter.detail] for letter in letters[:20]]
        told["dead letters"] = table(["file and record", "reason", "detail"], rows)
    return told | plots(found.drift.plots())


def scores_job(specs: Sequence[ModelSpec]) -> Any:
    """The scores of all models of one day."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(*(key(spec.name, SCORES) for spec in specs)),
        partitions_def=DAYS,
        description="Answers the rows of a day with every model that has such rows.",
        tags={"dagster/max_runtime": str(MAX_RUNTIME_S), "dagster/max_retries": "1"},
    )


def scores_schedule(settings: Settings, job: Any) -> dg.ScheduleDefinition:
    """Every morning, the day before."""
    status = dg.DefaultScheduleStatus

    @dg.schedule(
        name="models_scores_schedule",
        job=job,
        cron_schedule="0 5 * * *",
        execution_timezone="UTC",
        default_status=status.RUNNING if settings.automation else status.STOPPED,
        description="Answers the rows of yesterday.",
    )
    def every_morning(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        from rag_platform.training.scoring import yesterday

        moment = context.scheduled_execution_time
        day = yesterday(moment)
        return dg.RunRequest(run_key=f"scores-{day}-{moment.isoformat()}", partition_key=day)

    return every_morning
