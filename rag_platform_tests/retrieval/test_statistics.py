"""Paired comparison of two evaluations."""

import numpy as np
import pytest

from rag_platform.retrieval.evaluation import Evaluation, Slice, recent, record
from rag_platform.retrieval.metrics import METRICS
from rag_platform.retrieval.statistics import NotComparable, compare, compare_latest
from rag_platform.storage.catalog import Catalog


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


def test_what_was_measured_last_is_compared(catalog: Catalog) -> None:
    def kept(index: str, value: float, digest: str = "d", golden: str = "set") -> None:
        scores = dict.fromkeys(METRICS, [value] * 12)
        means = {"all": Slice(12, dict.fromkeys(METRICS, value))}
        queries = [str(number) for number in range(12)]
        record(catalog, Evaluation(index, golden, digest, 7, 1.0, means, queries, scores))

    kept("v1", 0.5)
    kept("v2", 0.1)
    kept("v2", 0.6)
    kept("v1", 0.5, golden="other")
    kept("v2", 0.5, "changed", golden="other")
    names = ("set", "other", "third")
    found = list(compare_latest(catalog, "v2", "v1", golden=names, metric="mrr@10"))
    assert [each.golden for each in found] == list(names)
    assert found[0].found is not None
    assert found[0].found.difference == pytest.approx(0.1)
    assert (found[1].found, found[2].found) == (None, None)
    assert "different queries of other" in str(found[1].problem)
    assert found[2].problem == "v2 has no evaluation: rag-platform evaluate --index v2"
    assert [each.mean("mrr@10") for each in recent(catalog, "v2", "set")] == [0.6, 0.1]
    assert len(recent(catalog, "v2", "set", limit=1)) == 1


def test_few_queries_tell_nothing() -> None:
    found = compare(evaluation([0.1] * 9), evaluation([0.9] * 9), "ndcg@10")
    assert found.difference == pytest.approx(-0.8)
    assert (found.low, found.high, found.p_worse, found.p_better) == (None, None, 1, 1)


def test_other_queries_are_refused() -> None:
    with pytest.raises(NotComparable, match="evaluate both again"):
        compare(evaluation([0.5] * 20), evaluation([0.5] * 20, "b", "other"), "ndcg@10")
