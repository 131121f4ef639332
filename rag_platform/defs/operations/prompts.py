"""The prompts as an asset: what the files hold, mirrored to MLflow's registry once a day."""

from typing import Any

import dagster as dg

from rag_platform.defs.documents import metadata
from rag_platform.defs.shared import one_line
from rag_platform.resources.platform import PlatformResource
from rag_platform.settings import Settings


@dg.asset(
    group_name="operations",
    description="Versions of prompts, as files and in MLflow's prompt registry. Runs work with "
    "the files: nothing waits for this.",
)
def prompts(platform: PlatformResource) -> dg.MaterializeResult[None]:
    """Register versions that MLflow does not have yet."""
    from rag_platform.llm.prompt_registry import sync

    parts = platform.parts
    with one_line():
        rows = sync(parts.llm.prompts, parts.settings.mlflow_uri, parts.catalog)
    return dg.MaterializeResult(metadata=_shown(rows))


def _shown(rows: Any) -> dict[str, Any]:
    header = ("prompt", "version", "sha256", "version in MLflow", "in use")
    cells = [
        [row.name, row.version, row.sha256[:16], row.registry_version, row.is_current]
        for row in rows
    ]
    return {
        "prompts": metadata.table(header, cells),
        "versions": len(rows),
        "newly registered": sum(row.is_new for row in rows),
    }


def prompts_definitions(settings: Settings) -> dg.Definitions:
    """The asset, its job, and the schedule that runs it."""
    job = dg.define_asset_job(
        "mirror_prompts",
        selection=[prompts],
        description="Registers new versions of prompts with MLflow.",
    )
    schedule = dg.ScheduleDefinition(
        name="prompts_daily",
        job=job,
        cron_schedule="30 3 * * *",
        execution_timezone="UTC",
        default_status=(
            dg.DefaultScheduleStatus.RUNNING
            if settings.automation
            else dg.DefaultScheduleStatus.STOPPED
        ),
    )
    return dg.Definitions(assets=[prompts], jobs=[job], schedules=[schedule])
