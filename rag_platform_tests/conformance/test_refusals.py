"""Invariants 10 and 24: a source that fails deletes nothing; a run that lost something is red."""

import copy
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from rag_platform.documents.changelog import SourceListingRefused
from rag_platform.documents.sources.base import Known, ListedObject, NotTaken, SourceUnavailable
from rag_platform.documents.sources.kinds.folder import FolderSource
from rag_platform.indexing.index_writer import IndexWriter, Wanted
from rag_platform_tests.conformance.conftest import in_memory
from rag_platform_tests.conformance.corpus import article, broken_pdf
from rag_platform_tests.conformance.embedders import EmbedderDown
from rag_platform_tests.conformance.harness import SOURCE, V1, WINDOWS, World, assert_same

FIRST, SECOND, THIRD = WINDOWS[:3]


def _empty(world: World) -> None:
    world.folder.remove(*world.folder.names())


def _unmounted(world: World) -> None:
    shutil.rmtree(world.folder.root)


def _most_lost(world: World) -> None:
    world.folder.remove(*world.folder.names()[:4])


@in_memory
@pytest.mark.parametrize(
    ("lose", "error", "says"),
    [
        (_empty, SourceListingRefused, "0 objects listed, 7 known; nothing deleted"),
        (_unmounted, SourceUnavailable, "no such folder"),
        (_most_lost, SourceListingRefused, "4 of 7 known documents"),
    ],
)
def test_10_implausible_listing_is_refused(
    synced: World, lose: Callable[[World], None], error: type[Exception], says: str
) -> None:
    before = synced.contents()
    backup = synced.root / "backup"
    shutil.copytree(synced.folder.root, backup)
    lose(synced)
    for window in (FIRST, SECOND, SECOND):
        with pytest.raises(error, match=says):
            synced.sync(window)
    # What runs on regardless, as a replay of the stages behind would, deletes nothing either.
    for stage in synced.stages(V1):
        stage(FIRST)
    assert_same(synced.contents(), before)
    assert synced.addresses(synced.chunk_texts("guide/start.md")[2]) == ("guide/start.md",)
    shutil.copytree(backup, synced.folder.root, dirs_exist_ok=True)
    with synced.counted() as texts:
        done = synced.sync(SECOND)
    assert (texts, done.writes()) == ([], 0)


def test_10_half_may_go_and_more_with_consent(synced: World) -> None:
    synced.folder.remove(*synced.folder.names()[:3])  # 3 of 7, under the ceiling of a half
    synced.sync(SECOND)
    synced.check()
    _empty(synced)
    with pytest.raises(SourceListingRefused, match="--allow-deletions"):
        synced.sync(THIRD)
    synced.sync(THIRD, allow_deletions=True)
    assert synced.contents() == {}
    assert synced.page(THIRD).outcomes == {"deleted": 4}


def test_10_a_move_of_everything_is_no_loss(synced: World) -> None:
    for key in synced.folder.names():
        synced.folder.rename(key, f"moved/{key}")
    with synced.counted() as texts:
        synced.sync(SECOND)
    assert texts == []
    synced.check()


@in_memory
def test_10_listing_fails_midway(synced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = synced.contents()
    whole = FolderSource.batches

    def half(self: FolderSource, *asked: Any) -> Iterator[list[ListedObject]]:
        for batch in whole(self, *asked):
            yield batch[:3]
        raise SourceUnavailable("the connection broke in the second page")

    synced.folder.write("new.md", article(9))
    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "batches", half)
        for window in (FIRST, SECOND):
            with pytest.raises(SourceUnavailable):
                synced.sync(window)
    assert_same(synced.contents(), before)
    synced.sync(SECOND)
    synced.check()
    assert synced.page(SECOND).outcomes == {"inserted": 1, "unchanged": 7}


