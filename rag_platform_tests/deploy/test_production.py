"""Code server, webserver and daemon as processes of their own, from the files in deploy/: on
PostgreSQL and S3, with the code server and the daemon killed in the middle of a run."""

import contextlib
import json
import os
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from click import Option
from click.testing import CliRunner

from rag_platform.commands.group import Cli
from rag_platform.commands.migrate import migrate
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform.storage.schema import memo
from rag_platform.storage.schema_models import ledger
from rag_platform_tests.deploy.processes import DEPLOY, Role, role
from rag_platform_tests.servers.dagster_processes import _answers, until
from rag_platform_tests.servers.openai_api import KEY, Fault, OpenAIServer
from rag_platform_tests.servers.ports import free_ports
from rag_platform_tests.servers.seaweed import S3Server

_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""
START = "2026-06-01"


@pytest.fixture
def model() -> Iterator[OpenAIServer]:
    """A paid embedder."""
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def place(
    tmp_path: Path,
    postgres_url: str,
    postgres_database: str,
    s3_server: S3Server,
    model: OpenAIServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder with DAGSTER_HOME from deploy/dagster.yaml, and the environment of every role."""
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    written = (DEPLOY / "dagster.yaml").read_text("utf-8")
    # Nothing but patience differs.
    assert written.count("poll_interval_seconds: 30") == 1
    quick = written.replace("poll_interval_seconds: 30", "poll_interval_seconds: 1")
    (dagster_home / "dagster.yaml").write_text(quick, "utf-8")
    tree = yaml.safe_load((DEPLOY / "platform.yaml").read_text("utf-8"))
    state, documents = s3_server.make_bucket(), s3_server.make_bucket()
    s3_server.client().put_object(Bucket=documents, Key="a.md", Body=b"# Alpha\n\nA red apple.\n")
    [rules] = tree["sources"].values()
    rules |= {"url": f"s3://{documents}", "cadence": "daily", "start": START}
    [index] = tree["indexes"].values()
    index["embedder"] = {"model": "tiny", "dimensions": 8}
    prices = {"tiny": {"input_per_million": 1, "output_per_million": 0}}
    tree |= {"automation": False, "llm": {"base_url": model.base_url, "prices": prices}}
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(tree), "utf-8")
    dagster_url = sa.make_url(postgres_database).set(drivername="postgresql+psycopg2")
    catalog = sa.make_url(postgres_url).set(database="catalog_in_production")
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("create database catalog_in_production"))
    engine.dispose()
    [port] = free_ports(1)
    for name, value in {
        "DAGSTER_HOME": dagster_home,
        "DAGSTER_POSTGRES_URL": dagster_url.render_as_string(hide_password=False),
        "RAG_PLATFORM_CONFIG": tmp_path / "platform.yaml",
        "RAG_PLATFORM_HOME": tmp_path / "state",
        "RAG_PLATFORM__CATALOG": catalog.render_as_string(hide_password=False),
        "RAG_PLATFORM__STORAGE": f"s3://{state}/state",
        "RAG_PLATFORM__S3__ENDPOINT_URL": s3_server.endpoint,
        "RAG_PLATFORM_BUCKET": state,
        "RAG_PLATFORM_CODE_HOST": "127.0.0.1",
        "RAG_PLATFORM_CODE_PORT": port,
        "AWS_ACCESS_KEY_ID": s3_server.key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "OPENAI_API_KEY": KEY,
    }.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


def ask(url: str, query: str, **variables: Any) -> Any:
    request = urllib.request.Request(
        f"{url}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["data"]


def launch(url: str, window: str) -> str:
    """Ask the webserver for a run of the whole chain; returns its id."""
    selector = {
        "repositoryLocationName": "rag_platform",
        "repositoryName": "__repository__",
        "jobName": "documents_documents",
    }
    tags = [
        {"key": "dagster/partition", "value": window},
        {"key": "dagster/max_retries", "value": "1"},
    ]
    params = {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": tags}}
    answer = ask(url, _LAUNCH, params=params)["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


@contextlib.contextmanager
def running(place: Path, port: str) -> Iterator[tuple[Role, Role, str]]:
    """Code server, daemon, and the address of the webserver, once it knows the code."""
    at = ("--host", "127.0.0.1", "--port", port)
    module = ("--module-name", "rag_platform.definitions", "--location-name", "rag_platform")
    workspace = ("--workspace", str(DEPLOY / "workspace.yaml"))
    [web] = free_ports(1)
    url = f"http://127.0.0.1:{web}"
    with (
        role(place, "dagster", "api", "grpc", *at, *module) as code,
        role(place, "dagster-webserver", "-h", "127.0.0.1", "-p", str(web), *workspace) as server,
        role(place, "dagster-daemon", "run", *workspace) as daemon,
    ):
        until(lambda: _answers(f"{url}/server_info"), seconds=120, log=server.log)
        until(lambda: _is_loaded(url), seconds=120, log=code.log)
        yield code, daemon, url


def _is_loaded(url: str) -> bool:
    reload = "mutation { reloadWorkspace { ... on Workspace { locationEntries { loadStatus } } } }"
    found = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    if ask(url, found)["repositoriesOrError"].get("nodes"):
        return True
    ask(url, reload)
    return False


@pytest.mark.slow
def test_killed_in_the_middle_production_recovers(place: Path, model: OpenAIServer) -> None:
    done = CliRunner().invoke(_group(), ["--debug", "migrate"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    window = datetime.now(UTC).date().isoformat()
    model.faults.append(Fault("hang", seconds=300))
    with (
        dg.DagsterInstance.get() as instance,
        running(place, os.environ["RAG_PLATFORM_CODE_PORT"]) as (code, daemon, url),
    ):
        first = launch(url, window)
        log = daemon.log

        def status(run_id: str) -> str:
            run = instance.get_run_by_id(run_id)
            return run.status.value if run else "none"

        until(lambda: model.requests, seconds=120, log=log)
        assert status(first) == "STARTED"
        # Together with the run that waits for its vectors.
        code.kill()
        daemon.kill()
        code.start()
        daemon.start()
        until(lambda: status(first) == "FAILURE", seconds=120, log=log)
        [again] = until(lambda: _retries(instance, first), seconds=120, log=log)
        until(lambda: status(again) == "SUCCESS", seconds=120, log=log)
        logs = {meta["Key"] for meta in _compute_logs()}
        asked = len(model.requests)
    assert any(again in key for key in logs), logs
    platform = Platform(load())
    with platform.catalog.read() as connection:
        kept = connection.scalar(sa.select(sa.func.count()).select_from(memo))
        sent = connection.execute(sa.select(ledger.c.status)).scalars().all()
    with platform.searcher() as searcher:
        [found] = searcher.search("apple", 1)
    platform.close()
    assert "red apple" in found.text
    # One request was cut off and may have been billed; its batch was sent once more.
    assert (kept, asked, sorted(sent)) == (1, 2, ["reserved", "settled"])


def _group() -> Cli:
    group = Cli("rag-platform", commands=[migrate])
    group.params += [Option([f"--{name}"], is_flag=True) for name in ("debug", "verbose")]
    group.callback = lambda **_: None
    return group


def _retries(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    filters = dg.RunsFilter(tags={"dagster/parent_run_id": run_id})
    return [run.run_id for run in instance.get_runs(filters)]


def _compute_logs() -> list[Any]:
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["RAG_PLATFORM__S3__ENDPOINT_URL"])
    found = client.list_objects_v2(Bucket=os.environ["RAG_PLATFORM_BUCKET"], Prefix="compute_logs/")
    return list(found.get("Contents", []))
