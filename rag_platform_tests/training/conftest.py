"""An MLflow for each test, and a way to put versions of the tiny model into it."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rag_platform_tests.training.put import Put

if TYPE_CHECKING:
    from rag_platform.storage.catalog import Catalog
    from rag_platform.training.promotions import Promotions
    from rag_platform.training.registry import ModelRegistry
    from rag_platform_tests.training.weekly import Weekly


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database that was migrated once, to be copied: that takes seconds."""
    from rag_platform.storage.locks import exclusive
    from rag_platform.storage.mlflow import mlflow_client

    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # one for all workers
    file = base / "mlflow" / "template.db"
    with exclusive(base / "mlflow" / "lock", timeout_s=300, purpose="template"):
        if not file.exists():
            mlflow_client(f"sqlite:///{file}.new").search_registered_models()
            Path(f"{file}.new").rename(file)
    return file


@pytest.fixture
def mlflow_uri(mlflow_template: Path, tmp_path: Path) -> str:
    """The address of a new, empty MLflow."""
    (tmp_path / "home").mkdir(exist_ok=True)
    shutil.copyfile(mlflow_template, tmp_path / "home" / "mlflow.db")
    return f"sqlite:///{tmp_path}/home/mlflow.db"


@pytest.fixture
def registry(mlflow_uri: str, tmp_path: Path, catalog: "Catalog") -> "ModelRegistry":
    """An empty registry; its catalog is the fixture `catalog`."""
    from rag_platform.training.registry import ModelRegistry

    return ModelRegistry(mlflow_uri, home=tmp_path / "home", catalog=catalog)


@pytest.fixture
def promotions(catalog: "Catalog", registry: "ModelRegistry") -> "Promotions":
    """The promotions over them."""
    from rag_platform.storage.outbox import Outbox
    from rag_platform.training.promotions import Promotions

    return Promotions(catalog, registry, Outbox(catalog))


@pytest.fixture
def put(registry: "ModelRegistry") -> Put:
    """`put(threshold)` registers a version of the tiny model that has it: "1", "2", ..."""
    return Put(registry)


@pytest.fixture
def weekly(
    tmp_path: Path, catalog: "Catalog", registry: "ModelRegistry", promotions: "Promotions"
) -> "Weekly":
    """The stages of the tiny model, without data yet."""
    from rag_platform_tests.training.weekly import Weekly

    return Weekly(tmp_path, catalog, registry, promotions)
