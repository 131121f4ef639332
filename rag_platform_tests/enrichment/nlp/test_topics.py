"""Key phrases of a document."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.enrichment.nlp.topics import topics

TEXT = [
    "The central bank raised interest rates again on Tuesday.",
    "Interest rates are now at their highest, and mortgage lenders follow.",
    "For the central bank, mortgage lenders are not alone: home buyers wait.",
]


def test_topics_are_the_phrases_that_the_text_is_about() -> None:
    found = topics("Interest rates rise", TEXT)
    assert found[0] == "interest rates"
    assert 2 <= len(found) <= 4
    text = " ".join(["interest rates rise", *TEXT]).lower()
    assert all(topic in text for topic in found)


def test_function_words_days_numbers_and_masks_are_no_topics() -> None:
    words = " ".join(topics("", [*TEXT, "On 12 March XXXX paid 300 at 15:30."])).split()
    assert not {"the", "and", "tuesday", "march", "xxxx", "300"} & set(words)


def test_names_have_their_own_fields() -> None:
    text = ["Acme Widgets builds engines.", "Acme Widgets sells engines in Utopia."]
    assert "acme widgets" in topics("", text)
    assert not [each for each in topics("", text, without=["Acme Widgets"]) if "acme" in each]


def test_nothing_comes_of_nothing() -> None:
    assert topics("", []) == topics("", ["It was the one."]) == topics("", ["東京"]) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=80), max_size=5))
def test_any_text_has_a_few_distinct_topics(texts: list[str]) -> None:
    found = topics("", texts)
    assert len(found) <= 8
    assert len(set(found)) == len(found)
    assert found == topics("", texts)
