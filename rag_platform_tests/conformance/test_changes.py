"""Invariants 1 to 9 and 18: what a change of the documents costs, and what is found after it."""

from rag_platform.documents.windows import Calendar
from rag_platform_tests.conformance.conftest import Build
from rag_platform_tests.conformance.corpus import article
from rag_platform_tests.conformance.harness import (
    OVERLAPPING,
    SMALL,
    V1,
    WINDOWS,
    World,
    assert_same,
)

FIRST, SECOND, THIRD = WINDOWS[:3]
START = "guide/start.md"  # six sections of two paragraphs, each paragraph a chunk


def test_the_first_sync_embeds_every_text_once(world: World) -> None:
    with world.counted() as texts:
        done = world.sync(FIRST)
    world.check()
    # start 12, install 8 (its copy the same), pumps 6, valves 8, short 1, empty 0
    assert len(texts) == len(set(texts)) == 12 + 8 + 6 + 8 + 1
    assert done.applied[V1].points == 12 + 2 * 8 + 6 + 8 + 1
    assert world.page(FIRST).outcomes == {"inserted": 6, "duplicate": 1}
    assert world.problems(FIRST, done) == []


def test_01_run_again_nothing_changed(synced: World) -> None:
    before = synced.contents()
    for window in (FIRST, FIRST, SECOND):
        with synced.counted() as texts:
            done = synced.sync(window)
        assert (texts, done.writes()) == ([], 0)
        assert synced.page(window).outcomes == {"unchanged": 7}
    assert_same(synced.contents(), before)


def test_02_only_the_modification_time_changed(synced: World) -> None:
    before = synced.contents()
    for key in synced.folder.names():
        synced.folder.touch(key)
    with synced.counted() as texts:
        done = synced.sync(SECOND)
    assert (texts, done.writes()) == ([], 0)
    assert synced.page(SECOND).outcomes == {"unchanged": 7}
    assert_same(synced.contents(), before)


def test_02_only_space_that_is_no_text_changed(synced: World) -> None:
    synced.folder.write(START, synced.folder.read(START).replace(".\n", ".  \r\n") + "\n\n\n")
    before = synced.contents()
    with synced.counted() as texts:
        done = synced.sync(SECOND)
    assert texts == []
    assert synced.page(SECOND).outcomes == {"unchanged": 7}
    assert (done.applied[V1].inserted, done.applied[V1].deleted) == (0, 0)
    synced.check()
    assert synced.contents().keys() == before.keys()


def test_03_one_chunk_edited_in_a_long_document(synced: World) -> None:
    old = synced.chunk_texts(START)[5]
    synced.folder.replace(START, old, new := old[:-1] + " today.")
    with synced.counted() as texts:
        done = synced.sync(SECOND)
    assert texts == [new]
    synced.check()
    assert (done.applied[V1].inserted, done.applied[V1].deleted) == (1, 1)
    assert synced.addresses(new) == (START,)
    assert synced.addresses(old) == ()


def test_03_one_chunk_edited_with_overlap(build: Build) -> None:
    world = build({V1: OVERLAPPING})
    world.folder.write(START, article(1, count=1, paragraphs=8))
    world.sync(FIRST)
    chunks = world.chunk_texts(START)
    assert chunks[2][-30:] in chunks[3], "the chunker repeats nothing here: choose another text"
    world.folder.replace(START, chunks[2], chunks[2][:-1] + " today.")
    with world.counted() as texts:
        world.sync(SECOND)
    assert len(texts) == 2
    assert all("today." in text for text in texts)
    world.check()


def test_04_a_paragraph_inserted_at_the_top(synced: World) -> None:
    text, before = synced.folder.read(START), synced.chunk_texts(START)
    added = "A new first paragraph says how this station is left in winter, and by whom."
    synced.folder.write(START, text.replace("# Station 1\n", f"# Station 1\n\n{added}\n"))
    with synced.counted() as texts:
        synced.sync(SECOND)
    assert len(texts) == 3  # until the next strong break; the nine after it stay
    assert added in texts[0]
    assert len(set(synced.chunk_texts(START)) & set(before)) == 9
    synced.check()


def test_05_file_renamed(synced: World) -> None:
    text = synced.chunk_texts(START)[3]
    synced.folder.rename(START, "manual/begin here.md")
    with synced.counted() as texts:
        done = synced.sync(SECOND)
    assert texts == []
    synced.check()
    assert synced.page(SECOND).outcomes == {"moved": 1, "unchanged": 6}
    assert (done.applied[V1].inserted, done.applied[V1].deleted) == (12, 12)
    assert synced.addresses(text) == ("manual/begin here.md",)


