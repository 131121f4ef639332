"""Which run wrote a partition of an asset last."""

import os
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from rag_platform.settings import Settings


def latest_run(settings: Settings, key: Sequence[str], partition: str) -> str | None:
    """The run that materialized a partition last; None where there is no instance, or it knows of
    none. Nothing is made or changed."""
    home = Path(os.environ.get("DAGSTER_HOME") or settings.home / "dagster")
    if not (home / "dagster.yaml").exists():
        return None
    with dg.DagsterInstance.from_config(str(home)) as opened:
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(key), asset_partitions=[partition])
        found = opened.fetch_materializations(wanted, limit=1)
        return found.records[0].run_id if found.records else None
