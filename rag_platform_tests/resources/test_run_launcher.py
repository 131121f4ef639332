"""Whether a run's process is there, where nobody can say. With a real code server:
rag_platform_tests/deploy/test_production.py."""

import json
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from rag_platform.resources.run_launcher import WatchedRunLauncher
from rag_platform_tests.servers.ports import free_ports


@pytest.fixture
def launcher() -> Iterator[WatchedRunLauncher]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = WatchedRunLauncher()
        made.register_instance(instance)
        yield made


def status(launcher: WatchedRunLauncher, tags: dict[str, str]) -> WorkerStatus:
    run = dg.DagsterRun("job", status=dg.DagsterRunStatus.STARTED, tags=tags)
    launcher._instance.add_run(run)
    return launcher.check_run_worker_health(run).status


def test_run_monitoring_asks(launcher: WatchedRunLauncher) -> None:
    assert launcher.supports_check_run_worker_health


def test_a_run_of_a_command_is_not_ours(launcher: WatchedRunLauncher) -> None:
    assert status(launcher, {}) == WorkerStatus.RUNNING


def test_a_server_that_does_not_answer_may_come_back(launcher: WatchedRunLauncher) -> None:
    [port] = free_ports(1)
    tags = {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": port})}
    assert status(launcher, tags) == WorkerStatus.RUNNING
