"""The parts of a platform that train models and serve them. Opened when used."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rag_platform.training.errors import NoSuchModel

if TYPE_CHECKING:
    from rag_platform.llm.gateway import Gateway
    from rag_platform.settings import Settings
    from rag_platform.settings_training import ModelSettings
    from rag_platform.storage.catalog import Catalog
    from rag_platform.storage.objects import S3Connection
    from rag_platform.storage.outbox import Outbox
    from rag_platform.training.pipeline import Training
    from rag_platform.training.predictor import Predictor
    from rag_platform.training.promotions import Promotions
    from rag_platform.training.registry import ModelRegistry
    from rag_platform.training.scoring import Scoring
    from rag_platform.training.spec import ModelSpec
    from rag_platform.training.trainer import Services


@dataclass
class ModelParts:
    """The models of the settings. `mlflow_uri` is where their versions are registered."""

    settings: "Settings"
    catalog: "Catalog"
    outbox: "Outbox"
    store: Any
    s3: "S3Connection"
    gateway: "Callable[[str], Gateway]"
    mlflow_uri: str

    @property
    def names(self) -> list[str]:
        """The models that are trained and served."""
        return list(self.settings.enabled_models)

    def spec(self, name: str) -> "ModelSpec":
        """What the platform knows of a model. Raises `NoSuchModel` for one not in the settings."""
        from rag_platform.training.catalogue import model_spec

        spec = model_spec(name)
        if name not in self.settings.enabled_models:
            raise NoSuchModel(
                f"model {name!r}: not in the settings, or not enabled there. Write `models: "
                f"{{{name}: {{}}}}` into platform.yaml."
            )
        return spec

    def model_settings(self, name: str) -> "ModelSettings":
        """A model's settings. Raises `NoSuchModel`."""
        self.spec(name)
        return self.settings.models[name]

    @cached_property
    def registry(self) -> "ModelRegistry":
        """The versions of the models, in MLflow."""
        from rag_platform.training.registry import ModelRegistry

        return ModelRegistry(self.mlflow_uri, home=self.settings.home, catalog=self.catalog)

    @cached_property
    def promotions(self) -> "Promotions":
        """Which version serves, and how that came about."""
        from rag_platform.training.promotions import Promotions

        return Promotions(self.catalog, self.registry, self.outbox)

    @cached_property
    def services(self) -> "Services":
        """What trainers may need of the platform."""
        from rag_platform.storage.memo import Memo
        from rag_platform.training.trainer import Services

        return Services(gateway=self.gateway, memo=lambda: Memo(self.catalog))

    def training(self, name: str) -> "Training":
        """The stages that train a model."""
        from rag_platform.training.pipeline import Training
        from rag_platform.training.snapshots import Snapshots, Weeks

        return Training(
            self.spec(name),
            self.model_settings(name),
            catalog=self.catalog,
            snapshots=Snapshots(self.store),
            weeks=Weeks(self.store),
            registry=self.registry,
            promotions=self.promotions,
            s3=self.s3,
            services=self.services,
        )

    def predictor(self, name: str) -> "Predictor":
        """The champion and the challenger of a model, loaded when they are asked."""
        from rag_platform.training.predictor import Predictor

        return Predictor(self.spec(name), self.registry, self.promotions, self.services)

    def scoring(self, name: str) -> "Scoring":
        """The stage that answers the rows of a day."""
        from rag_platform.training.scoring import Scoring

        return Scoring(
            self.spec(name),
            self.model_settings(name),
            catalog=self.catalog,
            store=self.store,
            registry=self.registry,
            promotions=self.promotions,
            s3=self.s3,
            services=self.services,
        )
