"""parsed_docs: what is parsed, what is reused and what is remembered."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_platform.documents.parsed import ParsedDocs
from rag_platform.documents.parsing.ocr import tessdata
from rag_platform.documents.parsing.pool import Document, Outcome
from rag_platform.documents.parsing.result import OcrRules, ParseLimits
from rag_platform.storage.measures import PARSE_SECONDS, Measures
from rag_platform_tests.conformance.harness import SOURCE, InProcessPool
from rag_platform_tests.documents.conftest import Docs, MakeDocs
from rag_platform_tests.documents.parsing.samples import encoded, needs_tesseract, picture, scan

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


def test_parsing_is_timed_by_media_type(docs: Docs) -> None:
    docs.folder.write("a.html", PAGE)
    docs.folder.write("copy.html", PAGE)
    docs.folder.write("a.md", "cheap")
    docs.ask(FIRST)
    parsed = ParsedDocs(
        SOURCE,
        catalog=docs.platform.catalog,
        memo=docs.platform.memo,
        pages=docs.platform.pages,
        limits=ParseLimits(),
    )
    assert parsed.run(FIRST).parsed == 3
    measured = Measures(docs.platform.catalog).read(PARSE_SECONDS)
    assert {
        (series.labels["source"], series.labels["media_type"]): series.cumulative()[-1][1]
        for series in measured
    } == {(SOURCE, "text/html"): 2, (SOURCE, "text/markdown"): 1}
    assert all(0 < series.total < 60 for series in measured)
    assert parsed.run(FIRST).reused_passes == 1
    assert Measures(docs.platform.catalog).read(PARSE_SECONDS) == measured, "nothing was parsed"


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


def stage(docs: Docs, **rules: Any) -> ParsedDocs:
    """The stage over the same state, with other rules for reading pictures."""
    return ParsedDocs(
        SOURCE,
        catalog=docs.platform.catalog,
        memo=docs.platform.memo,
        pages=docs.platform.pages,
        limits=ParseLimits(ocr=OcrRules(**rules)),
        pool=InProcessPool,  # type: ignore[arg-type]
    )


def texts(docs: Docs, parsed: ParsedDocs, window: str = FIRST) -> dict[str, str | None]:
    """What the stage has for each key of the first pass."""
    rows = (
        row
        for batch in docs.platform.pages.read(parsed.part(window, 1))
        for row in batch.to_pylist()
    )
    return {row["key"]: row["text"] and row["text"].strip() for row in rows}


@needs_tesseract
def test_pictures_are_read_by_themselves_once_the_data_is_there(
    docs: Docs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tessdata(("eng",))
    assert here is not None
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    docs.folder.write("scan.pdf", scan(picture("Scanned")))
    docs.folder.write("mixed.pdf", scan("Native", picture("Scanned")))
    docs.folder.write("broken.pdf", b"%PDF-1.7 broken")
    docs.run(FIRST)
    letter = docs.letters()["scan.pdf"]
    assert (letter.reason, letter.attempts) == ("needs_ocr", 1)
    assert "tesseract-ocr-eng" in letter.detail
    assert docs.clean_rows(FIRST)["mixed.pdf"]["text"] == "Native"
    assert docs.parse(FIRST).reused_passes == 1  # nothing has changed

    monkeypatch.setenv("TESSDATA_PREFIX", str(here))
    figures = docs.parse(FIRST)
    assert (figures.parsed, figures.remembered, figures.failed) == (2, 0, 1)
    docs.clean(FIRST)
    assert list(docs.letters()) == ["broken.pdf"]
    rows = docs.clean_rows(FIRST)
    assert rows["scan.pdf"]["text"].strip() == "Scanned"
    assert rows["mixed.pdf"]["text"].split() == ["Native", "Scanned"]
    assert docs.parse(FIRST).reused_passes == 1


@needs_tesseract
def test_other_rules_of_ocr_concern_only_what_has_pictures(docs: Docs) -> None:
    docs.folder.write("scan.pdf", scan(picture("Scanned")))
    docs.folder.write("native.pdf", scan("Native"))
    docs.folder.write("picture.png", encoded(picture("Drawn"), "PNG"))
    docs.ask(FIRST)
    assert stage(docs).run(FIRST).parsed == 3
    strict = stage(docs, min_confidence=1.0)
    figures = strict.run(FIRST)
    assert (figures.parsed, figures.remembered) == (2, 1)
    assert texts(docs, strict) == {"scan.pdf": "", "native.pdf": "Native", "picture.png": ""}
    again = stage(docs)
    assert again.run(FIRST).remembered == 3
    assert texts(docs, again) == {
        "scan.pdf": "Scanned",
        "native.pdf": "Native",
        "picture.png": "Drawn",
    }


@needs_tesseract
def test_a_text_without_a_page_that_took_too_long_is_not_remembered(docs: Docs) -> None:
    data = scan("Native", picture(*["many more words"] * 12, size=(800, 1000)))
    docs.folder.write("slow.pdf", data)
    docs.ask(FIRST)
    hurried = stage(docs, page_seconds=0.001)
    assert hurried.run(FIRST).parsed == 1
    assert texts(docs, hurried) == {"slow.pdf": "Native"}
    docs.folder.write("copy.pdf", data)
    docs.ask(SECOND)
    patient = stage(docs)
    assert patient.fingerprint == hurried.fingerprint
    assert patient.attempt_fingerprint != hurried.attempt_fingerprint
    assert patient.run(SECOND).remembered == 0
    assert patient.run(FIRST).remembered == 1  # what had too little time is read again
    assert patient.run(FIRST).reused_passes == 1
    assert "many more words" in (texts(docs, patient, SECOND)["copy.pdf"] or "")


@needs_tesseract
def test_what_a_document_says_of_itself_is_not_taken_for_unread_pages(docs: Docs) -> None:
    docs.folder.write("sly.md", "---\nneeds_ocr: 1\nocr_timeouts: all\n---\nWords")
    docs.run(FIRST)
    assert docs.parse(FIRST).reused_passes == 1


def test_pages_of_long_documents_are_told_by_key(docs: Docs) -> None:
    docs.folder.write("long.pdf", scan(*["page"] * 3))
    docs.ask(FIRST)
    seen: list[tuple[str, int, int]] = []
    parsed = ParsedDocs(
        SOURCE,
        catalog=docs.platform.catalog,
        memo=docs.platform.memo,
        pages=docs.platform.pages,
        limits=ParseLimits(parse_seconds=30),
        pool=Talkative,  # type: ignore[arg-type]
    )
    parsed.run(FIRST, watch=lambda *page: seen.append(page))
    assert seen == [("long.pdf", 2, 3)]


class Talkative(InProcessPool):
    """Tells of the second of three pages of every document."""

    def parse_all(
        self, documents: Iterable[Document], watch: Any = None, *, timed: object = None
    ) -> Iterator[tuple[Any, Outcome]]:
        for identity, outcome in super().parse_all(documents):
            watch(identity, 2, 3)
            yield identity, outcome
