"""Records of CSV, JSON, JSON lines and Parquet files, a chunk at a time.

A file is hostile: what it holds is bounded in bytes, columns and line length, and a record that
cannot be read is told with its number instead of ending the file.
"""

import csv
import functools
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from rag_platform.rides.files import NotReadable

CHUNK_ROWS = 50_000
MAX_INFLATED_BYTES = 8 * 1024**3
# A JSON document is read as a whole and takes several times its size; JSON lines do not.
MAX_JSON_BYTES = 64 * 1024**2
MAX_LINE = 1024**2
MAX_COLUMNS = 1_000
# Characters of a text; the rest is cut off.
MAX_CELL = 1_000
# Unpacked bytes of a row group of a Parquet file.
MAX_GROUP_BYTES = 1024**3
_MAX_NAME = 200
_BETWEEN = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that is no ride. `number` counts from 1; None stands for the file as a whole."""

    number: int | None
    reason: str
    detail: str


@dataclass(slots=True)
class Chunk:
    """Records that could be read, with their numbers, and those that could not.

    The (pandas) frame has the wanted columns of those the file has, as text or as their own types.
    """

    frame: Any
    numbers: list[int]
    bad: list[BadRow]


def records(path: Path, name: str, wanted: frozenset[str]) -> Iterator[Chunk]:
    """The records of a file in chunks. `wanted` are names of columns, as `plain` writes them.

    The form follows the ending of `name`. A file that is broken in the middle gives what stands
    before, then a bad row for the file.
    """
    lowered = name.lower()
    read = next((reader for ending, reader in _READERS.items() if lowered.endswith(ending)), None)
    try:
        if read is None:
            raise NotReadable("unknown_format", "neither CSV, JSON, JSON lines nor Parquet")
        yield from read(path, lowered.endswith(".gz"), wanted)
    except NotReadable as error:
        yield _broken(error.reason, error.detail)
    except (OSError, EOFError, zlib.error) as error:
        yield _broken("unreadable", f"cannot be read to its end ({_said(error)})")


@functools.lru_cache(maxsize=4_096)
def plain(name: str) -> str:
    """A column's name in lower case with `_` for what is neither letter nor digit.

    `Trip Seconds` is `trip_seconds`, `Distance (km)` is `distance_km`.
    """
    return _BETWEEN.sub("_", name.lower()).strip("_")


def _broken(reason: str, detail: str) -> Chunk:
    import pandas as pd

    return Chunk(pd.DataFrame(), [], [BadRow(None, reason, detail)])


def _said(error: BaseException) -> str:
    return type(error).__name__


@dataclass(slots=True)
class _Rows:
    """Collects values column by column."""

    names: tuple[str, ...]
    values: list[tuple[Any, ...]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.values) + len(self.bad) >= CHUNK_ROWS

    def take(self) -> Chunk:
        """What was collected; the collection is empty afterwards."""
        import pandas as pd

        columns = zip(*self.values, strict=True) if self.values else ((),) * len(self.names)
        named = zip(self.names, columns, strict=True)
        frame = pd.DataFrame(
            {
                name: pd.Series(column, dtype=object)
                for name, column in named
                if any(value is not None for value in column)
            },
            index=range(len(self.values)),
        )
        chunk = Chunk(frame, self.numbers, self.bad)
        self.values, self.numbers, self.bad = [], [], []
        return chunk


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more bytes than it may: what was packed may be a bomb."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream = stream
        self._left = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise NotReadable("too_large", "more bytes than a file may have; split the file")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _open(path: Path, is_packed: bool, most: int) -> io.BufferedReader:
    stream: Any = gzip.open(path, "rb") if is_packed else path.open("rb")  # noqa: SIM115
    return io.BufferedReader(_Bounded(stream, most), buffer_size=1024**2)


def _lines(stream: io.TextIOBase | io.BufferedReader) -> Iterator[Any]:
    """Lines of bounded length: one without an end must not fill the memory."""
    while line := stream.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise NotReadable("too_long_line", f"a line of more than {MAX_LINE:,} characters")
        yield line


def _read_csv(path: Path, is_packed: bool, wanted: frozenset[str]) -> Iterator[Chunk]:
    with io.TextIOWrapper(
        _open(path, is_packed, MAX_INFLATED_BYTES),
        encoding="utf-8-sig",
        # Bytes that are no UTF-8 show as U+FFFD; validation finds them where they matter.
        errors="replace",
        newline="",
    ) as text:
        reader = csv.reader(_lines(text))
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise NotReadable("unreadable", f"no CSV ({str(error)[:80]})") from error
        if len(header) > MAX_COLUMNS:
            raise NotReadable("unreadable", f"more than {MAX_COLUMNS:,} columns")
        names = [plain(name[:_MAX_NAME]) for name in header]
        places = [names.index(name) for name in sorted(wanted & set(names))]
        rows = _Rows(tuple(names[place] for place in places))
        yield from _csv_rows(reader, len(header), places, rows)


def _csv_rows(
    reader: Iterator[list[str]], width: int, places: list[int], rows: _Rows
) -> Iterator[Chunk]:
    number = 0
    while True:
        try:
            row = next(reader, None)
        except (csv.Error, NotReadable, OSError, EOFError, zlib.error) as error:
            said = error.detail if isinstance(error, NotReadable) else _said(error)
            rows.bad.append(
                BadRow(None, "unreadable", f"cannot be read after record {number:,} ({said})")
            )
            break
        if row is None:
            break
        if not row:
            continue  # an empty line
        number += 1
        if len(row) == width:
            rows.values.append(tuple([row[place][:MAX_CELL] for place in places]))
            rows.numbers.append(number)
        else:
            rows.bad.append(BadRow(number, "bad_record", f"{len(row)} fields, not {width}"))
        if rows.is_full:
            yield rows.take()
    yield rows.take()


def _read_json_lines(path: Path, is_packed: bool, wanted: frozenset[str]) -> Iterator[Chunk]:
    rows = _Rows(tuple(sorted(wanted)))
    number = 0
    with _open(path, is_packed, MAX_INFLATED_BYTES) as stream:
        for line in _lines(stream):
            number += 1
            if not line.strip():
                continue
            _add(rows, number, _parsed(line))
            if rows.is_full:
                yield rows.take()
    yield rows.take()


def _read_json(path: Path, is_packed: bool, wanted: frozenset[str]) -> Iterator[Chunk]:
    # A name is no proof: many programs write lines under `.json`.
    if _is_lines(path, is_packed):
        yield from _read_json_lines(path, is_packed, wanted)
        return
    with _open(path, is_packed, MAX_JSON_BYTES) as stream:
        content = stream.read()
    document = _parsed(content)
    if document is None and content.strip():
        raise NotReadable("unreadable", "no JSON")
    del content
    rows = _Rows(tuple(sorted(wanted)))
    for number, record in enumerate(_listed(document), start=1):
        _add(rows, number, record)
        if rows.is_full:
            yield rows.take()
    yield rows.take()


def _is_lines(path: Path, is_packed: bool) -> bool:
    """Whether the first line is a record by itself, and another one follows."""
    with _open(path, is_packed, MAX_INFLATED_BYTES) as stream:
        first, second = stream.readline(MAX_LINE), stream.readline(MAX_LINE)
    return isinstance(_parsed(first), dict) and bool(second.strip())


def _listed(document: Any) -> list[Any]:
    """The records of a document: a list, an object with one list in it, or one record."""
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        held = any(isinstance(value, dict) for value in lists[0]) if len(lists) == 1 else False
        return lists[0] if held else [document]
    return document if isinstance(document, list) else []


def _parsed(content: bytes) -> Any:
    """JSON, or None for what is none; UTF-8 that is broken is none."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _add(rows: _Rows, number: int, record: Any) -> None:
    if not isinstance(record, dict):
        rows.bad.append(BadRow(number, "bad_record", "no JSON object"))
        return
    found = {plain(name[:_MAX_NAME]): value for name, value in record.items()}
    rows.values.append(tuple(_cell(found.get(name)) for name in rows.names))
    rows.numbers.append(number)


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) in (int, float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = "; ".join(value)
    elif not isinstance(value, str):
        value = json.dumps(value)
    # Half of a surrogate pair, which JSON may spell out, is no text.
    text = str(value)[:MAX_CELL]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _read_parquet(path: Path, is_packed: bool, wanted: frozenset[str]) -> Iterator[Chunk]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        # Texts stay in their dictionaries until they are cut: a long one may stand in every row.
        texts = [c.name for c in pq.read_schema(path) if _is_text(c.type)]
        with pq.ParquetFile(path, pre_buffer=False, read_dictionary=texts) as file:
            columns = _columns(file.schema_arrow, wanted)
            _refuse_bombs(file.metadata)
            for batch in file.iter_batches(
                batch_size=CHUNK_ROWS, columns=list(columns), use_threads=False
            ):
                frame = _as_frame(batch).rename(columns=columns)
                yield Chunk(frame, list(range(number + 1, number + 1 + len(frame))), [])
                number += len(frame)
    except (pa.ArrowException, OSError, ValueError) as error:
        yield _broken("unreadable", f"cannot be read after record {number:,} ({_said(error)})")


def _refuse_bombs(metadata: Any) -> None:
    for number in range(metadata.num_row_groups):
        if metadata.row_group(number).total_byte_size > MAX_GROUP_BYTES:
            raise NotReadable("too_large", f"a row group of more than {MAX_GROUP_BYTES:,} bytes")


def _columns(schema: Any, wanted: frozenset[str]) -> dict[str, str]:
    """The wanted columns that hold plain values: name in the file to name as `plain` writes it."""
    import pyarrow.types as types

    found: dict[str, str] = {}
    for column in schema:
        kind = column.type.value_type if types.is_dictionary(column.type) else column.type
        is_plain = types.is_primitive(kind) or types.is_decimal(kind) or _is_text(kind)
        if is_plain and plain(column.name) in wanted - set(found.values()):
            found[column.name] = plain(column.name)
    return found


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    kinds = (types.is_string, types.is_large_string, types.is_string_view)
    return any(is_kind(kind) for is_kind in kinds)


def _as_frame(batch: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as types

    columns = []
    for column in batch.columns:
        if types.is_dictionary(column.type):
            words = column.dictionary
            if _is_text(words.type):
                words = pc.utf8_slice_codeunits(words, 0, MAX_CELL)
            column = pa.DictionaryArray.from_arrays(column.indices, words).dictionary_decode()
        if types.is_decimal(column.type):
            column = column.cast(pa.float64())
        columns.append(column)
    return pa.table(columns, names=batch.schema.names).to_pandas()


_READERS = {
    ".csv": _read_csv,
    ".csv.gz": _read_csv,
    ".json": _read_json,
    ".json.gz": _read_json,
    ".jsonl": _read_json_lines,
    ".jsonl.gz": _read_json_lines,
    ".parquet": _read_parquet,
}