@in_memory
def test_10_reading_fails_midway(synced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = synced.contents()
    for number in range(3):
        synced.folder.write(f"new{number}.md", article(20 + number))
    read = FolderSource.fetch

    def broken(self: FolderSource, key: str, known: Known | None = None) -> object:
        if key == "new1.md":
            raise SourceUnavailable("reading broke")
        return read(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "fetch", broken)
        with pytest.raises(SourceUnavailable):
            synced.sync(SECOND)
    assert_same(synced.contents(), before)
    synced.sync(SECOND)
    synced.check()


@in_memory
def test_10_one_unreadable_object_is_one_dead_letter(
    synced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced.folder.write("locked.md", article(9))
    read = FolderSource.fetch

    def refused(self: FolderSource, key: str, known: Known | None = None) -> object:
        if key == "locked.md":
            raise NotTaken("unreadable", "no permission to read it (Permission denied)")
        return read(self, key)

    before = synced.contents()
    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "fetch", refused)
        synced.sync(SECOND)
    assert synced.page(SECOND).outcomes == {"unchanged": 7, "dead_lettered": 1}
    assert_same(synced.contents(), before)


def test_24_a_dead_letter_is_counted(synced: World) -> None:
    synced.folder.write("broken.pdf", broken_pdf(1))
    done = synced.sync(SECOND)
    synced.check()
    assert synced.page(SECOND).outcomes == {"unchanged": 7, "dead_lettered": 1}
    assert synced.problems(SECOND, done) == [
        "1 of 8 listed documents are dead letters, over the share of 10%"
    ]


def test_24_a_document_that_turns_bad_is_not_silently_kept(synced: World) -> None:
    synced.folder.write("guide/start.md", b"\xef\xbb\xbf" + b"\xff\xfe\xfd" * 200)
    synced.sync(SECOND)
    assert synced.page(SECOND).outcomes == {"unchanged": 6, "dead_lettered": 1}
    assert synced.chunk_texts("guide/start.md") == []


def test_24_a_run_that_breaks_off_leaves_no_green_page(world: World) -> None:
    parts = world.platform
    parts.raw(SOURCE).run(FIRST)
    assert world.page(FIRST).undecided == 7
    assert "outcomes do not sum to 7" in world.problems(FIRST)
    parts.parsed(SOURCE).run(FIRST)
    parts.clean(SOURCE).run(FIRST)
    assert world.problems(FIRST) == [f"{V1} does not hold the page"]
    # What is asked again meanwhile does not hide it.
    parts.raw(SOURCE).run(FIRST)
    assert world.problems(FIRST) == [f"{V1} does not hold the page"]
    done = world.sync(FIRST)
    world.check()
    assert world.problems(FIRST, done) == []


def test_24_documents_without_money_are_deferred(world: World) -> None:
    world.embedders["wordllama"].fault = "budget"
    world.embedders["wordllama"].spare = 2
    done = world.sync(FIRST)
    page = world.page(FIRST)
    assert page.sums
    assert page.outcomes["deferred"] == done.applied[V1].deferred > 0
    assert world.problems(FIRST, done) == ["deferred", f"{V1} does not hold the page"]
    world.embedders["wordllama"].fault = None
    done = world.sync(FIRST)
    world.check()
    assert world.problems(FIRST, done) == []


def test_24_two_indexes_that_wait_for_money_lose_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second index defers a document between two steps of the first."""
    world.reopen({V1: world.indexes[V1], "docs_v2": ("recursive", 96, 0, "wordllama")})
    world.embedders["wordllama"].fault = "budget"
    defer, other = IndexWriter._defer, world.platform.version("docs_v2")

    def overtaken(self: IndexWriter, documents: Sequence[Wanted]) -> None:
        defer(self, documents)
        if self._index.name == V1:
            twin = copy.copy(self)
            twin._index = other
            defer(twin, documents)

    monkeypatch.setattr(IndexWriter, "_defer", overtaken)
    world.sync(FIRST)
    monkeypatch.undo()
    world.embedders["wordllama"].fault = None
    world.sync(FIRST)
    world.check()


def test_24_points_lost_by_the_store_are_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag_platform.storage.vectors.base import Collection

    upsert = Collection.upsert
    monkeypatch.setattr(Collection, "upsert", lambda self, points: upsert(self, points[1:]))
    done = world.sync(FIRST)
    assert world.problems(FIRST, done) == [f"{V1} disagrees with the catalog"]


def test_24_an_embedder_that_is_down_is_an_error(world: World) -> None:
    world.embedders["wordllama"].fault = "down"
    with pytest.raises(EmbedderDown):
        world.sync(FIRST)
    assert world.problems(FIRST) == [f"{V1} does not hold the page"]
