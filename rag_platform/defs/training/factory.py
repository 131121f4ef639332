"""The six assets of a model: from its data to the version that serves, week by week."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster import DagsterError

from rag_platform.defs.console import console_link, console_url
from rag_platform.defs.operations.in_process import is_of_a_command
from rag_platform.defs.training import checks, metadata
from rag_platform.errors import PlatformError
from rag_platform.platform import Platform
from rag_platform.resources.mlflow import MlflowResource
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings
from rag_platform.training.calendar import FIRST_WEEK
from rag_platform.training.gates import bounds
from rag_platform.training.spec import ModelSpec
from rag_platform.training.stages import (
    CANDIDATE,
    DATA,
    DEPLOYED,
    DRIFT,
    EVALUATION,
    REGISTERED,
    STAGES,
    Origin,
    trainer_of,
)

OWNERS = ["team:ml-platform"]
POOL = "training"
# A run may take this long; run monitoring ends one that takes longer.
MAX_RUNTIME_S = 7_200
RETRIES = dg.RetryPolicy(max_retries=2, delay=300)
RUN_TAGS = {
    "dagster/max_runtime": str(MAX_RUNTIME_S),
    # A run whose machine died is started again: every stage can be. One whose step has failed is
    # not: a gate does not hold a second time either.
    "dagster/max_retries": "1",
    "dagster/retry_on_asset_or_op_failure": "false",
}

WEEKS = dg.WeeklyPartitionsDefinition(
    start_date=FIRST_WEEK.isoformat(),
    timezone="UTC",
    day_offset=1,
    # The week that is running is trained, too.
    end_offset=1,
)


class DataConfig(dg.Config):
    """Where the rows of a week come from, other than the settings say."""

    url: str | None = None
    refresh: bool = False


def assets(spec: ModelSpec, settings: Settings) -> list[dg.AssetsDefinition]:
    """All six of one model. Raises `NoSuchGate`, and `NoSuchModel` for an unknown trainer."""
    rules = settings.models[spec.name]
    trainer_of(spec, rules.trainer)
    return [
        _data(spec, rules.data),
        _drift(spec),
        _candidate(spec),
        _evaluation(spec, bounds(spec, rules.gates)),
        _registered(spec),
        _deployment(spec),
    ]


def key(model: str, stage: str) -> dg.AssetKey:
    """[model, stage]."""
    return dg.AssetKey([model, stage])


def keys(model: str) -> list[dg.AssetKey]:
    """All stages of a model."""
    return [key(model, stage) for stage in STAGES]


def _data(spec: ModelSpec, url: str | None) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(spec, DATA, kinds={"pandas", "parquet"}),
        check_specs=checks.data_specs(spec),
        description=(
            f"The labelled rows that {spec.name} is trained on in a week: read from "
            f"{url or 'the sample that comes with the platform'}, checked, and kept by the hash "
            "of their content, so that the week can be trained again."
        ),
    )
    def training_data(
        context: dg.AssetExecutionContext,
        platform: PlatformResource,
        mlflow: MlflowResource,
        config: DataConfig,
    ) -> dg.MaterializeResult:
        week = context.partition_key
        with stage(context):
            training = mlflow.models(platform.parts).training(spec.name)
            facts, found = training.run_data(week, url=config.url, refresh=config.refresh)
            return dg.MaterializeResult(
                metadata=metadata.of_data(facts, training.letters.of(DATA, week)),
                check_results=list(checks.data_results(spec, found)),
            )

    return training_data


def _drift(spec: ModelSpec) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(spec, DRIFT, deps=[DATA], kinds={"python"}),
        check_specs=[checks.drift_spec(spec)],
        description="How the week's rows differ from those that the champion was fitted on.",
    )
    def drift_report(
        context: dg.AssetExecutionContext, platform: PlatformResource, mlflow: MlflowResource
    ) -> dg.MaterializeResult:
        with stage(context):
            training = mlflow.models(platform.parts).training(spec.name)
            facts, report = training.run_drift(context.partition_key)
            return dg.MaterializeResult(
                metadata=metadata.of_drift(facts["champion"], report) | _page(spec, platform.parts),
                check_results=[checks.drift_result(spec, report)],
            )

    return drift_report


def _candidate(spec: ModelSpec) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(spec, CANDIDATE, deps=[DATA, DRIFT], kinds={"mlflow", "python"}),
        pool=POOL,
        description=(
            f"{spec.description} Fitted on the week's rows, and a twin of it on those that are not "
            "held back; the same rows are never fitted twice."
        ),
    )
    def candidate_model(
        context: dg.AssetExecutionContext, platform: PlatformResource, mlflow: MlflowResource
    ) -> dg.MaterializeResult:
        with stage(context):
            training = mlflow.models(platform.parts).training(spec.name)
            facts = training.run_candidate(
                context.partition_key, _origin(spec, context, platform.parts)
            )
            return dg.MaterializeResult(metadata=metadata.of_candidate(facts))

    return candidate_model


def _evaluation(spec: ModelSpec, gates: dict[str, float]) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(spec, EVALUATION, deps=[CANDIDATE], kinds={"mlflow", "python"}),
        pool=POOL,
        check_specs=checks.gate_specs(spec, gates),
        description=(
            "The candidate measured by repeated cross-validation against its gates, and against "
            "the champion on rows that neither has seen. A gate that does not hold keeps it from "
            "being registered: the champion goes on serving."
        ),
    )
    def evaluation(
        context: dg.AssetExecutionContext, platform: PlatformResource, mlflow: MlflowResource
    ) -> dg.MaterializeResult:
        with stage(context):
            training = mlflow.models(platform.parts).training(spec.name)
            found, draws = training.run_evaluation(context.partition_key)
            return dg.MaterializeResult(
                metadata=metadata.of_evaluation(found, draws) | _page(spec, platform.parts),
                check_results=list(checks.gate_results(spec, found)),
            )

    return evaluation


def _registered(spec: ModelSpec) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(spec, REGISTERED, deps=[EVALUATION], kinds={"mlflow"}),
        description="The version of the model in MLflow's registry that the candidate became.",
    )
    def registered_model(
        context: dg.AssetExecutionContext, platform: PlatformResource, mlflow: MlflowResource
    ) -> dg.MaterializeResult:
        with stage(context):
            training = mlflow.models(platform.parts).training(spec.name)
            origin = _origin(spec, context, platform.parts)
            version = training.run_registration(context.partition_key, origin)
            return dg.MaterializeResult(
                metadata=metadata.of_version(version, training.version_url(version))
            )

    return registered_model


def _deployment(spec: ModelSpec) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(spec, DEPLOYED, deps=[REGISTERED], kinds={"mlflow"}),
        description=(
            "Which version answers: the first one as champion, a later one in shadow beside it, "
            "until the daily scores let it take over in steps."
        ),
    )
    def deployment(
        context: dg.AssetExecutionContext, platform: PlatformResource, mlflow: MlflowResource
    ) -> dg.MaterializeResult:
        with stage(context):
            models = mlflow.models(platform.parts)
            facts = models.training(spec.name).run_deployment(
                context.partition_key, _origin(spec, context, platform.parts)
            )
            history = models.promotions.history(spec.name)
            return dg.MaterializeResult(
                metadata=metadata.of_deployment(facts, history) | _page(spec, platform.parts)
            )

    return deployment


def _page(spec: ModelSpec, parts: Platform) -> dict[str, Any]:
    """The model's page in the console, where people promote and roll back."""
    return console_link(parts.settings, "models", spec.name)


