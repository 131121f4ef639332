"""How far two distributions are apart, and how often chance alone would bring them there."""

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.drift.columns import Floats

Counts = NDArray[np.int64]

# Less than this is expected in more than a fifth of the cells, or less than 1 in any, and the
# chi-square distribution does not hold (Cochran 1954): the tables that chance makes of the same
# rows take its place.
_MIN_EXPECTED = 5.0
_MAX_SMALL = 0.2
_TABLES = 20_000
_SEED = 1


def psi(before: Counts, now: Counts) -> float:
    """The population stability index of two histograms over the same bins; 0: they agree."""
    # Half a row in every bin, so that an empty one does not make the index infinite.
    one, two = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (before, now))
    return float(np.sum((two - one) * np.log(two / one)))


def excess_psi(before: Counts, now: Counts) -> float:
    """PSI less what it is on average by chance alone: the fewer rows, the more."""
    bins = int(((before + now) > 0).sum())
    chance = (bins - 1) * (1 / max(before.sum(), 1) + 1 / max(now.sum(), 1))
    return psi(before, now) - float(chance)


def ks_distance(points: Floats, values: Floats) -> float:
    """The greatest difference of two distributions' shares below any value."""
    everything = np.concatenate([points, values])
    shares = (
        np.searchsorted(np.sort(each), everything, side="right") / len(each)
        for each in (points, values)
    )
    one, two = shares
    return float(np.max(np.abs(one - two)))


def ks_p(distance: float, before: int, now: int) -> float:
    """The p value of a KS distance of samples of these sizes (as scipy's `ks_2samp`, asymptotic).

    Too large where values repeat, never too small.
    """
    from scipy.stats import kstwo

    return float(kstwo.sf(distance, round(before * now / (before + now))))


def chi_square_p(before: Counts, now: Counts) -> float:
    """The p value of the chi-square test that two histograms are of one distribution.

    Where cells are small, from tables that chance makes with the same sums.
    """
    from scipy.stats import chi2_contingency

    table = np.array([before, now])[:, (before + now) > 0]
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return 1.0
    test = chi2_contingency(table, correction=False)
    is_small = test.expected_freq < _MIN_EXPECTED
    if test.expected_freq.min() >= 1 and is_small.mean() <= _MAX_SMALL:
        return float(test.pvalue)
    total = table.sum(axis=0)
    expected = test.expected_freq[1]
    # The other row differs from what is expected by as much, so that its cells need no table.
    weight = 1 / expected + 1 / test.expected_freq[0]
    drawn = np.random.default_rng(_SEED).multivariate_hypergeometric(
        total, int(table[1].sum()), size=_TABLES, method="marginals"
    )
    chance = ((drawn - expected) ** 2 @ weight) >= ((table[1] - expected) ** 2 @ weight) - 1e-9
    return float((1 + chance.sum()) / (1 + _TABLES))
