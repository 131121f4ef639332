"""Disparate impact, by hand and as SciPy and fairlearn have it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import demographic_parity_ratio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats.contingency import relative_risk

from rag_platform.training.fairness import Impact, impacts
from rag_platform.training.models.credit_risk_scorer import SPEC

# Audited column, and of each group the members and how many are selected.
Groups = dict[str, tuple[int, int]]


def impact(groups: Groups) -> Impact:
    """Of groups of a column without edges."""
    spec = dataclasses.replace(SPEC, audited={"branch": ()})
    named = np.repeat(list(groups), [size for size, _ in groups.values()])
    told = [
        "good" if place < selected else "bad"
        for size, selected in groups.values()
        for place in range(size)
    ]
    rows = pd.DataFrame({"branch": named})
    (found,) = impacts(spec, rows, pd.DataFrame({"prediction": told}), selected="good")
    return found


def test_the_ratio_is_of_the_lowest_and_the_highest_rate() -> None:
    found = impact({"a": (100, 60), "b": (200, 160), "c": (50, 35)})
    assert found.value == pytest.approx(0.6 / 0.8)
    expected = relative_risk(60, 100, 160, 200).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-5)
    assert [(one.group, one.size, one.selected) for one in found.groups] == [
        ("a", 100, 60),
        ("b", 200, 160),
        ("c", 50, 35),
    ]
    assert "a 60.0% of 100 against b 80.0% of 200" in found.told


def test_the_interval_of_a_rate_is_wilsons() -> None:
    for size, selected in ((40, 0), (40, 13), (40, 40)):
        one = impact({"a": (size, selected), "b": (50, 25)}).groups[0]
        expected = binomtest(selected, size).proportion_ci(method="wilson")
        assert one.rate == selected / size
        assert (one.low, one.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_small_groups_have_no_part_in_it_unless_all_are_small() -> None:
    found = impact({"a": (100, 60), "b": (200, 160), "tiny": (29, 1)})
    assert found.value == pytest.approx(0.75)
    assert "not compared: tiny (29)" in found.told
    assert impact({"a": (100, 60), "b": (200, 160), "c": (30, 3)}).value == pytest.approx(0.125)
    # Only one of the groups is large: those with five count.
    assert impact({"a": (100, 60), "b": (5, 2), "c": (4, 0)}).value == pytest.approx(0.4 / 0.6)


def test_what_cannot_be_told_is_none() -> None:
    assert impact({"a": (100, 60), "b": (4, 2)}).value is None
    assert impact({"a": (100, 60)}).value is None
    assert impact({"a": (50, 0), "b": (60, 0)}).value is None
    assert impact({"a": (50, 20), "unknown": (60, 60)}).value is None


def test_a_group_of_whom_nobody_is_selected() -> None:
    found = impact({"a": (100, 0), "b": (100, 50)})
    assert found.value == 0
    assert found.low == 0
    # With half a member added to each cell (Walter 1975).
    expected = 0.5 / 101 / (50.5 / 101) * np.exp(1.959964 * np.sqrt(2 + 1 / 50.5 - 2 / 101))
    assert found.high == pytest.approx(expected)


def test_a_column_that_is_not_there_is_named() -> None:
    rows = pd.DataFrame({"unit": ["a", "b"]})
    told = pd.DataFrame({"prediction": ["good", "bad"]})
    (found,) = impacts(SPEC, rows, told, selected="good")
    assert found.value is None
    assert found.told == "age: not in these rows"


def test_ages_are_grouped_by_the_edges_of_the_spec() -> None:
    rows = pd.DataFrame({"age": [60] * 40 + [20] * 40 + [25] * 10})
    told = pd.DataFrame({"prediction": ["good"] * 30 + ["bad"] * 10 + ["good"] * 20 + ["bad"] * 30})
    (found,) = impacts(SPEC, rows, told, selected="good")
    assert [one.group for one in found.groups] == ["up to 25", "over 50"]
    assert found.value == pytest.approx((20 / 50) / (30 / 40))


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.integers(30, 90).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size))),
        min_size=2,
    )
)
@settings(max_examples=10, deadline=None)
def test_the_value_is_fairlearns_and_lies_in_its_interval(groups: Groups) -> None:
    found = impact(groups)
    told = np.concatenate(
        [[1] * chosen + [0] * (size - chosen) for size, chosen in groups.values()]
    )
    names = np.repeat(list(groups), [size for size, _ in groups.values()])
    expected = demographic_parity_ratio(told, told, sensitive_features=names)
    assert found.value == pytest.approx(expected)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    for one in found.groups:
        assert 0 <= one.low <= one.rate <= one.high <= 1
