"""The rows of a day, answered by champion and challenger; and the rollout that follows from it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from rag_platform.defs.console import console_link
from rag_platform.defs.documents.metadata import table
from rag_platform.defs.training.factory import OWNERS, RETRIES, RUN_TAGS, key, stage
from rag_platform.defs.training.metadata import plots
from rag_platform.resources.mlflow import MlflowResource
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings
from rag_platform.training.spec import ModelSpec
from rag_platform.training.stages import DEPLOYED

if TYPE_CHECKING:
    from rag_platform.storage.letters import Letter
    from rag_platform.training.scoring import ScoreFigures

SCORES = "scores"
JOB = "models_scores"
_SHOWN = 20
_FIRST_DAY = datetime(2026, 1, 1)
_NEWEST = dg.LastPartitionMapping()
DAYS = dg.DailyPartitionsDefinition(start_date=_FIRST_DAY, timezone="UTC")
LIKE_TRAINING = "rows_are_like_the_champions"
ARRIVED = "day_has_rows"
GUARDRAILS = "challenger_keeps_the_guardrails"


class ScoresConfig(dg.Config):
    """Which versions answer a day that was answered before: the same ones, or those of now."""

    refresh: bool = False


def scores(spec: ModelSpec, settings: Settings) -> dg.AssetsDefinition:
    """The daily scores of one model."""
    asset_key = key(spec.name, SCORES)
    described = {
        ARRIVED: "The day has rows that can be answered.",
        LIKE_TRAINING: "The day's rows and scores are distributed as the champion knows them.",
        GUARDRAILS: "Errors, latency, scores, fairness and labels speak for the challenger, or "
        "there is none. One that breaks a guardrail is withdrawn.",
    }

    @dg.asset(
        key=asset_key,
        # The version that serves, not that of any one week.
        deps=[dg.AssetDep(key(spec.name, DEPLOYED), partition_mapping=_NEWEST)],
        partitions_def=DAYS,
        retry_policy=RETRIES,
        group_name=spec.name,
        owners=OWNERS,
        kinds={"mlflow", "parquet"},
        code_version="1",
        check_specs=[
            dg.AssetCheckSpec(name, asset=asset_key, description=text)
            for name, text in described.items()
        ],
        description=(
            f"The rows of {settings.models[spec.name].scoring} of a day, answered by the champion "
            "and, in shadow or for its share of the units, by the challenger."
        ),
    )
    def day_scores(
        context: dg.AssetExecutionContext,
        platform: PlatformResource,
        mlflow: MlflowResource,
        config: ScoresConfig,
    ) -> dg.MaterializeResult:
        from rag_platform.training.scoring import NoRows

        day = context.partition_key
        with stage(context):
            scoring = mlflow.models(platform.parts).scoring(spec.name)
            try:
                found = scoring.run(day, run_id=context.run.run_id, refresh=config.refresh)
            except NoRows as error:
                return dg.MaterializeResult(
                    metadata={"rows": 0}, check_results=_checks(asset_key, {ARRIVED: str(error)})
                )
            problems = {
                LIKE_TRAINING: found.drift.told if found.drift.drifted else "",
                GUARDRAILS: "; ".join(found.violations),
            }
            return dg.MaterializeResult(
                metadata=_metadata(found, scoring.letters.of(SCORES, day))
                | console_link(settings, "models", spec.name),
                check_results=_checks(asset_key, problems),
            )

    return day_scores


def _checks(asset: dg.AssetKey, problems: Mapping[str, str]) -> list[dg.AssetCheckResult]:
    """All are warnings: the day is answered, and what was to be done is done."""
    return [
        dg.AssetCheckResult(
            passed=not problems.get(name),
            check_name=name,
            asset_key=asset,
            severity=dg.AssetCheckSeverity.WARN,
            description=problems.get(name) or "Nothing was found.",
        )
        for name in (ARRIVED, LIKE_TRAINING, GUARDRAILS)
    ]


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
        rows = [[letter.item, letter.reason, letter.detail] for letter in letters[:_SHOWN]]
        told["dead letters"] = table(["file and record", "reason", "detail"], rows)
    return told | plots(found.drift.plots())


def scores_job(specs: Sequence[ModelSpec]) -> Any:
    """The scores of all models of one day."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(*(key(spec.name, SCORES) for spec in specs)),
        description="Answers the rows of a day with every model that has such rows.",
        tags=RUN_TAGS,
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
