"""Tiny models as Dagster runs them: settings, definitions, an instance and an empty MLflow."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from rag_platform.defs.operations.notifications import notification_definitions
from rag_platform.defs.resources import platform_resource
from rag_platform.defs.training.definitions import training
from rag_platform.platform import Platform
from rag_platform.settings import Settings, load
from rag_platform.training import catalogue
from rag_platform.training.calendar import current_week
from rag_platform.training.spec import ModelSpec
from rag_platform_tests.catalogs import new_catalog
from rag_platform_tests.defs.location import Outcome
from rag_platform_tests.training.tiny import NAME, SPEC, tiny_rows

OTHER = "other_model"


def definitions(settings: Settings) -> dg.Definitions:
    """What `rag_platform.definitions` makes of the models in the settings."""
    return dg.Definitions.merge(
        training(settings),
        notification_definitions(settings),
        dg.Definitions(
            resources={"platform": platform_resource(settings)}, executor=dg.in_process_executor
        ),
    )


class ModelRuns:
    """Two tiny models, of which the settings have those that a test names."""

    def __init__(self, home: Path, mlflow_template: Path, patch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.patch = patch
        self._config = home / "platform.yaml"
        self._cursors: dict[str, str | None] = {}
        self.instance = dg.DagsterInstance.ephemeral()
        self.knows(SPEC, replace(SPEC, name=OTHER))
        patch.setenv("RAG_PLATFORM_CONFIG", str(self._config))
        patch.setenv("RAG_PLATFORM_HOME", str(home / "state"))
        new_catalog(home / "state" / "catalog.db")
        shutil.copyfile(mlflow_template, home / "state" / "mlflow.db")
        self.configure()

    def knows(self, *specs: ModelSpec) -> None:
        """What there is in the catalogue."""
        self.patch.setattr(catalogue, "catalogue", lambda: {spec.name: spec for spec in specs})

    def folder(self, name: str, of: str = NAME) -> Path:
        """Where a model's `data`, `batches` or `labels` lie."""
        path = self.home / of / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def configure(
        self, *models: str, more: dict[str, Any] | None = None, **rules: Any
    ) -> dg.Definitions:
        """Write platform.yaml anew and load the definitions; `rules` are those of every model."""
        tree = {
            name: {"data": str(self.folder("data", name)), **rules} for name in models or (NAME,)
        }
        self._config.write_text(yaml.safe_dump({"models": tree, **(more or {})}), "utf-8")
        self.settings = load()
        self.defs = definitions(self.settings)
        return self.defs

    def write(self, of: str = NAME, *, rows: Any = None, **made: Any) -> Path:
        """Replace the labelled rows of a model."""
        frame = tiny_rows(**made) if rows is None else rows
        path = self.folder("data", of) / "rows.csv"
        frame.drop(columns="group").to_csv(path, index=False)
        return path

    def batch(self, day: str, **made: Any) -> Path:
        """Rows to be answered on a day."""
        frame = tiny_rows(**made).drop(columns=["group", "target"])
        frame["unit"] = [f"{day}-{unit}" for unit in frame["unit"]]
        path = self.folder("batches") / f"{day}.csv"
        frame.to_csv(path, index=False)
        return path

    def run(
        self,
        partition: str | None = None,
        *,
        of: str = NAME,
        job: str | None = None,
        stages: tuple[str, ...] = (),
        tags: dict[str, str] | None = None,
        config: dict[str, Any] | None = None,
    ) -> Outcome:
        """Run a job, by default a model's training in the current week."""
        keys = [dg.AssetKey([of, stage]) for stage in stages]
        return Outcome(
            self.defs.resolve_job_def(job or f"{of}_training").execute_in_process(
                instance=self.instance,
                partition_key=None if job == "models_master" else partition or current_week(),
                asset_selection=keys or None,
                tags=tags or {},
                run_config=config,
                raise_on_error=False,
            )
        )

    def scores(self, day: str, **config: Any) -> Outcome:
        """Answer a day."""
        ops = {f"{NAME}__scores": {"config": config}} if config else {}
        return self.run(day, job="models_scores", config={"ops": ops})

    def tick(self, sensor: str) -> Any:
        """A tick of a sensor, with the cursor that the last one left."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self._cursors.get(sensor),
            resources=self.defs.resources,
            repository_def=self.defs.get_repository_def(),
        ) as context:
            found = self.defs.get_sensor_def(sensor).evaluate_tick(context)
        self._cursors[sensor] = found.cursor
        return found

    @contextlib.contextmanager
    def platform(self) -> Iterator[Platform]:
        """The platform itself, to look at what runs left."""
        platform = Platform(self.settings)
        try:
            yield platform
        finally:
            platform.close()

    def champion(self, of: str = NAME) -> str | None:
        """The number of the version that serves, as MLflow says."""
        with self.platform() as platform:
            version = platform.models.registry.version(of, "champion")
            return version.number if version else None

    def versions(self, of: str = NAME) -> list[str]:
        """The numbers of all versions."""
        with self.platform() as platform:
            return [version.number for version in platform.models.registry.versions(of)]

    def messages(self) -> list[str]:
        """What people are to be told."""
        with self.platform() as platform:
            return [message.text for message in platform.outbox.pending()]


def metadata(outcome: Outcome, stage: str) -> dict[str, Any]:
    """The metadata of the one materialization of a stage."""
    [event] = [
        event
        for event in outcome.result.get_asset_materialization_events()
        if event.asset_key.path[-1] == stage
    ]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def count(outcome: Outcome, kind: dg.DagsterEventType) -> int:
    """How many events of a kind a run has."""
    return sum(event.event_type == kind for event in outcome.result.all_events)
