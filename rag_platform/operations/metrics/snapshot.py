"""What the catalog says, read in one snapshot: figures of one scrape fit together."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from rag_platform.operations.metrics.exporter import Collector, Part, part
from rag_platform.operations.metrics.families import Buckets, Family
from rag_platform.settings import Settings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.measures import INFINITE

# A statement that takes longer is ended: something is wrong with the database.
_STATEMENT_S = 60.0
_STEPS = 100_000  # of SQLite's machine between two looks at the clock


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A connection that sees one state of the catalog, and the time (UTC seconds)."""

    connection: sa.Connection
    settings: Settings
    now: float

    def rows(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]:
        """All rows of a statement: grouped ones, so there are few."""
        return self.connection.execute(statement).all()


Query = Callable[[Snapshot], Iterable[Family]]


def queries_collector(
    name: str, catalog: Catalog, settings: Settings, queries: Mapping[str, Query]
) -> Collector:
    """A collector whose parts are queries in one snapshot, each of which may fail for itself."""

    def collect() -> list[Part]:
        with _snapshot(catalog) as connection:
            seen = Snapshot(connection, settings, time.time())
            return [part(each, partial(_alone, query, seen)) for each, query in queries.items()]

    return Collector(name, collect)


def _alone(query: Query, seen: Snapshot) -> list[Family]:
    # PostgreSQL ends a transaction with the first error in it, but for those after a savepoint.
    with _limited(seen.connection), seen.connection.begin_nested():
        return list(query(seen))


@contextlib.contextmanager
def _snapshot(catalog: Catalog) -> Iterator[sa.Connection]:
    if catalog.is_sqlite:
        with catalog.read() as connection:
            yield connection
        return
    level = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with catalog.engine.connect().execution_options(**level) as connection:
        yield connection


@contextlib.contextmanager
def _limited(connection: sa.Connection) -> Iterator[None]:
    """End statements that take too long."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"set local statement_timeout = {int(_STATEMENT_S * 1000)}")
        yield
        return
    # SQLite has no such setting, but asks now and then whether to go on.
    driver: Any = connection.connection.driver_connection
    deadline = time.monotonic() + _STATEMENT_S
    driver.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


def plain(column: sa.Column[str]) -> sa.ColumnElement[str]:
    """The column as no index has it: counting a whole table by way of an index reads it in the
    order of the index, row by row."""
    return column + ""


def bucket(column: sa.ColumnElement[Any], bounds: Sequence[float]) -> sa.ColumnElement[str]:
    """The upper bound of a value among rising bounds, as `buckets` reads it."""
    cases = [(column <= bound, repr(float(bound))) for bound in bounds]
    return sa.case(*cases, else_=INFINITE)


def buckets(bounds: Sequence[float], found: Mapping[str, tuple[int, float]]) -> Buckets:
    """A histogram of (count, sum) by the bounds that `bucket` gave."""
    counts, so_far = [], 0
    for bound in [*(repr(float(bound)) for bound in bounds), INFINITE]:
        so_far += found.get(bound, (0, 0.0))[0]
        counts.append((bound, so_far))
    return Buckets(counts, float(sum(total for _, total in found.values())))
