"""Markdown and its front matter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.documents.parsing.markdown import parse_markdown, without_comments

BODY = "# Real title\n\nSome text.\n"


def test_front_matter_becomes_metadata_as_it_is_written() -> None:
    source = (
        "---\ntitle: Practici\nweight: 0999\ndate: 2020-01-02 # day\ntags: [a, 'b c']\n"
        "nested:\n  x: 1\n  y: {z: [q]}\nfolded: >\n  one\n  two\nyes: no\n---\n\n" + BODY
    )
    parsed = parse_markdown(source.encode())
    assert parsed.title == "Practici"
    assert parsed.text == BODY
    assert parsed.metadata == {
        "weight": "0999",
        "date": "2020-01-02",
        "tags": "a, b c",
        "folded": "one two",
        "yes": "no",
    }


def test_toml_front_matter() -> None:
    source = (
        '+++\ntitle = "Practici"\nweight = 9\ndate = 2020-01-02\ntags = ["a", "b c", [1]]\n'
        "draft = false\n[nested]\nx = 1\n+++\n\n" + BODY
    )
    parsed = parse_markdown(source.encode())
    assert (parsed.title, parsed.text) == ("Practici", BODY)
    assert parsed.metadata == {
        "weight": "9",
        "date": "2020-01-02",
        "tags": "a, b c",
        "draft": "False",
    }


@pytest.mark.parametrize(
    "front_matter", ["title: YAML", "a = " + "[" * 20_000, "a = 1\na = 2", "x" * 70_000]
)
def test_bad_toml_stays_in_the_text(front_matter: str) -> None:
    source = f"+++\n{front_matter}\n+++\n{BODY}"
    parsed = parse_markdown(source.encode())
    assert parsed.text == source
    assert list(parsed.metadata) == ["front_matter_error"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_front_matter_under_any_line_end(newline: str, bom: str) -> None:
    source = bom + newline.join(["---", "title: T", "---", "body"])
    parsed = parse_markdown(source.encode())
    assert (parsed.title, parsed.text) == ("T", "body")


@pytest.mark.parametrize(
    "front_matter",
    [
        "title: [unclosed",
        "- a\n- b",
        "just words",
        "a: &x [1, 2]\nb: *x",
        "a: " + "[" * 40_000,
        "? " * 20_000 + "a",
        "big: " + "x" * 70_000,
        "{a: " * 10_000,
        "? [a, b]\n: c",
        "a: 1\n\tb: 2",
    ],
)
def test_bad_front_matter_stays_in_the_text(front_matter: str) -> None:
    source = f"---\n{front_matter}\n---\n{BODY}"
    parsed = parse_markdown(source.encode())
    assert parsed.text == source
    assert parsed.title == "Real title"
    assert list(parsed.metadata) == ["front_matter_error"]


def test_alias_bomb_costs_nothing() -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, 12)]
    source = "---\n" + "\n".join(lines) + "\n---\nbody"
    parsed = parse_markdown(source.encode())
    assert parsed.text == source
    assert "aliases" in parsed.metadata["front_matter_error"]


def test_tags_build_nothing() -> None:
    source = "---\nrun: !!python/object/apply:os.abort []\nok: !!int notanumber\n---\nbody"
    parsed = parse_markdown(source.encode())
    assert parsed.text == "body"
    assert parsed.metadata == {"ok": "notanumber"}


def test_a_rule_is_not_front_matter() -> None:
    source = "---\n\nno closing line\n"
    assert parse_markdown(source.encode()).text == source
    assert parse_markdown(b"text\n---\na: 1\n---\n").text == "text\n---\na: 1\n---\n"


def test_title_from_the_first_heading_outside_code() -> None:
    source = "```sh\n# not a title\n```\n## Second\n# The title # {#anchor}\n# Later"
    assert parse_markdown(source.encode()).title == "The title"
    assert parse_markdown(b"no heading").title == ""
    assert parse_markdown(b"").text == ""


def test_metadata_is_bounded() -> None:
    entries = "\n".join(f"k{n}: {'v' * 2_000}" for n in range(30)) + "\n" + "x" * 100 + ": y"
    metadata = parse_markdown(f"---\n{entries}\n---\n".encode()).metadata
    assert len(metadata) == 31
    assert {len(value) for value in metadata.values()} == {500, 1}
    assert max(map(len, metadata)) == 64


@given(st.text(alphabet="-ab:[]{}&*!#'\"\n ?|>.,", max_size=80))
def test_no_front_matter_loses_the_document(front_matter: str) -> None:
    assert parse_markdown(f"---\n{front_matter}\n---\nthe body".encode()).text.endswith("the body")


@pytest.mark.parametrize(
    ("source", "text", "hidden"),
    [
        ("a <!-- b --> c", "a  c", 1),
        ("<!-- one\ntwo -->\n# Head", "\n# Head", 7),
        ("a <!---->b", "a b", 0),
        ("`<!-- code -->` <!-- no -->", "`<!-- code -->` ", 2),
        ("``a ` <!-- b -->`` c", "``a ` <!-- b -->`` c", 0),
        ("it`s <!-- x -->", "it`s ", 1),
        ("```xml\n<!-- b -->\n```\n<!-- c -->", "```xml\n<!-- b -->\n```\n", 1),
        ("~~~\n<!-- b -->", "~~~\n<!-- b -->", 0),
        ("    <!-- code -->\n", "    <!-- code -->\n", 0),
        ("  <!-- x -->\n", "  \n", 1),
        ("a <!-- open", "a <!-- open", 0),
        ("--> a <!-- b", "--> a <!-- b", 0),
    ],
)
def test_comments_are_left_out_and_counted(source: str, text: str, hidden: int) -> None:
    parsed = parse_markdown(source.encode())
    assert parsed.text == text
    assert parsed.metadata.get("hidden_characters", "0") == str(hidden)


@given(
    st.lists(st.sampled_from(["<!--", "-->", "`", "```", "\n", "x", "    ", "~~~"]), max_size=30)
)
def test_only_whole_comments_go(pieces: list[str]) -> None:
    source = "".join(pieces)
    text, hidden = without_comments(source)
    assert hidden <= len(source) - len(text)
    assert text == source or "<!--" in source
    assert source.count("x") - text.count("x") <= hidden
