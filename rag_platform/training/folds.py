"""Cross-validation in which every fold has its share of each class, and groups stay whole."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Positions = np.ndarray[Any, np.dtype[np.intp]]


def stratified_folds(
    strata: "pd.Series[Any]", group: "pd.Series[Any]", *, folds: int, repeats: int, seed: int
) -> Iterator[tuple[Positions, Positions]]:
    """Positions to fit on and to measure on, `folds` times `repeats`.

    The groups, in a random order, are dealt out to the folds stratum by stratum like cards. A
    group counts where its first row does.
    """
    import pandas as pd

    if folds < 2:
        raise ValueError(f"cross-validation needs at least 2 folds, not {folds}")
    stratum_codes = pd.factorize(strata, sort=True)[0]
    group_codes, groups = pd.factorize(group, sort=True)
    _, first = np.unique(group_codes, return_index=True)
    for repeat in range(repeats):
        order = np.random.default_rng((seed, repeat)).permutation(len(groups))
        order = order[np.argsort(stratum_codes[first][order], kind="stable")]
        fold_of_group = np.empty(len(groups), np.intp)
        fold_of_group[order] = np.arange(len(groups)) % folds
        fold = fold_of_group[group_codes]
        for number in range(folds):
            yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)
