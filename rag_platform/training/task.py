"""What a kind of model is asked, and how its answers are measured: the face of all tasks.

Rows are a pandas frame in one form, whatever files they came from (`rows.py`):

- `unit` (text): who or what the row is about. The same in every delivery: by its hash a row is
  held back, served by the champion or the challenger, and joined with its label. Unique.
- `group` (text): rows of a group never stand on both sides of a split.
- `target`: what is to be told; absent from rows that are to be predicted.
- everything else is a feature, or a column that is only audited (see `ModelSpec.audited`).

Predictions are a frame with the index of the rows and the columns of `Task.prediction_columns`;
`prediction` is always the first of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

UNIT, GROUP, TARGET = "unit", "group", "target"
RESERVED = (UNIT, GROUP, TARGET)

# Of every data set this share is held back, by a hash of the group: no candidate of any week is
# fitted on it, so champion and candidate are compared on rows that neither has seen.
HOLDOUT_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of quality. `unit` is how it is shown: "", "%", "USD", "s"."""

    description: str
    higher_is_better: bool = True
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about labelled rows that a check is for, such as `class_balance`."""

    check: str
    told: str


Draw = Callable[["Figure"], None]


class Task(ABC):
    """A kind of question: classification, tagging, forecasting, finding anomalies, answering.

    Without state and light to make. Arrays are aligned with the rows that were given.
    """

    metrics: ClassVar[Mapping[str, Metric]]
    # By which of the metrics candidate and champion are told apart in words.
    primary: ClassVar[str]
    prediction_columns: ClassVar[tuple[str, ...]] = ("prediction", "score")
    # Of the prediction columns those whose distribution is watched.
    watched_columns: ClassVar[tuple[str, ...]] = ("prediction", "score")
    # The answer that people hope for, where there is one: what groups are compared by.
    positive: str | None = None
    # How the losses of two models on the same units are compared.
    paired: ClassVar[Literal["mcnemar", "bootstrap", "diebold_mariano"]]

    # The checks that `findings` knows.
    checks: ClassVar[tuple[str, ...]] = ()

    def findings(self, rows: "pd.DataFrame") -> list[Finding]:
        """What forbids training on these labelled rows: too few of a class, one class only, ..."""
        return []

    def holdout(self, rows: "pd.DataFrame") -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """Which rows are held back: by a hash of the group, so the same rows week after week."""
        from rag_platform.training.splits import held_back

        return held_back(rows[GROUP], HOLDOUT_SHARE)

    @abstractmethod
    def folds(
        self, rows: "pd.DataFrame", *, folds: int, repeats: int, seed: int
    ) -> Iterator[tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]]:
        """Positions of the rows to fit on and to measure on, `folds` times `repeats` pairs.

        A task whose models are not fitted gives one pair with nothing to fit on.
        """

    @abstractmethod
    def measure(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> dict[str, float]:
        """The metrics on labelled rows; what cannot be told of these rows is left out.

        Metrics of parts are named `metric:part`, such as `f1:ORG`.
        """

    @abstractmethod
    def losses(
        self, rows: "pd.DataFrame", predictions: "pd.DataFrame"
    ) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """How wrong each row was answered, 0 for right: what two models are compared by."""

    def periods(self, rows: "pd.DataFrame") -> "np.ndarray[Any, Any] | None":
        """For each row when it was, as a value that sorts; None where rows have no order in time.

        `diebold_mariano` needs it: losses are averaged by period before they are compared.
        """
        return None

    def clusters(self, rows: "pd.DataFrame") -> "np.ndarray[Any, Any]":
        """What is drawn as a whole where rows are resampled: rows that hang together."""
        return np.asarray(rows[GROUP if GROUP in rows else UNIT])

    def slices(self, rows: "pd.DataFrame") -> Mapping[str, "np.ndarray[Any, np.dtype[np.bool_]]"]:
        """Parts of the rows that are measured on their own, by name; at most some twenty."""
        return {}

    def plots(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> Mapping[str, Draw]:
        """What a person looks at, by title, such as `confusion`, `calibration`, `cost`."""
        return {}
