"""How good a candidate is: measured over many splits, against the champion, and part by part.

1. The trainer is measured by repeated cross-validation on the rows that are not held back. The
   models of the folds never see the rows that they are measured on, nor any target of these.
2. The candidate's twin and the champion's, both fitted without the held-back rows, answer these.
3. Gates are judged (`gates.py`).

A metric that some folds cannot tell, because they have no row of a class, say, is the mean over
those that can; where at least half of the folds cannot, it is left out, and a gate on it fails.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_platform.training import gates as rules
from rag_platform.training import plots
from rag_platform.training.errors import UnusableData
from rag_platform.training.fairness import Impact, impacts
from rag_platform.training.gates import Verdict
from rag_platform.training.spec import ModelSpec
from rag_platform.training.statistics import (
    Comparison,
    Estimate,
    bootstrap_estimates,
    finite,
    paired,
    repeated_estimate,
)
from rag_platform.training.task import TARGET, UNIT, Draw, Task
from rag_platform.training.trainer import Model, Services, Trainer

if TYPE_CHECKING:
    import pandas as pd

# A part of the rows that is smaller is counted, not measured.
MIN_SLICE = 10

Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the rows: how many there are, and the metrics where they are enough."""

    name: str
    units: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that was found of a candidate. Numbers are finite; what cannot be told is left out.

    `metrics` are of cross-validation, in which `units` rows were measured, and `folds` the values
    that they are made of, in the order of the folds. `holdout` and `champion` are those of the
    twins on the `held_back` rows. `slices` and `impacts` are of answers by models that had not seen
    the rows. `timings` are seconds, or milliseconds a row where the name ends with `_ms`.
    """

    units: int
    held_back: int
    metrics: dict[str, Estimate]
    folds: dict[str, list[float]]
    holdout: dict[str, float]
    champion: dict[str, float] | None
    champion_version: str | None
    comparison: Comparison | None
    slices: list[Slice]
    impacts: list[Impact]
    verdicts: list[Verdict]
    timings: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether every gate was passed."""
        return all(verdict.passed for verdict in self.verdicts)

    def as_json(self) -> dict[str, Any]:
        """A value that `json.dumps` takes, with `passed` beside the fields."""
        return {**_adapter().dump_python(self, mode="json"), "passed": self.passed}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Evaluation":
        """What `as_json` gave. Raises `UnusableData` for the form of another version."""
        from pydantic import ValidationError

        try:
            found: Evaluation = _adapter().validate_python(dict(value))
        except ValidationError as error:
            raise UnusableData(
                f"evaluation: kept in another form ({error.error_count()} fields differ); "
                "evaluate the candidate again."
            ) from error
        return found


def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Evaluation)


def evaluate(
    spec: ModelSpec,
    trainer: Trainer,
    rows: "pd.DataFrame",
    *,
    gates: Mapping[str, float],
    twin: Model,
    champion: Model | None,
    champion_version: str | None,
    seed: int,
    services: Services,
) -> Evaluation:
    """Measure a candidate on all labelled rows of a week.

    `twin` and `champion` are models fitted without the held-back rows; `gates` are bounds of the
    settings. Everything but the timings depends on rows and seed alone. Raises `UnusableData` where
    no row is left to measure on, and what fitting and answering raise.
    """
    bounds = rules.bounds(spec, gates)
    rows = rows.sort_values(UNIT, kind="stable", ignore_index=True)  # no verdict hangs on the order
    held = np.asarray(spec.task.holdout(rows), bool)
    folds = _cross_validate(spec, trainer, rows[~held], seed=seed, services=services)
    metrics = folds.estimates(spec.task, seed=seed)
    audit = _audit(spec, folds)
    versus = _versus(spec.task, rows[held], twin, champion, champion_version, seed)
    return Evaluation(
        units=len(np.unique(np.concatenate([fold.positions for fold in folds.folds]))),
        held_back=int(held.sum()),
        metrics=metrics,
        folds={name: folds.values(name) for name in metrics},
        holdout=versus.holdout,
        champion=versus.champion,
        champion_version=champion_version,
        comparison=versus.comparison,
        slices=_slices(spec.task, *folds.passes()[0]),
        impacts=audit,
        verdicts=[
            *rules.judge(spec, bounds, metrics, audit),
            rules.not_worse(versus.comparison, versus.told),
        ],
        timings={**folds.timings, **versus.timings},
    )


