"""What trainers of two classes on tables share: encoding, threshold and files.

The threshold is chosen in fitting: models of an inner cross-validation score rows that they have
not seen, and of the thresholds whose accuracy there is within half a standard error of the best
the middle one is taken. The single best one would be chosen by noise: accuracy hardly changes over
a wide range of thresholds. No column but the features has a part in it, so nobody is decided on by
the group they belong to.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from rag_platform.training.errors import UnusableData
from rag_platform.training.folds import stratified_folds
from rag_platform.training.task import GROUP, TARGET, UNIT
from rag_platform.training.trainer import Model, Services, Trainer
from rag_platform.training.trainers.encoding import Encoding

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = "model.json"
THRESHOLD_FOLDS = 5
# So many rows of the inner cross-validation are enough to choose the threshold by.
THRESHOLD_ROWS = 5_000

# Probability of the positive class of each row of a matrix.
Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Settings(BaseModel):
    """A model but for its trees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trainer: str
    positive: str
    negative: str
    threshold: float
    encoding: Encoding


@dataclass(frozen=True)
class Scorer:
    """What was fitted: how it scores, and how its file is written."""

    score: Score
    write: Callable[[Path], None]


@dataclass(frozen=True)
class BinaryModel(Model):
    """Says `positive` where the score is at least the threshold."""

    settings: Settings
    scorer: Scorer

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """`prediction` and `score`, the probability of the positive class."""
        import pandas as pd

        matrix = self.settings.encoding.matrix(rows)
        score = self.scorer.score(matrix) if len(matrix) else np.empty(0)
        told = np.array([self.settings.negative, self.settings.positive], dtype=object)
        is_positive = (score >= self.settings.threshold).astype(int)
        return pd.DataFrame({"prediction": told[is_positive], "score": score}, index=rows.index)

    def save(self, folder: Path) -> None:
        """`model.json`, and what was fitted in its library's own file."""
        (folder / SETTINGS).write_text(self.settings.model_dump_json(indent=1), encoding="utf-8")
        self.scorer.write(folder)

    def parameters(self) -> dict[str, str | int | float | bool]:
        """The threshold and the number of features."""
        return {
            "threshold": self.settings.threshold,
            "features": len(self.settings.encoding.columns),
        }


@dataclass(frozen=True)
class BinaryTrainer(Trainer, ABC):
    """Fits scores of `positive` against `negative` on all columns but the `excluded` ones."""

    positive: str
    negative: str
    excluded: tuple[str, ...] = ()

    @abstractmethod
    def scorer(self, matrix: NDArray[np.float64], positive: NDArray[np.bool_], seed: int) -> Scorer:
        """Fit to a matrix and who is positive."""

    @abstractmethod
    def read(self, folder: Path) -> Scorer:
        """The scorer that was written. May raise anything when the file is another one."""

    def fit(self, rows: "pd.DataFrame", *, seed: int, services: Services) -> BinaryModel:
        """A model of the rows, in whatever order they are.

        Raises `UnusableData` when the rows are not of both classes.
        """
        rows = rows.sort_values(UNIT, kind="stable")
        positive = (rows[TARGET] == self.positive).to_numpy(bool)
        if set(rows[TARGET]) != {self.positive, self.negative}:
            raise UnusableData(
                f"{len(rows)} rows: to be fitted they need both {self.positive!r} and "
                f"{self.negative!r}, and no other class."
            )
        encoding = Encoding.of(rows, self.excluded)
        matrix = encoding.matrix(rows)
        settings = Settings(
            trainer=type(self).__name__,
            positive=self.positive,
            negative=self.negative,
            threshold=self._threshold(rows, matrix, positive, seed),
            encoding=encoding,
        )
        return BinaryModel(settings, self.scorer(matrix, positive, seed))

    def load(self, folder: Path, *, services: Services) -> BinaryModel:
        """What `save` wrote. Raises `UnusableData` when the folder holds something else."""
        try:
            text = (folder / SETTINGS).read_text(encoding="utf-8")
            settings = Settings.model_validate(json.loads(text))
            if settings.trainer != type(self).__name__:
                raise ValueError(f"made by {settings.trainer[:60]!r}")
            return BinaryModel(settings, self.read(folder))
        except UnusableData:
            raise
        except Exception as error:
            raise UnusableData(
                f"no model of {type(self).__name__} in the folder ({type(error).__name__}); train "
                "it again."
            ) from error

    def fingerprint(self, services: Services | None = None) -> str:
        """With the classes and the excluded columns."""
        return f"{super().fingerprint(services)}/{self!r}"

    def _threshold(
        self,
        rows: "pd.DataFrame",
        matrix: NDArray[np.float64],
        positive: NDArray[np.bool_],
        seed: int,
    ) -> float:
        seen: list[tuple[Any, Any]] = []
        inner = stratified_folds(
            rows[TARGET], rows[GROUP], folds=THRESHOLD_FOLDS, repeats=1, seed=seed
        )
        for fitted, measured in inner:
            if sum(len(one) for one, _ in seen) >= THRESHOLD_ROWS:
                break
            scorer = self.scorer(matrix[fitted], positive[fitted], seed)
            seen.append((positive[measured], scorer.score(matrix[measured])))
        true, scores = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        return middle_threshold(true, scores)


def middle_threshold(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """The middle one of the thresholds whose accuracy is near the best (see the module)."""
    thresholds = np.arange(5, 96) / 100
    accuracy = np.array([((score >= one) == positive).mean() for one in thresholds])
    best = accuracy.max()
    near = thresholds[accuracy >= best - np.sqrt(best * (1 - best) / len(score)) / 2]
    return float(near[len(near) // 2])
