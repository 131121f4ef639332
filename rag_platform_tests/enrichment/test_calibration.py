"""Calibration: too few, overconfident models, worthless confidence, and the diagram."""

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.enrichment.calibration import (
    MIN_ITEMS,
    RAW,
    Bin,
    Calibrations,
    Reviewed,
    expected_error,
    fit,
    reliability,
    reviewed_items,
)
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import reviews


def overconfident(count: int, *, seed: int) -> list[Reviewed]:
    """A model that says p where it is right with sigmoid(0.5 logit(p) - 1)."""
    dice = random.Random(seed)
    items = []
    for _ in range(count):
        confidence = dice.uniform(0.5, 0.999)
        odds = (confidence / (1 - confidence)) ** 0.5 * np.exp(-1)
        items.append(Reviewed(confidence, dice.random() < odds / (1 + odds)))
    return items


def test_too_few_or_one_kind_leave_the_confidence_raw() -> None:
    few = [Reviewed(0.7, n % 2 == 0) for n in range(MIN_ITEMS - 1)]
    assert fit(few).is_scaled is False
    assert fit([Reviewed(0.7, True)] * 100).is_scaled is False
    assert fit(few)(0.7) == 0.7
    enough = fit([*few, Reviewed(0.9, True)])
    assert (enough.is_scaled, enough.items) == (True, MIN_ITEMS)


def test_the_curve_of_an_overconfident_model_is_found() -> None:
    fitted = fit(overconfident(20_000, seed=1))
    assert fitted.slope == pytest.approx(0.5, abs=0.05)
    assert fitted.offset == pytest.approx(-1.0, abs=0.1)
    # sigmoid(0.5 * logit(0.9) - 1) = 1.1036 / (1 + 1.1036)
    assert fitted(0.9) == pytest.approx(0.5246, abs=0.02)


def test_it_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    items = overconfident(2_000, seed=2)
    scores = np.array([[np.log(i.confidence / (1 - i.confidence))] for i in items])
    other = LogisticRegression(C=1e6).fit(scores, [i.right for i in items])
    fitted = fit(items)
    assert fitted.slope == pytest.approx(other.coef_[0][0], abs=0.01)
    assert fitted.offset == pytest.approx(other.intercept_[0], abs=0.01)


def test_calibration_brings_the_error_down() -> None:
    fitted = fit(overconfident(2_000, seed=3))
    unseen = overconfident(2_000, seed=4)
    assert expected_error(reliability(unseen, RAW)) > 0.2
    assert expected_error(reliability(unseen, fitted)) < 0.05


def test_confidence_that_says_the_opposite_is_worth_nothing() -> None:
    items = [Reviewed(0.9, False)] * 30 + [Reviewed(0.6, True)] * 30
    fitted = fit(items)
    assert fitted.slope == 0
    # Smoothed: (31/32 + 1/32) / 2 for as many right as wrong.
    assert fitted(0.99) == fitted(0.01) == pytest.approx(0.5)


def test_scores_that_are_all_alike_and_scores_that_split() -> None:
    alike = fit([Reviewed(0.9, n % 4 != 0) for n in range(40)])
    assert alike(0.9) == pytest.approx(0.73, abs=0.02)
    split = fit([Reviewed(0.95, True)] * 20 + [Reviewed(0.55, False)] * 20)
    assert 0.9 < split(0.95) < 1
    assert 0 < split(0.55) < 0.1


@given(
    st.lists(st.builds(Reviewed, st.floats(0, 1), st.booleans()), min_size=MIN_ITEMS, max_size=60)
)
def test_calibrated_confidence_keeps_bounds_and_order(items: list[Reviewed]) -> None:
    fitted = fit(items)
    values = [fitted(raw) for raw in np.linspace(0, 1, 11)]
    assert all(0 <= value <= 1 for value in values)
    assert all(a <= b + 1e-12 for a, b in pairwise(values))


def test_the_reliability_diagram() -> None:
    items = [Reviewed(0.91, True), Reviewed(0.95, False), Reviewed(1.0, True), Reviewed(0.1, False)]
    low, high = reliability(items, RAW)
    assert low == Bin(0.1, 0.0, 1)
    assert (high.confidence, high.accuracy) == pytest.approx(((0.91 + 0.95 + 1.0) / 3, 2 / 3))
    assert high.count == 3
    # (1 * 0.1 + 3 * |0.9533 - 0.6667|) / 4
    assert expected_error(reliability(items, RAW)) == pytest.approx(0.24)
    assert expected_error([]) == 0.0


def review(number: int, status: str, **more: Any) -> dict[str, Any]:
    values = {
        "id": number,
        "source": "manuals",
        "doc_id": f"00000000-0000-0000-0000-{number:012d}",
        "key": "k",
        "title": "t",
        "window": "w",
        "text_hash": f"h{number}",
        "reason": "r",
        "fields": {},
        "label": "loans",
        "raw_confidence": 0.7,
        "confidence": 0.7,
        "model": "m",
        "prompt": "p@v001",
        "opened_at": 0.0,
        "due_at": 0.0,
        "status": status,
        "decision": None,
    }
    return values | more


def test_which_reviews_count(catalog: Catalog) -> None:
    rows = [
        review(1, "approved"),
        review(2, "rejected"),
        review(3, "corrected", decision={"label": "cards"}),
        review(4, "corrected", decision={"label": "loans", "topics": ["tax"]}),
        review(5, "open"),
        review(6, "superseded"),
        review(7, "approved", raw_confidence=None),
        review(8, "approved", text_hash="h1"),  # the same text counts once
        review(9, "approved", prompt="p@v002"),
    ]
    with catalog.begin() as connection:
        for row in rows:
            connection.execute(sa.insert(reviews).values(**row))
    found = reviewed_items(catalog)
    assert set(found) == {("p@v001", "m"), ("p@v002", "m")}
    assert [item.right for item in found[("p@v001", "m")]] == [True, False, False, True]
    calibrations = Calibrations(catalog)
    assert calibrations.of("p@v001", "m").items == 4
    assert calibrations.of(None, None)(0.3) == 0.3
