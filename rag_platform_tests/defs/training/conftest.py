"""Models for each test, over an MLflow that was migrated once."""

from pathlib import Path

import pytest

from rag_platform_tests.defs.training.location import ModelRuns
from rag_platform_tests.training.conftest import mlflow_template  # noqa: F401


@pytest.fixture
def runs(
    tmp_path: Path,
    mlflow_template: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    unrendered: None,
) -> ModelRuns:
    """The tiny model in the settings, without data yet."""
    return ModelRuns(tmp_path, mlflow_template, monkeypatch)
