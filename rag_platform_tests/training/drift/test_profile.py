"""What is kept of the rows that a model knows."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.training.drift.columns import Categories, Numbers, binned, rounded
from rag_platform.training.drift.compare import compare
from rag_platform.training.drift.profile import MAX_COLUMNS, Profile
from rag_platform.training.errors import UnusableData
from rag_platform_tests.training.drift.rows import MONEY, drawn, sentences

MOST_BYTES = 300_000


def kinds(profile: Profile) -> dict[str, str | None]:
    return {column.name: column.kind for column in profile.columns}


def written(profile: Profile) -> str:
    return json.dumps(profile.to_json(), allow_nan=False)


def test_a_profile_is_json_and_comes_back_as_it_was() -> None:
    rows, answers = drawn(600, 0)
    profile = Profile.of(rows, answers)
    back = Profile.from_json(json.loads(written(profile)))
    assert written(back) == written(profile)
    others = drawn(300, 1)
    assert compare(back, *others) == compare(profile, *others)
    assert compare(profile, rows, answers).drifted is False


def test_the_kinds_of_columns() -> None:
    rows, answers = drawn(600, 0)
    rows = rows.assign(
        key=[f"k-{at}" for at in range(600)],
        day=[f"2026-{at % 12 + 1:02d}-{at % 28 + 1:02d}" for at in range(600)],
        at=pd.date_range("2026-01-01", periods=600),
        nothing=None,
        tokens=[["a", str(at), "c"] for at in range(600)],
        spans=[[[0, 1]] * (at % 3) for at in range(600)],
        table=[{"a": at} for at in range(600)],
        merchant=[f"m{at % 50}" for at in range(600)],
        words=["你好" + str(at) for at in range(600)],
    )
    assert kinds(Profile.of(rows, answers)) == {
        "prediction": "category",
        "score": "number",
        "target": "category",
        "amount": "number",
        "grade": "number",
        "share": "number",
        "city": "category",
        "flag": "category",
        "text": "text",
        "key": None,
        "day": None,
        "at": None,
        "nothing": None,
        "tokens": "text",
        "spans": "items",
        "table": None,
        "merchant": "category",
        "words": "text",
    }


def test_numbers_are_kept_as_order_statistics_and_frozen_bins() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1, 1_001)).astype(float)
    numbers = Numbers.of(values, 100)
    assert numbers.size == 1_000
    # Every tenth value from the middle of the first ten; nine cuts at the deciles.
    assert numbers.points.tolist() == list(range(6, 1_001, 10))
    assert numbers.edges.tolist() == [101, 201, 301, 401, 501, 601, 701, 801, 901]
    assert numbers.counts.tolist() == [101, *[100] * 8, 99]
    assert numbers.hidden == 0.005
    assert Numbers.of(values[:50], 100).hidden == 0.0


def test_a_constant_has_one_edge() -> None:
    numbers = Numbers.of(np.full(100, 3.0), 10)
    assert (numbers.edges.tolist(), numbers.counts.tolist()) == ([3.0], [100, 0])
    assert binned(np.array([2.0, 3.0, 4.0]), numbers.edges).tolist() == [2, 1]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_numbers_are_rounded_to_nine_digits(values: list[float]) -> None:
    found = rounded(np.array(values))
    for before, after in zip(values, found.tolist(), strict=True):
        assert after == pytest.approx(before, rel=1e-8)
        assert rounded(np.array([before]))[0] == after
    assert np.isfinite(found).all()


def test_rare_values_are_hashed_and_counted_all_the_same() -> None:
    values = pd.Series(["often"] * 50 + ["Jane Doe"] * 9 + ["other"] * 5 + ["#12"] * 20)
    found = Categories.of(values, 4)
    assert found.values[0] == "often"
    assert all(name.startswith("#") and len(name) == 13 for name in found.values[1:])
    assert found.counts.tolist() == [50, 20, 9, 5, 0]
    assert found.count(pd.Series(["new", "Jane Doe"])).tolist() == [0, 0, 1, 0, 1]


def test_many_values_are_chosen_and_counted_in_different_halves() -> None:
    random = np.random.default_rng(0)
    values = pd.Series(random.integers(0, 100, 1_000)).map("v{}".format)
    found = Categories.of(values, 30)
    assert found.counts.sum() == 500
    assert len(found.values) == 30
    # Of 100 equally frequent values, any 30 have 30 % of the rows (binomial, 4 sigma).
    assert abs(found.counts[:-1].sum() - 150) < 4 * np.sqrt(500 * 0.3 * 0.7)


def test_no_text_of_a_person_is_kept() -> None:
    rows, _ = drawn(600, 0)
    told = written(Profile.of(rows.assign(name=[f"name {at % 100}" for at in range(600)])))
    assert "payment" not in told
    assert "name 1" not in told
    assert "north" in told


def test_the_target_is_a_part_of_its_own_and_unit_and_group_are_none() -> None:
    rows, answers = drawn(100, 0)
    told = [(column.part, column.name) for column in Profile.of(rows, answers).columns]
    assert told[:3] == [("scores", "prediction"), ("scores", "score"), ("labels", "target")]
    assert not {"unit", "group", "target"} & {name for _, name in told[3:]}
    unlabelled = Profile.of(rows.drop(columns="target"))
    assert {column.part for column in unlabelled.columns} == {"rows"}


def wide(columns: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(columns)


@pytest.mark.parametrize("kind", ["numbers", "categories", "texts"])
def test_a_profile_is_small_however_wide_the_rows(kind: str) -> None:
    random = np.random.default_rng(0)
    count = 200
    made: dict[str, Any]
    if kind == "numbers":
        made = {f"{'é' * 14}{at}": random.random(count) * 1e300 for at in range(400)}
    elif kind == "categories":
        values = ["😀" * 3 + f"value {at}" for at in range(20)]
        made = {f"column {at}": random.choice(values, count) for at in range(400)}
    else:
        texts = sentences(MONEY, count, random)
        made = {f"n{at}": random.random(count) for at in range(186)}
        made |= {f"t{at}": texts for at in range(14)}
    answers = pd.DataFrame({"prediction": random.random(count), "score": random.random(count)})
    profile = Profile.of(wide(made), answers)
    assert len(profile.columns) == MAX_COLUMNS
    assert kinds(profile)["score"] == "number"
    assert 10_000 < len(written(profile)) < MOST_BYTES


def test_a_long_column_is_small_too() -> None:
    rows, answers = drawn(20_000, 0)
    assert len(written(Profile.of(rows, answers))) < 200_000


@pytest.mark.parametrize(
    "told", [{}, {"version": 9, "columns": []}, {"version": 1, "columns": [{}]}, {"version": 1}]
)
def test_what_is_no_profile_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(UnusableData):
        Profile.from_json(told)
