import math
import pickle

import pytest

from rag_platform.encoders.base import SparseEncoder
from rag_platform.encoders.bm25 import (
    Bm25Encoder,
    MultilingualBm25,
    UnknownLanguage,
    sparse_encoder,
)
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


def found_by(query: str, passage: str, language: str, *, asked_in: str = "") -> float:
    """The weight of the strongest term of the query that the passage has."""
    encoder = MultilingualBm25()
    has = weights(encoder.passage(passage, language=language))
    asked = weights(encoder.query(query, language=asked_in))
    return max((weight for at, weight in asked.items() if at in has), default=0.0)


def test_one_language_for_all_ignores_title_and_language() -> None:
    encoder = Bm25Encoder()
    assert encoder.fingerprint == "qdrant-bm25:1:english:word"
    assert encoder.passage("H\u00e4user", title="Stadt", language="de") == encoder.passage(
        "H\u00e4user"
    )
    assert encoder.query("H\u00e4user", language="de") == encoder.query("H\u00e4user")


@pytest.mark.parametrize(
    ("query", "passage", "language"),
    [
        ("Welche H\u00e4user stehen in der Stadt?", "die W\u00e4nde des Hauses", "de"),
        ("running in the park", "he runs", "en"),
        ("les animaux de la for\u00eat", "un animal sauvage", "fr"),
        (
            "\u0e01\u0e23\u0e38\u0e07\u0e40\u0e17\u0e1e\u0e2d\u0e22\u0e39\u0e48\u0e17\u0e35\u0e48\u0e44\u0e2b\u0e19",
            "\u0e09\u0e31\u0e19\u0e23\u0e31\u0e01\u0e01\u0e23\u0e38\u0e07\u0e40\u0e17\u0e1e\u0e21\u0e32\u0e01",
            "th",
        ),
        ("\u6771\u4eac", "\u6771\u4eac\u90fd\u306b\u4f4f\u3093\u3067\u3044\u307e\u3059", "ja"),
        (
            "\u5982\u4f55\u542f\u52a8\u6536\u96c6\u5668",
            "\u6536\u96c6\u5668\u7684\u914d\u7f6e",
            "zh",
        ),
        ("collectors", "\u5982\u4f55\u542f\u52a8 OpenTelemetry collector", "zh"),
    ],
)
def test_each_language_by_its_own_rules(query: str, passage: str, language: str) -> None:
    assert found_by(query, passage, language) == 1.0


def test_thai_words_are_told_apart() -> None:
    encoder = MultilingualBm25()
    words = encoder.passage(
        "\u0e09\u0e31\u0e19\u0e23\u0e31\u0e01\u0e01\u0e23\u0e38\u0e07\u0e40\u0e17\u0e1e\u0e21\u0e32\u0e01",
        language="th",
    )
    assert len(words.indices) >= 3


def test_the_stop_words_are_those_of_the_language() -> None:
    encoder = MultilingualBm25()
    assert encoder.passage("der und die", language="de") == SparseVector([], [])
    assert encoder.passage("the of and", language="xx") == SparseVector([], [])
    assert encoder.passage("der und die", language="en").indices != []


def test_a_name_is_found_in_another_language_at_less_weight() -> None:
    question = "Wer ist der Autor von Running Wild?"
    assert found_by(question, "Running is fun", "en") == 0.3
    # English itself has one reading.
    assert set(MultilingualBm25().query("Who is the author of this book?").values) == {1.0}


def test_in_an_uncertain_language_all_readings_count_alike() -> None:
    encoder = MultilingualBm25()
    assert set(encoder.query("flow").values) == {1.0}
    assert found_by("flow", "flows", "en") == 1.0
    assert encoder.query("") == encoder.query("!?") == SparseVector([], [])


def test_the_language_may_be_said() -> None:
    assert found_by("H\u00e4user", "Hauses", "de", asked_in="de") == 1.0
    assert found_by("H\u00e4user", "Hauses", "de", asked_in="en") == 0.3


def test_the_title_stands_before_the_text() -> None:
    encoder = MultilingualBm25()
    titled = encoder.passage("of the bank", title="Invoices", language="en")
    assert titled == encoder.passage("Invoices\nof the bank", language="en")
    assert matches_in(titled, encoder, "invoice")


def matches_in(vector: SparseVector, encoder: SparseEncoder, query: str) -> bool:
    return not set(vector.indices).isdisjoint(encoder.query(query).indices)


def test_passages_count_as_long_by_the_length_of_a_chunk() -> None:
    """k = 1.2, b = 0.75, average length 128."""
    encoder = MultilingualBm25()
    [value] = encoder.passage("dog " * 64, language="en").values
    norm = 1.2 * (1 - 0.75 + 0.75 * 64 / 128)
    assert math.isclose(value, 64 * 2.2 / (64 + norm), rel_tol=1e-5)


@pytest.mark.parametrize("language", ["auto", "english", "german"])
def test_the_encoder_of_a_recipe(language: str) -> None:
    encoder = sparse_encoder(language)
    again: SparseEncoder = pickle.loads(pickle.dumps(encoder))
    assert again.fingerprint == encoder.fingerprint
    assert again.passage("some words") == encoder.passage("some words")
    assert isinstance(encoder, MultilingualBm25) == (language == "auto")


def test_recipes_differ() -> None:
    fingerprints = {sparse_encoder(each).fingerprint for each in ("auto", "english", "german")}
    assert len(fingerprints) == 3
