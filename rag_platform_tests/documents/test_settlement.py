"""Every change gets one outcome, whatever becomes of the document later."""

import pytest

from rag_platform.documents.settlement import Settlement
from rag_platform_tests.documents.conftest import Docs

FIRST, SECOND, THIRD = (f"2026-07-0{day}" for day in (1, 2, 3))
BROKEN = b"%PDF-1.7 broken"


def test_duplicates_are_told_from_the_first_with_the_text(docs: Docs) -> None:
    docs.folder.write("a.md", "same")
    docs.folder.write("b.md", "same  \n\n")
    docs.folder.write("c.md", "other")
    docs.run(FIRST)
    assert docs.outcomes(FIRST) == {"inserted": 2, "duplicate": 1}
    docs.folder.write("c.md", "same")
    docs.folder.write("d.md", "same")
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"unchanged": 2, "duplicate": 2}
    # When the first is gone there is still one left, and a newcomer is its copy.
    docs.folder.remove("a.md")
    docs.folder.write("e.md", "same\n")
    docs.run(THIRD)
    assert docs.outcomes(THIRD) == {"unchanged": 3, "deleted": 1, "duplicate": 1}


def test_empty_documents_are_no_duplicates(docs: Docs) -> None:
    for key in ("a.md", "b.md", "c.md"):
        docs.folder.write(key, "\n" * len(key))
    docs.run(FIRST)
    assert docs.outcomes(FIRST) == {"inserted": 3}
    docs.folder.write("a.md", "")
    docs.folder.write("b.md", "a text")
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"updated": 1, "unchanged": 2}


def test_other_bytes_with_the_same_text_are_unchanged(docs: Docs) -> None:
    docs.folder.write("a.md", "text")
    docs.run(FIRST)
    docs.folder.write("a.md", "text\u200b\r\n\n")
    assert docs.run(SECOND).changes == {"updated": 1}
    assert docs.outcomes(SECOND) == {"unchanged": 1}


def test_a_change_overtaken_before_it_was_settled_is_superseded(docs: Docs) -> None:
    docs.folder.write("a.md", "one")
    docs.folder.write("b.md", "b")
    docs.ask(FIRST)
    docs.folder.write("a.md", "two")
    docs.ask(SECOND)
    docs.folder.remove("b.md")
    docs.ask(THIRD)
    for window in (FIRST, SECOND, THIRD):
        docs.parse(window)
        docs.clean(window)
    assert docs.outcomes(FIRST) == {"superseded": 2}
    assert docs.outcomes(SECOND) == {"updated": 1, "unchanged": 1}
    assert docs.outcomes(THIRD) == {"unchanged": 1, "deleted": 1}


def test_an_outcome_stays_when_the_document_changes_later(docs: Docs) -> None:
    docs.folder.write("a.md", "one")
    docs.run(FIRST)
    docs.folder.write("a.md", "two")
    docs.run(SECOND)
    docs.run(FIRST)
    assert docs.outcomes(FIRST) == {"inserted": 1}
    assert docs.page(FIRST).standing == 0


def test_failed_mended_and_failed_again(docs: Docs) -> None:
    docs.folder.write("other.md", "other")
    docs.folder.write("a.md", "good")
    docs.run(FIRST)
    docs.folder.write("a.md", b"\xff\xfe\xfd" * 300 + BROKEN)
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"unchanged": 1, "dead_lettered": 1}
    assert list(docs.letters()) == ["a.md"]
    docs.folder.write("a.md", "good")
    docs.run(THIRD)
    # The text was withdrawn meanwhile, so it is not the same as before.
    assert docs.outcomes(THIRD) == {"updated": 1, "unchanged": 1}
    assert docs.letters() == {}


def test_a_dead_letter_that_goes(docs: Docs) -> None:
    for key in ("a.md", "b.md"):
        docs.folder.write(key, key)
    docs.folder.write("bad.pdf", BROKEN)
    docs.run(FIRST)
    docs.folder.remove("bad.pdf")
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"unchanged": 2, "deleted": 1}
    assert docs.letters() == {}


def test_garbled_text_is_the_cleaner_s_dead_letter(docs: Docs) -> None:
    docs.folder.write("a.md", ("\ufffd" * 10 + "words ") * 20)
    docs.run(FIRST)
    letter = docs.letters()["a.md"]
    assert (letter.stage, letter.reason, letter.attempts) == ("clean_docs", "garbled", 1)


def test_a_pass_half_settled_is_settled_later(docs: Docs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the texts and the outcomes that need the whole pass."""
    docs.folder.write("a.md", "a")
    docs.folder.write("b.md", "b")
    docs.run(FIRST)
    docs.folder.write("c.md", "b")
    docs.folder.write("d.md", "d")
    docs.ask(SECOND)
    docs.parse(SECOND)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Settlement, "_settle_rest", killed)
        with pytest.raises(KeyboardInterrupt):
            docs.clean(SECOND)
    assert docs.page(SECOND).undecided == 2
    docs.clean(SECOND)
    assert docs.outcomes(SECOND) == {"inserted": 1, "unchanged": 2, "duplicate": 1}


def test_more_documents_than_a_batch(docs: Docs) -> None:
    for number in range(1_050):
        docs.folder.write(f"{number:04d}.md", f"text {number % 700}")
    docs.run(FIRST)
    assert docs.outcomes(FIRST) == {"inserted": 700, "duplicate": 350}
