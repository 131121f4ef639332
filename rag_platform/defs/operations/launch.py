"""Starting runs from outside Dagster's own UI: in this process, or as a backfill by GraphQL."""

import json
import os
import shutil
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dagster as dg

from rag_platform.defs.documents.automation import job_name
from rag_platform.defs.operations.in_process import alive, end_dead_runs
from rag_platform.defs.operations.problems import problems, shown
from rag_platform.defs.operations.ticks import bring_back_ticks
from rag_platform.defs.shared import RANGE_TAGS, WINDOWS_PER_RUN, asset_key
from rag_platform.errors import PlatformError
from rag_platform.settings import PROJECT_ROOT, Settings

STAGES = ("raw_docs", "parsed_docs", "clean_docs")
_TRANSLATED = "translated_docs"
INDEX_STAGES = ("chunks", "embeddings", "vector_index")

# The pools of dagster.yaml that need another number of slots than its default.
_POOLS = {"llm_api": 5, "vector_store": 1, "training": 2}


class LaunchFailed(PlatformError):
    """A run could not be started."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run that has ended. `problems` are the failed gates and errors, a line each."""

    run_id: str
    success: bool
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepUpdate:
    """A step of a run under way, as source/stage or source/index/stage, has come to a state."""

    step: str
    state: Literal["started", "done", "failed", "skipped"]


# Dagster's own, and that of steps with a retry policy (defs/training/factory.py).
_INTERRUPTIONS = ("DagsterExecutionInterruptedError", "Interrupted")

_STATES: dict[dg.DagsterEventType, Literal["started", "done", "failed", "skipped"]] = {
    dg.DagsterEventType.STEP_START: "started",
    dg.DagsterEventType.STEP_SUCCESS: "done",
    dg.DagsterEventType.STEP_FAILURE: "failed",
    dg.DagsterEventType.STEP_SKIPPED: "skipped",
}


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
    """The Dagster instance in order: slots of pools set, runs of killed processes ended, and no
    tick still to come."""
    dagster_home(settings)
    with dg.DagsterInstance.get() as opened:
        limits = {pool.name: pool.limit for pool in opened.event_log_storage.get_pool_limits()}
        for pool, slots in _POOLS.items():
            if limits.get(pool) is None:
                opened.event_log_storage.set_concurrency_slots(pool, slots)
        end_dead_runs(opened)
        bring_back_ticks(opened)
        yield opened


def stages_of(settings: Settings, source: str) -> tuple[str, ...]:
    """The stages of a source, from asking it to its indexes."""
    between = (_TRANSLATED,) if settings.sources[source].translate else ()
    return (*STAGES, *between, *INDEX_STAGES)


def keys_of(source: str, indexes: Sequence[str], *, stages: Sequence[str]) -> list[dg.AssetKey]:
    """The assets of some stages: of the source, and of each index version."""
    own = [asset_key(source, stage) for stage in (*STAGES, _TRANSLATED) if stage in stages]
    branches = [
        asset_key(source, stage, index)
        for index in indexes
        for stage in INDEX_STAGES
        if stage in stages
    ]
    return own + branches


def run_in_process(
    opened: dg.DagsterInstance,
    source: str,
    windows: Sequence[str],
    *,
    job: str | None = None,
    keys: Sequence[dg.AssetKey] | None = None,
    run_config: dict[str, Any] | None = None,
    on_step: Callable[[StepUpdate], None] | None = None,
) -> RunResult:
    """Materialize the chain, or those `keys` of it, for adjacent windows in this process.

    Another `job` may be named; one without partitions takes no windows. The run is recorded in
    the instance; `on_step` hears of each step while it runs. Ctrl-C ends the run and is raised as
    `KeyboardInterrupt`.
    """
    from rag_platform.definitions import defs

    definition = defs.resolve_job_def(job or job_name(source))
    tags = dict(zip(RANGE_TAGS, (windows[0], windows[-1]), strict=True)) if len(windows) > 1 else {}
    run_id = str(uuid.uuid4())
    if on_step is not None:
        opened.add_event_listener(run_id, lambda entry: _tell(entry.dagster_event, on_step))
    with alive(opened, run_id) as own:
        result = definition.execute_in_process(
            instance=opened,
            partition_key=windows[0] if len(windows) == 1 else None,
            tags=tags | own,
            run_config=run_config,
            run_id=run_id,
            asset_selection=list(keys) if keys is not None else None,
            raise_on_error=False,
        )
    if any(_is_interruption(event) for event in result.all_events):
        raise KeyboardInterrupt
    told = tuple(map(str, problems(result.all_events)))
    return RunResult(result.run_id, result.success, told)


def _is_interruption(event: dg.DagsterEvent) -> bool:
    """Ctrl-C: Dagster records it as a failed step and goes on as if it had been one."""
    if event.event_type != dg.DagsterEventType.STEP_FAILURE:
        return event.event_type == dg.DagsterEventType.RUN_CANCELED
    error = event.step_failure_data.error
    return error is not None and error.cls_name in _INTERRUPTIONS


def _tell(event: dg.DagsterEvent | None, on_step: Callable[[StepUpdate], None]) -> None:
    state = _STATES.get(event.event_type) if event is not None else None
    if event is not None and event.step_key is not None and state is not None:
        on_step(StepUpdate(shown(event.step_key), state))


def step_config(source: str, stage: str, **values: Any) -> dict[str, Any]:
    """Run config that gives values to one of the source's own stages."""
    return {"ops": {f"{source}__{stage}": {"config": values}}}


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


def launch_backfill(
    keys: Sequence[dg.AssetKey],
    windows: Sequence[str],
    *,
    title: str,
    run_config: dict[str, Any] | None = None,
) -> str:
    """Ask the webserver for an asset backfill; returns its id."""
    params: dict[str, Any] = {
        "assetSelection": [{"path": list(key.path)} for key in keys],
        "partitionNames": list(windows),
        "title": title,
    }
    if run_config:
        params["runConfigData"] = run_config
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
