"""Gradient boosted trees by scikit-learn, saved with skops."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.trainers import skops_file
from rag_platform.training.trainers.binary import BinaryTrainer, Scorer

_FILE = "trees.skops"
# Besides those that skops trusts: what a fitted classifier of two classes is made of.
_TRUSTED = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)


@dataclass(frozen=True)
class HistGB(BinaryTrainer):
    """A second opinion to XGBoost, with no library but scikit-learn."""

    requirements: ClassVar[tuple[str, ...]] = ("scikit-learn", "skops")

    def scorer(self, matrix: NDArray[np.float64], positive: NDArray[np.bool_], seed: int) -> Scorer:
        from sklearn.ensemble import HistGradientBoostingClassifier

        trees = HistGradientBoostingClassifier(
            learning_rate=0.04,
            max_iter=200,
            max_depth=3,
            min_samples_leaf=10,
            l2_regularization=2,
            max_features=0.3,
            early_stopping=False,
            random_state=seed % 2**32,
        )
        return _scorer(trees.fit(matrix, positive))

    def read(self, folder: Path) -> Scorer:
        return _scorer(skops_file.load(folder / _FILE, _TRUSTED))


def _scorer(trees: Any) -> Scorer:
    return Scorer(
        lambda matrix: np.asarray(trees.predict_proba(matrix)[:, 1], np.float64),
        lambda folder: skops_file.dump(trees, folder / _FILE),
    )
