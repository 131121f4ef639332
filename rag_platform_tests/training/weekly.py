"""The stages of the tiny model over a folder that tests write into."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rag_platform.settings_training import ModelSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.objects import S3Connection, open_store
from rag_platform.training.calendar import current_week
from rag_platform.training.drift.profile import Profile
from rag_platform.training.packaging import pack
from rag_platform.training.pipeline import Training
from rag_platform.training.promotions import Promotions
from rag_platform.training.registry import ModelRegistry
from rag_platform.training.scoring import Scoring
from rag_platform.training.snapshots import Snapshots, Weeks
from rag_platform.training.stages import Origin
from rag_platform_tests.training.put import manifest
from rag_platform_tests.training.tiny import NAME, SERVICES, SPEC, TinyModel, tiny_rows

ORIGIN = Origin("run-1", "https://dagster.test/runs/run-1")


@dataclass(frozen=True)
class Weekly:
    """A model, its data and what is kept of it."""

    folder: Path
    catalog: Catalog
    registry: ModelRegistry
    promotions: Promotions

    def write(self, name: str = "rows.csv", *, rows: Any = None, **made: Any) -> Path:
        """A file of labelled rows."""
        path = self.folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = tiny_rows(**made) if rows is None else rows
        frame.drop(columns="group").to_csv(path, index=False)
        return path

    def batch(self, day: str, *, name: str | None = None, rows: Any = None, **made: Any) -> Path:
        """A file of rows to be answered on a day; units are the same every day."""
        path = self.folder / "batches" / (name or f"{day}.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = tiny_rows(**made) if rows is None else rows
        frame.drop(columns=["group", "target"], errors="ignore").to_csv(path, index=False)
        return path

    def serve(self, threshold: float) -> str:
        """Let a version with this threshold enter, as if it had been trained; its number."""
        rows, model = tiny_rows(400, seed=99), TinyModel(threshold)
        made = manifest(str(threshold))
        predictions = model.predict(rows)
        with TemporaryDirectory() as folder:
            package = Path(folder) / "package"
            profile = Profile.of(rows, predictions)
            pack(package, manifest=made, model=model, twin=model, profile=profile)
            run_id = self.registry.log_candidate(
                SPEC,
                made,
                package,
                parameters={},
                tags={},
                example=rows.head(3),
                predictions=predictions.head(3),
            )
        number = self.registry.register(NAME, run_id, description="", tags={}).number
        self.promotions.enter(NAME, number, actor="training", reason="passed")
        return number

    @property
    def places(self) -> dict[str, Any]:
        """Where the data is."""
        return {
            "data": (self.folder / "data").as_uri(),
            "scoring": (self.folder / "batches").as_uri(),
        }

    def training(self, **settings: Any) -> Training:
        """The stages."""
        store = open_store((self.folder / "store").as_uri(), create=True)
        return Training(
            SPEC,
            ModelSettings.model_validate(self.places | settings),
            catalog=self.catalog,
            snapshots=Snapshots(store),
            weeks=Weeks(store),
            registry=self.registry,
            promotions=self.promotions,
            s3=S3Connection(),
            services=SERVICES,
        )

    def scoring(self, **settings: Any) -> Scoring:
        """The daily scores."""
        return Scoring(
            SPEC,
            ModelSettings.model_validate(self.places | settings),
            catalog=self.catalog,
            store=open_store((self.folder / "store").as_uri(), create=True),
            registry=self.registry,
            promotions=self.promotions,
            s3=S3Connection(),
            services=SERVICES,
        )

    def week(self, week: str | None = None, **settings: Any) -> Any:
        """All stages of a week, as a run takes them; gates that fail stop it."""
        training, key = self.training(**settings), week or current_week()
        _, checks = training.run_data(key)
        failed = [check.told for check in checks if not check.passed]
        if failed:
            return failed
        training.run_drift(key)
        training.run_candidate(key, ORIGIN)
        evaluation, _ = training.run_evaluation(key)
        if not evaluation.passed:
            return [verdict.told for verdict in evaluation.verdicts if not verdict.passed]
        training.run_registration(key, ORIGIN)
        return training.run_deployment(key, ORIGIN)
