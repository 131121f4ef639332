"""MLflow as a Dagster resource."""

from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from rag_platform.platform import Platform

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from rag_platform.platform_training import ModelParts


class MlflowResource(dg.ConfigurableResource):
    """Where MLflow is: a server or a database. Its client alone is used: no global state."""

    tracking_uri: str | None = Field(
        default=None,
        # Not filled in from the settings: an address may hold a password, and the UI shows this.
        description="Address of a server, or sqlite:///file.db or another database; null for "
        "`mlflow.tracking_uri` of the settings.",
    )

    def models(self, platform: Platform) -> "ModelParts":
        """The models of a platform, with their versions in this MLflow."""
        if self.tracking_uri in (None, platform.models.mlflow_uri):
            return platform.models
        return replace(platform.models, mlflow_uri=self.tracking_uri)

    def client(self, platform: Platform) -> "MlflowClient":
        """MLflow's client; raises `MlflowUnavailable` where nothing answers within seconds."""
        from rag_platform.storage.mlflow import MlflowUnavailable, explained, mlflow_client

        uri = self.tracking_uri or platform.settings.mlflow_uri
        with explained(uri, "mlflow", MlflowUnavailable):
            return mlflow_client(uri)
