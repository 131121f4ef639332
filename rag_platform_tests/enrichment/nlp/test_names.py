"""People and organizations, told by the words around them."""

import pytest

from rag_platform.enrichment.nlp.names import people_and_organizations


def people(*sentences: str) -> list[str]:
    return people_and_organizations(sentences)[0]


def organizations(*sentences: str) -> list[str]:
    return people_and_organizations(sentences)[1]


@pytest.mark.parametrize(
    "sentence",
    [
        "Yesterday Dr. Jane Smith came in.",
        "The analyst Jane Smith left.",
        '"It is late," said Jane Smith.',
        "Jane Smith, a spokeswoman for the city, declined.",
        "Jane Smith, 34, was there.",
        "Jane Smith was born in the north.",
        "Later, President Jane Smith of the Union spoke.",
        "It was Jane Smith who asked.",
    ],
)
def test_a_person(sentence: str) -> None:
    assert people(sentence) == ["Jane Smith"]


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("It was sold to Acme Widgets Inc. last year.", "Acme Widgets Inc"),
        ("It was sold to Acme, Inc., last year.", "Acme Inc"),
        ("He studied at the University of Northern Utopia.", "University of Northern Utopia"),
        ("The Ministry of Finance refused.", "Ministry of Finance"),
        ("It lent from Utopia National Bank.", "Utopia National Bank"),
        ("The shares of Acme fell.", "Acme"),
        ("An economist at Acme Widgets warned.", "Acme Widgets"),
        ("Then Acme's chief resigned.", "Acme"),
        ("The insurer Acme Widgets paid.", "Acme Widgets"),
        ("Walls & Sons Ltd moved.", "Walls & Sons Ltd"),
    ],
)
def test_an_organization(sentence: str, name: str) -> None:
    assert people_and_organizations([sentence]) == ([], [name])


@pytest.mark.parametrize(
    "sentence",
    [
        "They went to New York in May.",
        "The Big Red Barn stands there.",
        "On Monday it rained.",
        "U.S. shares fell.",
        "The company said so.",
        "THE WHOLE LINE SHOUTS AT US, SAID ONE.",
        "How To Win Friends: Jane Smith Said All",
        "no capitals, said jane smith of acme inc.",
    ],
)
def test_what_stays_undecided_is_left_out(sentence: str) -> None:
    assert people_and_organizations([sentence]) == ([], [])


def test_a_surname_counts_for_the_full_name() -> None:
    found = people(
        "Analyst Bob Jones came.", "Dr. Jane Smith spoke.", "Smith left.", "Smith slept."
    )
    assert found == ["Jane Smith", "Bob Jones"]


def test_a_short_name_counts_for_the_long_one() -> None:
    found = organizations("The Utopia Bank opened.", "Acme Inc said so.", "Acme said no more.")
    assert found == ["Acme Inc", "Utopia Bank"]


def test_a_name_whose_last_word_goes_on_alone_is_a_persons() -> None:
    assert people("It was painted by Jane Smith.", "Then Smith moved away.") == ["Jane Smith"]
    assert people("It was painted by Jane Smith.", "Then Miller moved away.") == []


def test_other_alphabets_have_capitals_too() -> None:
    assert people("Dr. Zoë Ångström kam.") == ["Zoë Ångström"]
    assert people_and_organizations(["東京銀行は開店した。"]) == ([], [])
