"""Rows of the catalog, out of one database and into another."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from obstore.store import MemoryStore

from rag_platform.operations.backup import tables
from rag_platform.operations.backup.blobs import Blobs
from rag_platform.operations.backup.manifest import BackupDamaged, TableCopy
from rag_platform.operations.backup.tables import NewerBackup, NotEmpty, dump, load, snapshot
from rag_platform.storage.catalog import SCHEMA_REVISION, Catalog
from rag_platform.storage.schema import changes, documents, memo, reviews
from rag_platform.storage.schema_base import metadata
from rag_platform_tests.catalogs import Place, new_catalog

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
DOCUMENT = {
    "source": "manuals",
    "key": "a ü.md",
    "doc_id": ID,
    "seq": 2**40,
    "window": "2026-07-01",
    "pass_no": 1,
    "gone": True,
    "etag": None,
    "size": 7,
    "modified": 1_780_272_000.123456,
    "sha256": "",
    "text_hash": None,
    "empty": False,
    "acl": None,
}
REVIEW = {
    "source": "manuals",
    "doc_id": ID,
    "key": "a",
    "title": 'quote " and \\',
    "window": "w",
    "text_hash": "h",
    "reason": "r",
    "fields": {"list": [1, 2.5, None, "ü"], "deep": {"x": True}},
    "opened_at": 0.1,
    "due_at": 1e9,
    "status": "open",
}
CHANGE = {"source": "s", "window": "w", "pass_no": 1, "doc_id": ID, "key": "k", "kind": "inserted"}


@pytest.fixture
def blobs() -> Blobs:
    return Blobs(MemoryStore())


@pytest.fixture(params=["sqlite", "postgres"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    """Another catalog, empty, on either database."""
    if request.param == "sqlite":
        url = new_catalog(tmp_path / "other.db")
    else:
        url = request.getfixturevalue("postgres_database")
    opened = Place(url, tmp_path / "locks").open()
    yield opened
    opened.close()


def fill(catalog: Catalog) -> None:
    with catalog.begin() as connection:
        connection.execute(sa.insert(documents), [DOCUMENT])
        connection.execute(sa.insert(reviews), [REVIEW, REVIEW | {"fields": sa.JSON.NULL}])
        rows = [
            {"key": bytes([n, 0, 255]), "value": b"\x00" * n, "created_at": n} for n in range(5)
        ]
        connection.execute(sa.insert(memo), rows)
        connection.execute(sa.insert(changes), [CHANGE, CHANGE | {"key": "l"}])


def copied(catalog: Catalog, blobs: Blobs) -> dict[str, TableCopy]:
    with snapshot(catalog) as connection:
        return dump(connection, blobs)


def content(catalog: Catalog) -> dict[str, list[Any]]:
    with catalog.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(table))))
            for table in metadata.sorted_tables
        }


def test_rows_come_back_as_they_were(shared: Catalog, other: Catalog, blobs: Blobs) -> None:
    fill(shared)
    load(other, copied(shared, blobs), blobs, revision=SCHEMA_REVISION)
    assert content(other) == content(shared)
    with other.read() as connection:
        assert connection.execute(sa.select(documents)).one()._asdict() == DOCUMENT
        found = connection.execute(sa.select(reviews.c.fields, reviews.c.decision)).all()
        written = connection.scalars(sa.select(sa.cast(reviews.c.fields, sa.Text))).all()
    assert found[0] == (REVIEW["fields"], None)
    # A null of JSON stays one of JSON, and none of SQL.
    assert written[1] == "null"
    with other.begin() as connection:
        new = connection.execute(sa.insert(changes).values(CHANGE)).inserted_primary_key
    assert new == (3,)


def test_one_moment_however_long_it_takes(shared: Catalog, blobs: Blobs) -> None:
    fill(shared)
    with snapshot(shared) as connection:
        with shared.begin() as writer:
            writer.execute(sa.insert(memo).values(key=b"new", value=b"", created_at=0))
            writer.execute(sa.delete(changes))
        found = dump(connection, blobs)
    assert (found["memo"].rows, found["changes"].rows) == (5, 2)


def test_what_was_not_touched_is_the_same_content(
    shared: Catalog, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_PART", 2)
    monkeypatch.setattr(tables, "_BATCH", 2)
    fill(shared)
    first = copied(shared, blobs)
    assert [part.rows for part in first["memo"].parts] == [2, 2, 1]
    assert copied(shared, blobs) == first
    with shared.begin() as connection:
        # Its key comes before all others, itself after them.
        connection.execute(sa.insert(memo).values(key=b"", value=b"", created_at=9))
    again = copied(shared, blobs)["memo"].parts
    assert [part.rows for part in again] == [2, 2, 2]
    assert again[:2] == first["memo"].parts[:2]


def test_a_part_is_full_by_its_bytes(
    catalog: Catalog, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_PART_BYTES", 1)
    monkeypatch.setattr(tables, "_BATCH", 4)
    fill(catalog)
    assert [part.rows for part in copied(catalog, blobs)["memo"].parts] == [4, 1]


def test_all_or_nothing(catalog: Catalog, other: Catalog, blobs: Blobs) -> None:
    fill(catalog)
    found = copied(catalog, blobs)
    wrong = found | {"reviews": found["reviews"].model_copy(update={"parts": found["memo"].parts})}
    with pytest.raises(BackupDamaged, match="other rows"):
        load(other, wrong, blobs, revision=SCHEMA_REVISION)
    assert not any(content(other).values())
    load(other, found, blobs, revision=SCHEMA_REVISION)
    with pytest.raises(NotEmpty):
        load(other, found, blobs, revision=SCHEMA_REVISION)
    assert content(other) == content(catalog)


def test_rows_that_a_table_does_not_take(catalog: Catalog, other: Catalog, blobs: Blobs) -> None:
    fill(catalog)
    found = copied(catalog, blobs)
    twice = found["memo"].model_copy(update={"parts": found["memo"].parts * 2})
    with pytest.raises(BackupDamaged, match="table memo does not take"):
        load(other, found | {"memo": twice}, blobs, revision=SCHEMA_REVISION)
    assert not any(content(other).values())


@pytest.mark.parametrize("change", ["missing", "foreign", "column"])
def test_tables_of_something_else_are_refused(catalog: Catalog, blobs: Blobs, change: str) -> None:
    found = copied(catalog, blobs)
    if change == "missing":
        del found["memo"]
    elif change == "foreign":
        found["sqlite_master"] = found["memo"]
    else:
        columns = found["memo"].columns | {"more": "text"}
        found["memo"] = found["memo"].model_copy(update={"columns": columns})
    with pytest.raises(BackupDamaged, match="not those of its schema"):
        load(catalog, found, blobs, revision=SCHEMA_REVISION)


def test_an_older_schema_goes_through_the_migrations(other: Catalog, blobs: Blobs) -> None:
    """Rows as the first version of the catalog had them."""
    with other.begin() as connection:
        _to_revision(connection, "0001")
        old = sa.MetaData()
        old.reflect(connection)
        named = {name: table for name, table in old.tables.items() if name != "alembic_version"}
        connection.execute(
            sa.insert(named["memo"]), [{"key": b"k", "value": b"v", "created_at": 1.0}]
        )
        found = {name: tables._dump(connection, table, blobs) for name, table in named.items()}
        connection.execute(sa.delete(named["memo"]))
        _to_revision(connection, "head")
    assert found.keys() < metadata.tables.keys()
    load(other, found, blobs, revision="0001")
    assert other._revision() == SCHEMA_REVISION
    assert content(other).keys() == metadata.tables.keys()
    with other.read() as connection:
        assert connection.execute(sa.select(memo)).all() == [(b"k", b"v", 1.0)]


def _to_revision(connection: sa.Connection, revision: str) -> None:
    if revision != "head":
        present = sa.MetaData()
        present.reflect(connection)
        present.drop_all(connection)
    tables._migrate(connection, revision)


def test_a_schema_that_is_not_known_is_refused() -> None:
    for revision in ("0001", SCHEMA_REVISION):
        tables.refuse_unknown(revision)
    with pytest.raises(NewerBackup, match="the version that made it"):
        tables.refuse_unknown(f"{int(SCHEMA_REVISION) + 1:04d}")
    with pytest.raises(BackupDamaged, match="no catalog schema 0000"):
        tables.refuse_unknown("0000")
