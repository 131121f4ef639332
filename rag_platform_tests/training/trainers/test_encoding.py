"""Columns into numbers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.training.errors import UnusableData
from rag_platform.training.trainers.encoding import Encoding, text_of


def frame(**columns: Sequence[object]) -> pd.DataFrame:
    return pd.DataFrame({"unit": range(20), "group": range(20), "target": "a", **columns})


def test_columns_that_differ_are_features_in_the_order_of_their_names() -> None:
    rows = frame(
        z=list(range(20)),
        b=["x"] * 10 + ["y"] * 10,
        same=[1] * 20,
        audited=list(range(20)),
        flag=[True, False] * 10,
        rare=["x"] * 16 + ["y"] * 4,
        empty=[None] * 20,
    )
    found = Encoding.of(rows, excluded=("audited",))
    assert found.columns == ("flag", "z", "b")
    assert found.categories == {"b": ("x", "y")}
    matrix = found.matrix(rows)
    assert matrix[:, 0].tolist() == [1, 0] * 10
    assert matrix[:, 2].tolist() == [0] * 10 + [1] * 10


def test_a_category_is_the_same_with_and_without_decimals() -> None:
    rows = frame(kind=["1", "2"] * 10)
    found = Encoding.of(rows)
    for values in ([1, 2, 3], [1.0, 2.0, 3.0], ["1", "2", "3"]):
        matrix = found.matrix(pd.DataFrame({"kind": values}))
        np.testing.assert_array_equal(matrix[:, 0], [0, 1, np.nan])
    assert [text_of(value) for value in (2.0, 2, "2", 2.5)] == ["2", "2", "2", "2.5"]


def test_many_rare_values_are_no_categories() -> None:
    names = [f"name {number}" for number in range(500)]
    rows = pd.DataFrame({"name": names, "x": range(500)})
    assert Encoding.of(rows).columns == ("x",)
    often = pd.DataFrame({"name": [f"name {number % 100:02}" for number in range(1000)]})
    assert len(Encoding.of(often).categories["name"]) == 64


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(UnusableData, match="no column differs"):
        Encoding.of(frame(same=[1] * 20))


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", None]), st.one_of(st.none(), st.integers(-9, 9))),
        min_size=20,
        max_size=40,
    )
)
@settings(max_examples=15, deadline=None)
def test_an_encoding_survives_json(values: list[tuple[str | None, int | None]]) -> None:
    rows = pd.DataFrame(values, columns=["kind", "number"]).assign(key=range(len(values)))
    found = Encoding.of(rows)
    again = Encoding.model_validate_json(found.model_dump_json())
    np.testing.assert_array_equal(found.matrix(rows), again.matrix(rows))
    assert np.isfinite(found.matrix(rows)[:, found.columns.index("key")]).all()
