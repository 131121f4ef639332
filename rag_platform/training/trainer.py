"""The face of what makes models, and of the models."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.llm.gateway import Gateway
    from rag_platform.storage.memo import Memo


@dataclass(frozen=True)
class Services:
    """What a trainer may need of the platform. Opened when used."""

    # By purpose, which stands in the cost ledger: `models/financial_advisor`.
    gateway: "Callable[[str], Gateway]"
    # Where paid answers are kept for ever.
    memo: "Callable[[], Memo] | None" = None


class Model(ABC):
    """Something that answers rows."""

    @abstractmethod
    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """The answers, with the index of the rows and the task's prediction columns.

        Columns that the model does not know are ignored. Raises `UnusableData` for rows that lack
        a column it needs, or hold in it what cannot be read.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model into an empty folder: JSON, skops, a library's own safe format.

        No pickle. The same model gives the same bytes where the format allows.
        """

    def parameters(self) -> dict[str, str | int | float | bool]:
        """What was chosen or found in fitting, for MLflow."""
        return {}


class Trainer(ABC):
    """A way to make a model. Light to make: heavy libraries are imported in the methods."""

    # Raised by hand whenever the same rows would give another model.
    version: ClassVar[str] = "1"
    # Distributions with which a saved model can be loaded, such as "scikit-learn".
    requirements: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def fit(self, rows: "pd.DataFrame", *, seed: int, services: Services) -> Model:
        """A model of labelled rows. The same rows and seed give the same model."""

    @abstractmethod
    def load(self, folder: Path, *, services: Services) -> Model:
        """What `save` wrote. Raises `UnusableData` when the folder holds something else."""

    def fingerprint(self, services: Services | None = None) -> str:
        """Everything besides rows and seed that decides the model.

        `services` are for trainers whose models stand outside, such as prompts.
        """
        return f"{type(self).__module__}.{type(self).__qualname__}/{self.version}"