def test_05_two_files_swapped(synced: World) -> None:
    synced.folder.rename(START, "swap")
    synced.folder.rename("guide/install.md", START)
    synced.folder.rename("swap", "guide/install.md")
    with synced.counted() as texts:
        synced.sync(SECOND)
    assert texts == []
    synced.check()


def test_06_exact_copy(synced: World) -> None:
    text = synced.chunk_texts(START)[3]
    synced.folder.copy(START, "archive/start.md")
    with synced.counted() as texts:
        synced.sync(SECOND)
    assert texts == []
    synced.check()
    assert synced.page(SECOND).outcomes == {"unchanged": 7, "duplicate": 1}
    assert synced.addresses(text) == ("archive/start.md", START)


def test_06_the_same_text_as_a_web_page(synced: World) -> None:
    synced.folder.write("reference/valves.md", article(4))
    with synced.counted() as texts:
        synced.sync(SECOND)
    assert texts == []
    synced.check()


def test_07_document_removed(build: Build) -> None:
    world = build({V1: SMALL, "docs_v2": OVERLAPPING})
    world.folder.write(START, article(1))
    world.folder.write("other.md", article(2))
    world.sync(FIRST)
    text = world.chunk_texts(START)[3]
    world.folder.remove(START)
    with world.counted() as texts:
        done = world.sync(SECOND)
    assert texts == []
    world.check()
    for index in world.indexes:
        assert {payload["key"] for payload, _ in world.contents(index).values()} == {"other.md"}
        assert world.addresses(text, index=index) == ()
        assert done.applied[index].deleted == len(world.contents(index))  # as long as the other
    assert world.page(SECOND).outcomes == {"deleted": 1, "unchanged": 1}


def test_08_document_emptied(synced: World) -> None:
    for content in ("", " \n\n"):
        synced.folder.write(START, content)
        with synced.counted() as texts:
            synced.sync(SECOND)
        assert texts == []
        synced.check()
        assert synced.chunk_texts(START) == []
        assert synced.page(SECOND).dead == 0
    # Known as empty: it neither comes anew nor is missed.
    assert synced.page(SECOND).outcomes["unchanged"] == 7
    synced.folder.write(START, article(1, count=6))
    with synced.counted() as texts:
        synced.sync(THIRD)
    assert texts == []
    synced.check()
    assert synced.page(THIRD).outcomes == {"updated": 1, "unchanged": 6}


def test_09_two_identical_documents_both_removed(synced: World) -> None:
    text = synced.chunk_texts("guide/install.md")[2]
    assert synced.addresses(text) == ("guide/copy-of-install.md", "guide/install.md")
    synced.folder.remove("guide/install.md", "guide/copy-of-install.md")
    with synced.counted() as texts:
        synced.sync(SECOND)
    assert texts == []
    synced.check()
    assert synced.addresses(text) == ()
    assert synced.page(SECOND).outcomes == {"deleted": 2, "unchanged": 5}


def test_18_a_shared_chunk_dropped_by_one_document(synced: World) -> None:
    copy, other = "guide/copy-of-install.md", "guide/install.md"
    shared = synced.chunk_texts(copy)[4]
    synced.folder.replace(copy, shared, "Something else stands here since the last revision.")
    synced.sync(SECOND)
    synced.check()
    assert synced.addresses(shared) == (other,)
    synced.folder.remove(copy)
    synced.sync(THIRD)
    synced.check()
    assert synced.addresses(shared) == (other,)


def test_the_same_chunk_twice_in_one_document(synced: World) -> None:
    text = synced.chunk_texts(START)[3]
    synced.folder.write(
        "twice.md", f"# Twice\n\n{text}\n\n# Again\n\n{text}\n\n# Third\n\n{text}\n"
    )
    synced.sync(SECOND)
    synced.check()
    synced.folder.write("twice.md", f"# Twice\n\n{text}\n\n# Third\n\n{text}\n")
    synced.sync(SECOND)
    synced.check()


def test_windows_are_of_the_calendar() -> None:
    from datetime import UTC, datetime

    calendar = Calendar("daily", datetime(2026, 7, 1, tzinfo=UTC))
    assert tuple(calendar.between(WINDOWS[0], WINDOWS[-1])) == WINDOWS
