"""Tables and texts out of files: CSV, JSON, JSON lines and Parquet, each also gzipped but Parquet.

A file is hostile: bytes, lines, rows, columns and cells are bounded, whatever they unpack to.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from rag_platform.training.errors import UnusableData
from rag_platform.training.rows import BadRow, DataFile

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".csv.gz", ".json", ".json.gz", ".jsonl", ".jsonl.gz", ".parquet")
MAX_BYTES = 1024**3
# A JSON document and a text are held as a whole, and take several times their size.
MAX_DOCUMENT_BYTES = 64 * 1024**2
MAX_LINE = 4 * 1024**2
MAX_ROWS = 5_000_000
MAX_COLUMNS = 1_000
MAX_CELLS = 50_000_000
_CHUNK = 20_000
_MAX_NAME = 200
_SEPARATORS = ",;\t"
_NUMBER = r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_INTEGER = r"[-+]?[0-9]{1,18}"
# Thousands set apart by commas, and a comma before the decimals.
_GROUPED = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?")
_DECIMAL_COMMA = re.compile(r"[-+]?(?:0|[1-9][0-9]*),[0-9]+")
# What stands for a missing number; in a column of text it is text.
_NO_NUMBER = ("NA", "N/A", "NaN", "nan", "NULL", "null", "None", "none")
_HALF_PAIR = re.compile("[\ud800-\udfff]")

Record = dict[str, Any]


def is_table(file: DataFile) -> bool:
    """Whether a file's name says that it can be read as a table."""
    return file.name.lower().endswith(SUFFIXES)


def read_table(file: DataFile, bad: list[BadRow] | None = None) -> "pd.DataFrame":
    """A file as a frame. The index is the number of the record, from 1; of JSON lines, the line.

    Columns have the file's names without blanks around them. A column of a CSV file is numbers
    when all its values are (`007` is none; `1,234.5` is one, and in a file of semicolons `1,5`),
    or else text; nothing is taken for a date. An empty cell is missing. Lists and objects in JSON
    and Parquet stay Python's lists and dicts.

    Records that cannot be read are added to `bad`; without it they raise, as does a file that is
    no table: `UnusableData`.
    """
    if file.name.lower().endswith(".parquet"):
        return _parquet(file)
    import pandas as pd

    is_csv = file.name.lower().endswith((".csv", ".csv.gz"))
    chunks: list[pd.DataFrame] = []
    for numbers, records in _chunks(_usable(read_records(file), bad)):
        if is_csv:
            values: Any = {name: [row[name] for row in records] for name in records[0]}
            chunks.append(pd.DataFrame(values, index=numbers, dtype="str"))
        else:
            chunks.append(pd.DataFrame(records, index=numbers))
    header = _header(file) if is_csv else ""
    mark = _separator(header)
    if not chunks:
        names = _names(file, next(csv.reader([header], delimiter=mark), [])) if is_csv else []
        return pd.DataFrame(index=pd.RangeIndex(1, 1), columns=names)
    frame = pd.concat(chunks) if len(chunks) > 1 else chunks[0]
    return frame.apply(_with_numbers, mark=mark) if is_csv else frame


def read_records(file: DataFile) -> Iterator[tuple[int, Record | BadRow]]:
    """The records of a file one by one, each with its number as `read_table` counts.

    Values of CSV are text, with None for an empty cell. Raises `UnusableData` for a file that is
    no table, and where it breaks off.
    """
    name = file.name.lower().removesuffix(".gz")
    try:
        if name.endswith(".csv"):
            found = _csv(file)
        elif name.endswith(".jsonl"):
            found = _json_lines(file)
        elif name.endswith(".json"):
            found = _json(file)
        elif name.endswith(".parquet"):
            found = _frame_records(_parquet(file))
        else:
            _refuse(file, f"no table; it must end with one of {', '.join(SUFFIXES)}")
        for count, numbered in enumerate(found, start=1):
            if count > MAX_ROWS:
                _refuse(file, f"more than {MAX_ROWS:,} records; split the data")
            yield numbered
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        _broken(file, error)


