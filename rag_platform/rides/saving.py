"""Tables of rides as files, whole or not at all."""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_platform.storage.files import NotSaved, whole

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".parquet", ".csv", ".json", ".jsonl")
_ROWS = 50_000


def save(table: "pa.Table", path: Path) -> None:
    """Write `table` in the form that the ending of `path` says, in place of what was there.

    Raises `NotSaved`.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise NotSaved(f"{path}: the name must end with {', '.join(ENDINGS)}")
    with whole(path) as place:
        if ending == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, place, compression="zstd")
        elif ending == ".csv":
            import pyarrow.csv

            pyarrow.csv.write_csv(table, place)
        else:
            _write_json(table, place, lines=ending == ".jsonl")


def _write_json(table: "pa.Table", path: Path, *, lines: bool) -> None:
    """A list, or a ride a line; the rides of `_ROWS` at a time are in memory as objects."""
    first, between, last = ("", "\n", "\n") if lines else ("[\n", ",\n", "\n]\n")
    with path.open("w", encoding="utf-8") as file:
        file.write(first)
        separator = ""
        for batch in table.to_batches(_ROWS):
            for row in batch.to_pylist():
                file.write(separator + json.dumps(row, default=_moment))
                separator = between
        if separator or not lines:
            file.write(last)


def _moment(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
