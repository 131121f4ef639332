"""The catalog's rows, in a form that both databases write and read.

SQLite and PostgreSQL are copied alike, out of one read transaction, so that a backup of the one
restores into the other. Rows are kept as Parquet, oldest first: what came since the last backup is
at the end, and all before it the same content again.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.operations.backup.blobs import Blobs, pieces, spooled
from rag_platform.operations.backup.manifest import BackupDamaged, Kind, Rows, TableCopy
from rag_platform.storage import catalog as catalog_module
from rag_platform.storage.catalog import SCHEMA_REVISION, Catalog
from rag_platform.storage.schema_base import metadata

if TYPE_CHECKING:
    import pyarrow as pa

# Rows read and written at a time; rows of one blob at most, and bytes from which it is full.
_BATCH = 2_000
_PART = 100_000
_PART_BYTES = 64_000_000
_FIRST_REVISION = "0001"
_REVISIONS = "alembic_version"

_KINDS: tuple[tuple[type[Any], Kind], ...] = (
    (sa.Uuid, "uuid"),
    (sa.JSON, "json"),
    (sa.LargeBinary, "bytes"),
    (sa.Boolean, "bool"),
    (sa.Float, "float"),
    (sa.Integer, "int"),
    (sa.String, "text"),
)
_TYPES: dict[Kind, Callable[[], sa.types.TypeEngine[Any]]] = {
    "uuid": lambda: sa.Uuid(as_uuid=False),
    "json": lambda: sa.JSON(none_as_null=True),
    "bytes": sa.LargeBinary,
    "bool": sa.Boolean,
    "float": sa.Float,
    "int": sa.BigInteger,
    "text": sa.Text,
}


class NotEmpty(PlatformError):
    """Something is there already; nothing was restored."""


class NewerBackup(PlatformError):
    """The backup is of a newer version than this code."""


@contextlib.contextmanager
def snapshot(catalog: Catalog) -> Iterator[sa.Connection]:
    """A connection that sees the catalog as it is now, however long it reads."""
    options: dict[str, Any] = {"reading": True}
    if not catalog.is_sqlite:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with catalog.engine.connect() as connection:
        connection = connection.execution_options(**options)
        # Neither database takes its snapshot before something is read.
        connection.execute(sa.text(f"select version_num from {_REVISIONS}")).all()
        yield connection


def dump(connection: sa.Connection, blobs: Blobs) -> dict[str, TableCopy]:
    """Copy all tables; their schema is this code's."""
    return {table.name: _dump(connection, table, blobs) for table in metadata.sorted_tables}


def _dump(connection: sa.Connection, table: sa.Table, blobs: Blobs) -> TableCopy:
    kinds = {column.name: _kind(column) for column in table.columns}
    # JSON as it is written: a null of JSON is not one of SQL.
    columns = [
        sa.cast(column, sa.Text).label(column.name) if kinds[column.name] == "json" else column
        for column in table.columns
    ]
    statement = sa.select(*columns).select_from(table).order_by(*_oldest_first(connection, table))
    found = connection.execute(statement, execution_options={"yield_per": _BATCH})
    parts = []
    rows = found.partitions()
    while part := _part(rows, kinds, blobs):
        parts.append(part)
    return TableCopy(columns=kinds, parts=tuple(parts))


def _oldest_first(connection: sa.Connection, table: sa.Table) -> list[sa.ColumnElement[Any]]:
    """As rows came, as far as the database can tell: keys of the memo are digests, in no order."""
    if connection.dialect.name == "sqlite":
        return [sa.literal_column("rowid")]  # without a sort, which SQLite would do in memory
    when = [table.c.created_at] if "created_at" in table.c else []
    return [*when, *table.primary_key.columns]


def _kind(column: sa.Column[Any]) -> Kind:
    return next(kind for of, kind in _KINDS if isinstance(column.type, of))


def _part(rows: Iterator[Any], kinds: Mapping[str, Kind], blobs: Blobs) -> Rows | None:
    """The next rows as one blob; None without any."""
    import pyarrow.parquet as pq

    schema, count = _schema(kinds), 0
    with spooled() as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(_record_batch(batch, schema))
            count += len(batch)
            if count >= _PART or file.tell() >= _PART_BYTES:
                break
        if not count:
            return None
        writer.close()
        file.seek(0)
        blob = blobs.put(pieces(file))
    return Rows(sha256=blob.sha256, size=blob.size, rows=count)