def read_text(file: DataFile) -> str:
    """A file, unpacked where its name ends with `.gz`, as text. Raises `UnusableData`."""
    try:
        with _open(file, MAX_DOCUMENT_BYTES) as stream:
            return stream.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        _refuse(file, "no UTF-8 text; save it as UTF-8")
    except (OSError, EOFError, zlib.error) as error:
        _broken(file, error)


def _refuse(file: DataFile, problem: str) -> NoReturn:
    raise UnusableData(f"{file.name[:_MAX_NAME]!r}: {problem}.")


def _broken(file: DataFile, error: BaseException) -> NoReturn:
    raise UnusableData(
        f"{file.name[:_MAX_NAME]!r}: cannot be read to its end ({type(error).__name__}); deliver "
        "it again."
    ) from error


def _bad(file: DataFile, number: int, reason: str, detail: str) -> tuple[int, BadRow]:
    return number, BadRow(file.name, number, reason, detail)


def _usable(
    records: Iterator[tuple[int, Record | BadRow]], bad: list[BadRow] | None
) -> Iterator[tuple[int, Record]]:
    for number, record in records:
        if not isinstance(record, BadRow):
            yield number, record
        elif bad is None:
            name = record.file[:_MAX_NAME]
            raise UnusableData(f"{name!r}: record {number:,} is unusable: {record.detail}.")
        else:
            bad.append(record)


def _chunks(
    records: Iterator[tuple[int, Record]],
) -> Iterator[tuple[list[int], list[Record]]]:
    numbers: list[int] = []
    chunk: list[Record] = []
    for number, record in records:
        numbers.append(number)
        chunk.append(record)
        if len(chunk) == _CHUNK:
            yield numbers, chunk
            numbers, chunk = [], []
    if chunk:
        yield numbers, chunk


class _Bounded(io.RawIOBase):
    """A stream that gives no more bytes than it may: what was packed may be a bomb."""

    def __init__(self, file: DataFile, stream: BinaryIO, most: int) -> None:
        self._file = file
        self._stream = stream
        self._most = self._left = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            _refuse(self._file, f"more than {self._most:,} bytes of content; split the file")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _open(file: DataFile, most: int) -> io.BufferedReader:
    is_packed = file.name.lower().endswith(".gz")
    stream: Any = gzip.open(file.path, "rb") if is_packed else file.path.open("rb")  # noqa: SIM115
    return io.BufferedReader(_Bounded(file, stream, most), buffer_size=1024**2)


def _lines(file: DataFile, stream: io.TextIOBase | io.BufferedReader) -> Iterator[Any]:
    """Lines of bounded length: one without an end must not fill the memory."""
    while line := stream.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            _refuse(file, f"a line of more than {MAX_LINE:,} characters")
        yield line


def _text(file: DataFile) -> io.TextIOWrapper:
    # Bytes that are no UTF-8 become halves of pairs, by which their records are told.
    return io.TextIOWrapper(
        _open(file, MAX_BYTES), encoding="utf-8-sig", errors="surrogateescape", newline=""
    )


def _header(file: DataFile) -> str:
    with _text(file) as text:
        return next(_lines(file, text), "")


