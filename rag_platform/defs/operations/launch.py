"""Starting runs from outside Dagster's own UI: in this process, or as a backfill by GraphQL."""

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from rag_platform.defs.documents.automation import job_name
from rag_platform.defs.documents.factory import WINDOWS_PER_RUN, asset_key
from rag_platform.errors import PlatformError
from rag_platform.settings import PROJECT_ROOT, Settings

STAGES = ("raw_docs", "parsed_docs", "clean_docs")
INDEX_STAGES = ("chunks", "embeddings", "vector_index")

# The pools of dagster.yaml that need another number of slots than its default.
_POOLS = {"llm_api": 5, "vector_store": 1}
_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


class LaunchFailed(PlatformError):
    """A run could not be started."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run that has ended. `problems` are the failed gates and errors, a line each."""

    run_id: str
    success: bool
    problems: tuple[str, ...]


def dagster_home(settings: Settings) -> Path:
    """DAGSTER_HOME, by default below the state folder; made ready when it is new."""
    home = Path(os.environ.get("DAGSTER_HOME") or settings.home / "dagster")
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home.resolve())
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(PROJECT_ROOT / "dagster.yaml", home / "dagster.yaml")
    return home


@contextmanager
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance, with the pools' slots set."""
    dagster_home(settings)
    with dg.DagsterInstance.get() as opened:
        limits = {pool.name: pool.limit for pool in opened.event_log_storage.get_pool_limits()}
        for pool, slots in _POOLS.items():
            if limits.get(pool) is None:
                opened.event_log_storage.set_concurrency_slots(pool, slots)
        yield opened


def keys_of(source: str, indexes: Sequence[str], *, stages: Sequence[str]) -> list[dg.AssetKey]:
    """The assets of some stages: of the source, and of each index version."""
    own = [asset_key(source, stage) for stage in STAGES if stage in stages]
    branches = [
        asset_key(source, stage, index)
        for index in indexes
        for stage in INDEX_STAGES
        if stage in stages
    ]
    return own + branches


def run_in_process(
    settings: Settings,
    source: str,
    windows: Sequence[str],
    *,
    indexes: Sequence[str] | None = None,
    run_config: dict[str, Any] | None = None,
    on_event: Callable[[dg.DagsterEvent], None] | None = None,
) -> RunResult:
    """Materialize the chain for adjacent windows in this process, recorded in the instance."""
    from rag_platform.definitions import defs

    chosen = list(settings.indexes) if indexes is None else list(indexes)
    job = defs.resolve_job_def(job_name(source))
    tags = dict(zip(_RANGE, (windows[0], windows[-1]), strict=True)) if len(windows) > 1 else {}
    with instance(settings) as opened:
        result = job.execute_in_process(
            instance=opened,
            partition_key=windows[0] if len(windows) == 1 else None,
            tags=tags,
            run_config=run_config,
            asset_selection=keys_of(source, chosen, stages=STAGES + INDEX_STAGES),
            raise_on_error=False,
        )
        for event in result.all_events if on_event else ():
            on_event(event)
    return RunResult(result.run_id, result.success, tuple(_problems(result.all_events)))


def _problems(events: Sequence[dg.DagsterEvent]) -> Iterator[str]:
    for event in events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
                yield f"{check.asset_key.to_user_string()}: {check.description}"
        elif event.event_type == dg.DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data
            if data.user_failure_data is not None and data.user_failure_data.description:
                yield f"{event.step_key}: {data.user_failure_data.description}"
            elif data.error is not None and "AssetCheckFailed" not in (data.error.cls_name or ""):
                cause = data.error.cause or data.error
                yield f"{event.step_key}: {cause.message.strip()}"


def batches(settings: Settings, source: str, windows: Sequence[str]) -> Iterator[list[str]]:
    """Windows in runs of the size that the backfill policy sets."""
    size = WINDOWS_PER_RUN[settings.sources[source].cadence]
    for start in range(0, len(windows), size):
        yield list(windows[start : start + size])


# A webserver on the same instance

_LAUNCH = """
mutation Replay($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
  }
}
"""

_ABOUT = """
query About {
  repositoriesOrError {
    ... on RepositoryConnection { nodes { location { name } assetNodes { id assetKey { path } } } }
  }
  instance { daemonHealth { allDaemonStatuses { daemonType healthy } } }
}
"""


def webserver_url() -> str:
    """Where the webserver is looked for."""
    return os.environ.get("DAGSTER_WEBSERVER_URL", "http://127.0.0.1:3000").rstrip("/")


def webserver_serves(keys: Sequence[dg.AssetKey]) -> bool:
    """Whether a webserver is up that knows these assets and has a daemon to run backfills."""
    try:
        data = _graphql(_ABOUT, {})
    except (urllib.error.URLError, TimeoutError, ConnectionError, LaunchFailed, ValueError):
        return False
    nodes = (data.get("repositoriesOrError") or {}).get("nodes") or []
    known = {tuple(node["assetKey"]["path"]) for repo in nodes for node in repo["assetNodes"]}
    daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
    backfills = any(d["daemonType"] == "BACKFILL" and d["healthy"] for d in daemons)
    return backfills and all(tuple(key.path) in known for key in keys)


def launch_backfill(keys: Sequence[dg.AssetKey], windows: Sequence[str], title: str) -> str:
    """Ask the webserver for an asset backfill; returns its id."""
    params = {
        "assetSelection": [{"path": list(key.path)} for key in keys],
        "partitionNames": list(windows),
        "title": title,
    }
    answer = _graphql(_LAUNCH, {"params": params})["launchPartitionBackfill"]
    if answer["__typename"] != "LaunchBackfillSuccess":
        reason = answer.get("message") or answer["__typename"]
        raise LaunchFailed(
            f"{webserver_url()}: backfill refused ({reason.splitlines()[0]}). Launch it from the "
            "UI, or stop the webserver and replay in process."
        )
    return str(answer["backfillId"])


def _graphql(query: str, variables: dict[str, Any]) -> dict[str, Any]:
    url = f"{webserver_url()}/graphql"
    if not url.startswith(("http://", "https://")):
        raise LaunchFailed(f"DAGSTER_WEBSERVER_URL {url!r}: write it as http://host:port")
    request = urllib.request.Request(
        url,
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        body = json.load(response)
    if body.get("errors"):
        raise LaunchFailed(f"{url}: {body['errors'][0].get('message', 'error')}")
    return dict(body["data"])
