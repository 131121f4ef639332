"""Invariants 11 to 14: index versions side by side."""

import pytest

from rag_platform.storage.vectors.base import RecipeMismatch
from rag_platform_tests.conformance.embedders import EmbedderDown
from rag_platform_tests.conformance.harness import (
    BY_HEADING,
    HASHED,
    SMALL,
    V1,
    WINDOWS,
    World,
    assert_same,
)

FIRST, SECOND, THIRD = WINDOWS[:3]
V2, V3 = "docs_v2", "docs_v3"


@pytest.fixture
def history(synced: World) -> World:
    """Two pages: an edit, a removal and an addition in the second."""
    text = synced.chunk_texts("guide/start.md")[2]
    synced.folder.replace(
        "guide/start.md", text, "This paragraph was rewritten in the second week."
    )
    synced.folder.remove("notes/short.txt")
    synced.folder.write("notes/long.txt", "A note on the south gate, which is seldom used.\n")
    synced.sync(SECOND)
    return synced


def test_11_chunker_changed(history: World) -> None:
    paid = set(history.embedders["wordllama"].texts)
    history.reopen({V1: SMALL, V2: BY_HEADING})
    with history.counted() as texts:
        history.replay([FIRST, SECOND])
    history.check()
    wanted = history.snapshot.texts(BY_HEADING)
    assert sorted(texts) == sorted(wanted - paid)
    assert wanted & paid, "the recipes share no text: the test shows nothing"


def test_11_a_changed_recipe_under_the_old_name_is_refused(history: World) -> None:
    before = history.contents()
    history.reopen({V1: BY_HEADING})
    with pytest.raises(RecipeMismatch, match="docs_v1: its chunker changed"):
        history.sync(SECOND)
    with pytest.raises(RecipeMismatch):
        history.search("gate")
    history.reopen({V1: SMALL})
    assert_same(history.contents(), before)


def test_12_chunker_changed_back(history: World) -> None:
    history.reopen({V1: SMALL, V2: BY_HEADING})
    history.replay([FIRST, SECOND])
    history.reopen({V2: BY_HEADING, V3: SMALL})
    with history.counted() as texts:
        history.replay([SECOND, FIRST])
    assert texts == []
    history.check(V2, V3)
    assert_same(history.contents(V3), history.contents(V1))


def test_13_embedder_changed(history: World) -> None:
    before = history.contents()
    found = [result.text for result in history.search("south gate")]
    history.reopen({V1: SMALL, V2: HASHED}, live=V1)
    history.embedders["hash-32"].fault = "down"
    history.embedders["hash-32"].spare = 2
    with pytest.raises(EmbedderDown):
        history.replay([FIRST, SECOND])
    # Half built, the new index is beside the old one, which serves as it did.
    assert_same(history.contents(), before)
    assert [result.text for result in history.search("south gate")] == found
    history.embedders["hash-32"].fault = None
    with history.counted() as texts:
        history.replay([FIRST, SECOND])
    history.check()
    wanted = history.snapshot.texts(HASHED)
    assert len(texts) == len(wanted) - 2 * 8  # two batches of eight were durable
    assert set(texts) < wanted
    assert history.embedders["wordllama"].texts.count(found[0]) == 1
    assert_same(history.contents(), before)


def test_14_rolled_back(history: World) -> None:
    history.reopen({V1: SMALL, V2: HASHED}, live=V2)
    history.replay([FIRST, SECOND])
    history.folder.write("notes/long.txt", "The south gate is closed for good.\n")
    history.sync(THIRD)
    history.check()
    with history.counted() as texts:
        history.reopen(live=V1)
        done = history.sync(THIRD)
        found = history.search("south gate")[0]
    assert (texts, done.writes()) == ([], 0)
    assert found.text == "The south gate is closed for good."
    history.check()


def test_14_rolled_back_to_a_version_that_was_not_kept_current(history: World) -> None:
    history.reopen({V2: HASHED})
    history.replay([FIRST, SECOND])
    history.folder.write("notes/long.txt", "The south gate is closed for good.\n")
    history.sync(THIRD)
    history.reopen({V1: SMALL, V2: HASHED}, live=V1)
    with history.counted() as texts:
        history.sync(THIRD)
    assert texts == ["The south gate is closed for good."]
    history.check()
