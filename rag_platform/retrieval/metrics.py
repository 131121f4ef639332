"""Measures of a ranking, with the definitions of trec_eval.

A ranking is a sequence of distinct documents, best first; `grades` are the relevant documents of
the query with how relevant each is, above zero. Every measure is from 0 to 1.
"""

import math
from collections.abc import Callable, Mapping, Sequence

Ranking = Sequence[str]
Grades = Mapping[str, int]


def ndcg(ranking: Ranking, grades: Grades, k: int) -> float:
    """Discounted cumulative gain of the first k, as a share of the best possible.

    A gain is the grade itself, over log2 of its place + 1 (Jarvelin and Kekalainen, ACM TOIS 20,
    2002, as trec_eval's ndcg_cut).
    """
    best = _gain(sorted(grades.values(), reverse=True)[:k])
    return _gain([grades.get(document, 0) for document in ranking[:k]]) / best if best else 0.0


def recall(ranking: Ranking, grades: Grades, k: int) -> float:
    """The share of the relevant documents that are among the first k."""
    found = sum(document in grades for document in ranking[:k])
    return found / len(grades) if grades else 0.0


def reciprocal_rank(ranking: Ranking, grades: Grades, k: int) -> float:
    """1 over the place of the first relevant document among the first k; 0 without one."""
    places = (place for place, name in enumerate(ranking[:k], start=1) if name in grades)
    return 1 / next(places, math.inf)


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / math.log2(place + 1) for place, grade in enumerate(grades, start=1))


# As settings.promotion names them. The deepest of them says how deep a search has to be.
METRICS: dict[str, Callable[[Ranking, Grades], float]] = {
    "ndcg@10": lambda ranking, grades: ndcg(ranking, grades, 10),
    "recall@10": lambda ranking, grades: recall(ranking, grades, 10),
    "recall@100": lambda ranking, grades: recall(ranking, grades, 100),
    "mrr@10": lambda ranking, grades: reciprocal_rank(ranking, grades, 10),
}
DEEPEST = 100


def measure(ranking: Ranking, grades: Grades) -> dict[str, float]:
    """All measures of one query's ranking."""
    return {name: metric(ranking, grades) for name, metric in METRICS.items()}
