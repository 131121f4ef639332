"""Answering questions from a text, with its parts cited, or refusing where it does not say."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.errors import UnusableData
from rag_platform.training.splits import points
from rag_platform.training.task import TARGET, UNIT, Draw, Finding, Metric, Task
from rag_platform.training.tasks.answers import Target, answer_of, is_grounded, target_of
from rag_platform.training.tasks.tatqa import exact_match_and_f1

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

QUESTION, CONTEXT = "question", "context"

# Each answer may cost money: so many rows are measured on, and so many are held back at most. Those
# with the lowest hashes, so they stay nearly the same from delivery to delivery.
MEASURED = 200
HELD_BACK = 100
# A part of the rows with fewer is too small to be measured on its own.
MIN_SLICE = 20

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer against what is right. `answered`: it is an answer, and no refusal."""

    exact: float
    f1: float
    refused: bool
    answered: bool
    grounded: bool
    on_evidence: bool | None


class Answering(Task):
    """`prediction` is an `Answer` as JSON, or missing where a model gave none that can be used.

    `score` is the probability that the text holds an answer, in the model's eyes; `model` says who
    answered (`extractive` is none), by which `prompt`, for what `cost_usd`, after `latency_s`.
    Cost and latency are missing where they are not known.
    """

    metrics: ClassVar[Mapping[str, Metric]] = {
        "exact_match": Metric("share of answerable questions answered exactly, as TAT-QA counts"),
        "f1": Metric("mean overlap with the right answer over answerable questions, as TAT-QA"),
        "grounded": Metric("share of answers that stand, or are made of what stands, where cited"),
        "on_evidence": Metric("share of answers that cite a part known to hold the answer"),
        "refusal_recall": Metric("share of questions without an answer that are refused"),
        "refusal_precision": Metric("share of refusals that are of such questions"),
        "answered": Metric("share of answerable questions that got an answer"),
        "failed": Metric("share of questions to which the model gave nothing usable", False),
        "cost_per_answer": Metric("mean price of an answer", False, "USD"),
        "latency_p50": Metric("median time that an answer took", False, "s"),
    }
    primary: ClassVar[str] = "f1"
    prediction_columns: ClassVar[tuple[str, ...]] = (
        *("prediction", "score", "model", "prompt", "cost_usd", "latency_s"),
    )
    watched_columns: ClassVar[tuple[str, ...]] = ("score",)
    paired: ClassVar[Literal["mcnemar", "bootstrap", "diebold_mariano"]] = "bootstrap"
    checks: ClassVar[tuple[str, ...]] = ("both_kinds",)

    def findings(self, rows: "pd.DataFrame") -> list[Finding]:
        """Rows without a question that has an answer, or without one that has none."""
        targets = _targets(rows)
        answerable = sum(target.answerable for target in targets)
        if 0 < answerable < len(targets):
            return []
        kind = "without" if answerable else "with"
        told = f"none of {len(targets):,} questions is {kind} an answer; both kinds are needed"
        return [Finding("both_kinds", told)]

    def holdout(self, rows: "pd.DataFrame") -> Bools:
        """Of the groups that are held back, the rows of the lowest hashes: `HELD_BACK` at most."""
        held = super().holdout(rows)
        return _lowest(rows, held, HELD_BACK)

    def folds(
        self, rows: "pd.DataFrame", *, folds: int, repeats: int, seed: int
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """One pair: nothing is fitted; of the groups not held back `MEASURED` rows are measured."""
        others = ~super().holdout(rows)
        yield np.array([], np.intp), np.flatnonzero(_lowest(rows, others, MEASURED))

    def measure(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> dict[str, float]:
        """The metrics; without those that these rows and answers have nothing for."""
        targets, judged = _judged(rows, predictions)
        answerable = np.array([target.answerable for target in targets], bool)
        refused = np.array([each.refused for each in judged], bool)
        answered = np.array([each.answered for each in judged], bool)
        on_evidence = [each.on_evidence for each in judged if each.on_evidence is not None]
        means = {
            "exact_match": np.array([each.exact for each in judged])[answerable],
            "f1": np.array([each.f1 for each in judged])[answerable],
            "grounded": np.array([each.grounded for each in judged])[answered],
            "on_evidence": np.array(on_evidence),
            "refusal_recall": refused[~answerable],
            "refusal_precision": ~answerable[refused],
            "answered": answered[answerable],
            "failed": ~(refused | answered),
            "cost_per_answer": _known(predictions["cost_usd"]),
        }
        measured = {name: float(values.mean()) for name, values in means.items() if len(values)}
        latency = _known(predictions["latency_s"])
        return measured | ({"latency_p50": float(np.median(latency))} if len(latency) else {})

    def losses(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> Floats:
        """1 - F1 of an answerable question; of the others 1, unless the answer is a refusal."""
        targets, judged = _judged(rows, predictions)
        pairs = zip(targets, judged, strict=True)
        return np.array(
            [
                1 - each.f1 if target.answerable else float(not each.refused)
                for target, each in pairs
            ],
            np.float64,
        )

    def slices(self, rows: "pd.DataFrame") -> Mapping[str, Bools]:
        """By type of answer, and by where it stands, where there are `MIN_SLICE` rows."""
        targets = _targets(rows)
        named = [(f"type: {each.type:.40}", f"source: {each.source:.40}") for each in targets]
        found = {}
        for name in sorted({name for pair in named for name in pair if not name.endswith(": ")}):
            part = np.array([name in pair for pair in named], bool)
            if part.sum() >= MIN_SLICE:
                found[name] = part
        return dict(list(found.items())[:20])

    def plots(self, rows: "pd.DataFrame", predictions: "pd.DataFrame") -> Mapping[str, Draw]:
        """How well each type of question is answered, and what is refused."""
        targets, judged = _judged(rows, predictions)
        return {
            "f1_by_type": _f1_by_type(targets, judged),
            "refusals": _refusals(targets, judged),
        }


def _lowest(rows: "pd.DataFrame", among: Bools, most: int) -> Bools:
    """The rows of the lowest hashes among some: spread over all groups."""
    order = np.where(among, points(rows[UNIT], "measured"), np.inf)
    chosen = np.zeros(len(rows), bool)
    chosen[np.argsort(order, kind="stable")[: min(most, int(among.sum()))]] = True
    return chosen


def _targets(rows: "pd.DataFrame") -> list[Target]:
    return [_target(text) for text in rows[TARGET]]


@lru_cache(maxsize=4096)
def _target(text: str) -> Target:
    try:
        return target_of(text)
    except ValueError:
        raise UnusableData(
            "target: not of the form that the reader gives (answers, scale, type, answerable, "
            "cites as JSON); read the data again."
        ) from None


def _judged(rows: "pd.DataFrame", predictions: "pd.DataFrame") -> tuple[list[Target], list[Judged]]:
    columns = (rows[QUESTION], rows[CONTEXT], rows[TARGET], predictions["prediction"])
    judged = [
        judge(question, context, target, said if isinstance(said, str) else None)
        for question, context, target, said in zip(*columns, strict=True)
    ]
    return _targets(rows), judged


# Intervals come of measuring the same answers some hundred times.
@lru_cache(maxsize=2048)
def judge(question: str, context: str, target: str, prediction: str | None) -> Judged:
    """An answer, as JSON, against a target, as JSON. Raises `UnusableData` for an odd target."""
    right, said = _target(target), answer_of(prediction)
    if said is None or said.refused:
        return Judged(0.0, 0.0, said is not None, False, False, None)
    exact, f1 = 0.0, 0.0
    if right.answerable:
        exact, f1 = exact_match_and_f1(
            said.answer, said.scale, right.answers, right.scale, right.type
        )
    evidence = tuple(f"{part}." for part in right.cites)
    on_evidence = any(f"{cite}.".startswith(evidence) for cite in said.cites)
    grounded = is_grounded(said, context, question)
    return Judged(exact, f1, False, True, grounded, on_evidence if evidence else None)


def _known(column: "pd.Series[Any]") -> Floats:
    values = column.to_numpy(np.float64, na_value=math.nan)
    return np.asarray(values[np.isfinite(values)], np.float64)


def _f1_by_type(targets: list[Target], judged: list[Judged]) -> Draw:
    def draw(figure: "Figure") -> None:
        from rag_platform.training.tasks.classification_plots import label

        parts: dict[str, list[float]] = {}
        for target, each in zip(targets, judged, strict=True):
            if target.answerable:
                parts.setdefault(f"{target.type} in {target.source or 'text'}", []).append(each.f1)
        names = sorted(parts, reverse=True)
        axes = figure.subplots()
        axes.barh(
            [f"{label(name)} ({len(parts[name])})" for name in names],
            [float(np.mean(parts[name])) for name in names],
        )
        axes.set(xlim=(0, 1), xlabel="mean F1", title="F1 by type of answer (questions)")

    return draw


def _refusals(targets: list[Target], judged: list[Judged]) -> Draw:
    def draw(figure: "Figure") -> None:
        kinds = {"answered": 0, "refused": 0, "nothing usable": 0}
        counts = {True: dict(kinds), False: dict(kinds)}
        for target, each in zip(targets, judged, strict=True):
            done = "refused" if each.refused else "nothing usable"
            counts[target.answerable]["answered" if each.answered else done] += 1
        axes = figure.subplots()
        names = ["with an answer", "without an answer"]
        left = np.zeros(2)
        for kind in kinds:
            width = np.array([counts[True][kind], counts[False][kind]])
            axes.barh(names, width, left=left, label=kind)
            left += width
        axes.set(xlabel="questions", title="What becomes of questions")
        axes.legend()

    return draw
