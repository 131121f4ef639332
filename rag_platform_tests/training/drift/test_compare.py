"""Drift is told where there is some, and not where there is none."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats

from rag_platform.training.drift.compare import compare
from rag_platform.training.drift.measures import (
    chi_square_p,
    excess_psi,
    ks_distance,
    ks_p,
    psi,
)
from rag_platform.training.drift.profile import Profile
from rag_platform_tests.training.drift.rows import TRAVEL, drawn, sentences

Change = Callable[[pd.DataFrame, pd.DataFrame, np.random.Generator], None]

PROFILE = Profile.of(*drawn(2_000, 0))


def nothing(*_: Any) -> None:
    pass


def mean(rows: pd.DataFrame, *_: Any) -> None:
    rows["share"] += 1


def spread(rows: pd.DataFrame, *_: Any) -> None:
    rows["amount"] = np.exp(3 + 3 * (np.log(rows["amount"]) - 3))


def category(rows: pd.DataFrame, _: Any, random: np.random.Generator) -> None:
    rows.loc[random.random(len(rows)) < 0.4, "city"] = "west"


def new_category(rows: pd.DataFrame, _: Any, random: np.random.Generator) -> None:
    rows.loc[random.random(len(rows)) < 0.2, "city"] = "abroad"


def gaps(rows: pd.DataFrame, _: Any, random: np.random.Generator) -> None:
    rows.loc[random.random(len(rows)) < 0.3, "amount"] = np.nan


def fewer_gaps(rows: pd.DataFrame, *_: Any) -> None:
    rows["share"] = rows["share"].fillna(0)


def topic(rows: pd.DataFrame, _: Any, random: np.random.Generator) -> None:
    rows["text"] = sentences(TRAVEL, len(rows), random)


def shouting(rows: pd.DataFrame, *_: Any) -> None:
    rows["text"] = rows["text"] + " " + rows["text"] + " " + rows["text"]


def scores(_: Any, answers: pd.DataFrame, __: Any) -> None:
    answers["score"] = answers["score"] ** 0.5


def labels(rows: pd.DataFrame, *_: Any) -> None:
    rows["target"] = np.where(np.arange(len(rows)) % 5 == 0, "no", "yes")


def gone(rows: pd.DataFrame, *_: Any) -> None:
    del rows["city"]


def other_type(rows: pd.DataFrame, *_: Any) -> None:
    rows["amount"] = "a lot"


@pytest.mark.parametrize("count", [200, 2_000])
@pytest.mark.parametrize(
    ("change", "column", "aspect"),
    [
        (mean, "share", "values"),
        (spread, "amount", "values"),
        (category, "city", "values"),
        (new_category, "city", "values"),
        (gaps, "amount", "missing"),
        (topic, "text", "values"),
        (shouting, "text", "values"),
        (scores, "score", "values"),
        (labels, "target", "values"),
        (gone, "city", "missing"),
        (other_type, "amount", "missing"),
    ],
)
def test_planted_drift_is_found_where_it_is(
    change: Change, column: str, aspect: str, count: int
) -> None:
    rows, answers = drawn(count, 1)
    change(rows, answers, np.random.default_rng(2))
    report = compare(PROFILE, rows, answers)
    assert report.drifted
    assert [(each.column, each.aspect) for each in report.columns if each.drifted] == [
        (column, aspect)
    ]
    assert report.columns[0].drifted
    assert column in report.told
    assert report.score_drifted == (change is scores)


def test_fewer_gaps_are_drift_as_well() -> None:
    rows, answers = drawn(1_000, 1)
    fewer_gaps(rows)
    report = compare(PROFILE, rows, answers)
    assert "'share' missing 10" in report.told
    assert "→ 0.0%" in report.told


@pytest.mark.parametrize(("count", "seeds"), [(50, 10), (1_000, 5)])
def test_there_is_no_alarm_without_drift(count: int, seeds: int) -> None:
    """Of ten reports with a share of 1 % of false alarms, two or more come once in 200 times."""
    alarms = [compare(PROFILE, *drawn(count, seed)).drifted for seed in range(100, 100 + seeds)]
    assert sum(alarms) <= 1


@pytest.mark.parametrize("kinds", [5, 150])
def test_there_is_no_alarm_for_many_values_of_equal_frequency(kinds: int) -> None:
    random = np.random.default_rng(kinds)

    def values(count: int) -> pd.DataFrame:
        return pd.DataFrame({"x": [f"v{at}" for at in random.integers(0, kinds, count)]})

    profiles = [Profile.of(values(max(450, 12 * kinds))) for _ in range(12)]
    told = [compare(profile, values(3_000)).columns[0] for profile in profiles]
    assert {each.kind for each in told} == {"category"}
    assert not any(each.drifted for each in told)
    assert 0.1 < np.median([each.p for each in told]) < 0.9


def test_without_drift_p_values_are_even() -> None:
    random = np.random.default_rng(0)
    told = [
        ks_p(ks_distance(random.normal(size=2_000), random.normal(size=300)), 2_000, 300)
        for _ in range(200)
    ]
    assert stats.kstest(told, "uniform").pvalue > 0.01


def test_what_is_small_is_no_drift_however_sure() -> None:
    rows, answers = drawn(20_000, 1)
    rows["share"] += 0.15
    report = compare(PROFILE, rows, answers)
    share = next(each for each in report.columns if each.column == "share" and each.bins)
    assert share.p < 1e-6
    assert not report.drifted


def test_what_is_unsure_is_no_drift_however_large() -> None:
    profile = Profile.of(drawn(60, 0)[0][["unit", "amount"]])
    rows = pd.DataFrame({"amount": np.random.default_rng(3).lognormal(3.4, 1, 40)})
    report = compare(profile, rows)
    assert report.columns[0].effect > 1
    assert not report.drifted


def test_few_rows_tell_nothing() -> None:
    rows, answers = drawn(29, 1)
    mean(rows)
    report = compare(PROFILE, rows, answers)
    assert (report.drifted, report.columns) == (False, [])
    assert report.told == "too few rows to tell: 29, at least 30"
    assert not compare(Profile.of(*drawn(20, 0)), *drawn(1_000, 1)).drifted


def test_columns_that_are_new_are_told_and_do_not_count() -> None:
    rows, answers = drawn(500, 1)
    report = compare(PROFILE, rows.assign(more=1), answers)
    assert report.new == ("more",)
    assert not report.drifted


def test_without_answers_the_scores_are_left_out() -> None:
    rows, _ = drawn(500, 1)
    assert {each.part for each in compare(PROFILE, rows).columns} == {"rows", "labels"}
    report = compare(PROFILE, rows.drop(columns="target"))
    assert {each.part for each in report.columns} == {"rows"}
    assert not report.drifted


def test_types_that_hold_the_same_are_the_same() -> None:
    rows, answers = drawn(1_000, 1)
    as_text = rows.assign(
        amount=rows["amount"].map(repr),
        grade=rows["grade"].astype("float32"),
        flag=rows["flag"].map(str),
        city=rows["city"].astype("category"),
    )
    expected = compare(PROFILE, rows, answers)
    found = compare(PROFILE, as_text, answers)
    assert found.as_json() == expected.as_json()


def test_values_that_repeat_at_many_digits_are_no_drift() -> None:
    """What JSON rounds must not differ from what was never written."""
    values = pd.DataFrame(
        {"x": np.random.default_rng(0).choice([1 / 3, 2e9 / 7, 1e-17 / 3], 1_000)}
    )
    profile = Profile.from_json(json.loads(json.dumps(Profile.of(values).to_json())))
    report = compare(profile, values)
    assert report.columns[0].distance == pytest.approx(0, abs=1e-9)


ODD = st.sampled_from(
    [
        [None] * 200,
        [np.nan, 1.0] * 100,
        [3.0] * 200,
        [np.inf] * 200,
        [10**30] * 200,
        ["", " ", "\u200b", "\x00"] * 50,
        ["a b"] * 200,
        [f"{at} words of text" for at in range(200)],
        [["a"], []] * 100,
        [[1], [2, 3]] * 100,
        [{"a": 1}] * 200,
        [True, False] * 100,
        list(pd.date_range("2026-01-01", periods=200)),
        list(range(200)),
        [1, "a", None, [2]] * 50,
    ]
)


@settings(deadline=None, max_examples=30)
@given(ODD, st.one_of(st.none(), ODD))
def test_any_column_may_become_any_other(before: list[Any], now: list[Any] | None) -> None:
    units = {"unit": ["u"] * 200}
    rows = pd.DataFrame(units | {"x": pd.Series(before)})
    profile = Profile.from_json(json.loads(json.dumps(Profile.of(rows).to_json(), allow_nan=False)))
    assert not compare(profile, rows).drifted
    others = pd.DataFrame(units | ({} if now is None else {"x": pd.Series(now)}))
    report = compare(profile, others)
    json.dumps(report.as_json(), allow_nan=False)
    if now is None and any(value == value and value is not None for value in before[:2]):
        assert report.drifted or before[0] in (np.inf, "")


# The figures, by other ways


NUMBERS = st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=30)


@given(NUMBERS, NUMBERS)
def test_the_distance_is_that_of_scipy(one: list[float], two: list[float]) -> None:
    expected = stats.ks_2samp(one, two, method="asymp")
    distance = ks_distance(np.array(one), np.array(two))
    assert distance == pytest.approx(expected.statistic)
    assert ks_p(distance, len(one), len(two)) == pytest.approx(expected.pvalue)


def test_psi_by_hand() -> None:
    before, now = np.array([60, 40]), np.array([20, 80])
    one, two = np.array([60.5, 40.5]) / 101, np.array([20.5, 80.5]) / 101
    expected = (two[0] - one[0]) * np.log(two[0] / one[0]) + (two[1] - one[1]) * np.log(
        two[1] / one[1]
    )
    assert psi(before, now) == pytest.approx(expected)
    assert psi(before, before) == 0
    assert psi(now, before) == pytest.approx(expected)
    assert excess_psi(before, now) == pytest.approx(expected - 1 / 100 - 1 / 100)


def test_psi_by_chance_is_what_is_taken_off() -> None:
    random = np.random.default_rng(0)
    share = [0.1] * 10
    found = [
        excess_psi(random.multinomial(2_000, share), random.multinomial(200, share))
        for _ in range(400)
    ]
    assert abs(np.mean(found)) < 0.005


def test_chi_square_with_enough_in_each_cell() -> None:
    before, now = np.array([500, 300, 200, 0]), np.array([40, 30, 30, 0])
    expected = stats.chi2_contingency([[500, 300, 200], [40, 30, 30]], correction=False).pvalue
    assert chi_square_p(before, now) == pytest.approx(expected)


def test_chi_square_with_few_in_a_cell_is_exact() -> None:
    """Of two cells, the probability of a table as unlikely can be summed up."""
    before, now = np.array([97, 3]), np.array([16, 4])
    chances = stats.hypergeom(120, 7, 20).pmf(np.arange(8))
    expected = 20 * 7 / 120
    far = np.abs(np.arange(8) - expected) >= abs(4 - expected) - 1e-9
    assert chi_square_p(before, now) == pytest.approx(chances[far].sum(), abs=0.01)
    assert chi_square_p(now, before) == pytest.approx(chances[far].sum(), abs=0.01)
    assert chi_square_p(before, before) > 0.99
    assert chi_square_p(np.array([10, 0]), np.array([10, 0])) == 1
    assert chi_square_p(np.array([10, 5]), np.array([0, 0])) == 1


def test_p_values_are_adjusted_for_their_number() -> None:
    rows, answers = drawn(300, 7)
    report = compare(PROFILE, rows, answers)
    amount = next(each for each in report.columns if each.column == "amount")
    raw = stats.ks_2samp(drawn(2_000, 0)[0]["amount"], rows["amount"], method="asymp").pvalue
    assert amount.p >= raw * 0.99
    assert report.columns == sorted(
        report.columns, key=lambda each: (not each.drifted, each.p, -each.effect)
    )


# What people see


def test_a_report_is_json_with_what_a_table_needs() -> None:
    rows, answers = drawn(300, 1)
    category(rows, answers, np.random.default_rng(0))
    report = compare(PROFILE, rows, answers)
    told = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert told["drifted"] is True
    assert told["rows"] == 300
    first = told["columns"][0]
    assert (first["column"], first["drifted"], first["test"]) == ("city", True, "chi-square")
    assert first["bins"] == ["north", "south", "east", "west", "others"]
    for side, frame in (("before", drawn(2_000, 0)[0]), ("now", rows)):
        shares = frame["city"].value_counts(normalize=True)
        assert first[side] == pytest.approx([*shares[first["bins"][:4]], 0], abs=1e-6)


def test_plots_show_names_as_they_are() -> None:
    rows, answers = drawn(300, 1)
    rows = rows.rename(columns={"amount": r"$\frac{<b>", "share": "s" * 90})
    profile = Profile.of(rows, answers)
    mean(rows.assign(share=rows["s" * 90]))
    report = compare(profile, *[frame.assign() for frame in (rows, answers)])
    plots = report.plots()
    assert list(plots) == ["drift", "columns"]
    for draw in plots.values():
        figure = Figure()
        draw(figure)
        figure.canvas.draw()
    assert len(figure.axes) == 6
    assert compare(profile, rows.head(3)).plots() == {}
