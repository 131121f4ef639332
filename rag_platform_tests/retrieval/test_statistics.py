"""Paired comparison of two evaluations."""

import numpy as np
import pytest

from rag_platform.retrieval.evaluation import Evaluation
from rag_platform.retrieval.statistics import NotComparable, compare


def evaluation(scores: list[float], index: str = "a", digest: str = "d") -> Evaluation:
    queries = [str(number) for number in range(len(scores))]
    return Evaluation(index, "set", digest, 1, 0.0, {}, queries, {"ndcg@10": scores})


def test_a_clear_difference() -> None:
    b = np.random.default_rng(1).uniform(0.2, 0.8, 100)
    a = b - 0.1 + np.random.default_rng(2).normal(0, 0.05, 100)
    found = compare(evaluation(a.tolist()), evaluation(b.tolist()), "ndcg@10")
    # Normal theory: the mean difference +- 1.96 standard errors.
    mean, error = (a - b).mean(), (a - b).std(ddof=1) / 10
    assert found.difference == pytest.approx(mean)
    assert found.low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)
    assert found.queries == 100
    assert found.p_worse < 0.001
    assert found.p_better > 0.999
    turned = compare(evaluation(b.tolist()), evaluation(a.tolist()), "ndcg@10")
    assert (turned.difference, turned.p_better) == (-found.difference, found.p_worse)


def test_no_difference() -> None:
    same = evaluation([0.1 * (number % 9) for number in range(40)])
    found = compare(same, same, "ndcg@10")
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert found.p_worse == found.p_better == 1


def test_chance_is_seldom_taken_for_a_difference() -> None:
    random = np.random.default_rng(3)
    outside = 0
    for _ in range(100):
        differences = random.normal(0, 1, 60)
        found = compare(evaluation(differences.tolist()), evaluation([0.0] * 60), "ndcg@10")
        assert found.low is not None
        assert found.high is not None
        outside += not found.low <= 0 <= found.high
    assert 1 <= outside <= 12, "of 100, 5 are expected"


def test_few_queries_tell_nothing() -> None:
    found = compare(evaluation([0.1] * 9), evaluation([0.9] * 9), "ndcg@10")
    assert found.difference == pytest.approx(-0.8)
    assert (found.low, found.high, found.p_worse, found.p_better) == (None, None, 1, 1)


def test_other_queries_are_refused() -> None:
    with pytest.raises(NotComparable, match="evaluate both again"):
        compare(evaluation([0.5] * 20), evaluation([0.5] * 20, "b", "other"), "ndcg@10")
