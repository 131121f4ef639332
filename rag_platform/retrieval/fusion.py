"""Fusion of the dense and the keyword leg of a search, by their scores.

A convex combination of normalised scores: it knows how far ahead a leg's best is, which ranks
forget, and was better than reciprocal rank fusion in every language measured (Bruch, Gai and
Ingber, "An analysis of fusion functions for hybrid retrieval", ACM TOIS 42, 2023, found the same).
benchmarks/retrieval.py has the figures.
"""

from collections.abc import Mapping

from rag_platform.encoders.languages import DENSE_SHARE

# Trained on English texts: their vectors of other languages are worth less.
_ENGLISH = ("wordllama", "minilm")


def dense_share(embedder: str, language: str, weights: Mapping[str, float]) -> float:
    """How much the dense leg counts, 0 to 1, for a query in `language` ("" where unknown).

    `weights`, by language, are the operator's own; what they do not name is built in.
    """
    if language in weights:
        return weights[language]
    if embedder in _ENGLISH:
        return DENSE_SHARE.get(language, DENSE_SHARE[""])
    return DENSE_SHARE["en"]


def fuse(dense: Mapping[str, float], sparse: Mapping[str, float], share: float) -> dict[str, float]:
    """The fused scores, 0 to 1, of all that one of the legs holds.

    A keyword score is taken in relation to the best, because BM25 begins at zero; a cosine in
    relation to the best and the worst, because it does not. What a leg has not found counts 0.
    """
    fused = {name: (1 - share) * value for name, value in _scaled(sparse, 0.0).items()}
    for name, value in _scaled(dense, min(dense.values(), default=0.0)).items():
        fused[name] = fused.get(name, 0.0) + share * value
    return fused


def _scaled(scores: Mapping[str, float], zero: float) -> dict[str, float]:
    """Scores with `zero` at 0 and the best at 1; all at 1 where they do not differ."""
    best = max(scores.values(), default=0.0)
    if best <= zero:
        return dict.fromkeys(scores, 1.0)
    return {name: max(0.0, score - zero) / (best - zero) for name, score in scores.items()}
