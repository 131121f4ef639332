"""Telling of which class a row is: one of many, or one of two of which one is asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.folds import stratified_folds
from rag_platform.training.grouping import groups
from rag_platform.training.task import GROUP, TARGET, Draw, Finding, Metric, Task
from rag_platform.training.tasks import classification_plots as plots

if TYPE_CHECKING:
    import pandas as pd

# A part of the rows with fewer is too small to be measured on its own.
MIN_SLICE = 20
MAX_SLICES = 20
CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Classification(Task):
    """One class of many. `prediction` is the class, `score` the probability that it is right.

    `out_of_scope` is the class of rows that belong to none of the others, where there is one.
    `sliced` columns cut the rows into the parts that are also measured on their own: by value, by
    the number's place between the edges, or a text by its number of words between them.
    """

    metrics: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric("share of rows whose class is right"),
        "macro_f1": Metric("mean over classes of the F1 of each"),
        "precision": Metric("mean over classes of the share of predictions that are right"),
        "recall": Metric("mean over classes of the share of rows that are found"),
        "brier": Metric("mean squared error of the score as a probability of being right", False),
        "calibration_error": Metric("how far the score is from the share that is right", False),
        "in_scope_accuracy": Metric("accuracy on the rows that belong to a class"),
        "out_of_scope_recall": Metric("share of the rows out of scope that are told to be"),
        "out_of_scope_precision": Metric("share of those told to be out of scope that are"),
    }
    primary: ClassVar[str] = "macro_f1"
    paired: ClassVar[Literal["mcnemar", "bootstrap", "diebold_mariano"]] = "mcnemar"
    checks: ClassVar[tuple[str, ...]] = ("class_balance", "rows_per_class")

    out_of_scope: str | None = None
    min_per_class: int = 10
    # No class may have more of the rows.
    max_share: float = 0.95
    sliced: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def findings(self, rows: "pd.DataFrame") -> list[Finding]:
        """One class only, a class that outweighs all others, classes with too few rows."""
        counts = rows[TARGET].value_counts()
        if len(counts) < 2:
            return [Finding("class_balance", f"{len(counts)} class in {len(rows)} rows: needs 2")]
        found = []
        if counts.iloc[0] / len(rows) > self.max_share:
            told = f"{counts.iloc[0] / len(rows):.1%} are {str(counts.index[0])[:60]!r}"
            found.append(Finding("class_balance", f"{told}: at most {self.max_share:.0%}"))
        few = counts[counts < self.min_per_class]
        if len(few):
            told = ", ".join(f"{name!s:.40} ({count})" for name, count in few.head(5).items())
            least = f"at least {self.min_per_class}"
            found.append(
                Finding("rows_per_class", f"{len(few)} classes too small: {told}; {least}")
            )
        return found

    def folds(
        self, rows: "pd.DataFrame", *, folds: int, repeats: int, seed: int
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Every fold has its share of each class; groups stay whole."""
        return stratified_folds(rows[TARGET], rows[GROUP], folds=folds, repeats=repeats, seed=seed)

    def measure(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> dict[str, float]:
        """The metrics; those of the class out of scope where rows or predictions have it.

        Means over classes are over all that occur in the rows or the predictions, as in
        scikit-learn, with 0 for a class that was never told or never found.
        """
        counts, names = confusion(rows[TARGET], predictions["prediction"])
        right = (rows[TARGET].to_numpy() == predictions["prediction"].to_numpy()).astype(float)
        score = predictions["score"].to_numpy(np.float64)
        told, true, hit = counts.sum(0), counts.sum(1), counts.diagonal()
        measured = {
            "accuracy": float(right.mean()),
            "macro_f1": float(np.mean(2 * hit / (told + true))),
            "precision": float(np.mean(hit / np.maximum(told, 1))),
            "recall": float(np.mean(hit / np.maximum(true, 1))),
            "brier": float(np.mean((score - right) ** 2)),
            "calibration_error": calibration_error(score, right),
        }
        if self.out_of_scope is not None:
            beyond = np.array([name == self.out_of_scope for name in names])
            measured |= _shares(
                in_scope_accuracy=(hit[~beyond].sum(), true[~beyond].sum()),
                out_of_scope_recall=(hit[beyond].sum(), true[beyond].sum()),
                out_of_scope_precision=(hit[beyond].sum(), told[beyond].sum()),
            )
        return measured

    def losses(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> NDArray[np.float64]:
        """1 where the class is wrong."""
        wrong = rows[TARGET].to_numpy() != predictions["prediction"].to_numpy()
        return np.asarray(wrong, np.float64)

    def slices(self, rows: "pd.DataFrame") -> Mapping[str, NDArray[np.bool_]]:
        """The groups of the `sliced` columns that have at least `MIN_SLICE` rows."""
        found = {}
        for column, edges in self.sliced.items():
            if column not in rows:
                continue
            named = _groups(rows[column], edges)
            for name in named.drop_duplicates():
                if (part := (named == name).to_numpy()).sum() >= MIN_SLICE:
                    found[f"{column}: {name!s:.40}"] = part
        return dict(sorted(found.items())[:MAX_SLICES])

    def plots(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> Mapping[str, Draw]:
        """Which classes are taken for which, and how far scores can be believed."""
        counts, names = confusion(rows[TARGET], predictions["prediction"])
        right = (rows[TARGET].to_numpy() == predictions["prediction"].to_numpy()).astype(float)
        score = predictions["score"].to_numpy(np.float64)
        return {
            "confusion": plots.confusion(counts, names),
            "calibration": plots.calibration(*calibration_curve(score, right)),
        }


@dataclass(frozen=True)
class BinaryClassification(Classification):
    """Whether a row is of the class `positive` or of `negative`.

    `score` is the probability of `positive`; at which score a model says so is the model's choice.
    `costs` of a wrong decision: of telling a negative row to be positive, and of the opposite.
    """

    metrics: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric("share of rows whose class is right"),
        "precision": Metric("share of those told to be positive that are"),
        "recall": Metric("share of the positive that are told to be"),
        "f1": Metric("harmonic mean of precision and recall"),
        "specificity": Metric("share of the negative that are told to be"),
        "auc": Metric("probability that a positive row scores above a negative one"),
        "average_precision": Metric("mean precision over all recalls"),
        "brier": Metric("mean squared error of the score", False),
        "log_loss": Metric("mean negative log likelihood of the class", False),
        "calibration_error": Metric("how far the score is from the share of positives", False),
        "cost": Metric("mean cost of a decision", False),
        "positive_rate": Metric("share of rows told to be positive"),
    }
    primary: ClassVar[str] = "auc"
    paired: ClassVar[Literal["mcnemar", "bootstrap", "diebold_mariano"]] = "bootstrap"

    positive: str = "positive"
    negative: str = "negative"
    false_positive_cost: float = 1.0
    false_negative_cost: float = 1.0

    def findings(self, rows: "pd.DataFrame") -> list[Finding]:
        """Besides those of all classifications: classes other than the two."""
        others = set(rows[TARGET]) - {self.positive, self.negative}
        if others:
            told = ", ".join(sorted(str(name)[:40] for name in others)[:5])
            two = f"{self.positive!r} and {self.negative!r}"
            return [Finding("class_balance", f"classes besides {two}: {told}")]
        return super().findings(rows)

    def measure(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> dict[str, float]:
        """The metrics; without those of both classes where the rows have only one.

        Precision is 0 where no row is told to be positive.
        """
        true, told, score = self._arrays(rows, predictions)
        hits, selected, positives = (true & told).sum(), told.sum(), true.sum()
        measured = {
            "accuracy": float((true == told).mean()),
            "precision": float(hits / max(selected, 1)),
            "brier": float(np.mean((score - true) ** 2)),
            "calibration_error": calibration_error(score, true.astype(np.float64)),
            "cost": float(self._costs(true, told).mean()),
            "positive_rate": float(told.mean()),
        }
        measured |= _shares(
            recall=(hits, positives),
            f1=(2 * hits, selected + positives),
            specificity=((~true & ~told).sum(), (~true).sum()),
        )
        return measured | _ranking(true, score)

    def losses(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> NDArray[np.float64]:
        """The squared error of the score: it tells two models apart with fewer rows than the
        decisions do, and is least for the true probability (Brier 1950)."""
        true, _, score = self._arrays(rows, predictions)
        return np.asarray((score - true) ** 2, np.float64)

    def plots(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> Mapping[str, Draw]:
        """Confusion, calibration, both curves of the ranking, and cost over thresholds."""
        true, told, score = self._arrays(rows, predictions)
        drawn = dict(super().plots(rows, predictions))
        drawn["calibration"] = plots.calibration(*calibration_curve(score, true.astype(np.float64)))
        if 0 < true.sum() < len(true):
            thresholds, costs = self.cost_curve(rows, predictions)
            drawn["roc"] = plots.roc(true, score)
            drawn["precision_recall"] = plots.precision_recall(true, score)
            drawn["cost"] = plots.cost(thresholds, costs, self._costs(true, told).mean())
        return drawn

    def cost_curve(
        self, rows: "pd.DataFrame", predictions: "pd.DataFrame"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Thresholds of the score from 0 to 1, and the mean cost of deciding by each."""
        true, _, score = self._arrays(rows, predictions)
        thresholds = np.linspace(0, 1, 101)
        costs = [self._costs(true, score >= threshold).mean() for threshold in thresholds]
        return thresholds, np.array(costs)

    def _costs(self, true: NDArray[np.bool_], told: NDArray[np.bool_]) -> NDArray[np.float64]:
        wrong = self.false_positive_cost * (told & ~true) + self.false_negative_cost * (
            true & ~told
        )
        return np.asarray(wrong, np.float64)

    def _arrays(
        self, rows: "pd.DataFrame", predictions: "pd.DataFrame"
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
        """Who is positive, who is told to be, and the scores."""
        true = (rows[TARGET] == self.positive).to_numpy(bool)
        told = (predictions["prediction"] == self.positive).to_numpy(bool)
        return true, told, predictions["score"].to_numpy(np.float64)


def confusion(true: "pd.Series[Any]", told: "pd.Series[Any]") -> tuple[NDArray[np.int_], list[str]]:
    """How often each class (down) was taken for each (across), and the classes by name."""
    import pandas as pd

    values = np.concatenate([true.to_numpy(), told.to_numpy()])
    codes, names = pd.factorize(pd.Series(values, dtype=str), sort=True)
    width = len(names)
    pairs = codes[: len(true)] * width + codes[len(true) :]
    return np.bincount(pairs, minlength=width * width).reshape(width, width), list(names)


def calibration_curve(
    score: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int_]]:
    """Mean score, share that is right and size of bins with equally many rows, by rising score.

    Rows with one score stay in one bin, so that the order of the rows does not matter.
    """
    edges = np.unique(np.quantile(score, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, score, side="left")
    size = np.bincount(bins, minlength=len(edges) + 1)
    held = size > 0
    means = (np.bincount(bins, values, len(size))[held] / size[held] for values in (score, right))
    return next(means), next(means), size[held]


def calibration_error(score: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """The mean distance of score and share over bins of equal mass (ECE; Nguyen, O'Connor 2015)."""
    mean, share, size = calibration_curve(score, right)
    return float(np.average(np.abs(mean - share), weights=size))


def _ranking(true: NDArray[np.bool_], score: NDArray[np.float64]) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    if not 0 < true.sum() < len(true):
        return {}
    return {
        "auc": float(roc_auc_score(true, score)),
        "average_precision": float(average_precision_score(true, score)),
        "log_loss": float(log_loss(true, score.clip(1e-6, 1 - 1e-6))),
    }


def _shares(**parts: tuple[Any, Any]) -> dict[str, float]:
    """Part over whole by name, where there is a whole."""
    return {name: float(part / whole) for name, (part, whole) in parts.items() if whole}


def _groups(values: "pd.Series[Any]", edges: tuple[float, ...]) -> "pd.Series[str]":
    import pandas as pd

    if edges and not pd.api.types.is_numeric_dtype(values):
        counted = groups(values.astype("string").str.split().str.len(), edges)
        return counted + " words"
    return groups(values, edges)
