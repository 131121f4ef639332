"""Whether one of two index versions answers the same queries better."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from rag_platform.errors import PlatformError
from rag_platform.retrieval.evaluation import Evaluation, latest
from rag_platform.storage.catalog import Catalog

LEVEL = 0.95
RESAMPLES = 4_000
# With fewer queries, intervals of the bootstrap are too narrow to be believed.
LEAST_QUERIES = 10
_AT_ONCE = 100  # resamples held in memory


class NotComparable(PlatformError):
    """Two evaluations of different queries."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the scores of `a` differ from those of `b` on the same queries.

    `difference` is the mean of `a` less that of `b`: below zero, `a` is worse. `low` and `high`
    are its 95 % interval. `p_worse` is one-sided: small where `a` is worse by more than chance
    gives; `p_better` likewise. With fewer than `LEAST_QUERIES` queries nothing can be told: both
    are 1, and there is no interval.
    """

    metric: str
    queries: int
    difference: float
    low: float | None
    high: float | None
    p_worse: float
    p_better: float


def compare(a: Evaluation, b: Evaluation, metric: str) -> Comparison:
    """Paired bootstrap over queries (Efron and Tibshirani 1993; Sakai, SIGIR 2006, for search).

    Percentiles of the resampled mean differences, stretched by sqrt(n / (n - 1)), because resamples
    spread too little (Hesterberg, The American Statistician 69, 2015). The same evaluations give
    the same figures. Raises `NotComparable` where the queries differ.
    """
    if a.digest != b.digest or a.queries != b.queries:
        raise NotComparable(
            f"{a.index} and {b.index} were evaluated on different queries of {a.golden}; evaluate "
            "both again: rag-platform evaluate"
        )
    differences = np.array(a.scores[metric]) - np.array(b.scores[metric])
    count, mean = len(differences), float(differences.mean())
    if count < LEAST_QUERIES:
        return Comparison(metric, count, mean, None, None, 1.0, 1.0)
    random = np.random.default_rng(0)
    drawn = np.concatenate(
        [
            differences[random.integers(count, size=(_AT_ONCE, count))].mean(axis=1)
            for _ in range(RESAMPLES // _AT_ONCE)
        ]
    )
    drawn = mean + (drawn - mean) * math.sqrt(count / (count - 1))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Comparison(
        metric,
        count,
        mean,
        low=min(float(low), mean),
        high=max(float(high), mean),
        p_worse=float((1 + (drawn >= 0).sum()) / (1 + RESAMPLES)),
        p_better=float((1 + (drawn <= 0).sum()) / (1 + RESAMPLES)),
    )


@dataclass(frozen=True, slots=True)
class Compared:
    """The newest evaluations of two index versions on one golden set; None where there is none.

    `found` is None where they cannot be compared; `problem` says why.
    """

    golden: str
    a: Evaluation | None
    b: Evaluation | None
    found: Comparison | None
    problem: str | None


def compare_latest(
    catalog: Catalog, index: str, other: str, *, golden: Iterable[str], metric: str
) -> Iterator[Compared]:
    """What was measured of two index versions, set by set. Nothing is measured anew."""
    for name in golden:
        a, b = (latest(catalog, each, name) for each in (index, other))
        if a is None or b is None:
            lacking = index if a is None else other
            problem = f"{lacking} has no evaluation: rag-platform evaluate --index {lacking}"
            yield Compared(name, a, b, None, problem)
            continue
        try:
            yield Compared(name, a, b, compare(a, b, metric), None)
        except NotComparable as error:
            yield Compared(name, a, b, None, str(error))
