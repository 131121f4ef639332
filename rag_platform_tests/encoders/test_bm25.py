import math

import pytest

from rag_platform.encoders.bm25 import Bm25Encoder, UnknownLanguage
from rag_platform.storage.vectors.base import SparseVector


def weights(vector: SparseVector) -> dict[int, float]:
    return dict(zip(vector.indices, vector.values, strict=True))


def matches(query: str, passage: str, encoder: Bm25Encoder | None = None) -> bool:
    encoder = encoder or Bm25Encoder()
    return not set(encoder.query(query).indices).isdisjoint(encoder.passage(passage).indices)


def test_weights_are_bm25() -> None:
    """k = 1.2, b = 0.75, average length 256 and no document frequency."""
    encoder = Bm25Encoder()
    found = weights(encoder.passage("dog dog cat"))
    norm = 1.2 * (1 - 0.75 + 0.75 * 3 / 256)
    dog, cat = encoder.query("dog").indices[0], encoder.query("cat").indices[0]
    assert math.isclose(found[dog], 2 * 2.2 / (2 + norm), rel_tol=1e-5)
    assert math.isclose(found[cat], 1 * 2.2 / (1 + norm), rel_tol=1e-5)


def test_a_query_weighs_each_term_once() -> None:
    assert Bm25Encoder().query("dog dog cat").values == [1.0, 1.0]


@pytest.mark.parametrize("text", ["", "   ", "the of and", "!?"])
def test_a_text_without_terms_is_empty(text: str) -> None:
    assert Bm25Encoder().passage(text) == SparseVector([], [])
    assert Bm25Encoder().query(text) == SparseVector([], [])


@pytest.mark.parametrize(
    ("query", "passage"),
    [
        ("running", "it runs"),
        ("snake", "snake_case_name"),
        ("endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("getuserbyid", "call getUserById()"),
        ("1.2.3", "v1.2.3 is out"),
        ("東京", "東京都に住んでいます"),
        ("启动收集器", "如何启动收集器\uff1f"),
        ("茶", "茶"),
        ("Straße", "in der straße"),
    ],
)
def test_found(query: str, passage: str) -> None:
    assert matches(query, passage)


@pytest.mark.parametrize(("query", "passage"), [("cat", "dog"), ("京東", "東京都"), ("the", "the")])
def test_not_found(query: str, passage: str) -> None:
    assert not matches(query, passage)


def test_the_language_chooses_stop_words_and_stemmer() -> None:
    german = Bm25Encoder("german")
    assert german.query("der und die").indices == []
    assert matches("Häuser", "Hauses", german)
    assert not matches("Häuser", "Hauses")
    assert german.fingerprint != Bm25Encoder().fingerprint


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(UnknownLanguage, match="'klingon' is not one of the engine's"):
        Bm25Encoder("klingon")
