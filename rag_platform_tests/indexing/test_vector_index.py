"""vector_index: figures of a run, digests, and the same on PostgreSQL."""

from pathlib import Path

import pytest

from rag_platform.indexing.digests import digest_of
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.pages import PartGone
from rag_platform_tests.conformance.corpus import broken_pdf, fill
from rag_platform_tests.conformance.harness import SOURCE, V1, WINDOWS, World

FIRST, SECOND = WINDOWS[:2]


def test_figures_of_a_run(world: World) -> None:
    for key in ("a.md", "b.md", "c.md"):
        world.folder.write(key, f"The text of {key}.")
    world.folder.write("empty.md", "")
    done = world.sync(FIRST).applied[V1]
    assert (done.documents, done.inserted, done.updated, done.deleted) == (4, 3, 0, 0)
    assert (done.points, done.expected, done.disagreeing, done.deferred) == (3, 3, 0, 0)
    again = world.sync(FIRST).applied[V1]
    assert (again.documents, again.inserted, again.skipped, again.points) == (0, 0, 0, 3)
    world.folder.write("a.md", "Other words.")
    world.folder.remove("b.md")
    third = world.sync(SECOND).applied[V1]
    # The point of another text has another id: one comes, one goes, and one goes with b.md.
    assert (third.documents, third.inserted, third.updated, third.deleted) == (2, 1, 0, 2)
    assert (third.points, third.expected) == (2, 2)


def test_chunks_must_be_there(world: World) -> None:
    world.folder.write("a.md", "a")
    parts = world.platform
    parts.raw(SOURCE).run(FIRST)
    parts.parsed(SOURCE).run(FIRST)
    parts.clean(SOURCE).run(FIRST)
    with pytest.raises(PartGone, match="run again from raw_docs"):
        parts.vector_index(SOURCE, V1).run(FIRST)


def test_a_digest_is_over_ids_and_payloads_in_any_order() -> None:
    one, two = {"a": 1, "b": "x"}, {"a": 2, "b": "y"}
    whole = digest_of({"p": one, "q": two})
    assert whole == digest_of({"q": dict(reversed(two.items())), "p": one})
    others = [{"p": one}, {"p": one, "r": two}, {"p": two, "q": one}, {"p": one, "q": one}]
    assert len({whole, *map(digest_of, others)}) == 5
    assert digest_of({}) == ""


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_whole_chain_on_postgresql(
    world: World, postgres_database: str, tmp_path: Path
) -> None:
    catalog = Catalog(postgres_database, lock_folder=tmp_path)
    world.platform.__dict__["catalog"] = catalog
    fill(world.folder)
    world.folder.write("bad.pdf", broken_pdf(1))
    world.sync(FIRST)
    world.check()
    assert world.page(FIRST).outcomes == {"inserted": 6, "duplicate": 1, "dead_lettered": 1}
    world.folder.rename("guide/start.md", "guide/begin.md")
    world.folder.remove("notes/short.txt")
    world.folder.write("notes/new.txt", "Another line about the south gate.")
    world.sync(SECOND)
    world.check()
    page = world.page(SECOND)
    assert page.sums
    assert page.outcomes == {
        "inserted": 1,
        "moved": 1,
        "unchanged": 5,
        "deleted": 1,
        "dead_lettered": 1,
    }
    world.platform.parsed(SOURCE).run(FIRST, retry=True)
    world.run(FIRST)
    assert world.platform.reconciler(V1).run(repair=True).agrees
    world.embedders["wordllama"].fault = "budget"
    world.folder.write("poor.md", "There is no money for these words.")
    world.sync(SECOND)
    assert world.page(SECOND).outcomes == {"unchanged": 7, "deferred": 1, "dead_lettered": 1}
