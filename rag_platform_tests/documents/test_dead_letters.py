"""Dead letters: attempts, quarantine, and new chances."""

from dataclasses import replace

from rag_platform.documents.dead_letters import forget_etags, letters, remedy, retries
from rag_platform.documents.parsing.result import Reason
from rag_platform_tests.documents.conftest import Docs, MakeDocs

FIRST, SECOND, THIRD = (f"2026-07-0{day}" for day in (1, 2, 3))
BROKEN = b"%PDF-1.7 broken"


def test_quarantined_after_the_second_attempt(docs: Docs) -> None:
    docs.folder.write("bad.pdf", BROKEN)
    docs.run(FIRST)
    first = docs.letters()["bad.pdf"]
    assert (first.attempts, first.quarantined, first.stage) == (1, False, "parsed_docs")
    assert docs.platform.parsed("manuals").run(FIRST).failed == 0  # not without being asked
    docs.run(FIRST, retry=True)
    second = docs.letters()["bad.pdf"]
    assert (second.attempts, second.quarantined) == (2, True)
    assert second.first_at == first.first_at
    assert docs.parse(FIRST, retry=True).failed == 0
    docs.clean(FIRST)
    assert docs.letters()["bad.pdf"].attempts == 2
    assert docs.outcomes(FIRST) == {"dead_lettered": 1}


def test_other_bytes_are_a_new_chance(docs: Docs) -> None:
    docs.folder.write("bad.pdf", BROKEN)
    docs.run(FIRST)
    docs.run(FIRST, retry=True)
    docs.folder.write("bad.pdf", BROKEN + b" again")
    docs.run(SECOND)
    letter = docs.letters()["bad.pdf"]
    assert (letter.attempts, letter.quarantined, letter.window) == (1, False, SECOND)


def test_other_limits_are_a_new_chance(docs: Docs) -> None:
    docs.folder.write("bad.pdf", BROKEN)
    docs.folder.write("good.md", "good")
    docs.run(FIRST)
    docs.run(FIRST, retry=True)
    assert docs.letters()["bad.pdf"].quarantined
    docs.platform.close()
    docs.open({"max_pages": 7})
    assert docs.parse(FIRST).failed == 1
    docs.clean(FIRST)
    assert docs.letters()["bad.pdf"].attempts == 1
    # Once: the next run of the same limits leaves it alone.
    assert docs.parse(FIRST).failed == 0


def test_forgotten_etags_are_fetched_again(make_docs: MakeDocs) -> None:
    docs = make_docs(limits={"max_bytes": 1_000})
    docs.folder.write("large.md", "x" * 2_000)
    docs.folder.write("bad.pdf", BROKEN)
    docs.folder.write("good.md", "good")
    docs.run(FIRST)
    docs.platform.close()
    docs.open({"max_bytes": 3_000})
    # Nothing about the object has changed, so nothing asks for it.
    docs.run(SECOND)
    assert docs.raw_keys(SECOND, 1) == []
    chosen = letters(docs.platform.catalog)
    assert [letter.key for letter in chosen] == ["bad.pdf", "large.md"]
    assert forget_etags(docs.platform.catalog, chosen) == ["manuals"]
    docs.run(SECOND)
    # What was parsed and failed is not a matter of fetching.
    assert docs.raw_keys(SECOND, 2) == ["large.md"]
    assert docs.outcomes(SECOND) == {"updated": 1, "unchanged": 1, "dead_lettered": 1}
    assert list(docs.letters()) == ["bad.pdf"]


def test_forgetting_nothing(docs: Docs) -> None:
    docs.folder.write("bad.pdf", BROKEN)
    docs.run(FIRST)
    assert forget_etags(docs.platform.catalog, letters(docs.platform.catalog)) == []
    assert forget_etags(docs.platform.catalog, []) == []


def test_letters_of_a_source_and_of_a_window(docs: Docs) -> None:
    docs.folder.write("b.pdf", BROKEN)
    docs.run(FIRST)
    docs.folder.write("a.pdf", BROKEN + b"2")
    docs.run(SECOND)
    catalog = docs.platform.catalog
    assert [letter.key for letter in letters(catalog)] == ["a.pdf", "b.pdf"]
    assert [letter.key for letter in letters(catalog, window=FIRST)] == ["b.pdf"]
    assert [letter.key for letter in letters(catalog, source="manuals", window=SECOND)] == ["a.pdf"]
    assert letters(catalog, source="other") == []
    shown = letters(catalog)[0].as_json()
    assert (shown["key"], shown["reason"], shown["quarantined"]) == ("a.pdf", "corrupt", False)
    assert shown["first_at"].endswith("+00:00")


def test_letters_of_a_reason_and_of_keys(docs: Docs) -> None:
    docs.folder.write("a.pdf", BROKEN)
    docs.folder.write("b.pdf", BROKEN + b"2")
    docs.folder.write("c.zip", b"PK\x03\x04 packed")
    docs.run(FIRST)
    catalog = docs.platform.catalog
    assert [letter.key for letter in letters(catalog, reason="corrupt")] == ["a.pdf", "b.pdf"]
    assert [letter.key for letter in letters(catalog, keys=["b.pdf", "no.pdf"])] == ["b.pdf"]
    assert letters(catalog, reason="corrupt", keys=["c.zip"]) == []


def test_a_document_put_into_quarantine_for_what_it_says(make_docs: MakeDocs) -> None:
    docs = make_docs(safety={"pii": "quarantine"})
    docs.folder.write("bill.md", "Pay to DE89 3704 0044 0532 0130 00, please.")
    docs.run(FIRST)
    letter = docs.letters()["bill.md"]
    assert (letter.reason, letter.stage, letter.attempts) == ("pii", "clean_docs", 1)
    docs.run(FIRST, retry=True)
    assert docs.letters()["bill.md"].quarantined
    docs.run(FIRST, retry=True)
    assert docs.letters()["bill.md"].attempts == 2
    docs.folder.write("bill.md", "Pay in cash, please.")
    docs.run(SECOND)
    assert docs.letters() == {}


def test_each_reason_has_a_remedy() -> None:
    codes = [*Reason, "garbled", "secrets", "pii", "unreadable", "outside_source", "bad_name"]
    codes += ["unavailable", "robots", "forbidden_address", "bad_redirect", "bad_answer"]
    assert [code for code in codes if remedy(code) == remedy("something new")] == []


def test_letters_are_retried_by_source_and_window(docs: Docs) -> None:
    docs.folder.write("b.pdf", BROKEN)
    docs.folder.write("a.pdf", BROKEN + b" a")
    docs.run(FIRST)
    docs.folder.write("c.pdf", BROKEN + b" c")
    docs.run(SECOND)
    found = letters(docs.platform.catalog)
    assert retries(found[::-1]) == {"manuals": {FIRST: ["a.pdf", "b.pdf"], SECOND: ["c.pdf"]}}
    unread = [replace(letter, sha256=None) for letter in found]
    assert retries(unread) == {}
