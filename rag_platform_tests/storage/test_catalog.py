"""The catalog on SQLite and on a real PostgreSQL."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from rag_platform.storage.catalog import SCHEMA_REVISION, Catalog, CatalogError
from rag_platform.storage.locks import LockTimeout
from rag_platform.storage.schema import memo
from rag_platform.storage.schema_base import metadata

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/some where/catalog.db"
    return str(request.getfixturevalue("postgres_database"))


@pytest.fixture
def opened(url: str, tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(url, lock_folder=tmp_path / "locks", lock_timeout_s=0.3)
    yield catalog
    catalog.close()


def row(key: bytes, value: bytes) -> dict[str, object]:
    return {"key": key, "value": value, "created_at": 0.0}


def values(catalog: Catalog) -> dict[bytes, bytes]:
    with catalog.read() as connection:
        found = connection.execute(sa.select(memo.c.key, memo.c.value))
        return {bytes(key): bytes(value) for key, value in found}


def test_migrations_make_the_tables_of_the_schema(opened: Catalog) -> None:
    inspector = sa.inspect(opened.engine)
    assert set(inspector.get_table_names()) == {*metadata.tables, "alembic_version"}
    for name, table in metadata.tables.items():
        found = {column["name"]: column["nullable"] for column in inspector.get_columns(name)}
        assert found == {column.name: column.nullable for column in table.columns}
        keys = inspector.get_pk_constraint(name)["constrained_columns"]
        assert set(keys) == {column.name for column in table.primary_key.columns}
        # PostgreSQL shows the index of a unique column among the others.
        indexes = {index["name"] for index in inspector.get_indexes(name) if not index["unique"]}
        assert indexes == {index.name for index in table.indexes if not index.unique}


def test_the_revision_is_that_of_the_newest_migration() -> None:
    folder = ROOT / "rag_platform" / "storage" / "migrations" / "versions"
    assert max(path.name[:4] for path in folder.glob("[0-9]*.py")) == SCHEMA_REVISION


def test_opened_again_it_keeps_what_is_in_it(opened: Catalog, url: str, tmp_path: Path) -> None:
    with opened.begin() as connection:
        opened.upsert(connection, memo, [row(b"k", b"v")])
    again = Catalog(url, lock_folder=tmp_path / "locks")
    assert values(again) == {b"k": b"v"}
    again.close()


def test_a_newer_schema_is_refused(opened: Catalog, url: str, tmp_path: Path) -> None:
    with opened.begin() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(CatalogError, match="newer version of rag_platform") as refused:
        Catalog(url, lock_folder=tmp_path / "locks")
    assert "\n" not in str(refused.value)
    with opened.read() as connection:
        assert connection.scalar(sa.text("select version_num from alembic_version")) == "9999"


def test_a_transaction_that_fails_leaves_nothing(opened: Catalog) -> None:
    def fail() -> None:
        with opened.begin() as connection:
            opened.upsert(connection, memo, [row(b"k", b"v")])
            raise KeyError("inside")

    with pytest.raises(KeyError):
        fail()
    assert values(opened) == {}


def test_upsert(opened: Catalog) -> None:
    with opened.begin() as connection:
        opened.upsert(connection, memo, [])
        opened.upsert(connection, memo, [row(b"a", b"1"), row(b"b", b"1")])
        opened.upsert(connection, memo, [row(b"a", b"2"), row(b"c", b"2")])
    assert values(opened) == {b"a": b"2", b"b": b"1", b"c": b"2"}
    with opened.begin() as connection:
        opened.upsert(connection, memo, [row(b"a", b"3"), row(b"d", b"3")], update=())
        opened.upsert(connection, memo, [row(b"b", b"4")], update=["created_at"])
    assert values(opened) == {b"a": b"2", b"b": b"1", b"c": b"2", b"d": b"3"}


def test_a_reader_sees_one_moment_and_waits_for_no_writer(opened: Catalog) -> None:
    with opened.begin() as writing:
        opened.upsert(writing, memo, [row(b"k", b"v")])
        assert values(opened) == {}
    assert values(opened) == {b"k": b"v"}


def test_writers_that_read_first_do_not_fail(opened: Catalog) -> None:
    """On SQLite a read transaction that turns into a write fails at once when another wrote."""
    with opened.begin() as connection:
        opened.upsert(connection, memo, [row(b"n", b"0")])

    def count() -> None:
        for _ in range(10):
            with opened.begin() as connection:
                found = connection.scalar(sa.select(memo.c.value).with_for_update())
                number = int(bytes(found or b"0"))
                opened.upsert(connection, memo, [row(b"n", str(number + 1).encode())])

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(opened) == {b"n": b"30"}


_HOLD = """
import sys, time
from pathlib import Path
from rag_platform.storage.catalog import Catalog
catalog = Catalog(sys.argv[1], lock_folder=Path(sys.argv[2]), lock_timeout_s=5)
with catalog.exclusive("index-docs"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_holder_over_processes_until_it_is_killed(
    opened: Catalog, url: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _HOLD, url, str(tmp_path / "locks")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LockTimeout) as refused, opened.exclusive("index-docs"):
            pytest.fail("two holders")
        assert str(refused.value).startswith("index-docs: ")
        with opened.exclusive("index-other"):
            pass
        process.kill()
        process.wait()
        opened.lock_timeout_s = 10
        with opened.exclusive("index-docs"):
            pass
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_lock_is_free_after_an_error(opened: Catalog) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), opened.exclusive("x"):
            raise KeyError("inside")


def test_two_databases_share_no_lock_on_postgresql(
    postgres_url: str, postgres_database: str, tmp_path: Path
) -> None:
    one = Catalog(postgres_database, lock_folder=tmp_path, lock_timeout_s=0.3)
    other = Catalog(postgres_url, lock_folder=tmp_path, lock_timeout_s=0.3)
    with one.exclusive("index-docs"), other.exclusive("index-docs"):
        pass
    one.close()
    other.close()


def test_the_password_is_never_shown(postgres_database: str, tmp_path: Path) -> None:
    url = sa.make_url(postgres_database).set(password="hunter2")
    given = url.render_as_string(hide_password=False)
    catalog = Catalog(given, lock_folder=tmp_path, lock_timeout_s=0.1)
    assert "hunter2" not in catalog.display
    assert "***" in catalog.display
    with catalog.exclusive("x"):
        with pytest.raises(LockTimeout) as refused, catalog.exclusive("x"):
            pytest.fail("two holders")
        assert "hunter2" not in str(refused.value)
    catalog.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:hunter2@127.0.0.1:1/catalog",
        "postgresql+psycopg://me:hunter2@127.0.0.1:1/catalog?connect_timeout=1",
    ],
)
def test_a_server_that_is_not_there(url: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=re.escape("me:***@127.0.0.1:1/catalog")) as refused:
        Catalog(url, lock_folder=tmp_path)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"something else entirely\n" * 100)
    with pytest.raises(CatalogError, match="file is not a database"):
        Catalog(f"sqlite:///{tmp_path}/catalog.db", lock_folder=tmp_path)


def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CatalogError, match="its folder cannot be made"):
        Catalog(f"sqlite:///{tmp_path}/file/catalog.db", lock_folder=tmp_path)
    with pytest.raises(CatalogError, match="cannot be opened"):
        Catalog(f"sqlite:///{tmp_path}", lock_folder=tmp_path)
