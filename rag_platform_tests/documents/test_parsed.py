"""parsed_docs: what is parsed, what is reused and what is remembered."""

from rag_platform_tests.documents.conftest import Docs, MakeDocs

FIRST, SECOND = "2026-07-01", "2026-07-02"
PAGE = "<html><body><main><h1>Head</h1><p>Some words of a page.</p></main></body></html>"


def test_a_page_is_parsed_once(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.folder.write("b.md", "bb")
    docs.ask(FIRST)
    figures = docs.parse(FIRST)
    assert (figures.parsed, figures.failed, figures.bytes, figures.reused_passes) == (2, 0, 3, 0)
    figures = docs.parse(FIRST)
    assert (figures.parsed, figures.reused_passes) == (0, 1)


def test_each_pass_is_parsed_for_itself(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.run(FIRST)
    docs.folder.write("b.md", "b")
    docs.ask(FIRST)
    figures = docs.parse(FIRST)
    assert (figures.parsed, figures.reused_passes) == (1, 1)
    docs.ask(FIRST)  # finds nothing, so there is nothing to parse
    assert docs.parse(FIRST).reused_passes == 2


def test_dear_formats_are_remembered_by_their_bytes(docs: Docs) -> None:
    docs.folder.write("a.html", PAGE)
    docs.folder.write("a.md", "cheap")
    docs.run(FIRST)
    docs.folder.write("copy.html", PAGE)
    docs.folder.write("copy.md", "cheap")
    docs.ask(SECOND)
    figures = docs.parse(SECOND)
    assert (figures.remembered, figures.parsed) == (1, 1)
    docs.clean(SECOND)
    assert docs.clean_rows(SECOND)["copy.html"]["text"] == docs.clean_rows(FIRST)["a.html"]["text"]
    assert docs.outcomes(SECOND) == {"unchanged": 2, "duplicate": 2}


def test_what_was_superseded_is_not_parsed(docs: Docs) -> None:
    docs.folder.write("a.md", "one")
    docs.folder.write("b.md", "b")
    docs.ask(FIRST)
    docs.folder.write("a.md", "two")
    docs.ask(FIRST)
    assert docs.parse(FIRST).parsed == 2
    docs.clean(FIRST)
    assert list(docs.clean_rows(FIRST, 1)) == ["b.md"]
    assert docs.clean_rows(FIRST, 2)["a.md"]["text"] == "two"


def test_only_deletions_leave_an_empty_part(docs: Docs) -> None:
    for key in ("a.md", "b.md", "c.md"):
        docs.folder.write(key, key)
    docs.run(FIRST)
    docs.folder.remove("a.md")
    docs.ask(SECOND)
    figures = docs.parse(SECOND)
    assert (figures.parsed, figures.failed) == (0, 0)
    docs.clean(SECOND)
    assert docs.clean_rows(SECOND) == {}


def test_a_retry_keeps_the_rows_of_the_others(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.folder.write("b.pdf", b"%PDF-1.7 broken")
    docs.folder.write("c.md", "c")
    docs.run(FIRST)
    before = docs.clean_rows(FIRST)
    figures = docs.parse(FIRST, retry=True)
    assert (figures.parsed, figures.failed, figures.reused_passes) == (0, 1, 0)
    docs.clean(FIRST)
    assert docs.clean_rows(FIRST) == before
    assert before["b.pdf"]["text"] is None
    assert before["b.pdf"]["reason"] == "corrupt"


def test_the_attempt_depends_on_the_limits_the_text_does_not(make_docs: MakeDocs) -> None:
    one, other = make_docs(), make_docs(limits={"max_pages": 7})
    first, second = one.platform.parsed("manuals"), other.platform.parsed("manuals")
    assert first.fingerprint == second.fingerprint
    assert first.attempt_fingerprint != second.attempt_fingerprint
