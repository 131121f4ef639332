"""Addresses in Dagster's and MLflow's web interfaces, for people who want to see more."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from starlette.requests import Request

from rag_platform.console import web
from rag_platform.storage.mlflow import is_server
from rag_platform.storage.objects import display_url

if TYPE_CHECKING:
    from rag_platform.settings import Settings


@dataclass(frozen=True, slots=True)
class Links:
    """`dagster` and `mlflow` are base addresses without a slash at the end.

    `mlflow` is None where MLflow is a database that no server shows: then there is nothing to link
    to.
    """

    dagster: str
    mlflow: str | None

    @classmethod
    def of(cls, settings: "Settings") -> "Links":
        """As the settings have them."""
        mlflow = settings.console.mlflow_url
        if mlflow is None and is_server(settings.mlflow_uri):
            mlflow = display_url(settings.mlflow_uri)
        return cls(
            dagster=str(settings.console.dagster_url).rstrip("/"),
            mlflow=str(mlflow).rstrip("/") if mlflow else None,
        )

    def asset(self, *key: str, partition: str | None = None) -> str:
        """An asset by the parts of its key, or one partition of it."""
        query = {"view": "partitions", "partition": partition} if partition else {}
        path = "/".join(quote(part, safe="") for part in key)
        return f"{self.dagster}/assets/{path}" + (f"?{urlencode(query)}" if query else "")

    def run(self, run_id: str) -> str:
        """A run of Dagster."""
        return f"{self.dagster}/runs/{quote(run_id, safe='')}"

    def backfill(self, backfill_id: str) -> str:
        """A backfill."""
        return f"{self.dagster}/runs/b/{quote(backfill_id, safe='')}"

    def mlflow_model(self, model: str) -> str | None:
        """All versions of a registered model."""
        return self._in_mlflow("models", model)

    def mlflow_version(self, model: str, number: str) -> str | None:
        """A version of a registered model."""
        return self._in_mlflow("models", model, "versions", number)

    def mlflow_run(self, run_id: str) -> str | None:
        """A run of MLflow, whatever its experiment."""
        return self._in_mlflow("runs", run_id)

    def _in_mlflow(self, *parts: str) -> str | None:
        if self.mlflow is None:
            return None
        return f"{self.mlflow}/#/{'/'.join(quote(part, safe='') for part in parts)}"


def links(request: Request) -> Links:
    """The links of the console's platform."""
    return Links.of(web.platform(request).settings)
