"""Dead letters a page at a time, for who may see them; on either database."""

import uuid
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.access import EVERYTHING, Scope
from rag_platform.operations.letter_pages import Kind, documents_page, kinds, steps_page
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import dead_letters, documents, step_letters

COMMON = {"window": "2026-07-01", "detail": "d", "fingerprint": "f", "first_at": 2.0}


def id_of(key: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, key))


def know(catalog: Catalog, key: str, acl: str | None, source: str = "notes") -> None:
    row = {"source": source, "key": key, "doc_id": id_of(key), "seq": 1, "window": "w"}
    with catalog.begin() as connection:
        connection.execute(sa.insert(documents).values(**row, pass_no=1, acl=acl))


def dead(catalog: Catalog, key: str, seq: int, *, acl: str | None = None, **values: Any) -> None:
    know(catalog, key, acl, values.get("source", "notes"))
    row = {"doc_id": id_of(key), "source": "notes", "key": key, "pass_no": 1, "seq": seq}
    row |= {"stage": "parsed_docs", "reason": "corrupt", "attempts": 1, "last_at": 3.0}
    with catalog.begin() as connection:
        connection.execute(sa.insert(dead_letters).values(**COMMON | row | values))


def failed(catalog: Catalog, item: str, stage: str, at: float, **values: Any) -> None:
    row: dict[str, Any] = {"source": "notes", "item": item, "stage": stage, "key": f"key of {item}"}
    row |= {"reason": "refused", "attempts": 1, "last_at": at}
    with catalog.begin() as connection:
        connection.execute(sa.insert(step_letters).values(**COMMON | row | values))


def test_kinds_are_counted_the_most_first(shared: Catalog) -> None:
    for number in range(3):
        dead(shared, f"a{number}", number, attempts=number, first_at=float(10 - number))
    dead(shared, "b", 5, reason="timeout", source="wiki")
    failed(shared, id_of("a0"), "summary", 1.0)
    failed(shared, id_of("a1"), "summary", 1.0)
    found = kinds(shared, EVERYTHING)
    assert found == [
        Kind("notes", "parsed_docs", "corrupt", 3, 1, 8.0, True),
        Kind("notes", "summary", "refused", 2, 0, 2.0, False),
        Kind("wiki", "parsed_docs", "timeout", 1, 0, 2.0, True),
    ]
    assert kinds(shared, Scope(("wiki",))) == found[2:]
    assert kinds(shared, EVERYTHING, "notes") == found[:2]


def test_documents_without_a_text_the_newest_change_first(shared: Catalog) -> None:
    dead(shared, "old", 1)
    dead(shared, "secret", 2, acl='["board"]')
    dead(shared, "quarantined", 3, attempts=2, reason="timeout")
    dead(shared, "wiki", 4, source="wiki", stage="clean_docs")
    found, before = documents_page(shared, EVERYTHING, most=3)
    assert [(one.key, one.quarantined) for one in found] == [
        ("wiki", False),
        ("quarantined", True),
        ("secret", False),
    ]
    rest, end = documents_page(shared, EVERYTHING, most=3, before=before)
    assert ([(one.key, one.doc_id) for one in rest], end) == ([("old", id_of("old"))], None)

    def told(scope: Scope = EVERYTHING, **how: Any) -> list[str]:
        return [one.key for one in documents_page(shared, scope, **how)[0]]

    assert told(Scope(tags=())) == ["wiki", "quarantined", "old"]
    assert told(Scope(("notes",), ("board",))) == ["quarantined", "secret", "old"]
    assert told(reason="timeout") == ["quarantined"]
    assert told(stage="clean_docs") == told(source="wiki") == ["wiki"]


def test_what_steps_could_not_do_the_newest_attempt_first(shared: Catalog) -> None:
    know(shared, "a", None)
    know(shared, "b", '["board"]')
    failed(shared, id_of("a"), "summary", 5.0)
    failed(shared, id_of("a"), "entities", 5.0)
    failed(shared, id_of("b"), "summary", 7.0)
    failed(shared, "day.csv#12", "raw_rides", 6.0, source="rides", reason="no_time")
    seen, before = [], None
    while True:
        found, before = steps_page(shared, EVERYTHING, before=before, most=1)
        seen += [(one.stage, one.doc_id) for one in found]
        if before is None:
            break
    assert seen == [
        ("summary", id_of("b")),
        ("raw_rides", None),
        ("summary", id_of("a")),
        ("entities", id_of("a")),
    ]

    def told(scope: Scope = EVERYTHING, **how: Any) -> list[tuple[str, str]]:
        return [(one.source, one.stage) for one in steps_page(shared, scope, **how)[0]]

    assert told(Scope(("notes",), ())) == [("notes", "summary"), ("notes", "entities")]
    assert told(reason="no_time") == [("rides", "raw_rides")]
    assert told(source="notes", stage="entities") == [("notes", "entities")]
