"""Folds of cross-validation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.training.folds import stratified_folds


@given(
    groups=st.lists(st.tuples(st.integers(1, 4), st.sampled_from("abc")), min_size=5, max_size=60),
    folds=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=20, deadline=None)
def test_every_row_is_measured_once_a_repeat_and_groups_stay_whole(
    groups: list[tuple[int, str]], folds: int, seed: int
) -> None:
    sizes = [size for size, _ in groups]
    group = pd.Series(np.repeat([f"g{number}" for number in range(len(groups))], sizes))
    strata = pd.Series(np.repeat([stratum for _, stratum in groups], sizes))
    pairs = list(stratified_folds(strata, group, folds=folds, repeats=2, seed=seed))
    assert len(pairs) == 2 * folds
    for repeat in (pairs[:folds], pairs[folds:]):
        measured = np.concatenate([part for _, part in repeat])
        assert sorted(measured) == list(range(len(group)))
    for fitted, measured in pairs:
        assert len(fitted) + len(measured) == len(group)
        assert not set(group[fitted]) & set(group[measured])
    for stratum in "abc":
        # Dealt like cards: of each stratum no fold has two groups more than another.
        numbers = [group[part][strata[part] == stratum].nunique() for _, part in pairs[:folds]]
        assert max(numbers) - min(numbers) <= 1


def test_repeats_and_seeds_differ_and_are_the_same_again() -> None:
    names = pd.Series([f"u{number}" for number in range(40)])
    strata = pd.Series(["a", "b"] * 20)

    def first(seed: int, repeats: int = 1) -> list[list[int]]:
        pairs = stratified_folds(strata, names, folds=4, repeats=repeats, seed=seed)
        return [measured.tolist() for _, measured in pairs]

    assert first(1) == first(1)
    assert first(1) != first(2)
    assert first(1, 2)[:4] != first(1, 2)[4:]


def test_one_fold_is_none() -> None:
    names = pd.Series(["a", "b"])
    with pytest.raises(ValueError, match="at least 2 folds"):
        list(stratified_folds(names, names, folds=1, repeats=1, seed=0))
