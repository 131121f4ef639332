"""What a person looks at to judge a classifier. Names of classes come from data: shown as text."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.task import Draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# With more classes the matrix cannot be read: the most frequent mistakes are listed.
MAX_MATRIX = 12
MAX_MISTAKES = 15
_BLUE, _GREY = "#1f77b4", "#888888"


def label(name: str) -> str:
    """A name as plain text of a plot: cut, in one line, and no formula between dollar signs."""
    short = " ".join(name.split())
    return (short if len(short) <= 28 else short[:27] + "…").replace("$", r"\$")


def confusion(counts: NDArray[np.int_], names: list[str]) -> Draw:
    """The matrix, or of many classes the most frequent mistakes."""
    return _matrix(counts, names) if len(names) <= MAX_MATRIX else _mistakes(counts, names)


def _matrix(counts: NDArray[np.int_], names: list[str]) -> Draw:
    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count}", ha="center", va="center", color=colour)
        places, labels = range(len(names)), [label(name) for name in names]
        axes.set_xticks(places, labels, rotation=45 if len(names) > 3 else 0)
        axes.set_yticks(places, labels)
        axes.set(xlabel="told", ylabel="true", title="Rows by true and told class")

    return draw


def _mistakes(counts: NDArray[np.int_], names: list[str]) -> Draw:
    def draw(figure: "Figure") -> None:
        wrong = counts.copy()
        np.fill_diagonal(wrong, 0)
        worst = np.argsort(-wrong, axis=None, kind="stable")[:MAX_MISTAKES]
        pairs = [divmod(int(place), len(names)) for place in worst if wrong.flat[place]][::-1]
        axes = figure.subplots()
        axes.barh(
            [f"{label(names[true])} → {label(names[told])}" for true, told in pairs],
            [int(wrong[pair]) for pair in pairs],
            color=_BLUE,
        )
        axes.set(xlabel="rows", title="Most frequent mistakes: true → told class")

    return draw


def calibration(
    mean: NDArray[np.float64], share: NDArray[np.float64], size: NDArray[np.int_]
) -> Draw:
    """The reliability diagram: points on the diagonal are scores that can be believed."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", label="perfect")
        error = np.sqrt(share * (1 - share) / size)
        axes.errorbar(mean, share, yerr=error, marker="o", color=_BLUE, label="observed")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean score", ylabel="share that is right")
        axes.set_title("Calibration (bars: one standard error)")
        axes.legend()

    return draw


def roc(true: NDArray[np.bool_], score: NDArray[np.float64]) -> Draw:
    """The ROC curve."""

    def draw(figure: "Figure") -> None:
        from sklearn.metrics import roc_auc_score, roc_curve

        wrong, right, _ = roc_curve(true, score)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--")
        axes.plot(wrong, right, color=_BLUE)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.set_title(f"ROC, area {roc_auc_score(true, score):.3f}")

    return draw


def precision_recall(true: NDArray[np.bool_], score: NDArray[np.float64]) -> Draw:
    """The curve of precision over recall, with the share of positives as the line of chance."""

    def draw(figure: "Figure") -> None:
        from sklearn.metrics import average_precision_score, precision_recall_curve

        precision, recall, _ = precision_recall_curve(true, score)
        axes = figure.subplots()
        axes.axhline(float(true.mean()), color=_GREY, linestyle="--")
        axes.plot(recall, precision, color=_BLUE)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axes.set_title(f"Precision and recall, mean {average_precision_score(true, score):.3f}")

    return draw


def cost(thresholds: NDArray[np.float64], costs: NDArray[np.float64], decided: Any) -> Draw:
    """Mean cost of deciding by each threshold, against the decisions that were made."""

    def draw(figure: "Figure") -> None:
        best = int(np.argmin(costs))
        axes = figure.subplots()
        axes.plot(thresholds, costs, color=_BLUE)
        axes.plot(thresholds[best], costs[best], "o", color=_BLUE)
        axes.axhline(float(decided), color=_GREY, linestyle="--", label=f"decided: {decided:.3f}")
        axes.set(xlabel="threshold of the score", ylabel="mean cost of a decision")
        axes.set_title(f"Least cost {costs[best]:.3f} at threshold {thresholds[best]:.2f}")
        axes.legend()

    return draw
