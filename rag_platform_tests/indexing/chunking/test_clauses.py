"""Policies and contracts by clause; tables and code blocks whole; rules by type of document."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.encoders.tokenizer import reference_tokenizer
from rag_platform.indexing.chunking.chunker import Chunker
from rag_platform.indexing.chunking.clauses import ITEM, clause_of

POLICY = """\
# Travel policy

PART I General

1. Scope
1.1 This policy binds everybody who travels for the company, by whatever means and for however long.
1.2 It does not bind visitors.

2. Booking
2.1 Tickets are booked by the travel desk and by nobody else, whoever pays for them in the end.
(a) Trains come before planes.
(b) Planes need the consent of the head of the department.
2.2 A cancelled journey is reported within two days to the travel desk.

Artikel 5 Kosten
§ 12 Die Kosten trägt die Abteilung, die die Reise veranlasst hat.
"""


@pytest.mark.parametrize(
    ("line", "level", "label", "is_caption"),
    [
        ("PART IV Liability", 1, "PART IV Liability", True),
        ("Anlage 2", 1, "Anlage 2", True),
        ("Article 5 Costs and expenses", 2, "Article 5 Costs and expenses", True),
        ("**Section 3.2** The borrower shall repay.", 3, "Section 3.2", False),
        ("§ 12 Die Kosten trägt die Abteilung.", 2, "§ 12", False),
        ("4. Payments", 3, "4. Payments", True),
        ("4.2 The customer pays within 30 days.", 4, "4.2", False),
        ("4.2.1) Late payments", 5, "4.2.1) Late payments", True),
        ("IV. Schlussbestimmungen", 2, "IV. Schlussbestimmungen", True),
        ("(a) trains come first", ITEM, "(a)", False),
        ("(iv) and planes last", ITEM, "(iv)", False),
    ],
)
def test_what_begins_a_clause(line: str, level: int, label: str, is_caption: bool) -> None:
    found = clause_of(line)
    assert found is not None
    assert (found.level, found.is_caption) == (level, is_caption)
    assert found.label.startswith(label[:3])
    if level != ITEM:
        assert found.label == label


@pytest.mark.parametrize(
    "line",
    [
        "4 apples and a pear",
        "2026 was a good year.",
        "3.5",
        "Parties meet",
        "artful 5 x",
        "Rule a person in.",
        "part i of it",
        "",
    ],
)
def test_what_begins_none(line: str) -> None:
    assert clause_of(line) is None


def test_each_clause_is_a_chunk_with_its_path() -> None:
    chunks = Chunker("clause", 96).chunk(POLICY)
    general = "Travel policy > PART I General"
    assert [chunk.heading for chunk in chunks] == [
        "Travel policy",
        f"{general} > 1. Scope > 1.1",
        f"{general} > 1. Scope > 1.2",
        f"{general} > 2. Booking",
        f"{general} > 2. Booking > 2.2",
        f"{general} > Artikel 5 Kosten",
        f"{general} > § 12",
    ]
    assert chunks[2].text == "1.2 It does not bind visitors."
    # A title stays with the first clause below it, and the items of a list with their clause.
    assert chunks[3].text.startswith("2. Booking\n2.1 Tickets")
    assert chunks[3].text.endswith("head of the department.")


def test_an_edit_of_a_clause_leaves_the_others() -> None:
    clauses = [
        f"{n}. Rule {n}\n{n}.1 Whoever does {n} things pays {n} crowns at once."
        for n in range(1, 40)
    ]
    before = {c.text for c in Chunker("clause", 64).chunk("\n\n".join(clauses))}
    clauses[20] += " And again next year."
    after = {c.text for c in Chunker("clause", 64).chunk("\n\n".join(clauses))}
    assert len(after - before) == 1


TABLE = "\n".join(["| item | price |", "|---|---|", *(f"| thing {n} | {n} |" for n in range(12))])
CODE = "```sh\n" + "\n".join(f"make target{n}" for n in range(14)) + "\n```"
PROSE = "The collector receives telemetry from services and exports it to a backend. "


@given(
    blocks=st.lists(st.sampled_from([TABLE, CODE, PROSE, PROSE * 4, "# Title"]), max_size=8),
    overlap=st.sampled_from([0, 30]),
    strategy=st.sampled_from(["recursive", "document", "clause"]),
)
@settings(max_examples=60, deadline=None)
def test_a_table_or_a_code_block_that_fits_is_never_cut(
    blocks: list[str], overlap: int, strategy: str
) -> None:
    text = "\n\n".join(blocks)
    chunks = Chunker(strategy, 160, overlap=overlap).chunk(text)  # type: ignore[arg-type]
    count = reference_tokenizer().count
    assert count(TABLE) < 160
    assert count(CODE) < 160
    assert all(text[c.start : c.end] == c.text and count(c.text) <= 160 for c in chunks)
    for block in (TABLE, CODE):
        at = text.find(block)
        while at >= 0:
            end = at + len(block)
            assert any(c.start <= at and end <= c.end for c in chunks)
            at = text.find(block, end)


def test_a_table_keeps_the_heading_above_it() -> None:
    text = f"{PROSE * 5}\n\n## Prices\n\n{TABLE}\n\n{PROSE}"
    whole = next(c for c in Chunker("recursive", 160).chunk(text) if TABLE in c.text)
    assert whole.text.startswith("## Prices")


def test_a_table_that_is_too_large_is_cut_between_its_rows() -> None:
    rows = "\n".join(f"| thing {n} | {n} |" for n in range(300))
    chunks = Chunker("recursive", 160).chunk(f"| item | price |\n|---|---|\n{rows}")
    assert len(chunks) > 5
    assert all(c.text.startswith("|") and c.text.endswith("|") for c in chunks)


def test_rules_choose_by_the_key() -> None:
    ruled = Chunker("recursive", 96, rules=[("policies/**", "clause"), ("*.log", "fixed")])
    plain, clause = Chunker("recursive", 96), Chunker("clause", 96)
    assert ruled.chunk(POLICY, key="policies/travel.md") == clause.chunk(POLICY)
    assert ruled.chunk(POLICY, key="notes/travel.md") == plain.chunk(POLICY)
    assert ruled.chunk(POLICY) == plain.chunk(POLICY) != clause.chunk(POLICY)
    assert ruled.fingerprint != plain.fingerprint


def test_hostile_lines_take_no_time() -> None:
    for line in ("1." * 100_000, "(" * 100_000, "§ " * 100_000, "a" * 200_000):
        clause_of(line)
