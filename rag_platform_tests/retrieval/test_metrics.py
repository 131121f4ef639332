"""Measures of a ranking, by hand and against trec_eval itself."""

import math

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.retrieval.metrics import DEEPEST, METRICS, measure, ndcg, recall, reciprocal_rank

GRADES = {"a": 3, "b": 1, "c": 1}


def test_by_hand() -> None:
    ranking = ["x", "b", "y", "a"]
    # 1 at place 2 and 3 at place 4, of 3, 1 and 1 at places 1, 2 and 3.
    best = 3 + 1 / math.log2(3) + 1 / 2
    assert ndcg(ranking, GRADES, 10) == pytest.approx((1 / math.log2(3) + 3 / math.log2(5)) / best)
    assert ndcg(ranking, GRADES, 1) == 0
    assert recall(ranking, GRADES, 2) == pytest.approx(1 / 3)
    assert recall(ranking, GRADES, 10) == pytest.approx(2 / 3)
    assert reciprocal_rank(ranking, GRADES, 10) == 1 / 2
    assert reciprocal_rank(ranking, GRADES, 1) == 0


def test_the_ends() -> None:
    assert set(measure(["a", "b", "c"], GRADES).values()) == {1.0}
    assert set(measure([], GRADES).values()) == {0.0}
    assert set(measure(["a"], {}).values()) == {0.0}


documents = st.integers(0, 150).map(str)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(documents, unique=True, max_size=130),
    st.dictionaries(documents, st.integers(1, 5), min_size=1, max_size=30),
)
def test_as_trec_eval_measures(ranking: list[str], grades: dict[str, int]) -> None:
    theirs = {"ndcg_cut.10", "recall.10,100", "recip_rank"}

    def told(run: list[str]) -> dict[str, float]:
        scores = {name: float(len(run) - place) for place, name in enumerate(run)}
        judge = pytrec_eval.RelevanceEvaluator({"q": grades}, theirs)
        return judge.evaluate({"q": scores}).get("q", {})

    found, first = told(ranking[:DEEPEST]), told(ranking[:10])
    ours = measure(ranking, grades)
    assert ours.keys() == METRICS.keys()
    assert ours["ndcg@10"] == pytest.approx(found.get("ndcg_cut_10", 0.0))
    assert ours["recall@10"] == pytest.approx(found.get("recall_10", 0.0))
    assert ours["recall@100"] == pytest.approx(found.get("recall_100", 0.0))
    assert ours["mrr@10"] == pytest.approx(first.get("recip_rank", 0.0))
