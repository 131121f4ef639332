"""Listing and fetching: what happens to objects between the two, and what cannot be taken."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_platform.documents.sources.base import (
    Fetched,
    Known,
    ListedObject,
    NotTaken,
    SourceUnavailable,
)
from rag_platform.documents.sources.kinds.folder import FolderSource
from rag_platform_tests.documents.conftest import Docs, MakeDocs

FIRST, SECOND = "2026-07-01", "2026-07-02"
FETCH = FolderSource.fetch


def test_hidden_files_are_left_by_default(make_docs: MakeDocs) -> None:
    for given, taken in (
        ({}, ["a.md", "b/c.md"]),
        ({"exclude": ["b/"]}, [".env", "a.md"]),
        ({"include": ["b/**", ".*"], "exclude": [".g*"]}, [".env", "b/c.md"]),
    ):
        docs = make_docs(**given)
        for key in ("a.md", "b/c.md", ".env", ".git/config"):
            docs.folder.write(key, key)
        if given.get("exclude") == ["b/"]:
            docs.folder.remove(".git/config")
        assert docs.ask(FIRST).objects == len(taken)
        assert docs.raw_keys(FIRST, 1) == taken


def test_odd_names_come_through_whole(docs: Docs) -> None:
    keys = ["a b.md", "c\nd.md", "e#1.md", "%41.md", "'; drop table documents; --.md", "ü/水.md"]
    for key in keys:
        docs.folder.write(key, f"text of {key!r}")
    docs.run(FIRST)
    assert docs.outcomes(FIRST) == {"inserted": len(keys)}
    rows = docs.clean_rows(FIRST)
    assert {key: row["text"] for key, row in rows.items()} == {k: f"text of {k!r}" for k in keys}
    assert rows["a b.md"]["uri"] == f"{docs.folder.root.as_uri()}/a b.md"


def test_a_name_that_is_not_text_is_a_dead_letter(docs: Docs) -> None:
    docs.folder.write("good.md", "good")
    root = os.fsencode(docs.folder.root)
    for name in (b"/bad\xff.md", b"/also\xfe.md"):
        Path(os.fsdecode(root + name)).write_text("text")
    docs.run(FIRST)
    assert docs.outcomes(FIRST) == {"inserted": 1, "dead_lettered": 2}
    assert {k: d.reason for k, d in docs.letters().items()} == {
        "bad\\xff.md": "bad_name",
        "also\\xfe.md": "bad_name",
    }
    Path(os.fsdecode(root + b"/bad\xff.md")).rename(docs.folder.root / "fine.md")
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {
        "inserted": 1,
        "unchanged": 1,
        "deleted": 1,
        "dead_lettered": 1,
    }
    assert list(docs.letters()) == ["also\\xfe.md"]


def test_two_names_that_are_shown_alike(docs: Docs) -> None:
    """One file's name must not stop the source, whatever it looks like."""
    docs.folder.write("a\\xff.md", "a name with a backslash")
    Path(os.fsdecode(os.fsencode(docs.folder.root) + b"/a\xff.md")).write_text("bytes")
    docs.folder.write("b.md", "b")
    docs.run(FIRST)
    assert sum(docs.outcomes(FIRST).values()) == 2
    assert docs.clean_rows(FIRST)["b.md"]["text"] == "b"


