"""clean_docs: rows, figures, reuse, and what its check finds."""

import hashlib

import pytest

from rag_platform.documents.clean import clean_schema
from rag_platform_tests.documents.conftest import Docs

FIRST = "2026-07-01"


def test_the_row_of_a_document(docs: Docs) -> None:
    docs.folder.write("a b.md", "# The  title\n\nWo\u200brds.  \n")
    docs.run(FIRST)
    row = docs.clean_rows(FIRST)["a b.md"]
    assert row["text"] == "# The  title\n\nWords."
    assert row["text_hash"] == hashlib.sha256(row["text"].encode()).hexdigest()
    assert row["title"] == "The title"
    assert row["uri"] == f"{docs.folder.root.as_uri()}/a b.md"
    assert (row["reason"], row["detail"], row["empty"]) == (None, None, False)


def test_figures_and_reuse(docs: Docs) -> None:
    docs.folder.write("a.md", "f\u200bou\u200br")
    docs.folder.write("empty.md", " \n")
    docs.folder.write("bad.pdf", b"%PDF-1.7 broken")
    docs.ask(FIRST)
    docs.parse(FIRST)
    figures = docs.clean(FIRST)
    assert (figures.cleaned, figures.failed, figures.empty) == (2, 1, 1)
    assert (figures.hidden_characters, figures.characters) == (2, 4)
    again = docs.clean(FIRST)
    assert (again.cleaned, again.reused_passes) == (0, 1)
    assert docs.letters()["bad.pdf"].attempts == 1


def test_it_must_be_parsed_first(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.ask(FIRST)
    assert docs.platform.clean("manuals").part(FIRST, 1) is None
    with pytest.raises(RuntimeError, match="parsed_docs must run before"):
        docs.clean(FIRST)


def test_a_part_of_its_schema_has_no_problems(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.folder.write("empty.md", "")
    docs.folder.write("bad.pdf", b"%PDF-1.7 broken")
    docs.run(FIRST)
    stage = docs.platform.clean("manuals")
    assert stage.schema_problems([FIRST, "2026-07-02"]) == []


def test_rows_against_their_reason_are_found(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.folder.write("b.md", "b")
    docs.run(FIRST)
    stage = docs.platform.clean("manuals")
    part = stage.part(FIRST, 1)
    assert part is not None
    rows = docs.clean_rows(FIRST)
    rows["a.md"] |= {"text": None, "uri": None}
    rows["b.md"] |= {"reason": "corrupt"}
    with docs.platform.pages.writer(part, clean_schema()) as writer:
        for row in rows.values():
            writer.add(row, size=1)
    assert stage.schema_problems([FIRST]) == [
        f"{FIRST}: 1 rows without uri",
        f"{FIRST}: 2 rows with text against their reason",
        f"{FIRST}: 1 rows with text_hash against their reason",
        f"{FIRST}: 1 rows with title against their reason",
    ]
