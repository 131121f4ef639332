"""Fusion of two legs by their scores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.encoders.languages import DENSE_SHARE
from rag_platform.retrieval.fusion import dense_share, fuse

scores = st.dictionaries(
    st.sampled_from("abcdefgh"), st.floats(min_value=-1, max_value=50, width=32), max_size=8
)


def test_a_convex_combination() -> None:
    fused = fuse({"a": 0.9, "b": 0.5, "c": 0.1}, {"b": 8.0, "d": 2.0}, 0.25)
    # Dense: a 1, b (.5 - .1) / (.9 - .1), c 0. Words: b 1, d 2 / 8.
    assert fused == pytest.approx({"a": 0.25, "b": 0.25 * 0.5 + 0.75, "c": 0.0, "d": 0.75 * 0.25})


def test_one_leg_alone() -> None:
    assert fuse({}, {"a": 4.0, "b": 1.0}, 0.3) == pytest.approx({"a": 0.7, "b": 0.175})
    assert fuse({"a": 0.2}, {}, 0.3) == pytest.approx({"a": 0.3})
    assert fuse({}, {}, 0.3) == {}


def test_equal_scores_are_all_the_best() -> None:
    assert fuse({"a": 0.4, "b": 0.4}, {}, 1.0) == {"a": 1.0, "b": 1.0}


@given(scores, scores, st.floats(min_value=0, max_value=1))
def test_scores_are_between_0_and_1_and_keep_each_legs_order(
    dense: dict[str, float], sparse: dict[str, float], share: float
) -> None:
    fused = fuse(dense, sparse, share)
    assert fused.keys() == dense.keys() | sparse.keys()
    assert all(0 <= score <= 1 + 1e-9 for score in fused.values())
    only = fuse(dense, {}, 1.0)
    assert all(only[a] >= only[b] for a in dense for b in dense if dense[a] >= dense[b])


def test_what_the_dense_leg_weighs() -> None:
    assert dense_share("wordllama", "en", {}) == DENSE_SHARE["en"]
    assert dense_share("minilm", "th", {}) == DENSE_SHARE["th"] < DENSE_SHARE["en"]
    assert dense_share("wordllama", "xx", {}) == dense_share("wordllama", "", {}) == DENSE_SHARE[""]
    assert dense_share("text-embedding-3-small", "th", {}) == DENSE_SHARE["en"]
    assert dense_share("minilm", "en", {"en": 0.0, "de": 1.0}) == 0.0
