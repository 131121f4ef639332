"""Leaving nothing of deleted rows in the files of the catalog."""

import contextlib
import sqlite3

import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_base import metadata

_PATIENCE_S = 60.0
KEPT_BY_SERVER = (
    "catalog: PostgreSQL writes over what was freed, and drops its log, in its own time"
)


class CatalogBusy(PlatformError):
    """The catalog's log cannot be emptied while others read it."""

    transient = True


def vacuum(catalog: Catalog) -> None:
    """Rewrite the catalog without the space of deleted rows, and empty its log.

    PostgreSQL makes the space free to be written over, no more: see `KEPT_BY_SERVER`. Raises
    `CatalogBusy`.
    """
    if not catalog.is_sqlite:
        _vacuum_server(catalog)
    elif catalog.url.database:
        _vacuum_file(catalog.url.database)


def _vacuum_file(database: str) -> None:
    # A connection of its own: those of the catalog hold their temporary tables in memory.
    with contextlib.closing(
        sqlite3.connect(database, timeout=_PATIENCE_S, isolation_level=None)
    ) as connection:
        connection.execute("vacuum")
        busy, *_ = connection.execute("pragma wal_checkpoint(truncate)").fetchone()
    if busy:
        raise CatalogBusy(
            f"catalog {database}: is being read, so that its log still has what was erased. Run "
            "the erasure again."
        )


def _vacuum_server(catalog: Catalog) -> None:
    autocommit = catalog.engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        for table in metadata.sorted_tables:
            connection.execute(sa.text(f'vacuum "{table.name}"'))
