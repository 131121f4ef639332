"""A summary made of sentences of the text."""

from rag_platform.enrichment.nlp.summary import summarize

FERRY = [
    "The city will close its old harbour ferry line next spring.",
    "Fares have not covered the costs of the ferry line for ten years.",
    "A cat was seen on the pier and was given a bowl of milk.",
    "The harbour ferry carries nine hundred passengers a day.",
    "Buses of the city will replace the harbour ferry.",
]


def test_at_most_three_sentences_as_written_and_in_order() -> None:
    found = summarize("Harbour ferry closes", FERRY)
    chosen = [sentence for sentence in FERRY if sentence in found]
    assert found == " ".join(chosen)
    assert len(chosen) == 3
    assert chosen[0] == FERRY[0]
    assert FERRY[2] not in chosen


def test_sentences_that_say_the_same_are_said_once() -> None:
    found = summarize("", [FERRY[0], FERRY[0], FERRY[0].replace("old ", ""), FERRY[3]])
    assert found == f"{FERRY[0]} {FERRY[3]}"


def test_names_speak_for_a_sentence() -> None:
    named = "The ferry was opened by Jane Smith and Ann Miller of Acme."
    lines = [FERRY[0], FERRY[4], FERRY[1], named]
    assert named not in summarize("", lines)
    assert named in summarize("", lines, ["Jane Smith", "Ann Miller", "Acme"])


def test_overlong_and_scanty_sentences_stand_in_only_where_there_is_nothing_else() -> None:
    long = "word " * 200
    assert summarize("", [long, "Too short.", FERRY[0]]) == FERRY[0]
    assert summarize("", ["Too short."]) == "Too short."
    cut = summarize("", [long])
    assert cut.endswith("word…")
    assert len(cut) <= 400


def test_nothing_comes_of_nothing() -> None:
    assert summarize("A title", []) == ""