def test_a_link_out_of_the_folder_is_a_dead_letter(docs: Docs, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    docs.folder.write("a.md", "a")
    (docs.folder.root / "link.md").symlink_to(tmp_path / "secret.md")
    (docs.folder.root / "inside.md").symlink_to("a.md")
    docs.run(FIRST)
    assert docs.outcomes(FIRST) == {"inserted": 1, "duplicate": 1, "dead_lettered": 1}
    assert docs.letters()["link.md"].reason == "outside_source"
    assert docs.raw_keys(FIRST, 1) == ["a.md", "inside.md"]


def test_too_large(make_docs: MakeDocs) -> None:
    docs = make_docs(limits={"max_bytes": 10_000})
    docs.folder.write("fits.md", "x" * 10_000)
    docs.folder.write("large.md", "x" * 10_001)
    docs.run(FIRST)
    letter = docs.letters()["large.md"]
    assert (letter.reason, letter.stage, letter.sha256) == ("too_large", "raw_docs", None)
    assert letter.detail.startswith("10,001 bytes, the limit is 10,000")
    assert docs.raw_keys(FIRST, 1) == ["fits.md"]


def test_an_object_that_vanished_was_never_there(
    docs: Docs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a.md", "b.md", "c.md"):
        docs.folder.write(key, key)
    docs.run(FIRST)
    docs.folder.write("b.md", "changed")
    docs.folder.write("d.md", "new")

    def fetch(self: FolderSource, key: str, known: Known | None = None) -> Fetched | None:
        if key in ("b.md", "d.md"):
            docs.folder.remove(key)
        return FETCH(self, key)

    monkeypatch.setattr(FolderSource, "fetch", fetch)
    done = docs.run(SECOND)
    # The known one is gone, the new one was never recorded.
    assert done.changes == {"deleted": 1}
    monkeypatch.undo()
    assert docs.run(SECOND).changes == {}
    assert docs.outcomes(SECOND) == {"unchanged": 2}


def test_an_object_that_became_a_folder(docs: Docs, monkeypatch: pytest.MonkeyPatch) -> None:
    docs.folder.write("a.md", "a")
    docs.folder.write("b.md", "b")

    def fetch(self: FolderSource, key: str, known: Known | None = None) -> Fetched | None:
        if key == "a.md":
            docs.folder.remove(key)
            docs.folder.write("a.md/inner.md", "inner")
        return FETCH(self, key)

    monkeypatch.setattr(FolderSource, "fetch", fetch)
    assert docs.run(FIRST).changes == {"inserted": 1}
    monkeypatch.undo()
    docs.run(FIRST)
    assert docs.outcomes(FIRST) == {"inserted": 1, "unchanged": 1}


def test_an_object_that_changes_after_it_was_listed(
    docs: Docs, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs.folder.write("a.md", "as listed")

    def fetch(self: FolderSource, key: str, known: Known | None = None) -> Fetched | None:
        docs.folder.write(key, "as it was read, and longer")
        return FETCH(self, key)

    monkeypatch.setattr(FolderSource, "fetch", fetch)
    docs.run(FIRST)
    monkeypatch.undo()
    assert docs.clean_rows(FIRST)["a.md"]["text"] == "as it was read, and longer"
    # What was noted is of the bytes that were read: nothing is left to fetch.
    assert docs.run(FIRST).changes == {}
    assert docs.raw_keys(FIRST, 2) == []


def test_an_object_that_changes_while_it_is_read(
    docs: Docs, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs.folder.write("a.md", "one")
    stat = os.fstat

    def fstat(number: int) -> os.stat_result:
        found = stat(number)
        if found.st_size == 3:
            docs.folder.write("a.md", "three")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat)
        docs.ask(FIRST)
    docs.parse(FIRST)
    docs.clean(FIRST)
    assert docs.clean_rows(FIRST)["a.md"]["text"] == "three"
    # Its time was that of the old bytes, so it is read once more and found to be the same.
    done = docs.run(FIRST)
    assert (done.changes, docs.raw_keys(FIRST, 2)) == ({}, ["a.md"])
    docs.run(FIRST)
    assert docs.raw_keys(FIRST, 3) == []


def test_only_what_looks_changed_is_fetched(docs: Docs) -> None:
    for key in ("a.md", "b.md", "c.md"):
        docs.folder.write(key, key)
    docs.run(FIRST)
    docs.folder.touch("a.md")
    docs.folder.write("c.md", "new")
    docs.run(SECOND)
    assert docs.raw_keys(SECOND, 1) == ["a.md", "c.md"]
    assert docs.outcomes(SECOND) == {"updated": 1, "unchanged": 2}
    docs.run(SECOND)
    assert docs.raw_keys(SECOND, 2) == []


def test_a_permission_that_is_missing_and_comes_back(
    docs: Docs, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs.folder.write("a.md", "a")
    docs.folder.write("b.md", "b")
    docs.run(FIRST)
    docs.folder.write("a.md", "a2")

    def denied(self: FolderSource, key: str, known: Known | None = None) -> Fetched | None:
        if key == "a.md":
            raise NotTaken("unreadable", "no permission to read it (Permission denied)")
        return FETCH(self, key)

    monkeypatch.setattr(FolderSource, "fetch", denied)
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"unchanged": 1, "dead_lettered": 1}
    assert docs.letters()["a.md"].reason == "unreadable"
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"unchanged": 1, "dead_lettered": 1}
    monkeypatch.undo()  # a right that is given changes neither time nor size
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"updated": 1, "unchanged": 1}
    assert docs.letters() == {}


def test_a_listing_that_breaks_off_is_forgotten(
    docs: Docs, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs.folder.write("a.md", "a")
    docs.folder.write("b.md", "b")
    docs.run(FIRST)
    batches = FolderSource.batches

    def broken(self: FolderSource, *asked: Any) -> Iterator[list[ListedObject]]:
        for batch in batches(self, *asked):
            yield batch[:1]
        raise SourceUnavailable("the disk went away")

    monkeypatch.setattr(FolderSource, "batches", broken)
    with pytest.raises(SourceUnavailable):
        docs.ask(SECOND)
    monkeypatch.undo()
    assert docs.ask(SECOND).changes == {}
    assert docs.page(SECOND).listed == 2


def test_more_objects_than_a_batch(docs: Docs) -> None:
    keys = [f"{number:04d}.md" for number in range(1_100)]
    for key in keys:
        docs.folder.write(key, key)
    docs.run(FIRST)
    assert docs.raw_keys(FIRST, 1) == keys
    for key in keys[::2]:
        docs.folder.write(key, f"{key} anew")
    docs.folder.remove(*keys[1::4])
    docs.run(SECOND)
    assert docs.outcomes(SECOND) == {"updated": 550, "unchanged": 275, "deleted": 275}
