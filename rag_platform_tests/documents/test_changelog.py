"""The change log: kinds, moves in pairs, plausibility and what a refusal leaves."""

import pytest
import sqlalchemy as sa

from rag_platform.documents.changelog import SourceListingRefused, implausible_loss
from rag_platform.storage.schema import changes, documents
from rag_platform_tests.documents.conftest import Docs, MakeDocs

FIRST, SECOND, THIRD = (f"2026-07-0{day}" for day in (1, 2, 3))


def rows(docs: Docs, window: str) -> list[tuple[str, str, str | None, str | None]]:
    """Key, kind, where it was before, and outcome, of a page's changes in their order."""
    with docs.platform.catalog.read() as connection:
        found = connection.execute(
            sa.select(changes.c.key, changes.c.kind, changes.c.moved_from, changes.c.outcome)
            .where(changes.c.window == window)
            .order_by(changes.c.seq)
        )
        return [tuple(row) for row in found]


def test_the_log_of_a_page(docs: Docs) -> None:
    for key in ("stays.md", "changes.md", "goes.md", "moves.md"):
        docs.folder.write(key, f"text of {key}")
    docs.run(FIRST)
    docs.folder.write("changes.md", "other text")
    docs.folder.remove("goes.md")
    docs.folder.rename("moves.md", "moved.md")
    docs.folder.write("comes.md", "new text")
    done = docs.run(SECOND)
    assert done.changes == {"inserted": 1, "updated": 1, "moved": 1, "deleted": 1}
    assert rows(docs, SECOND) == [
        ("changes.md", "updated", None, "updated"),
        ("comes.md", "inserted", None, "inserted"),
        ("moved.md", "moved", "moves.md", "moved"),
        ("goes.md", "deleted", None, "deleted"),
        ("moves.md", "departed", None, "departed"),
    ]
    # Four objects and one that is gone; the moved one counts once.
    assert (done.objects, done.listed) == (4, 5)


def test_two_copies_that_moved_are_paired_in_order(docs: Docs) -> None:
    docs.folder.write("a.md", "same")
    docs.folder.write("b.md", "same")
    docs.run(FIRST)
    assert docs.outcomes(FIRST) == {"inserted": 1, "duplicate": 1}
    docs.folder.rename("a.md", "y.md")
    docs.folder.rename("b.md", "x.md")
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"moved": 2}
    assert [row[:3] for row in rows(docs, SECOND) if row[1] == "moved"] == [
        ("x.md", "moved", "a.md"),
        ("y.md", "moved", "b.md"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "outcomes"),
    [
        (["a"], ["b", "c"], {"moved": 1, "duplicate": 1}),
        (["a", "b"], ["c"], {"moved": 1, "deleted": 1}),
        (["a", "b"], ["b", "c"], {"moved": 1, "unchanged": 1}),
        (["a"], ["a", "b"], {"unchanged": 1, "duplicate": 1}),
    ],
)
def test_copies_that_came_and_went(
    docs: Docs, before: list[str], after: list[str], outcomes: dict[str, int]
) -> None:
    docs.folder.write("other.md", "other")
    for key in before:
        docs.folder.write(f"{key}.md", "same")
    docs.run(FIRST)
    docs.folder.remove(*(f"{key}.md" for key in set(before) - set(after)))
    for key in set(after) - set(before):
        docs.folder.write(f"{key}.md", "same")
    docs.run(SECOND)
    found = docs.outcomes(SECOND)
    assert found.pop("unchanged") == 1 + outcomes.pop("unchanged", 0)
    assert found == outcomes


def test_a_file_swapped_over_another_is_no_move(docs: Docs) -> None:
    docs.folder.write("a.md", "one")
    docs.folder.write("b.md", "two")
    docs.run(FIRST)
    docs.folder.rename("a.md", "b.md")
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"updated": 1, "deleted": 1}


def test_documents_that_could_not_be_read_are_not_paired(make_docs: MakeDocs) -> None:
    docs = make_docs(limits={"max_bytes": 1_000})
    docs.folder.write("other.md", "x")
    docs.folder.write("a.md", "x" * 2_000)
    docs.run(FIRST)
    docs.folder.rename("a.md", "b.md")
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"unchanged": 1, "deleted": 1, "dead_lettered": 1}
    assert list(docs.letters()) == ["b.md"]


def test_what_comes_back_is_new(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.folder.write("b.md", "b")
    docs.run(FIRST)
    docs.folder.remove("a.md")
    docs.run(SECOND)
    docs.folder.write("a.md", "a")
    docs.run(THIRD)
    assert docs.outcomes(THIRD) == {"inserted": 1, "unchanged": 1}
    with docs.platform.catalog.read() as connection:
        known = connection.execute(sa.select(documents.c.key, documents.c.gone)).all()
    assert sorted(map(tuple, known)) == [("a.md", False), ("b.md", False)]


def test_changes_are_numbered_over_all_pages(docs: Docs) -> None:
    docs.folder.write("a.md", "a")
    docs.run(FIRST)
    docs.folder.write("b.md", "b")
    docs.run(SECOND)
    docs.folder.write("a.md", "a2")
    docs.run(FIRST, refresh=True)
    with docs.platform.catalog.read() as connection:
        found = connection.execute(
            sa.select(changes.c.window, changes.c.pass_no, changes.c.key).order_by(changes.c.seq)
        ).all()
    assert list(map(tuple, found)) == [
        (FIRST, 1, "a.md"),
        (SECOND, 1, "b.md"),
        (FIRST, 2, "a.md"),
    ]


def test_a_refusal_records_nothing(make_docs: MakeDocs) -> None:
    docs = make_docs(max_deletion_share=0.25)
    for number in range(4):
        docs.folder.write(f"{number}.md", f"text {number}")
    docs.run(FIRST)
    docs.folder.remove("0.md", "1.md")
    docs.folder.write("new.md", "new")
    with pytest.raises(SourceListingRefused, match="2 of 4 known documents") as refused:
        docs.ask(SECOND)
    assert "--allow-deletions" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert rows(docs, SECOND) == []
    docs.folder.write("1.md", "text 1")
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"inserted": 1, "unchanged": 3, "deleted": 1}
    docs.folder.remove("1.md", "2.md", "3.md")
    docs.run(THIRD, allow_deletions=True)
    assert docs.outcomes(THIRD) == {"unchanged": 1, "deleted": 3}


@pytest.mark.parametrize(
    ("objects", "gone", "known", "share", "refused"),
    [
        (0, 0, 0, 0.5, None),
        (0, 1, 1, 1.0, "0 objects listed, 1 known"),
        (0, 1_204, 1_204, 0.5, "0 objects listed, 1,204 known"),
        (5, 5, 10, 0.5, None),
        (4, 6, 10, 0.5, "6 of 10 known documents are not listed any more, over the ceiling of 50%"),
        (9, 1, 10, 0.0, "1 of 10 known documents are not listed any more, over the ceiling of 0%"),
        (10, 0, 10, 0.0, None),
        (1, 10, 10, 1.0, None),
    ],
)
def test_what_is_implausible(
    objects: int, gone: int, known: int, share: float, refused: str | None
) -> None:
    assert implausible_loss(objects, gone, known=known, share=share) == refused


def test_nothing_known_and_nothing_there(docs: Docs) -> None:
    done = docs.run(FIRST)
    assert (done.objects, done.listed, done.changes) == (0, 0, {})
    assert docs.outcomes(FIRST) == {}