@contextmanager
def _long_cells() -> Iterator[None]:
    """A cell may be as long as a line. The limit is one of the whole process, so it is put back."""
    limit = csv.field_size_limit(MAX_LINE)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _csv(file: DataFile) -> Iterator[tuple[int, Record | BadRow]]:
    with _long_cells(), _text(file) as text:
        lines = _lines(file, text)
        first = next(lines, "")
        reader = csv.reader(_all(first, lines), delimiter=_separator(first))
        names = _names(file, next(reader, []))
        width, number = len(names), 0
        for row in reader:
            if not row:
                continue  # an empty line
            number += 1
            if number * width > MAX_CELLS:
                _refuse(file, f"more than {MAX_CELLS:,} cells; split the data")
            if len(row) != width:
                yield _bad(file, number, "bad_record", f"{len(row):,} fields, not {width:,}")
            elif not all(map(str.isascii, row)) and any(map(_HALF_PAIR.search, row)):
                yield _bad(file, number, "bad_bytes", "no UTF-8 text")
            else:
                yield number, {n: v or None for n, v in zip(names, row, strict=True)}


def _all(first: str, others: Iterator[str]) -> Iterator[str]:
    yield first
    yield from others


def _separator(header: str) -> str:
    """The one that gives the header most fields."""
    return max(_SEPARATORS, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))


def _names(file: DataFile, header: list[str]) -> list[str]:
    names = [name.strip() or f"unnamed_{at}" for at, name in enumerate(header, start=1)]
    if not names:
        _refuse(file, "empty; its first line must hold the names of the columns")
    if any(_HALF_PAIR.search(name) or "\0" in name for name in names):
        _refuse(file, "no UTF-8 text; save it as UTF-8")
    return _checked(file, names)


def _checked(file: DataFile, names: list[str]) -> list[str]:
    if len(names) > MAX_COLUMNS:
        _refuse(file, f"more than {MAX_COLUMNS:,} columns")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        _refuse(file, f"two columns are named {twice[0][:_MAX_NAME]!r}")
    return names


def ungrouped(value: Any) -> Any:
    """A number that is written as text without the commas in it; anything else as it is."""
    is_grouped = isinstance(value, str) and _GROUPED.fullmatch(value.strip())
    return value.replace(",", "") if is_grouped else value


def _without_commas(told: "pd.Series[Any]", mark: str) -> "pd.Series[Any]":
    """Numbers with a point before their decimals; what is none, or might be two, stays."""
    if mark != ";":
        return told.map(ungrouped)
    commas = told[told.str.contains(",", regex=False)]
    if all(map(_GROUPED.fullmatch, commas)) or not all(map(_DECIMAL_COMMA.fullmatch, commas)):
        return told
    return told.str.replace(",", ".", regex=False)


def _with_numbers(column: "pd.Series[Any]", mark: str) -> "pd.Series[Any]":
    """A column of text as numbers, where all of it are."""
    import pandas as pd

    told = column[column.notna() & ~column.isin(_NO_NUMBER)]
    if told.str.contains(",", regex=False).any():
        told = _without_commas(told, mark)
    if told.empty or not told.str.fullmatch(_NUMBER).all():
        return column
    if told.str.fullmatch(_INTEGER).all() and len(told) == len(column):
        return told.astype("int64")
    values = pd.to_numeric(told).astype("float64")
    # An integer that is too long for a number is a key.
    return values.reindex(column.index) if values.abs().max() < 2.0**63 else column


def _json_lines(file: DataFile) -> Iterator[tuple[int, Record | BadRow]]:
    with _open(file, MAX_BYTES) as stream:
        for number, line in enumerate(_lines(file, stream), start=1):
            if line.strip():
                yield number, _record(file, number, _parsed(line))


def _record(file: DataFile, number: int, value: Any) -> Record | BadRow:
    if not isinstance(value, dict):
        return BadRow(file.name, number, "bad_record", "no JSON object")
    if len(value) > MAX_COLUMNS:
        return BadRow(file.name, number, "bad_record", f"more than {MAX_COLUMNS:,} fields")
    return {name.strip(): field for name, field in value.items()}


def _json(file: DataFile) -> Iterator[tuple[int, Record | BadRow]]:
    # A name is no proof: many programs write lines under `.json`.
    if _is_lines(file):
        yield from _json_lines(file)
        return
    with _open(file, MAX_DOCUMENT_BYTES) as stream:
        document = _parsed(stream.read())
    records = _listed(document)
    if not any(isinstance(value, dict) for value in records):
        _refuse(file, "no JSON document with a list of records")
    for number, value in enumerate(records, start=1):
        yield number, _record(file, number, value)


