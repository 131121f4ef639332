"""Documents as the catalog knows them, for who may see them; on either database."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.documents.access import EVERYTHING, Scope
from rag_platform.documents.life import STATES, Life, found, life
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import (
    changes,
    dead_letters,
    documents,
    index_documents,
    near_documents,
    passes,
    step_letters,
)
from rag_platform_tests.documents.conftest import Docs

SOURCE, WINDOW = "manuals", "2026-07-01"


def id_of(key: str, source: str = SOURCE) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{source} {key}"))


def put(
    catalog: Catalog,
    key: str,
    seq: int,
    *,
    acl: Sequence[str] | None = None,
    source: str = SOURCE,
    **values: Any,
) -> str:
    """A document as it is now, whole and clean unless `values` say else."""
    row = {"source": source, "key": key, "doc_id": id_of(key, source), "seq": seq}
    row |= {"window": WINDOW, "pass_no": 1, "size": 3, "modified": 1.0, "sha256": f"b{seq}"}
    row |= {"text_hash": f"t{seq}", "acl": None if acl is None else json.dumps(acl)}
    with catalog.begin() as connection:
        connection.execute(sa.insert(documents).values(**row | values))
    return id_of(key, source)


def kill(catalog: Catalog, key: str, seq: int) -> None:
    with catalog.begin() as connection:
        connection.execute(
            sa.insert(dead_letters).values(
                doc_id=id_of(key),
                source=SOURCE,
                key=key,
                window=WINDOW,
                pass_no=1,
                seq=seq,
                stage="parsed_docs",
                reason="corrupt",
                detail="",
                fingerprint="f",
                attempts=1,
                first_at=1.0,
                last_at=1.0,
            )
        )


def keys(catalog: Catalog, scope: Scope = EVERYTHING, **how: Any) -> list[str]:
    shown, _ = found(catalog, scope, **how)
    return [one.key for one in shown]


def of(catalog: Catalog, key: str, scope: Scope = EVERYTHING) -> Life:
    looked = life(catalog, scope, SOURCE, id_of(key))
    assert looked is not None
    return looked


# Finding


def test_each_document_is_in_one_state(shared: Catalog) -> None:
    put(shared, "live", 1)
    put(shared, "empty", 2, empty=True)
    put(shared, "waiting", 3, text_hash=None)
    put(shared, "dead", 4, text_hash=None)
    kill(shared, "dead", 4)
    put(shared, "gone", 5, gone=True)
    for state in STATES:
        assert keys(shared, state=state) == [state]
    shown, more = found(shared, EVERYTHING)
    assert [(one.key, one.state) for one in shown] == [
        (name, name) for name in ("gone", "dead", "waiting", "empty", "live")
    ]
    assert more is None
    assert shown[1].reason == "corrupt"


def test_addresses_are_found_by_any_text_in_them(shared: Catalog) -> None:
    for number, key in enumerate(["a/100%.md", "B_c.MD", "d\\e.md", "f'.md"]):
        put(shared, key, number)
    assert keys(shared, text="%") == ["a/100%.md"]
    assert keys(shared, text="b_C.m") == ["B_c.MD"]
    assert keys(shared, text="d\\e") == ["d\\e.md"]
    assert keys(shared, text="f'") == ["f'.md"]
    assert keys(shared, text="nothing") == []


def test_pages_hold_each_document_once_the_newest_first(shared: Catalog) -> None:
    for number in range(1, 8):
        put(shared, f"k{number}", number, source=("manuals", "wiki")[number % 2])
    seen: list[str] = []
    before = None
    while True:
        shown, before = found(shared, EVERYTHING, before=before, most=3)
        seen += [one.key for one in shown]
        if before is None:
            break
    assert seen == [f"k{number}" for number in range(7, 0, -1)]
    assert keys(shared, source="wiki") == ["k7", "k5", "k3", "k1"]
    assert keys(shared, Scope(sources=("manuals",))) == ["k6", "k4", "k2"]
    assert keys(shared, Scope(sources=("manuals",)), source="wiki") == []


def test_tags_are_compared_whole(shared: Catalog) -> None:
    put(shared, "everybody", 1)
    put(shared, "star", 2, acl=["*"])
    put(shared, "hr", 3, acl=["board", "hr"])
    put(shared, "other hr", 4, acl=["HR", "hrs"])
    put(shared, "nobody", 5, acl=[])
    put(shared, "quotes", 6, acl=['x", "hr'])
    put(shared, "umlaut", 7, acl=["Führung%"])
    hr, nobody = Scope(tags=("hr",)), Scope(tags=())
    assert keys(shared, hr) == ["hr", "star", "everybody"]
    assert keys(shared, nobody) == ["star", "everybody"]
    assert keys(shared, Scope(tags=('x", "hr',))) == ["quotes", "star", "everybody"]
    assert life(shared, hr, SOURCE, id_of("other hr")) is None
    assert life(shared, hr, SOURCE, id_of("hr")) is not None


def test_tags_beyond_ascii_are_found_as_sources_write_them(docs: Docs) -> None:
    docs.folder.write("a.md", "For some.")
    docs.run(WINDOW)
    catalog = docs.platform.catalog
    from rag_platform.documents.access import written

    with catalog.begin() as connection:
        connection.execute(sa.update(documents).values(acl=written(["Führung%"])))
    assert keys(catalog, Scope(tags=("Führung%",))) == ["a.md"]
    assert keys(catalog, Scope(tags=("Führung",))) == []


# One life


def test_every_change_of_a_document(docs: Docs) -> None:
    catalog = docs.platform.catalog
    docs.folder.write("a.md", "One.")
    docs.folder.write("b.md", "Two.")
    docs.run("2026-07-01")
    docs.folder.write("a.md", "Three, and more of it.")
    docs.run("2026-07-02")
    docs.folder.rename("b.md", "c.md")
    docs.run("2026-07-03")
    doc_ids = {one.key: one.doc_id for one in found(catalog, EVERYTHING)[0]}

    def told(key: str) -> list[tuple[str, str, str | None, str | None]]:
        looked = life(catalog, EVERYTHING, SOURCE, doc_ids[key])
        assert looked is not None
        return [(one.window, one.kind, one.outcome, one.other) for one in looked.changes]

    assert told("a.md") == [
        ("2026-07-02", "updated", "updated", None),
        ("2026-07-01", "inserted", "inserted", None),
    ]
    assert told("c.md") == [("2026-07-03", "moved", "moved", "b.md")]
    assert told("b.md")[0] == ("2026-07-03", "departed", "departed", "c.md")
    looked = life(catalog, EVERYTHING, SOURCE, doc_ids["b.md"])
    assert looked is not None
    assert looked.changes[0].other_id == doc_ids["c.md"]
    assert [one.listed_at is not None for one in looked.changes] == [True, True]
    a = life(catalog, EVERYTHING, SOURCE, doc_ids["a.md"])
    assert a is not None
    assert (a.versions, a.known.state if a.known else None) == (2, "live")
    # Where it went is told to those only who may see what is there.
    with catalog.begin() as connection:
        connection.execute(
            sa.update(documents).where(documents.c.key == "c.md").values(acl='["board"]')
        )
    limited = life(catalog, Scope(tags=()), SOURCE, doc_ids["b.md"])
    assert limited is not None
    assert (limited.changes[0].other, limited.changes[0].other_id) == (None, None)


@pytest.mark.parametrize(
    ("held", "is_current"),
    [
        ({}, True),
        ({"seq": 6}, False),
        ({"claimed": 8}, False),
        ({"text_hash": "older"}, False),
        ({"text_hash": None, "chunks": 0}, False),
    ],
)
def test_an_index_is_current_that_holds_the_newest_change_wholly(
    catalog: Catalog, held: dict[str, Any], is_current: bool
) -> None:
    put(catalog, "a", 7)
    row: dict[str, Any] = {
        "index_name": "v1",
        "doc_id": id_of("a"),
        "source": SOURCE,
        "window": WINDOW,
    }
    row |= {"pass_no": 1, "seq": 7, "claimed": 7, "chunks": 2, "digest": "d", "text_hash": "t7"}
    with catalog.begin() as connection:
        connection.execute(sa.insert(index_documents).values(**row | held))
    [one] = of(catalog, "a").held
    assert (one.index, one.is_current) == ("v1", is_current)


def test_copies_and_near_copies(shared: Catalog) -> None:
    for number, key in enumerate(["canonical", "near", "copy of near", "secret", "apart"]):
        acl = ["board"] if key == "secret" else None
        put(shared, key, number, acl=acl, text_hash="n" if "near" in key else f"t{number}")
        if key != "apart":
            with shared.begin() as connection:
                connection.execute(
                    sa.insert(near_documents).values(
                        doc_id=id_of(key),
                        source=SOURCE,
                        text_hash="",
                        canonical=id_of("canonical"),
                        similarity=1.0 if key == "canonical" else 0.9 - number / 100,
                        rule="r",
                    )
                )
    reader = Scope(tags=())
    near = of(shared, "near", reader)
    assert [one.key for one in near.copies] == ["copy of near"]
    assert [(one.key, one.is_canonical) for one in near.alike] == [("canonical", True)]
    first = of(shared, "canonical", reader)
    assert [(one.key, round(one.similarity, 2)) for one in first.alike] == [
        ("near", 0.89),
        ("copy of near", 0.88),
    ]
    assert [one.key for one in of(shared, "canonical").alike][-1] == "secret"
    assert of(shared, "apart").alike == []


def test_letters_of_the_document_and_no_others(shared: Catalog) -> None:
    put(shared, "a", 1)
    put(shared, "b", 2)
    kill(shared, "b", 2)
    common: dict[str, Any] = {
        "source": SOURCE,
        "key": "",
        "window": WINDOW,
        "reason": "refused",
        "detail": "",
    }
    common |= {"fingerprint": "f", "attempts": 1, "first_at": 1.0, "last_at": 1.0}
    with shared.begin() as connection:
        for stage in ("summary", "entities"):
            row = {"item": id_of("a"), "stage": stage}
            connection.execute(sa.insert(step_letters).values(**common | row))
    assert [row.stage for row in of(shared, "a").step_letters] == ["entities", "summary"]
    assert of(shared, "a").letter is None
    assert of(shared, "b").letter.reason == "corrupt"


def test_what_was_erased_has_its_changes_only(shared: Catalog) -> None:
    doc_id = id_of("erased")
    with shared.begin() as connection:
        connection.execute(
            sa.insert(changes).values(
                source=SOURCE,
                window=WINDOW,
                pass_no=1,
                doc_id=doc_id,
                key="erased",
                kind="deleted",
                outcome="deleted",
            )
        )
        connection.execute(
            sa.insert(passes).values(
                source=SOURCE,
                window=WINDOW,
                pass_no=1,
                listed_at=5.0,
                objects=0,
                listed=1,
                unchanged=0,
                settled=True,
            )
        )
    looked = of(shared, "erased")
    assert (looked.known, looked.versions, looked.held) == (None, 0, ())
    assert [(one.kind, one.listed_at) for one in looked.changes] == [("deleted", 5.0)]
    guarded = Scope((SOURCE,), ())
    assert life(shared, guarded, SOURCE, doc_id) is None
    unguarded = Scope((SOURCE,), (), frozenset({SOURCE}))
    assert life(shared, unguarded, SOURCE, doc_id) is not None
    assert life(shared, EVERYTHING, "wiki", doc_id) is None
    assert life(shared, Scope(("wiki",)), SOURCE, doc_id) is None
    assert life(shared, EVERYTHING, SOURCE, str(uuid.uuid4())) is None
