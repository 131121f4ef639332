"""Calibrated confidence: what the model's own confidence has been worth to people who reviewed it.

Platt scaling on the log-odds, for each prompt version and model, from the decisions of reviews:
approved is right, another label or a rejection is wrong.

What is reviewed is not a sample of all documents: mostly those below the gate are. Above the
largest confidence that was reviewed the curve is extrapolated, and its figures describe reviewed
documents only. A page whose quality gate sends all of it to review is a fair sample.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import reviews

Floats = NDArray[np.float64]

# Below this many reviewed documents, or with one kind of outcome only, nothing is scaled.
MIN_ITEMS = 20
_EDGE = 1e-4
_BINS = 10


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One reviewed document: the model's confidence in its label, and whether it was right."""

    confidence: float
    right: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """Maps a raw confidence to a calibrated one; the identity when `items` were too few.

    The scaled one is `sigmoid(slope * logit(raw) + offset)`, slope >= 0.
    """

    slope: float
    offset: float
    items: int
    is_scaled: bool

    def __call__(self, raw: float) -> float:
        """The calibrated confidence of a raw one; both between 0 and 1."""
        return _sigmoid(self.slope * _logit(raw) + self.offset) if self.is_scaled else raw


RAW = Calibration(1.0, 0.0, 0, False)


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin of the reliability diagram: mean confidence, share of right ones, documents."""

    confidence: float
    accuracy: float
    count: int


class Calibrations:
    """The calibrations of all prompt versions and models, from the reviews of all sources."""

    def __init__(self, catalog: Catalog) -> None:
        self._items = reviewed_items(catalog)
        self._known: dict[tuple[str, str], Calibration] = {}

    def of(self, prompt: str | None, model: str | None) -> Calibration:
        """The calibration of one prompt version and model."""
        key = (prompt or "", model or "")
        if key not in self._known:
            self._known[key] = fit(self._items.get(key, ()))
        return self._known[key]

    def items(self, prompt: str, model: str) -> Sequence[Reviewed]:
        """What a calibration was made of."""
        return self._items.get((prompt, model), ())


def reviewed_items(catalog: Catalog) -> dict[tuple[str, str], list[Reviewed]]:
    """Reviewed documents by prompt version and model, the same text of a source once."""
    statement = (
        sa.select(reviews)
        .where(
            reviews.c.status.in_(("approved", "corrected", "rejected")),
            reviews.c.raw_confidence.is_not(None),
            reviews.c.prompt.is_not(None),
            reviews.c.model.is_not(None),
        )
        .order_by(reviews.c.id)
    )
    found: dict[tuple[str, str], dict[tuple[str, str], Reviewed]] = {}
    with catalog.read() as connection:
        for row in connection.execute(statement):
            label = (row.decision or {}).get("label", row.label)
            right = row.status != "rejected" and label == row.label
            of_model = found.setdefault((row.prompt, row.model), {})
            of_model[(row.source, row.text_hash)] = Reviewed(row.raw_confidence, right)
    return {key: list(items.values()) for key, items in found.items()}


def fit(items: Sequence[Reviewed]) -> Calibration:
    """Platt scaling, with his smoothed targets; the identity below `MIN_ITEMS` or one class."""
    right = sum(item.right for item in items)
    wrong = len(items) - right
    if len(items) < MIN_ITEMS or not right or not wrong:
        return Calibration(1.0, 0.0, len(items), False)
    scores = np.array([_logit(item.confidence) for item in items])
    # One more of each kind: a threshold that happens to split them is no certainty.
    high, low = (right + 1) / (right + 2), 1 / (wrong + 2)
    targets = np.array([high if item.right else low for item in items])
    slope, offset = _regression(scores, targets)
    if slope < 0:
        # More confidence was no sign of being right: only how often it was is left.
        slope, offset = 0.0, _logit(float(targets.mean()))
    return Calibration(slope, offset, len(items), True)


def _regression(scores: Floats, targets: Floats) -> tuple[float, float]:
    """The logistic regression of `targets` on `scores`, both of shape (n,): slope and offset.

    Newton's method with halved steps where a whole one goes too far. A slight pull towards
    slope 1 keeps scores that are all alike from having no solution.
    """
    design = np.stack([scores, np.ones_like(scores)], axis=1)
    prior, pull = np.array([1.0, 0.0]), np.array([1e-2, 1e-6])

    def loss(weights: Floats) -> float:
        value = design @ weights
        likelihood = np.logaddexp(0, value) - targets * value
        return float(likelihood.sum() + (pull * (weights - prior) ** 2).sum() / 2)

    weights = prior.copy()
    for _ in range(100):
        chances = 1 / (1 + np.exp(-np.clip(design @ weights, -35, 35)))
        gradient = design.T @ (chances - targets) + pull * (weights - prior)
        hessian = (design * (chances * (1 - chances))[:, None]).T @ design + np.diag(pull)
        step = np.linalg.solve(hessian, gradient)
        before, share = loss(weights), 1.0
        while loss(weights - share * step) > before and share > 1e-6:
            share /= 2
        weights -= share * step
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])


def reliability(items: Iterable[Reviewed], calibration: Calibration) -> list[Bin]:
    """The reliability diagram: ten bins of equal width, the empty ones left out."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for item in items:
        confidence = calibration(item.confidence)
        number = min(_BINS - 1, int(confidence * _BINS))
        bins.setdefault(number, []).append((confidence, item.right))
    return [
        Bin(
            math.fsum(c for c, _ in found) / len(found),
            sum(right for _, right in found) / len(found),
            len(found),
        )
        for _, found in sorted(bins.items())
    ]


def expected_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error: how far confidence and accuracy are apart, on average."""
    total = sum(one.count for one in bins)
    apart = math.fsum(one.count * abs(one.confidence - one.accuracy) for one in bins)
    return apart / total if total else 0.0


def _logit(chance: float) -> float:
    bounded = min(1 - _EDGE, max(_EDGE, chance))
    return math.log(bounded / (1 - bounded))


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value))
