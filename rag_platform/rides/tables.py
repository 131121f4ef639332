"""The outputs of the rides by day: tables that pandas, DuckDB and Polars read as they lie.

`rides/STAGE/date=2026-11-25/part.parquet` below the storage: one Parquet file for each day, put in
place whole, so that a reader or a killed run never meets a half of one. What a stage has to say
about a day besides its rows stands in the file's footer as JSON.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rag_platform.errors import PlatformError
from rag_platform.storage.pages import ObjectReader, PartGone

if TYPE_CHECKING:
    import pyarrow as pa

RAW, CLUSTERS, SUMMARIES, REPORT = "raw_rides", "ride_clusters", "ride_summaries", "ride_report"
_FACTS = b"rag_platform.facts"
_ROW_GROUP = 100_000

Facts = dict[str, Any]


class DayMissing(PlatformError):
    """A stage has no output of a day yet."""


def table_path(stage: str, day: date) -> str:
    """Where the table of a day lies, below the storage."""
    return f"rides/{stage}/date={day.isoformat()}/part.parquet"


def report_path(day: date, ending: str) -> str:
    """Where the report of a day lies: beside the tables, which hold nothing but Parquet."""
    return f"rides/reports/{day.isoformat()}.{ending}"


class DayTables:
    """Reads and writes the tables of days in an object store."""

    def __init__(self, store: Any) -> None:
        self._store = store

    @contextmanager
    def writer(self, stage: str, day: date, schema: "pa.Schema") -> "Iterator[DayWriter]":
        """A context that appends tables; the day's file is replaced when it ends well."""
        import pyarrow.parquet as pq

        with TemporaryDirectory(prefix="rides-") as folder:
            path = Path(folder) / "part.parquet"
            with pq.ParquetWriter(path, schema, compression="zstd") as parquet:
                writer = DayWriter(parquet)
                yield writer
                facts = json.dumps(writer.facts, sort_keys=True)
                parquet.add_key_value_metadata({_FACTS: facts.encode()})
            self.put(table_path(stage, day), path)

    def write(self, stage: str, day: date, table: "pa.Table", facts: Facts) -> None:
        """Replace a day's table."""
        with self.writer(stage, day, table.schema) as writer:
            writer.add(table)
            writer.facts |= facts

    def put(self, path: str, content: Path | bytes) -> None:
        """Replace an object as a whole."""
        # A folder's store writes beside its target first, and a reader of the folder of tables
        # would trip over what a killed run leaves of that. So it is written elsewhere and moved.
        aside = f"rides/_unfinished/{path.replace('/', '.')}"
        self._store.put(aside, content)
        self._store.rename(aside, path)

    def read(
        self, stage: str, day: date, *, columns: list[str] | None = None, filters: Any = None
    ) -> "pa.Table":
        """A day's rows. Raises `DayMissing`."""
        import pyarrow.parquet as pq

        with self._file(stage, day) as file:
            table = pq.read_table(file, columns=columns, filters=filters, partitioning=None)
        return table.replace_schema_metadata()

    def facts(self, stage: str, day: date) -> Facts:
        """What a stage said about a day, and `rows`: how many it has. Raises `DayMissing`."""
        import pyarrow.parquet as pq

        with self._file(stage, day) as file:
            footer = pq.ParquetFile(file, pre_buffer=False).metadata
            found: Facts = json.loads(footer.metadata[_FACTS])
            return found | {"rows": footer.num_rows}

    def known_facts(self, stage: str, day: date) -> Facts | None:
        """The same, or None where the stage has no output of the day."""
        try:
            return self.facts(stage, day)
        except DayMissing:
            return None

    @contextmanager
    def _file(self, stage: str, day: date) -> Iterator[Any]:
        try:
            with ObjectReader(self._store, table_path(stage, day)) as raw:
                yield raw
        except PartGone as error:
            raise DayMissing(
                f"{stage}: no output of {day.isoformat()} yet; run {stage} of that day first."
            ) from error


class DayWriter:
    """Appends tables to a day's file; `facts` go into its footer."""

    def __init__(self, parquet: Any) -> None:
        self._parquet = parquet
        self.facts: Facts = {}
        self.rows = 0

    def add(self, table: "pa.Table") -> None:
        """Append the rows of a table."""
        self._parquet.write_table(table, row_group_size=_ROW_GROUP)
        self.rows += table.num_rows
