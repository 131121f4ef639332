"""Finding what is not as the rest is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.folds import stratified_folds
from rag_platform.training.grouping import groups
from rag_platform.training.task import GROUP, TARGET, Draw, Finding, Metric, Task
from rag_platform.training.tasks import anomaly_plots, classification_plots

if TYPE_CHECKING:
    import pandas as pd

ANOMALY, NORMAL, UNLABELLED = "anomaly", "normal", "unlabelled"
MIN_SLICE = 20
MAX_SLICES = 20


@dataclass(frozen=True)
class Anomalies(Task):
    """`prediction` is "anomaly" (an alert) or "normal", a higher `score` is more unusual.

    Rows of a group are one event: it is an anomaly where one of its rows is, it scores as its
    highest row does, and it is found by one alert. A row that stands alone is a group of its own.

    Labels measure and are never fitted to, so they may be missing: events of rows that are all
    unlabelled are not measured, and without labelled events of both classes the metrics that need
    them are left out. Where the normal rows are thinned and the anomalies are not, as data for
    development often are, `precision` and `average_precision` come out too high for daily use:
    with one normal row kept in k, of the alerts TP / (TP + k FP) would be right.
    """

    metrics: ClassVar[Mapping[str, Metric]] = {
        "roc_auc": Metric("probability that an anomaly scores above a normal event"),
        "average_precision": Metric("mean precision over all recalls, of events"),
        "alert_rate": Metric("share of rows that are alerts", higher_is_better=False),
        "precision": Metric("share of the events with an alert that are anomalies"),
        "recall": Metric("share of the anomalies with an alert"),
    }
    primary: ClassVar[str] = "roc_auc"
    paired: ClassVar[Literal["mcnemar", "bootstrap", "diebold_mariano"]] = "bootstrap"
    checks: ClassVar[tuple[str, ...]] = ("labels",)

    # A column whose values are parts that are measured on their own.
    sliced: str | None = None

    def findings(self, rows: "pd.DataFrame") -> list[Finding]:
        """Classes that are none, and labels by which anomalies are the rule."""
        unknown = set(rows[TARGET]) - {ANOMALY, NORMAL, UNLABELLED}
        if unknown:
            return [Finding("labels", f"{len(unknown)} classes besides {ANOMALY} and {NORMAL}")]
        counts = rows[TARGET].value_counts()
        found, others = int(counts.get(ANOMALY, 0)), int(counts.get(NORMAL, 0))
        if found > others:
            return [Finding("labels", f"{found} anomalies and {others} normal rows: exchanged?")]
        return []

    def folds(
        self, rows: "pd.DataFrame", *, folds: int, repeats: int, seed: int
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Events stay whole, and every fold has its share of the anomalies."""
        return stratified_folds(rows[TARGET], rows[GROUP], folds=folds, repeats=repeats, seed=seed)

    def measure(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> dict[str, float]:
        """The metrics; all but the alert rate are of labelled events."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        alerts = (predictions["prediction"] == ANOMALY).to_numpy(bool)
        measured = {"alert_rate": float(alerts.mean())}
        events = _events(rows, predictions)
        hits = (events.true & events.alert).sum()
        if events.true.any():
            measured["recall"] = float(hits / events.true.sum())
        if events.true.any() and not events.true.all():
            measured["precision"] = float(hits / max(events.alert.sum(), 1))
            measured["roc_auc"] = float(roc_auc_score(events.true, events.score))
            measured["average_precision"] = float(
                average_precision_score(events.true, events.score)
            )
        return measured

    def losses(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> NDArray[np.float64]:
        """1 - `roc_auc` as a mean over rows, so that the area can be compared like other losses.

        The placement of an anomaly is the share of normal events that score above it, that of a
        normal event the share of anomalies below it; ties count half. Each event departs from
        1 - area by what its placement does, divided by the number of events of its class: with it
        the resampled mean varies as the area does (DeLong et al. 1988, Biometrics 44). So the loss
        of a single row may be below 0. All are 0 where the area cannot be told.
        """
        events = _events(rows, predictions)
        true, score = events.true, events.score
        if not true.any() or true.all():
            return np.zeros(len(rows))
        placement = np.empty(len(true))
        placement[true] = 1 - _below(score[~true], score[true])
        placement[~true] = _below(score[true], score[~true])
        lacking = placement[true].mean()
        is_row = events.of_row >= 0
        of_class = np.where(true, true.sum(), (~true).sum())
        of_event = np.bincount(events.of_row[is_row], minlength=len(true))
        departure = (placement - lacking) * len(rows) / (of_class * of_event)
        losses = np.full(len(rows), lacking)
        losses[is_row] += departure[events.of_row[is_row]]
        return losses

    def slices(self, rows: "pd.DataFrame") -> Mapping[str, NDArray[np.bool_]]:
        """By the values of the `sliced` column."""
        if self.sliced is None or self.sliced not in rows:
            return {}
        named = groups(rows[self.sliced])
        counts = named.value_counts()
        kept = sorted(counts[counts >= MIN_SLICE].index[:MAX_SLICES])
        return {f"{self.sliced}: {name[-60:]}": (named == name).to_numpy() for name in kept}

    def plots(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> Mapping[str, Draw]:
        """The scores of both classes, and where labels allow both curves of the ranking."""
        events = _events(rows, predictions)
        alerts = (predictions["prediction"] == ANOMALY).to_numpy(bool)
        scores = predictions["score"].to_numpy(np.float64)
        least = float(scores[alerts].min()) if alerts.any() else None
        if not events.true.any() or events.true.all():
            return {"scores": anomaly_plots.scores({"rows": scores}, least)}
        parts = {"normal": events.score[~events.true], "anomalies": events.score[events.true]}
        return {
            "scores": anomaly_plots.scores(parts, least),
            "roc": classification_plots.roc(events.true, events.score),
            "precision_recall": classification_plots.precision_recall(events.true, events.score),
        }


@dataclass(frozen=True)
class _Events:
    """Labelled events, and of each row which event it belongs to, -1 for none."""

    true: NDArray[np.bool_]
    score: NDArray[np.float64]
    alert: NDArray[np.bool_]
    of_row: NDArray[np.intp]


def _events(rows: "pd.DataFrame", predictions: "pd.DataFrame") -> _Events:
    import pandas as pd

    target = rows[TARGET].to_numpy()
    codes, names = pd.factorize(rows[GROUP])
    labelled = np.zeros(len(names), bool)
    labelled[codes[(target == ANOMALY) | (target == NORMAL)]] = True
    true, alert = np.zeros(len(names), bool), np.zeros(len(names), bool)
    true[codes[target == ANOMALY]] = True
    alert[codes[(predictions["prediction"] == ANOMALY).to_numpy(bool)]] = True
    score = np.full(len(names), -np.inf)
    np.maximum.at(score, codes, predictions["score"].to_numpy(np.float64))
    place = np.where(labelled, np.cumsum(labelled) - 1, -1)
    return _Events(true[labelled], score[labelled], alert[labelled], place[codes])


def _below(others: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Which share of the others is below each score; ties count half."""
    ordered = np.sort(others)
    places = [np.searchsorted(ordered, scores, side=side) for side in ("left", "right")]
    return np.asarray(np.add(*places) / (2 * len(others)), np.float64)
