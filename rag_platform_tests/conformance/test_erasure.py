"""A document that is erased has never been there, wherever one looks."""

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.erasure import eraser as module
from rag_platform.erasure.eraser import Eraser
from rag_platform.erasure.parts import StoredParts
from rag_platform.erasure.receipts import Erasure, receipts
from rag_platform.erasure.subjects import NoSuchDocument, NotErased, StillThere
from rag_platform.platform_erasure import eraser
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import changes, dead_letters, documents, memo, search_log
from rag_platform.storage.schema_base import metadata
from rag_platform_tests.conformance.conftest import Build, in_memory
from rag_platform_tests.conformance.corpus import article, broken_pdf, fill, web_page
from rag_platform_tests.conformance.harness import (
    BY_HEADING,
    SMALL,
    SOURCE,
    V1,
    WINDOWS,
    CountedPlatform,
    World,
    assert_same,
)
from rag_platform_tests.conformance.killing import Killed, raise_killed, tripped

FIRST, SECOND, THIRD, FOURTH = WINDOWS[:4]
V2 = "docs_v2"
SECRET, PAGE, PUBLIC = "private/anna.md", "private/anna.html", "public.md"
# In texts only, never in an address.
MARKER = "Zwiebelfisch"
SHARED = "## Gate\n\nThe north gate closes at nine in the evening on every day of the week."


def secret(seed: int) -> str:
    """A document of several chunks, each with the marker but the last, which is another's, too."""
    blocks = article(seed).strip().split("\n\n")
    return "\n\n".join([*(f"{block} {MARKER}" for block in blocks), SHARED]) + "\n"


def live(world: World, *, applied: bool = True) -> World:
    """Documents come, are edited and touched, and two of them go; two index versions hold them.

    Where not `applied`, the source was asked and nothing else knows yet that they went.
    """
    world.reopen({V1: SMALL, V2: BY_HEADING})
    fill(world.folder)
    world.folder.write(SECRET, secret(21))
    world.folder.write(PAGE, web_page(23).replace("The ", f"The {MARKER} "))
    world.folder.write(PUBLIC, f"{article(31)}\n{SHARED}\n")
    world.sync(FIRST)
    world.folder.write(SECRET, secret(22))
    world.folder.write("guide/start.md", article(5))
    world.sync(SECOND)
    world.folder.touch(SECRET)
    world.folder.write("late.md", article(6))
    world.sync(THIRD)
    world.folder.remove(SECRET, PAGE)
    if applied:
        world.sync(THIRD)
    else:
        world.platform.raw(SOURCE).run(THIRD)
        world.snapshot.take()
    return world


@pytest.fixture
def history(build: Build) -> World:
    return live(build())


def eraser_of(world: World) -> Eraser:
    return eraser(world.platform, SOURCE)


def erase(world: World, *keys: str, redact: bool = False) -> list[Erasure]:
    one = eraser_of(world)
    one.request(keys, by="anna", reason="asked for", redact=redact)
    return one.run()


def held(world: World, text: str) -> list[str]:
    """The files of the state folder that have a text, stored pages unpacked."""
    import pyarrow.parquet as pq

    found = []
    for path in world.home.rglob("*"):
        if path.suffix == ".parquet":
            content = str(pq.read_table(path).to_pylist()).encode()
        else:
            content = path.read_bytes() if path.is_file() else b""
        if text.encode() in content:
            found.append(path.relative_to(world.home).as_posix())
    return found


def remembered(world: World) -> set[bytes]:
    with world.platform.catalog.read() as connection:
        return set(connection.execute(sa.select(memo.c.key)).scalars())


def found(done: Erasure) -> dict[str, int]:
    """What the places of a receipt had; nothing may be left in any."""
    assert done.receipt is not None
    assert done.is_intact
    assert done.completed_at is not None
    places = done.receipt["places"]
    assert {place["left"] for place in places} == {0}
    return {place["place"]: place["found"] for place in places if place["found"]}


