"""Retirement: when a version goes, what goes with it, and what is never touched."""

import time
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.indexing.retirement import InService, NoSuchVersion, in_service, retired
from rag_platform.indexing.versions import versions
from rag_platform.settings_indexes import PromotionSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import changes, index_documents, index_pages, index_versions
from rag_platform_tests.conformance.harness import in_memory_server
from rag_platform_tests.indexing.life import Life

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")

WHO: dict[str, Any] = {"actor": "ann", "reason": "better"}
DAY = 86_400
DOC = "10000000-0000-0000-0000-000000000000"


@pytest.fixture
def life(shared: Catalog) -> Life:
    """Three built versions with rows and chunk parts; v2 replaced v1. On either database."""
    made = Life(shared, in_memory_server())
    for name in ("v1", "v2", "v3"):
        made.build(name)
        keep(made, name)
    made.promotions.promote("v2", **WHO)
    return made


def keep(life: Life, index: str) -> None:
    """What a version keeps besides its collection."""
    applied = {"index_name": index, "doc_id": DOC, "source": "manuals", "seq": 1, "claimed": 1}
    applied |= {"window": "w", "pass_no": 1, "chunks": 3, "digest": "d"}
    page = {"index_name": index, "source": "support", "window": "w"}
    with life.catalog.begin() as connection:
        connection.execute(sa.insert(index_documents), applied)
        connection.execute(sa.insert(index_pages), page | {"finished": True, "figures": {}})
        change = {"source": "manuals", "window": "w", "pass_no": 1, "doc_id": DOC, "key": "k"}
        # Nothing may wait in those that are promoted.
        waits = {"kind": "inserted", "deferred_by": "v1" if index == "v1" else None}
        connection.execute(sa.insert(changes), change | waits)
    for source in ("manuals", "support"):
        life.objects.put(f"pages/{source}/{index}/chunks/w/000001-a.parquet", b"x")
    life.objects.put("pages/manuals/clean_docs/w/000001-a.parquet", b"x")


def parts(life: Life) -> set[str]:
    return {meta["path"] for batch in life.objects.list() for meta in batch}


def rows_of(life: Life, index: str) -> int:
    """Rows about what a version holds and owes."""
    tables: list[tuple[Any, Any]] = [
        (index_documents, index_documents.c.index_name),
        (index_pages, index_pages.c.index_name),
        (changes, changes.c.deferred_by),
    ]
    with life.catalog.read() as connection:
        return sum(
            connection.scalar(sa.select(sa.func.count()).select_from(table).where(column == index))
            for table, column in tables
        )


def gone(life: Life, index: str) -> bool:
    """Whether nothing is left of a version but its record; RuntimeError where something is."""
    left = [path for path in parts(life) if f"/{index}/" in path]
    with life.catalog.read() as connection:
        row = connection.execute(
            sa.select(index_versions).where(index_versions.c.name == index)
        ).one()
    signs = {
        index not in life.vectors.names(),
        not left,
        rows_of(life, index) == 0,
        row.retired_at is not None,
        index in retired(life.catalog),
    }
    if len(signs) > 1:
        raise RuntimeError(f"half of {index} is left: {left}, {rows_of(life, index)} rows")
    return signs.pop()


def test_nothing_goes_before_its_time(life: Life) -> None:
    now = time.time()
    assert life.retirement().due(now + 6.9 * DAY) == []
    assert life.retirement().run(now + 6.9 * DAY) == []
    assert life.vectors.names() == ["v1", "v2", "v3"]
    assert life.retirement().due(now + 7.1 * DAY) == ["v1"]


def test_a_replaced_version_goes_with_all_it_keeps(life: Life) -> None:
    assert life.retirement().run(time.time() + 8 * DAY) == ["v1"]
    assert gone(life, "v1")
    assert not gone(life, "v2")
    assert not gone(life, "v3")
    assert "pages/manuals/clean_docs/w/000001-a.parquet" in parts(life)
    assert life.actions()[-1] == ("retired", "v1", "v2")
    assert in_service(life.catalog, ["v1", "v2", "v3"]) == ["v2", "v3"]
    # Once.
    assert life.retirement().run(time.time() + 9 * DAY) == []
    assert len(life.actions()) == 2


