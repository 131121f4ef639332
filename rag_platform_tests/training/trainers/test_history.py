"""Weeks of categories side by side."""

import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.training.errors import UnusableData
from rag_platform.training.trainers.history import MAX_WEEKS, History, mean, median, weeks_of
from rag_platform_tests.training.trainers.spending_rows import rows


def test_gaps_are_weeks_that_are_not_known() -> None:
    found = History.of(rows({"b": [1, None, 3], "a": [None, None, 5]}).sample(frac=1.0))
    assert found.categories == ("a", "b")
    assert str(found.first) == "2022-01-03"
    np.testing.assert_array_equal(found.amounts, [[np.nan, 1], [np.nan, np.nan], [5, 3]])


def test_only_the_last_years_are_kept() -> None:
    long = [float(n) for n in range(MAX_WEEKS + 10)]
    found = History.of(rows({"a": list(long), "gone": list(long[:5])}))
    assert found.categories == ("a",)
    assert found.amounts[[0, -1], 0].tolist() == [10.0, MAX_WEEKS + 9.0]
    assert found.first == np.datetime64("2022-01-03") + 70


def test_naive_error_is_of_last_week_until_there_is_a_year() -> None:
    random = np.random.default_rng(1).normal(0, 1, 60)
    short, long = list(random[:59]), list(random)
    found = History.of(rows({"short": [None, *short], "long": long}))
    long_error = np.mean([abs(long[n] - long[n - 52]) for n in range(52, 60)])
    short_error = np.mean([abs(a - b) for a, b in pairwise(short)])
    assert found.naive_error() == pytest.approx([long_error, short_error])
    assert np.isnan(History.of(rows({"once": [1]})).naive_error()).all()


def test_mean_of_four_weeks_before() -> None:
    found = History.of(rows({"a": [1, 2, 3, 4, 5, 100]}))
    assert found.recent_mean(5) == pytest.approx([3.5])
    assert found.recent_mean(2) == pytest.approx([1.5])
    assert np.isnan(found.recent_mean(0)).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6)), min_size=3, max_size=3),
        min_size=1,
        max_size=9,
    )
)
def test_mean_and_median_are_those_of_numpy(values: list[list[float]]) -> None:
    amounts = np.array(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of columns without a value
        np.testing.assert_allclose(mean(amounts), np.nanmean(amounts, axis=0), atol=1e-6)
        np.testing.assert_allclose(median(amounts), np.nanmedian(amounts, axis=0), atol=1e-6)
    assert np.isnan(median(amounts[:0])).all()


def test_weighted_mean_leaves_out_what_is_not_known() -> None:
    amounts = np.array([[1.0, np.nan], [4.0, 4.0]])
    assert mean(amounts, np.array([1.0, 3.0])) == pytest.approx([13 / 4, 4.0])


@pytest.mark.parametrize(
    ("values", "told"),
    [(["soon"], "not all values are dates"), (["2024-01-01", None], "1 of 2 values are missing")],
)
def test_weeks_that_cannot_be_read(values: list[str | None], told: str) -> None:
    with pytest.raises(UnusableData, match=told):
        weeks_of(pd.DataFrame({"category": "a", "week": values}))


def test_any_day_stands_for_its_week() -> None:
    found = weeks_of(pd.DataFrame({"category": "a", "week": ["2024-01-07", "2024-01-08"]}))
    assert found.dt.strftime("%Y-%m-%d").tolist() == ["2024-01-01", "2024-01-08"]
    with pytest.raises(UnusableData, match="lack week"):
        weeks_of(pd.DataFrame({"category": ["a"]}))
    with pytest.raises(UnusableData, match="nothing to forecast from"):
        History.of(rows({"a": [1.0]}).iloc[:0])
