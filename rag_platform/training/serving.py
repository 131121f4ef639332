"""A model as MLflow keeps it, for programs that know MLflow and not this platform.

    mlflow.pyfunc.load_model("models:/intent_classifier@champion").predict(rows)

The model in MLflow is a package and the name of this module: no code lies there, and what loads it
is the rag_platform that is installed.
"""

import importlib.metadata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_platform.training.errors import TrainingError
from rag_platform.training.packaging import unpack, verify
from rag_platform.training.spec import ModelSpec
from rag_platform.training.task import GROUP, TARGET
from rag_platform.training.trainer import Model, Services

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.llm.gateway import Gateway

_ALWAYS = ("rag_platform", "pandas", "numpy")


class Served:
    """What `mlflow.pyfunc` asks."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, data: "pd.DataFrame", params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """The model's answers to rows."""
        return self._model.predict(data)


def _load_pyfunc(path: str) -> Served:
    """MLflow's entry, by name: the model of the package at `path`."""
    from rag_platform.training.catalogue import model_spec

    folder = Path(path)
    spec = model_spec(verify(folder).model)
    return Served(unpack(folder, spec, Services(gateway=_nobody)).model)


def _nobody(purpose: str) -> "Gateway":
    raise TrainingError(f"{purpose}: asks a language model: use `rag-platform predict`.")


def write_model(
    folder: Path,
    spec: ModelSpec,
    package: Path,
    run_id: str,
    example: "pd.DataFrame",
    predictions: "pd.DataFrame",
) -> None:
    """Write an MLflow model that holds a package into a new folder."""
    import mlflow.pyfunc
    from mlflow.models import Model as MlflowModel
    from mlflow.models import infer_signature

    shown = example.drop(columns=[GROUP, TARGET], errors="ignore").reset_index(drop=True)
    manifest = verify(package)
    with warnings.catch_warnings():
        # Of integers that might be missing one day: then MLflow says so.
        warnings.simplefilter("ignore", UserWarning)
        signature = infer_signature(shown, predictions.reset_index(drop=True))
        mlflow.pyfunc.save_model(
            folder,
            loader_module=__name__,
            data_path=str(package),
            pip_requirements=_requirements(spec, manifest.trainer),
            signature=signature,
            input_example=shown,
            mlflow_model=MlflowModel(artifact_path=folder.name, run_id=run_id),
        )


def _requirements(spec: ModelSpec, trainer: str) -> list[str]:
    """Distributions as they are installed: inferring them takes MLflow half a minute."""
    found = []
    for name in (*_ALWAYS, *spec.trainers[trainer].requirements):
        try:
            found.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue  # the platform itself, run from a checkout
    return found