def check(world: World) -> None:
    """All indexes are as they must be, agree with the catalog, and stay so, at no cost."""
    with world.counted() as texts:
        world.check()
        for index in world.indexes:
            report = world.platform.reconciler(index).run(repair=True, full=True)
            assert (report.agrees, report.drifted, report.orphan_points) == (True, 0, 0)
        # From the stored parts alone.
        world.platform.vectors.drop(V2)
        report = world.platform.reconciler(V2).run(repair=True)
        assert report.agrees
        assert report.repaired == report.drifted > 4
        world.replay([SECOND, FIRST, THIRD, FOURTH])
        world.check()
        for window in (FIRST, SECOND, THIRD):
            assert world.problems(window) == []
    assert texts == []


@pytest.mark.parametrize(
    "engine", [pytest.param("embedded", marks=pytest.mark.slow), "server"], indirect=True
)
def test_nothing_is_left_anywhere(history: World) -> None:
    before = {index: history.contents(index) for index in history.indexes}
    shared = set(history.chunk_texts(PUBLIC, V2)) & {SHARED}
    assert shared, "no passage is another document's, too: the test shows nothing"
    assert held(history, MARKER)
    both = erase(history, SECRET, PAGE)
    assert held(history, MARKER) == []
    of_secret, of_page = map(found, both)
    # Fetched in three passes, the last time for its date alone; two revisions.
    assert (of_secret["pages raw_docs"], of_secret["pages parsed_docs"]) == (3, 2)
    assert (of_secret["pages clean_docs"], of_page["pages clean_docs"]) == (2, 1)
    assert of_secret["pages docs_v1 chunks"] > of_secret["pages docs_v2 chunks"] > 4
    assert (of_secret["documents"], of_secret["changes: content"]) == (1, 3)
    for index in history.indexes:
        assert_same(history.contents(index), before[index])
    check(history)
    assert held(history, MARKER) == []


@in_memory
def test_the_memo_is_as_if_the_documents_had_never_been(history: World, build: Build) -> None:
    erase(history, SECRET, PAGE)
    other = build(name="other")
    for name in (SECRET, PAGE):
        other.folder.write(name, "")
        other.folder.remove(name)
    bare = live_without(other)
    assert remembered(history) == remembered(bare)


def unless_secret(do: Callable[..., None]) -> Callable[..., None]:
    return lambda key, *rest: None if key in (SECRET, PAGE) else do(key, *rest)


def live_without(world: World) -> World:
    """`live`, of a folder that never had the two documents."""
    remove = world.folder.remove
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write", "touch"):
            patch.setattr(world.folder, name, unless_secret(getattr(world.folder, name)))
        patch.setattr(world.folder, "remove", lambda *keys: remove(*({*keys} - {SECRET, PAGE})))
        return live(world)


def others(world: World, index: str) -> dict[str, Any]:
    """The points of documents that nobody erases."""
    points = world.contents(index).items()
    return {point: held for point, held in points if held[0]["key"] not in (SECRET, PAGE)}


@contextlib.contextmanager
def tripped_in(owner: Any, name: str, turn: int, *, after: bool) -> Iterator[None]:
    """The turn-th call of a function ends the run, before or after its work."""
    numbers = itertools.count(1)
    work: Callable[..., Any] = getattr(owner, name)

    def tripping(*args: Any, **kwargs: Any) -> Any:
        due = next(numbers) == turn
        if due and not after:
            raise_killed()
        result = work(*args, **kwargs)
        if due and after:
            raise_killed()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, tripping)
        yield


_POINTS: dict[str, Callable[[int, bool], contextlib.AbstractContextManager[Any]]] = {
    name: lambda turn, after, name=name: tripped(name, turn, after=after, act=raise_killed)
    for name in ("catalog.commit", "page.write", "collection.delete")
} | {
    "page.put": lambda turn, after: tripped_in(StoredParts, "_put", turn, after=after),
    "vacuum": lambda turn, after: tripped_in(module, "vacuum", turn, after=after),
}


_KILLS = [(point, after) for point in _POINTS for after in (False, True)]
_QUICK = [("catalog.commit", False), ("collection.delete", False), ("page.put", True)]


