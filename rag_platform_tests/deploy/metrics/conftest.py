"""A platform with something of everything, its exporter, and a Prometheus that scrapes it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_platform.platform import Platform
from rag_platform_tests.console.conftest import _copy_of, shared  # noqa: F401
from rag_platform_tests.console.library import Place
from rag_platform_tests.deploy.metrics.filled import fill
from rag_platform_tests.deploy.metrics.processes import Exporter, Prometheus, exporter, prometheus
from rag_platform_tests.training.conftest import mlflow_template  # noqa: F401


@pytest.fixture(scope="module")
def platform(shared: Place) -> Iterator[Platform]:  # noqa: F811
    """The small platform of the console's tests, and what it lacks."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs prometheus (Debian: prometheus)")
    shared.write(rides={"url": shared.root.as_uri(), "timezone": "UTC"})
    opened = shared.platform()
    fill(opened, shared.home / "dagster")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def scraped(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """`rag-platform metrics` in a process of its own."""
    with exporter(tmp_path_factory.mktemp("exporter")) as served:
        yield served


@pytest.fixture(scope="module")
def seen(scraped: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with the rules and the configuration of deploy/."""
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with prometheus(folder, scraped.address) as started:
        yield started
