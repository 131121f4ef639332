import shutil
from pathlib import Path
from typing import cast

import pytest

from rag_platform.platform import Platform
from rag_platform.resources.mlflow import MlflowResource
from rag_platform.storage.mlflow import MlflowUnavailable
from rag_platform_tests.servers.ports import free_ports
from rag_platform_tests.training.conftest import mlflow_template  # noqa: F401

# An address of its own comes before that of the settings.
NOT_ASKED = cast("Platform", None)


def test_the_client_of_a_database(mlflow_template: Path, tmp_path: Path) -> None:  # noqa: F811
    shutil.copyfile(mlflow_template, tmp_path / "mlflow.db")
    client = MlflowResource(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db").client(NOT_ASKED)
    assert [each.name for each in client.search_experiments()] == ["Default"]


def test_a_server_that_is_away_is_told() -> None:
    [port] = free_ports(1)
    with pytest.raises(MlflowUnavailable, match=rf"127\.0\.0\.1:{port}.*mlflow\.tracking_uri"):
        MlflowResource(tracking_uri=f"http://127.0.0.1:{port}").client(NOT_ASKED)
