"""Isolation Forest (Liu, Ting, Zhou 2008): what few random cuts set apart is unusual.

Labels are never read. Numbers are first centred on their median, divided by the distance of their
quartiles and cut off at five of these: a cut is drawn between the ends of a column, and one value
far out would take all of them. A missing number becomes the median. A category becomes how rare it
is, as the negative logarithm of its share; a category that was never seen is rarer than all.

The threshold of an alert is the score that the target share of the training rows passes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from rag_platform.training.errors import UnusableData
from rag_platform.training.task import TARGET, UNIT
from rag_platform.training.tasks.anomaly import ANOMALY, NORMAL
from rag_platform.training.trainer import Model, Services, Trainer
from rag_platform.training.trainers import skops_file
from rag_platform.training.trainers.encoding import Encoding

if TYPE_CHECKING:
    import pandas as pd

_SETTINGS, _FILE = "model.json", "forest.skops"
_TRUSTED = ("sklearn.tree._tree.Tree",)
_TREES = 200
# Rows to a tree, as in the paper: more hide clusters of anomalies.
_ROWS_OF_TREE = 256
_CUT_OFF = 5.0


class Settings(BaseModel):
    """A model but for its trees. `rarity` is of the categories, by column, and last of others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoding: Encoding
    median: tuple[float, ...]
    scale: tuple[float, ...]
    rarity: dict[str, tuple[float, ...]]
    threshold: float

    def prepared(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """A matrix of the encoding as the trees need it."""
        count = len(self.encoding.numbers)
        numbers = (matrix[:, :count] - np.array(self.median)) / np.array(self.scale)
        columns = [np.nan_to_num(numbers).clip(-_CUT_OFF, _CUT_OFF)]
        for place, rarity in enumerate(self.rarity.values(), start=count):
            code = np.nan_to_num(matrix[:, place], nan=len(rarity) - 1).astype(int)
            columns.append(np.array(rarity)[code][:, None])
        return np.hstack(columns)


@dataclass(frozen=True)
class IsolationModel(Model):
    """Alerts where the score, between 0 and 1, is above the threshold."""

    settings: Settings
    forest: Any

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """`prediction` and `score`."""
        import pandas as pd

        score = np.empty(0)
        matrix = self.settings.encoding.matrix(rows)
        if len(matrix):
            score = _scores(self.forest, self.settings.prepared(matrix))
        told = np.where(score > self.settings.threshold, ANOMALY, NORMAL).astype(object)
        return pd.DataFrame({"prediction": told, "score": score}, index=rows.index)

    def save(self, folder: Path) -> None:
        """`model.json` and the trees by skops."""
        (folder / _SETTINGS).write_text(self.settings.model_dump_json(indent=1), encoding="utf-8")
        skops_file.dump(self.forest, folder / _FILE)

    def parameters(self) -> dict[str, str | int | float | bool]:
        """The threshold and the number of features."""
        return {
            "threshold": self.settings.threshold,
            "features": len(self.settings.encoding.columns),
        }


@dataclass(frozen=True)
class IsolationForest(Trainer):
    """Fits to all columns but the `excluded` ones. `alert_rate` is the share to be alerted of."""

    requirements: ClassVar[tuple[str, ...]] = ("scikit-learn", "skops")

    alert_rate: float = 0.01
    excluded: tuple[str, ...] = ()

    def fit(self, rows: "pd.DataFrame", *, seed: int, services: Services) -> IsolationModel:
        """A model of the rows, in whatever order they are, labelled or not."""
        from sklearn.ensemble import IsolationForest as Forest

        rows = rows.drop(columns=TARGET, errors="ignore").sort_values(UNIT, kind="stable")
        encoding = Encoding.of(rows, self.excluded)
        matrix = encoding.matrix(rows)
        settings = _settings(encoding, matrix)
        prepared = settings.prepared(matrix)
        forest = Forest(
            n_estimators=_TREES,
            max_samples=min(_ROWS_OF_TREE, len(prepared)),
            random_state=seed % 2**32,
        ).fit(prepared)
        threshold = float(np.quantile(_scores(forest, prepared), 1 - self.alert_rate))
        return IsolationModel(settings.model_copy(update={"threshold": threshold}), forest)

    def load(self, folder: Path, *, services: Services) -> IsolationModel:
        """What `save` wrote. Raises `UnusableData` when the folder holds something else."""
        try:
            text = (folder / _SETTINGS).read_text(encoding="utf-8")
            settings = Settings.model_validate(json.loads(text))
            return IsolationModel(settings, skops_file.load(folder / _FILE, _TRUSTED))
        except Exception as error:
            raise UnusableData(
                f"no Isolation Forest in the folder ({type(error).__name__}); train it again."
            ) from error

    def fingerprint(self, services: Services | None = None) -> str:
        """With the alert rate and the excluded columns."""
        return f"{super().fingerprint(services)}/{self!r}"


def _settings(encoding: Encoding, matrix: NDArray[np.float64]) -> Settings:
    count = len(encoding.numbers)
    # A column without a single number is none: `Encoding` leaves it out.
    quartiles = [np.nanpercentile(column, [25, 50, 75]) for column in matrix[:, :count].T]
    low, median, high = np.array(quartiles).reshape(-1, 3).T
    spread = np.nanstd(matrix[:, :count], axis=0)
    # Most values of a column may be the same.
    scale = np.where(high > low, high - low, np.where(spread > 0, spread, 1.0))
    rarity = {}
    for place, (name, kept) in enumerate(encoding.categories.items(), start=count):
        seen = np.bincount(matrix[~np.isnan(matrix[:, place]), place].astype(int), None, len(kept))
        shares = np.append(seen, 0.5) / len(matrix)
        rarity[name] = tuple((-np.log(shares)).tolist())
    return Settings(
        encoding=encoding,
        median=tuple(median.tolist()),
        scale=tuple(scale.tolist()),
        rarity=rarity,
        threshold=0.0,
    )


def _scores(forest: Any, prepared: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-forest.score_samples(prepared), np.float64)