def _is_lines(file: DataFile) -> bool:
    """Whether the first line is a record by itself, and another one follows."""
    with _open(file, MAX_BYTES) as stream:
        first, second = stream.readline(MAX_LINE), stream.readline(MAX_LINE)
    return isinstance(_parsed(first), dict) and bool(second.strip())


def _listed(document: Any) -> list[Any]:
    """The records of a document: a list, an object with one list of them in it, or one record."""
    if not isinstance(document, dict):
        return document if isinstance(document, list) else []
    lists = [value for value in document.values() if isinstance(value, list)]
    is_held = len(lists) == 1 and any(isinstance(value, dict) for value in lists[0])
    return lists[0] if is_held else [document]


def _parsed(content: bytes) -> Any:
    """JSON, or None for what is none; UTF-8 that is broken is none."""
    try:
        value = json.loads(content.decode("utf-8-sig"))
        # Half of a pair, which JSON may spell out, is no text.
        return _whole(value) if b"\\ud" in content.lower() else value
    except (ValueError, RecursionError):
        return None


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return _HALF_PAIR.sub("?", value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(name): _whole(item) for name, item in value.items()}
    return value


def _parquet(file: DataFile) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Texts stay in their dictionaries until they are weighed: a long one may be in every row.
        texts = [column.name for column in pq.read_schema(file.path) if _is_text(column.type)]
        with pq.ParquetFile(file.path, pre_buffer=False, read_dictionary=texts) as parquet:
            _checked(file, list(parquet.schema_arrow.names))
            _refuse_bombs(file, parquet.metadata)
            table = parquet.read(use_threads=False)
        if sum(map(_text_bytes, table.columns)) > MAX_BYTES:
            _refuse(file, f"more than {MAX_BYTES:,} bytes of text; split the file")
        columns = {
            name.strip(): _column(column)
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
        return pd.DataFrame(columns).set_axis(pd.RangeIndex(1, table.num_rows + 1))
    except (pa.ArrowException, OSError, ValueError) as error:
        _broken(file, error)


def _refuse_bombs(file: DataFile, metadata: Any) -> None:
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > MAX_BYTES:
        _refuse(file, f"more than {MAX_BYTES:,} bytes of content; split the file")
    # In nested columns there may be many values a row.
    cells = sum(group.column(at).num_values for group in groups for at in range(group.num_columns))
    if metadata.num_rows > MAX_ROWS or cells > MAX_CELLS:
        _refuse(file, f"more than {MAX_ROWS:,} rows or {MAX_CELLS:,} cells; split the file")


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    kinds = (types.is_string, types.is_large_string, types.is_string_view)
    return any(is_kind(kind) for is_kind in kinds)


def _text_bytes(column: Any) -> int:
    """What the texts of a column take without their dictionaries."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    if not types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return 0
    sizes = (
        pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0
        for chunk in column.chunks
    )
    return sum(sizes)


def _column(column: Any) -> "pd.Series[Any]":
    import pandas as pd
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_nested(column.type):
        return pd.Series(column.to_pylist(), dtype=object)
    if types.is_dictionary(column.type):
        column = pa.chunked_array(
            [chunk.dictionary_decode() for chunk in column.chunks], column.type.value_type
        )
    if types.is_decimal(column.type):
        column = column.cast(pa.float64())
    found: pd.Series[Any] = column.to_pandas()
    return found


def _frame_records(frame: "pd.DataFrame") -> Iterator[tuple[int, Record | BadRow]]:
    columns = [frame[name].tolist() for name in frame]
    for at, values in enumerate(zip(*columns, strict=True), start=1):
        yield at, dict(zip(frame.columns, values, strict=True))
