"""The text of one document, as its newest change has it."""

from rag_platform.documents.access import EVERYTHING
from rag_platform.documents.life import Known, found
from rag_platform.documents.texts import DocumentText, text_of
from rag_platform_tests.conformance.harness import SOURCE
from rag_platform_tests.documents.conftest import Docs

FIRST, SECOND = "2026-07-01", "2026-07-02"


def known(docs: Docs, key: str) -> Known:
    [one] = [one for one in found(docs.platform.catalog, EVERYTHING)[0] if one.key == key]
    return one


def text(docs: Docs, key: str) -> str | None:
    read = text_of(docs.platform.documents(SOURCE), known(docs, key), docs.platform.pages)
    return read.text if read else None


def test_the_text_is_that_of_the_newest_change(docs: Docs) -> None:
    docs.folder.write("a.md", "# First\n\nThe first text of a.")
    docs.folder.write("b.md", "The text of b.")
    docs.folder.write("bad.pdf", b"%PDF-1.7 broken")
    docs.run(FIRST)
    docs.folder.write("a.md", "# Second\n\nThe second text of a, which is longer.")
    docs.run(SECOND)
    stage = docs.platform.documents(SOURCE)
    read = text_of(stage, known(docs, "a.md"), docs.platform.pages)
    assert read is not None
    assert read.text.startswith("# Second")
    assert (read.title, read.language) == ("Second", "en")
    assert read.uri.endswith("/docs/a.md")
    assert text(docs, "b.md") == "The text of b."
    assert text(docs, "bad.pdf") is None


def test_what_is_not_clean_yet_has_no_text(docs: Docs) -> None:
    docs.folder.write("a.md", "A text.")
    docs.ask(FIRST)
    assert text(docs, "a.md") is None
    docs.parse(FIRST)
    assert text(docs, "a.md") is None
    docs.clean(FIRST)
    assert text(docs, "a.md") == "A text."


def test_pages_are_counted_from_one() -> None:
    read = DocumentText("abcdef", "", "", None, None, (0, 2, 2, 5))
    assert [read.page_of(offset) for offset in range(6)] == [1, 1, 3, 3, 3, 4]
    assert DocumentText("abc", "", "", None, None, ()).page_of(1) is None