def _record_batch(rows: Iterable[Any], schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    columns = [
        pa.array(values, field.type)
        for values, field in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.record_batch(columns, schema=schema)


def _schema(kinds: Mapping[str, Kind]) -> "pa.Schema":
    import pyarrow as pa

    types = {
        "bytes": pa.binary(),
        "bool": pa.bool_(),
        "float": pa.float64(),
        "int": pa.int64(),
    }
    return pa.schema([(name, types.get(kind, pa.string())) for name, kind in kinds.items()])


# The way back


def refuse_unknown(revision: str) -> None:
    """Raises `NewerBackup`, `BackupDamaged` where this code does not know the backup's schema."""
    if revision < _FIRST_REVISION:
        raise BackupDamaged(f"there is no catalog schema {revision}; nothing was restored.")
    if revision > SCHEMA_REVISION:
        raise NewerBackup(
            f"the backup has catalog schema {revision}, this version of rag_platform knows "
            f"{SCHEMA_REVISION}. Restore it with the version that made it, or a newer one."
        )


def is_filled(connection: sa.Connection) -> bool:
    """Whether any table has a row."""
    return any(
        connection.execute(sa.select(sa.literal(1)).select_from(sa.table(name)).limit(1)).first()
        for name in sa.inspect(connection).get_table_names()
        if name != _REVISIONS
    )


def load(catalog: Catalog, tables: Mapping[str, TableCopy], blobs: Blobs, *, revision: str) -> None:
    """Fill an empty catalog, in one transaction: all of it or nothing, whenever it is killed.

    Rows of an older schema go through the migrations. Raises `NotEmpty`, `BackupDamaged`.
    """
    with catalog.exclusive("migrations"), catalog.begin() as connection:
        if is_filled(connection):
            raise NotEmpty(f"catalog {catalog.display}: is not empty; nothing was restored.")
        if revision != SCHEMA_REVISION:
            found = sa.MetaData()
            found.reflect(connection)
            found.drop_all(connection)
            _migrate(connection, revision)
        _refuse_foreign(connection, tables)
        for name, copied in tables.items():
            _fill(connection, name, copied, blobs)
        if revision != SCHEMA_REVISION:
            _migrate(connection, "head")


def _migrate(connection: sa.Connection, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    folder = Path(catalog_module.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _refuse_foreign(connection: sa.Connection, tables: Mapping[str, TableCopy]) -> None:
    """The tables of the backup must be those of the schema that it names."""
    inspector = sa.inspect(connection)
    wanted = {
        name: {column["name"] for column in inspector.get_columns(name)}
        for name in inspector.get_table_names()
        if name != _REVISIONS
    }
    given = {name: set(table.columns) for name, table in tables.items()}
    if given != wanted:
        names = sorted(name for name in given | wanted if given.get(name) != wanted.get(name))
        raise BackupDamaged(
            f"the backup's tables are not those of its schema ({', '.join(names[:5])}); take "
            "another backup."
        )


def _fill(connection: sa.Connection, name: str, copied: TableCopy, blobs: Blobs) -> None:
    columns = [sa.Column(column, _TYPES[kind]()) for column, kind in copied.columns.items()]
    insert = sa.insert(sa.Table(name, sa.MetaData(), *columns))
    documents = [column for column, kind in copied.columns.items() if kind == "json"]
    for part in copied.parts:
        with blobs.open(part) as file:
            for rows in _read(file, part, copied):
                try:
                    for row in rows:
                        for column in documents:
                            row[column] = _document(row[column])
                    connection.execute(insert, rows)
                except (ValueError, sa.exc.IntegrityError, sa.exc.DataError) as error:
                    raise BackupDamaged(
                        f"{part.sha256}: has rows that table {name} does not take; take another "
                        "backup."
                    ) from error
    if connection.dialect.name == "postgresql":
        _advance(connection, name)


def _read(file: IO[bytes], part: Rows, copied: TableCopy) -> Iterator[list[dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file)
        if (
            parquet.schema_arrow != _schema(copied.columns)
            or parquet.metadata.num_rows != part.rows
        ):
            raise BackupDamaged(f"{part.sha256}: holds other rows than its manifest says.")
        for batch in parquet.iter_batches(batch_size=_BATCH, use_threads=False):
            yield batch.to_pylist()
    except pa.ArrowException as error:
        raise BackupDamaged(f"{part.sha256}: are no rows; take another backup.") from error


def _document(written: str | None) -> Any:
    if written is None:
        return None
    return sa.JSON.NULL if (value := json.loads(written)) is None else value


def _advance(connection: sa.Connection, name: str) -> None:
    """Let the numbers that PostgreSQL gives go on behind those that were restored."""
    keys = sa.inspect(connection).get_pk_constraint(name)["constrained_columns"]
    sequence = sa.func.pg_get_serial_sequence(name, keys[0])
    if len(keys) == 1 and connection.scalar(sa.select(sequence)):
        key = sa.column(keys[0], sa.BigInteger)
        last = sa.select(sa.func.max(key)).select_from(sa.table(name))
        if number := connection.scalar(last):
            connection.execute(sa.select(sa.func.setval(sequence, number)))