def _origin(spec: ModelSpec, context: dg.AssetExecutionContext, parts: Platform) -> Origin:
    base, run_id = parts.settings.notifications.dagster_url, context.run.run_id
    return Origin(
        run_id,
        url=f"{base}/runs/{run_id}" if base else None,
        console=console_url(parts.settings, "models", spec.name),
    )


class Interrupted(DagsterError, dg.DagsterExecutionInterruptedError):
    """Ctrl-C, or the end of a run from the UI.

    A retry policy has Dagster try an interrupted step again, minutes later. Its own errors are
    final.
    """


@contextmanager
def stage(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Our own errors say what, where and what to do: they fail the step as they are.

    What may pass is tried again minutes later, except under a command, where a person waits.
    """
    may_wait = not is_of_a_command(context.run)
    try:
        yield
    except PlatformError as error:
        raise dg.Failure(str(error), allow_retries=error.transient and may_wait) from error
    except Exception as error:
        if may_wait:
            raise
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
        raise Interrupted("interrupted") from error


def _common(
    spec: ModelSpec, name: str, *, kinds: set[str], deps: list[str] | None = None
) -> dict[str, Any]:
    return {
        "key": key(spec.name, name),
        "deps": [key(spec.name, dep) for dep in deps or []],
        "partitions_def": WEEKS,
        "retry_policy": RETRIES,
        "group_name": spec.name,
        "owners": OWNERS,
        "kinds": kinds,
        "code_version": "1",
    }