def test_what_is_needed_stays_whatever_the_time(life: Life) -> None:
    life.promotions.promote("v3", **WHO)
    life.promotions.rollback(**WHO)
    later = time.time() + 100 * DAY
    # v2 is live again, v3 was rolled back from, v1 was replaced and is the challenger.
    assert life.retirement(challenger="v1").due(later) == ["v3"]
    for index, what in (("v2", "live"), ("v1", r"the challenger of search\.experiment")):
        with pytest.raises(InService, match=f"{index}: is {what}"):
            life.retirement(challenger="v1").retire(index, **WHO)
    assert life.retirement(challenger="v1").run(later) == ["v3"]
    assert life.vectors.names() == ["v1", "v2"]


def test_the_default_is_live_without_a_promotion(catalog: Catalog) -> None:
    life = Life(catalog, in_memory_server())
    life.build("v1")
    with pytest.raises(InService, match="v1: is live"):
        life.retirement().retire("v1", **WHO)


def test_one_that_never_was_live_goes_by_hand(life: Life) -> None:
    life.retirement().retire("v3", **WHO)
    assert gone(life, "v3")
    assert life.actions()[-1] == ("retired", "v3", "v2")
    with life.catalog.read() as connection:
        ends = sa.select(index_versions.c.retired_at).where(index_versions.c.name == "v3")
        end = connection.scalar(ends)
    life.retirement().retire("v3", **WHO)
    assert len(life.actions()) == 2
    with life.catalog.read() as connection:
        assert connection.scalar(ends) == end
    with pytest.raises(NoSuchVersion, match="v4: was never built"):
        life.retirement().retire("v4", **WHO)


def test_no_time_at_all(catalog: Catalog) -> None:
    life = Life(catalog, in_memory_server(), rules=PromotionSettings(keep_days=0.0))
    for name in ("v1", "v2"):
        life.build(name)
    life.promotions.promote("v2", **WHO)
    assert life.retirement().run() == ["v1"]


class Killed(BaseException):
    """The process ends here."""


class Mortal:
    """Whatever it stands for, until it is called for the n-th time."""

    def __init__(self, inner: Any, lives: list[int], mortal: set[str]) -> None:
        self._inner, self._lives, self._mortal = inner, lives, mortal

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._mortal:
            return found

        def called(*args: Any, **more: Any) -> Any:
            self._lives[0] -= 1
            if self._lives[0] == 0:
                raise Killed
            done = found(*args, **more)
            self._lives[0] -= 1
            if self._lives[0] == 0:
                raise Killed
            return done

        return called


@pytest.mark.parametrize("step", range(1, 8))
def test_killed_at_any_step_the_next_run_ends_it(catalog: Catalog, step: int) -> None:
    """Before and after the collection goes, and before and after each part of the chunks."""
    life = Life(catalog, in_memory_server())
    for name in ("v1", "v2"):
        life.build(name)
        keep(life, name)
    life.promotions.promote("v2", **WHO)
    vectors, objects, lives = life.vectors, life.objects, [step]
    life.vectors = Mortal(vectors, lives, {"drop"})  # type: ignore[assignment]
    life.objects = Mortal(objects, lives, {"delete"})
    later = time.time() + 8 * DAY
    if step < 7:  # two for the collection, two for each source
        with pytest.raises(Killed):
            life.retirement().run(later)
        # Out of service from the first step on.
        assert retired(catalog) == {"v1"}
    life.vectors, life.objects = vectors, objects
    assert life.retirement().run(later) == ["v1"]
    assert gone(life, "v1")
    assert not gone(life, "v2")
    assert [action for action, _, _ in life.actions()] == ["promoted", "retired"]


def test_how_versions_stand(life: Life) -> None:
    life.retirement().retire("v3", **WHO)
    found = versions(
        life.catalog,
        indexes=["v0", "v2", "v1"],
        sources=["manuals"],
        default="v1",
        challenger="v1",
    )
    assert [(v.name, v.state, v.in_settings, v.chunks) for v in found] == [
        ("v0", "unbuilt", True, 0),
        ("v2", "live", True, 3),
        ("v1", "challenger", True, 3),
        ("v3", "retired", False, 0),
    ]
    [kept] = [
        v
        for v in versions(life.catalog, indexes=["v1"], sources=[], default="v1")
        if v.name == "v1"
    ]
    assert kept.state == "kept"
    assert kept.keep_until is not None
    assert found[3].retired_at is not None
