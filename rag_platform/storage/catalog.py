"""The catalog: one SQL database (SQLite or PostgreSQL) behind every port that remembers."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from rag_platform.errors import PlatformError
from rag_platform.storage import schema, schema_models, schema_operations
from rag_platform.storage.locks import LockTimeout, exclusive
from rag_platform.storage.statistics import write_statistics

logger = logging.getLogger(__name__)

# The newest migration under migrations/versions; a test holds the two together.
SCHEMA_REVISION = "0006"


class CatalogError(PlatformError):
    """The catalog cannot be opened or does not fit this version of the code."""


class Catalog:
    """An engine with the catalog's schema in it, and the locks that writers share.

    `url` is a SQLAlchemy URL, `sqlite:///…` or `postgresql+psycopg://…`. `lock_folder` holds
    the lock files when the database is SQLite; PostgreSQL has advisory locks of its own.
    """

    def __init__(self, url: str, *, lock_folder: Path, lock_timeout_s: float = 60.0) -> None:
        self.url = sa.make_url(url)
        self.lock_folder = lock_folder
        self.lock_timeout_s = lock_timeout_s
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(self.url) if self.is_sqlite else _server_engine(self.url)
        self._migrate()

    @property
    def display(self) -> str:
        """The address without its password."""
        return self.url.render_as_string(hide_password=True)

    def _migrate(self) -> None:
        """Bring the schema to this code's revision; a newer one is refused."""
        try:
            if self._revision() != SCHEMA_REVISION:
                with self.exclusive("migrations"):
                    if self._revision() != SCHEMA_REVISION:
                        _upgrade(self.engine)
        except sa.exc.DatabaseError as error:
            raise CatalogError(
                f"catalog {self.display}: cannot be opened ({_first_line(error)}). "
                "Check that it is reachable and writable, or set `catalog` in platform.yaml."
            ) from error

    def _revision(self) -> str | None:
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            found = connection.scalar(sa.text("select version_num from alembic_version"))
            return None if found is None else str(found)

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction; on SQLite it holds the write lock from its first statement."""
        with self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for reading: one snapshot, never behind a writer's lock on SQLite."""
        with self.engine.connect().execution_options(reading=True) as connection:
            yield connection

    @contextlib.contextmanager
    def exclusive(self, name: str, *, timeout_s: float | None = None) -> Iterator[None]:
        """One holder of `name` at a time, over all processes that share this catalog.

        The lock dies with its process. Raises `LockTimeout` after `timeout_s` (by default
        `lock_timeout_s`).
        """
        timeout_s = self.lock_timeout_s if timeout_s is None else timeout_s
        if self.is_sqlite:
            path = self.lock_folder / f"{name}.lock"
            with exclusive(path, timeout_s=timeout_s, purpose=name):
                yield
            return
        with self._advisory(name, timeout_s):
            yield

    @contextlib.contextmanager
    def _advisory(self, name: str, timeout_s: float) -> Iterator[None]:
        autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        lock = sa.func.hashtextextended(f"rag_platform:{name}", 0)
        with autocommit.connect() as connection:
            deadline = time.monotonic() + timeout_s
            told = False
            while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(lock))):
                if time.monotonic() > deadline:
                    raise LockTimeout(
                        f"{name}: held by another process for {timeout_s:g} s "
                        f"(advisory lock in {self.display}). Wait for that run, or stop it."
                    )
                if not told:
                    logger.info("waiting for %s, held by another process", name)
                    told = True
                time.sleep(0.2)
            try:
                yield
            finally:
                connection.scalar(sa.select(sa.func.pg_advisory_unlock(lock)))

    def upsert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        rows: Sequence[dict[str, Any]],
        *,
        update: Sequence[str] | None = None,
    ) -> None:
        """Insert rows; where the primary key exists, set `update` (default: all others).

        An empty `update` leaves existing rows as they are.
        """
        if not rows:
            return
        insert = (sqlite if self.is_sqlite else postgresql).insert(table)
        keys = [column.name for column in table.primary_key.columns]
        changed = [name for name in rows[0] if name not in keys] if update is None else update
        statement = (
            insert.on_conflict_do_update(
                index_elements=keys, set_={n: insert.excluded[n] for n in changed}
            )
            if changed
            else insert.on_conflict_do_nothing(index_elements=keys)
        )
        connection.execute(statement, rows)

    def close(self) -> None:
        """Release the connections."""
        self.engine.dispose()


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    if url.database and url.database != ":memory:":
        folder = Path(url.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CatalogError(
                f"catalog {url}: its folder cannot be made ({error.strerror}). Check the path and "
                "the rights of this user, or set `catalog` in platform.yaml."
            ) from error
    engine = sa.create_engine(url, connect_args={"timeout": 60, "isolation_level": None})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("pragma journal_mode = wal")
        # WAL with NORMAL keeps every committed transaction through a killed process.
        cursor.execute("pragma synchronous = normal")
        cursor.execute("pragma temp_store = memory")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # Writers queue at BEGIN instead of failing when a read transaction turns into a write.
        options = connection.get_execution_options()
        connection.exec_driver_sql("begin" if options.get("reading") else "begin immediate")

    return engine


def _server_engine(url: sa.URL) -> sa.Engine:
    return sa.create_engine(url, pool_pre_ping=True)


def _upgrade(engine: sa.Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except Exception as error:
            if "Can't locate revision" in str(error):
                raise CatalogError(
                    "catalog: written by a newer version of rag_platform. "
                    "Upgrade this checkout, or point `catalog` at another database."
                ) from error
            raise
        if engine.dialect.name == "sqlite":
            write_statistics(connection)


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", error)).splitlines()[0]


__all__ = [
    "SCHEMA_REVISION",
    "Catalog",
    "CatalogError",
    "schema",
    "schema_models",
    "schema_operations",
]
