"""What documents say of themselves, and what hostile ones say."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.documents.cleaning import quality as share_of_good
from rag_platform.encoders.sentences import sentences
from rag_platform.enrichment.metadata import (
    UNKNOWN_LANGUAGE,
    document_metadata,
    language,
    quality,
)

PROSE = (
    "The harbour ferry carries nine hundred passengers on a working day, and half as many on a "
    "Sunday. Its fares have not covered its costs for ten years, so the city looks for another way "
    "to bring people across the water. A bridge was planned once. It was never built."
)


def row(text: str = PROSE, **values: Any) -> dict[str, Any]:
    metadata = json.dumps(values.pop("metadata", {}))
    given = {"title": "Ferry", "text": text, "language": "", "quality": 1.0, "metadata": metadata}
    return given | values


def test_what_the_format_declares_comes_first() -> None:
    text = f"By Bob Jones\n\n1 May 2020\n\n{PROSE}"
    declared = {"author": "Jane Smith", "date": "2024-03-05T10:00:00Z", "modified": "2025-01-01"}
    found = document_metadata(row(text, metadata=declared))
    assert (found.title, found.author, found.date) == ("Ferry", "Jane Smith", "2024-03-05")
    assert found.language == "en"
    without = document_metadata(row(text, metadata={"modified": "2025-01-01"}))
    assert (without.author, without.date) == ("Bob Jones", "2020-05-01")
    assert document_metadata(row(metadata={"modified": "2025-01-01"})).date == "2025-01-01"


def test_a_document_that_says_nothing_has_none() -> None:
    found = document_metadata(row(title=""))
    assert (found.title, found.author, found.date) == (None, None, None)


@pytest.mark.parametrize(
    ("line", "author"),
    [
        ("By Jane Smith", "Jane Smith"),
        ("**By Jane Q. Smith, staff writer**", "Jane Q. Smith"),
        ("by Jane Smith | March 5, 2024", "Jane Smith"),
        ("Author: Jane Smith", "Jane Smith"),
        ("Authors: Jane Smith and Bob Jones", "Jane Smith and Bob Jones"),
        ("Written by Anna von der Heide (Utopia)", "Anna von der Heide"),
        ("Von Anna Müller", "Anna Müller"),
        ("By the end of the day", None),
        ("By Friday", None),
        ("By now everybody knows", None),
        ("Bypass Road", None),
        ("By <script>alert(1)</script> Smith", None),
        ("By Https://Evil.Example Smith", None),
    ],
)
def test_a_byline(line: str, author: str | None) -> None:
    assert document_metadata(row(f"# Title\n\n{line}\n\n{PROSE}")).author == author


def test_a_byline_stands_at_the_top() -> None:
    text = "\n\n".join([PROSE] * 12 + ["By Jane Smith"])
    assert document_metadata(row(text)).author is None


@pytest.mark.parametrize(
    ("line", "date"),
    [
        ("March 5, 2024", "2024-03-05"),
        ("Published: 5 March 2024", "2024-03-05"),
        ("Last updated on 2024-03-05", "2024-03-05"),
        ("By Jane Smith, March 2024", "2024-03"),
        ("Published 3/5/2024", None),
        ("It was on March 5, 2024 that the ferry sank in the harbour", None),
        ("Published: 5 March 1024", None),
    ],
)
def test_a_date_of_its_own(line: str, date: str | None) -> None:
    assert document_metadata(row(f"{line}\n\n{PROSE}")).date == date


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("2024", "2024"),
        ("2024-03", "2024-03"),
        ("2024-03-05", "2024-03-05"),
        ("Tue, 05 Mar 2024 10:00:00 GMT", "2024-03-05"),
        ("2024-13", None),
        ("2024-02-30", None),
        ("9999-01-01", None),
        ("0001-01-01", None),
        ("yesterday", None),
        ("20240305", None),
    ],
)
def test_a_declared_date_is_iso_or_none(value: str, date: str | None) -> None:
    assert document_metadata(row(metadata={"date": value})).date == date


@pytest.mark.parametrize(
    "author",
    [
        *("Administrator", "unknown", "python-docx", "Microsoft Office User", "x", "", "12345"),
        *("a" * 121, "<b>Jane</b>", "jane@example.org", "http://evil.example", "\x00\u202e"),
    ],
)
def test_a_declared_author_that_is_none(author: str) -> None:
    assert document_metadata(row(metadata={"author": author})).author is None


def test_hostile_values_are_bounded_to_one_line() -> None:
    found = document_metadata(
        row(title="a\n\u202eb " * 500, metadata={"author": " Jane\n Smith\x00"})
    )
    assert found.title is not None
    assert len(found.title) <= 300
    assert found.title.startswith("a b a b")
    assert found.author == "Jane Smith"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (PROSE, "en"),
        ("Die Fähre bringt jeden Tag neunhundert Menschen über das Wasser in die Stadt.", "de"),
        ("Le bac transporte chaque jour neuf cents passagers de l'autre côté du port.", "fr"),
        ("El transbordador lleva cada día a novecientas personas al otro lado del puerto.", "es"),
        ("今天下雨了所以渡轮停运了乘客们只好坐公共汽车去城里。", "zh"),
    ],
)
def test_the_language_is_detected(text: str, code: str) -> None:
    assert language([text]) == code
    assert language([text], declared="xx-declared") == code


def test_a_text_too_short_to_tell_has_the_declared_language_or_none() -> None:
    assert language(["Guten Tag."]) == UNKNOWN_LANGUAGE == "und"
    assert language(["Guten Tag."], declared="de-AT") == "de"
    assert language([], declared="en_US") == "en"
    for hostile in ("english", "<b>", "1", "e"):
        assert language([], declared=hostile) == UNKNOWN_LANGUAGE


def test_the_quality_is_the_product_of_its_features() -> None:
    text = "One two three four five six."  # 22 letters of 23 visible characters, one sentence
    found = quality(text, sentences(text), characters=0.9)
    length = 3.135494 / 5.993961  # ln 23 / ln 401
    assert (found.variety, found.letters, found.sentences) == (1.0, 1.0, 1.0)
    assert found.length == pytest.approx(length, abs=1e-5)
    assert found.score == pytest.approx(0.9 * (length + 1 + 1) / 3, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("Buy now! " * 500, "variety"),
        ("The same line again and again.\n" * 200, "variety"),
        ("12 33 9.5\n4 8 77\n" * 20, "letters"),
        ("QmFzZTY0IGVuY29k" * 100, "letters"),
        ("menu\nhome\nabout us\ncontact\nlogin\nsearch\nimprint", "sentences"),
        ("Hi.", "length"),
    ],
)
def test_bad_text_has_a_low_quality(text: str, feature: str) -> None:
    found = quality(text, sentences(text), characters=share_of_good(text))
    good = quality(PROSE, sentences(PROSE), characters=share_of_good(PROSE))
    assert getattr(found, feature) < 0.5 <= getattr(good, feature)
    assert found.score < 0.7
    assert good.score > 0.9


def test_an_empty_text_has_no_quality() -> None:
    found = document_metadata(row("", quality=None))
    assert (found.quality, found.language) == (0.0, "und")


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=300),
    st.dictionaries(st.sampled_from(["author", "date", "modified"]), st.text(max_size=80)),
    st.text(max_size=10),
)
def test_any_document_has_metadata_of_the_form(
    text: str, metadata: dict[str, str], declared: str
) -> None:
    found = document_metadata(row(text, metadata=metadata, language=declared))
    assert 0 <= found.quality <= 1
    assert found.language.isascii()
    assert 2 <= len(found.language) <= 3
    assert found.author is None or (len(found.author) <= 120 and "<" not in found.author)
    assert found.date is None or len(found.date) in (4, 7, 10)