@in_memory
@pytest.mark.parametrize(
    ("point", "after"),
    [pytest.param(*one, marks=() if one in _QUICK else pytest.mark.slow) for one in _KILLS],
)
def test_killed_at_every_step_and_run_again(build: Build, point: str, after: bool) -> None:
    history = live(build(), applied=False)
    before = {index: others(history, index) for index in history.indexes}
    eraser_of(history).request([SECRET, PAGE], by="anna", reason="asked for")
    kills = 0
    for turn in itertools.count(1):
        with _POINTS[point](turn, after):
            try:
                eraser_of(history).run()
                break
            except Killed:
                kills += 1
        for index in history.indexes:
            assert_same(others(history, index), before[index])
    assert kills, "nothing was killed: the test shows nothing"
    of_secret, of_page = map(found, receipts(history.platform.catalog))
    assert (of_secret["pages clean_docs"], of_page["pages clean_docs"]) == (2, 1)
    assert held(history, MARKER) == []
    check(history)


@in_memory
def test_a_document_in_its_source_is_refused(history: World) -> None:
    with pytest.raises(StillThere, match=r"'public.md' is in the source.*exclude"):
        erase(history, SECRET, PUBLIC)
    with pytest.raises(NoSuchDocument, match=r"no document 'nobody.md' is known"):
        erase(history, "nobody.md")
    assert receipts(history.platform.catalog) == []
    assert held(history, MARKER)
    history.check()


@in_memory
def test_a_document_that_the_settings_exclude(history: World) -> None:
    rest = {
        index: {
            p: point for p, point in history.contents(index).items() if point[0]["key"] != PUBLIC
        }
        for index in history.indexes
    }
    history._source["exclude"] = [PUBLIC]  # type: ignore[assignment]
    history.reopen()
    (done,) = erase(history, PUBLIC)
    assert found(done)["points docs_v1"] > 0
    for index in history.indexes:
        assert_same(history.contents(index), rest[index])
    history.sync(FOURTH)
    for index in history.indexes:
        assert_same(history.contents(index), rest[index])
    # What it had in common with the one that is gone is gone now; that one can be erased as well.
    erase(history, SECRET)
    assert held(history, "north gate closes at nine") == []


@in_memory
def test_redacted_addresses(history: World) -> None:
    history.folder.write("private/moved.md", secret(25))
    history.sync(THIRD)
    history.folder.rename("private/moved.md", "kept.md")
    history.sync(THIRD)
    assert "private/moved.md" in str(rows_of(history, changes))
    one, two = erase(history, SECRET, "private/moved.md", redact=True)
    assert found(one)["changes: address"] == 3
    assert held(history, "private/moved.md") == [] == held(history, SECRET)
    # Who knows the address can tell that it was this one.
    name = hashlib.sha256(f"{SOURCE}\nprivate/moved.md".encode()).hexdigest()[:32]
    assert two.receipt is not None
    assert two.receipt["key"] == f"erased:{name}"
    assert str(rows_of(history, changes)).count(f"erased:{name}") == 3  # came, went, moved from
    # The same bytes stand at their new address, at no cost.
    assert history.chunk_texts("kept.md")
    check(history)


@in_memory
def test_where_it_was_before_it_is_erased_too(world: World) -> None:
    world.folder.write("private/first.md", secret(27))
    world.sync(FIRST)
    world.folder.rename("private/first.md", "private/second.md")
    world.sync(SECOND)
    world.folder.rename("private/second.md", "private/third.md")
    world.sync(SECOND)
    world.folder.remove("private/third.md")
    world.sync(THIRD)
    done = erase(world, "private/third.md")
    keys = {one.receipt["key"] for one in done if one.receipt is not None}
    assert keys == {"private/first.md", "private/second.md", "private/third.md"}
    assert held(world, MARKER) == []
    world.check()


def rows_of(world: World, table: sa.Table) -> list[Any]:
    with world.platform.catalog.read() as connection:
        return [tuple(row) for row in connection.execute(sa.select(table))]