def figures(
    spec: ModelSpec,
    rows: "pd.DataFrame",
    twin_predictions: "pd.DataFrame",
    evaluation: Evaluation,
) -> dict[str, Draw]:
    """What a person looks at, by title: gates, folds, and the task's own plots.

    `rows` are those that the twin answered, with their targets, in the order of its answers.
    """
    drawn = {
        "gates": plots.gates(spec.task, evaluation.verdicts),
        "folds": plots.folds(spec.task, evaluation.folds, evaluation.metrics),
    }
    return drawn | (dict(spec.task.plots(rows, twin_predictions)) if len(rows) else {})


def answers(task: Task, model: Model, rows: "pd.DataFrame") -> "pd.DataFrame":
    """The model's predictions of rows, which it is given without their targets.

    Raises `UnusableData` where it cannot take the rows, or leaves out rows or columns.
    """
    predictions = model.predict(rows.drop(columns=TARGET, errors="ignore"))
    missing = [name for name in task.prediction_columns if name not in predictions]
    if missing or not predictions.index.equals(rows.index):
        what = f"columns {', '.join(missing)}" if missing else "an answer for each row"
        raise UnusableData(f"{type(model).__name__}: its predictions lack {what}.")
    return predictions


# Cross-validation


@dataclass(frozen=True, slots=True)
class _Fold:
    """Rows of one fold with the answers of a model that had not seen them."""

    positions: Positions
    rows: "pd.DataFrame"
    predictions: "pd.DataFrame"
    measured: dict[str, float]
    fitted_on: int


@dataclass(frozen=True, slots=True)
class _Folds:
    """All folds of repeated cross-validation, one or more."""

    folds: list[_Fold]
    timings: dict[str, float]

    def values(self, metric: str) -> list[float]:
        """A metric of each fold that could tell it."""
        return [fold.measured[metric] for fold in self.folds if metric in fold.measured]

    def estimates(self, task: Task, *, seed: int) -> dict[str, Estimate]:
        """The metrics that more than half of the folds could tell, in the task's order."""
        if len(self.folds) == 1:
            only = self.folds[0]
            return bootstrap_estimates(task, only.rows, only.predictions, seed=seed)
        answered = sum(len(fold.rows) for fold in self.folds)
        ratio = answered / max(sum(fold.fitted_on for fold in self.folds), 1)
        told = dict.fromkeys(name for fold in self.folds for name in fold.measured)
        return {
            name: repeated_estimate(values, measured_over_fitted=ratio)
            for name in told
            if len(values := self.values(name)) > max(1, len(self.folds) / 2)
        }

    def passes(self) -> "list[tuple[pd.DataFrame, pd.DataFrame]]":
        """Rows and answers pooled over folds, anew whenever a row is answered again.

        A repeat of cross-validation is a pass, in which each row is answered once.
        """
        import pandas as pd

        pools: list[list[_Fold]] = []
        seen: set[int] = set()
        for fold in self.folds:
            places = set(fold.positions.tolist())
            if not pools or seen & places:
                pools.append([])
                seen = set()
            pools[-1].append(fold)
            seen |= places
        return [
            (
                pd.concat([fold.rows for fold in pool]),
                pd.concat([fold.predictions for fold in pool]),
            )
            for pool in pools
        ]


def _cross_validate(
    spec: ModelSpec, trainer: Trainer, rows: "pd.DataFrame", *, seed: int, services: Services
) -> _Folds:
    """Fit and measure on every fold; each model has a seed of its own, as each has its rows."""
    found = []
    fit_s = predict_s = 0.0
    splits = _splits(spec, rows, seed)
    for number, (fit_on, measure_on) in enumerate(splits):
        started = time.monotonic()
        model = trainer.fit(rows.iloc[fit_on], seed=seed + number, services=services)
        fitted = time.monotonic()
        part = rows.iloc[measure_on]
        predictions = answers(spec.task, model, part)
        predict_s += time.monotonic() - fitted
        fit_s += fitted - started
        measured = finite(spec.task.measure(part, predictions))
        found.append(_Fold(measure_on, part, predictions, measured, len(fit_on)))
    if not found:
        raise UnusableData(f"{spec.name}: {len(rows)} rows are too few for any fold.")
    answered = sum(len(fold.rows) for fold in found)
    return _Folds(
        found,
        {
            "fit": fit_s / len(found),
            "cross_validation": fit_s + predict_s,
            "predict_ms": 1000 * predict_s / answered,
        },
    )


def _splits(spec: ModelSpec, rows: "pd.DataFrame", seed: int) -> Iterator[tuple[Any, Any]]:
    pairs = spec.task.folds(rows, folds=spec.folds, repeats=spec.repeats, seed=seed)
    return (pair for pair in pairs if len(pair[1]))


# Parts of the rows


def _slices(task: Task, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> list[Slice]:
    """The metrics of the task's slices, over one pass."""
    found = []
    for name, mask in task.slices(rows).items():
        units = int(mask.sum())
        measured = {}
        if units >= MIN_SLICE:
            measured = finite(task.measure(rows[mask], predictions[mask]))
        found.append(Slice(name, units, measured))
    return found


def _audit(spec: ModelSpec, folds: _Folds) -> list[Impact]:
    """What is found of each audited column, by the pass whose ratio is the middle one.

    Each pass answers each row once. All passes in one pool would count each row many times over.
    """
    if (selected := rules.favourable(spec)) is None:
        return []
    found = [impacts(spec, *each, selected=selected) for each in folds.passes()]
    return [_middle(same) for same in zip(*found, strict=True)]


def _middle(found: Sequence[Impact]) -> Impact:
    known = sorted(
        (impact for impact in found if impact.value is not None), key=lambda one: one.value or 0.0
    )
    return known[(len(known) - 1) // 2] if known else found[0]


# Candidate and champion


@dataclass(frozen=True, slots=True)
class _Versus:
    """The twins on the held-back rows; `told` is what to say of it."""

    holdout: dict[str, float]
    champion: dict[str, float] | None
    comparison: Comparison | None
    told: str
    timings: dict[str, float]


def _versus(
    task: Task,
    rows: "pd.DataFrame",
    twin: Model,
    champion: Model | None,
    version: str | None,
    seed: int,
) -> _Versus:
    if not len(rows):
        return _Versus({}, None, None, "no rows are held back", {})
    started = time.monotonic()
    ours = answers(task, twin, rows)
    timings = {"holdout_ms": 1000 * (time.monotonic() - started) / len(rows)}
    holdout = finite(task.measure(rows, ours))
    if champion is None:
        return _Versus(holdout, None, None, "there is no champion yet", timings)
    started = time.monotonic()
    try:
        theirs = answers(task, champion, rows)
    except UnusableData as error:
        told = f"version {version} cannot answer these rows and was not compared ({error})"
        return _Versus(holdout, None, None, told, timings)
    timings["champion_ms"] = 1000 * (time.monotonic() - started) / len(rows)
    reference = finite(task.measure(rows, theirs))
    told = f"version {version}"
    if task.primary in holdout and task.primary in reference:
        ours_told, theirs_told = (f"{one[task.primary]:.4g}" for one in (holdout, reference))
        told = f"{task.primary} {ours_told} against {theirs_told} of version {version}"
    comparison = paired(task, rows, ours, theirs, seed=seed)
    return _Versus(holdout, reference, comparison, told, timings)