@in_memory
def test_everything_that_is_gone(history: World) -> None:
    assert eraser_of(history).gone() == [PAGE, SECRET]
    erase(history, *eraser_of(history).gone())
    assert eraser_of(history).gone() == []
    # It may come back: then it is a new document.
    history.folder.write(SECRET, secret(22))
    with history.counted() as texts:
        history.sync(FOURTH)
    assert len(texts) > 4
    history.check()
    history.folder.remove(SECRET)
    history.sync(FOURTH)
    erase(history, SECRET)
    assert len(receipts(history.platform.catalog, SOURCE)) == 3
    assert held(history, MARKER) == []


@in_memory
def test_letters_and_searches(world: World) -> None:
    world.folder.write("private/scan.pdf", broken_pdf(1))
    world.sync(FIRST)
    assert len(rows_of(world, dead_letters)) == 1
    world.folder.remove("private/scan.pdf")
    with world.platform.catalog.begin() as connection:
        ids = dict(connection.execute(sa.select(documents.c.key, documents.c.doc_id)).all())
        connection.execute(
            sa.insert(search_log),
            {
                "at": 1.0,
                "unit": "u",
                "query": "q",
                "arm": "live",
                "index_name": V1,
                "results": [ids["guide/install.md"], ids["private/scan.pdf"]],
                "took_ms": 1.0,
            },
        )
    # Gone before its letter was: the source is asked, and nothing after it runs.
    world.platform.raw(SOURCE).run(SECOND)
    world.snapshot.take()
    (done,) = erase(world, "private/scan.pdf")
    assert found(done)["search_log"] == 1
    assert rows_of(world, search_log)[0][6] == [ids["guide/install.md"]]
    world.sync(SECOND)
    assert rows_of(world, dead_letters) == []
    world.check()


@in_memory
def test_what_comes_back_meanwhile_is_told(history: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put_back = history.platform.catalog

    def restoring(*_: object) -> None:
        with put_back.begin() as connection:
            connection.execute(sa.insert(dead_letters), letter)

    letter: dict[str, Any] = dict.fromkeys((column.name for column in dead_letters.c), "x")
    letter |= {"pass_no": 1, "seq": 1, "attempts": 1, "first_at": 1.0, "last_at": 1.0}
    with put_back.read() as connection:
        letter["doc_id"] = connection.scalar(
            sa.select(documents.c.doc_id).where(documents.c.key == SECRET)
        )
    with monkeypatch.context() as patch:
        patch.setattr(StoredParts, "remove", restoring)
        with pytest.raises(NotErased, match=r"'private/anna.md': .*1 in dead_letters"):
            erase(history, SECRET)
    assert receipts(put_back)[0].receipt is None
    (done,) = eraser_of(history).run()
    assert "dead_letters" not in found(done)
    assert rows_of(history, dead_letters) == []
    assert held(history, "private/anna.md") != []  # in the change log and the receipt


@in_memory
def test_on_postgresql(build: Build, postgres_catalog: str, tmp_path: Path) -> None:
    world = build()
    sqlite = world.another
    with contextlib.closing(Catalog(postgres_catalog, lock_folder=tmp_path)) as catalog:

        def another(**how: Any) -> CountedPlatform:
            made = sqlite(**how)
            made.__dict__["catalog"] = catalog
            return made

        world.another = another  # type: ignore[method-assign]
        live(world)
        (done,) = erase(world, SECRET, redact=True)
        assert found(done)["changes: address"] == 3
        assert done.receipt is not None
        assert done.receipt["remarks"][-1].startswith("catalog: PostgreSQL")
        rows = [str(row) for table in metadata.sorted_tables for row in rows_of(world, table)]
        assert [row for row in rows if MARKER in row or SECRET in row] == []
        check(world)


@in_memory
def test_a_receipt_that_was_changed_is_not_intact(history: World) -> None:
    (done,) = erase(history, SECRET)
    assert done.receipt is not None
    changed = dict(done.receipt) | {"reason": "nobody asked"}
    forged = Erasure(**{n: getattr(done, n) for n in Erasure.__slots__} | {"receipt": changed})
    assert (done.is_intact, forged.is_intact) == (True, False)
