"""What a training was made of, kept by its content: rows, and what each stage of a week found."""

import hashlib
import json
import re
from datetime import date, datetime
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.training.errors import UnusableData
from rag_platform.training.task import UNIT

if TYPE_CHECKING:
    import pandas as pd

Facts = dict[str, Any]

_KINDS = b"rag_platform.kinds"
_NUMBER, _TRUTH, _TEXT, _TIME, _UTC, _JSON, _NOTHING = (
    "number",
    "truth",
    "text",
    "time",
    "utc",
    "json",
    "nothing",
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FACTS_PATH = re.compile(r"/weeks/([^/]+)/[^/]+\.json$")
# A number up to this is whole without doubt.
_WHOLE = 2.0**63


class Snapshots:
    """The rows of trainings in an object store, `training/MODEL/snapshots/SHA256.parquet`.

    Equal content has an equal hash, whatever the order of rows and columns, the index, and the
    types that held it: 1 and 1.0 are the same number, and a list is a list whether it is a list,
    a tuple or an array. It comes back in one form and order, so that what is trained on it is the
    same as well: sorted by `unit`; numbers as int64 where all are whole, else as float64; times
    to the microsecond; lists and objects as Python's.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def keep(self, model: str, frame: "pd.DataFrame") -> str:
        """Keep rows and return the SHA-256 of their content. Raises `UnusableData`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows, kinds = plain(frame)
        sha256, order = _digest(rows, kinds)
        try:
            table = pa.Table.from_pandas(rows.iloc[order], preserve_index=False)
        except (pa.ArrowException, UnicodeError) as error:
            raise UnusableData(
                f"{model}: rows that cannot be kept ({type(error).__name__}); texts must be UTF-8."
            ) from error
        buffer = BytesIO()
        told = {_KINDS: json.dumps(kinds, sort_keys=True).encode()}
        pq.write_table(table.replace_schema_metadata(told), buffer, compression="zstd")
        # Always anew: a damaged file is mended by it.
        self._store.put(_path(model, sha256), buffer.getvalue())
        return sha256

    def load(self, model: str, sha256: str) -> "pd.DataFrame":
        """The rows with this hash. Raises `UnusableData` when they are gone or are not these."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not _SHA256.fullmatch(sha256):
            raise UnusableData(f"{model}: {sha256[:80]!r} is no hash of a snapshot.")
        try:
            content = bytes(self._store.get(_path(model, sha256)).bytes())
            table = pq.read_table(BytesIO(content))
            kinds: dict[str, str] = json.loads((table.schema.metadata or {})[_KINDS])
            frame = _read(table, kinds)
            found, order = _digest(frame, kinds)
        except FileNotFoundError as error:
            raise UnusableData(
                f"{model}: snapshot {sha256[:12]} is gone; run training_data of the week again."
            ) from error
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise _damaged(model, sha256) from error
        if found != sha256:
            raise _damaged(model, sha256)
        return _unfolded(frame.iloc[order].reset_index(drop=True), kinds)


class Weeks:
    """What stages found in a week, in an object store: `training/MODEL/weeks/WEEK/STAGE.json`."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def put(self, model: str, week: str, stage: str, facts: Facts) -> None:
        """Replace what a stage found. The facts must be JSON without NaN."""
        content = json.dumps(facts, sort_keys=True, allow_nan=False).encode()
        self._store.put(f"training/{model}/weeks/{week}/{stage}.json", content)

    def get(self, model: str, week: str, stage: str) -> Facts | None:
        """What a stage found; None where it has not run."""
        try:
            result = self._store.get(f"training/{model}/weeks/{week}/{stage}.json")
        except FileNotFoundError:
            return None
        found: Facts = json.loads(bytes(result.bytes()))
        return found

    def weeks(self, model: str) -> list[str]:
        """The weeks of which any stage has found something, in their order."""
        paths = (
            entry["path"]
            for page in self._store.list(prefix=f"training/{model}/weeks/")
            for entry in page
        )
        return sorted({found[1] for path in paths if (found := _FACTS_PATH.search(path))})


def _path(model: str, sha256: str) -> str:
    return f"training/{model}/snapshots/{sha256}.parquet"


def _damaged(model: str, sha256: str) -> UnusableData:
    return UnusableData(
        f"{model}: snapshot {sha256[:12]} is damaged; run training_data of the week again."
    )


def plain(frame: "pd.DataFrame") -> "tuple[pd.DataFrame, dict[str, str]]":
    """The rows with one type for each kind of column, and the kinds.

    Nested values are their JSON, times with a zone are in UTC without it.
    """
    import pandas as pd

    columns, kinds = {}, {}
    for name in sorted(frame.columns):
        kinds[name], columns[name] = _column(frame[name].reset_index(drop=True))
    return pd.DataFrame(columns, index=range(len(frame))), kinds


def _column(column: "pd.Series[Any]") -> "tuple[str, pd.Series[Any]]":
    import pandas as pd

    types = pd.api.types
    if column.isna().all():
        return _NOTHING, pd.Series(np.full(len(column), np.nan), column.index)
    if types.is_bool_dtype(column.dtype):
        return _TRUTH, _truth(column)
    if types.is_numeric_dtype(column.dtype):
        return _NUMBER, _number(column)
    if types.is_datetime64_any_dtype(column.dtype):
        return _time(column)
    values = [None if _is_missing(value) else value for value in column.tolist()]
    kinds = {_kind(value) for value in values if value is not None}
    if kinds == {_TEXT}:
        return _TEXT, _whole_text(values)
    if kinds == {_TRUTH}:
        return _TRUTH, _truth(pd.Series(values, dtype=object))
    if kinds == {_NUMBER}:
        return _NUMBER, _number(pd.Series(values, dtype="float64"))
    if kinds <= {_TIME, _UTC} and len(kinds) == 1:
        return _time(pd.Series(pd.to_datetime(values)))
    texts = [None if value is None else _text(_jsonable(value)) for value in values]
    return _JSON, pd.Series(texts, dtype="str")


def _whole_text(values: list[Any]) -> "pd.Series[Any]":
    import pandas as pd

    try:
        return pd.Series(values, dtype="str")
    except UnicodeEncodeError:  # half of a pair, which is no text
        whole = [v if v is None else v.encode("utf-8", "replace").decode() for v in values]
        return pd.Series(whole, dtype="str")


def _truth(column: "pd.Series[Any]") -> "pd.Series[Any]":
    known = column.notna()
    return column.astype("bool") if known.all() else column.astype(object).where(known, None)


def _number(column: "pd.Series[Any]") -> "pd.Series[Any]":
    types = column.dtype
    if column.notna().all() and getattr(types, "kind", "") in "iu":
        return column.astype("int64" if column.max() < _WHOLE else "float64")
    values = column.astype("float64")
    is_whole = bool(((values % 1 == 0) & (values.abs() < _WHOLE)).all())
    return values.astype("int64") if is_whole else values


def _time(column: "pd.Series[Any]") -> "tuple[str, pd.Series[Any]]":
    if column.dt.tz is None:
        return _TIME, column.astype("datetime64[us]")
    return _UTC, column.dt.tz_convert(None).astype("datetime64[us]")


def _is_missing(value: Any) -> bool:
    import pandas as pd

    is_nan = isinstance(value, float | np.floating) and bool(value != value)
    return value is None or value is pd.NA or value is pd.NaT or is_nan


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return _TEXT
    if isinstance(value, bool | np.bool_):
        return _TRUTH
    if isinstance(value, int | float | np.number | Decimal):
        return _NUMBER
    if isinstance(value, datetime):
        return _TIME if value.tzinfo is None else _UTC
    return _JSON


def _jsonable(value: Any) -> Any:
    """A value in what JSON knows; one way to write it for all that are equal."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if _is_missing(value):
        return None
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, float | Decimal):
        return _whole(float(value))
    if isinstance(value, date):  # and times, which are dates as well
        return value.isoformat()
    if isinstance(value, str | int | bool):
        return value
    raise UnusableData(f"a value of the type {type(value).__name__} cannot be kept.")


def _whole(value: float) -> int | float:
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _digest(frame: "pd.DataFrame", kinds: dict[str, str]) -> tuple[str, list[int]]:
    """The hash of the content, and the order in which rows are kept: by unit, then by content."""
    columns = [_told(frame[name], kind) for name, kind in sorted(kinds.items())]
    rows = [_text(row).encode() for row in zip(*columns, strict=True)]
    digests = [hashlib.sha256(row).digest() for row in rows]
    total = hashlib.sha256(_text(sorted(kinds.items())).encode())
    for digest in sorted(digests):
        total.update(digest)
    units = frame[UNIT].astype(str).tolist() if UNIT in frame else [""] * len(frame)
    order = sorted(range(len(frame)), key=lambda at: (units[at], digests[at]))
    return total.hexdigest(), order


def _told(column: "pd.Series[Any]", kind: str) -> list[Any]:
    """A column's values as JSON has them, None for a missing one."""
    if kind == _NUMBER:
        values = column.tolist()
        return [
            value if isinstance(value, int) else None if value != value else _whole(value)
            for value in values
        ]
    if kind in (_TIME, _UTC):
        column = column.dt.strftime("%Y-%m-%dT%H:%M:%S.%f")
    told: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    return told


def _read(table: Any, kinds: dict[str, str]) -> "pd.DataFrame":
    """A kept table as `plain` gave it."""
    frame: pd.DataFrame = table.select(sorted(kinds)).to_pandas()
    for name, kind in kinds.items():
        if kind in (_TEXT, _JSON):
            frame[name] = frame[name].astype("str")
        if kind == _TRUTH:
            frame[name] = _truth(frame[name])
        if kind in (_TIME, _UTC):
            frame[name] = frame[name].astype("datetime64[us]")
    return frame


def _unfolded(frame: "pd.DataFrame", kinds: dict[str, str]) -> "pd.DataFrame":
    """With the values of JSON columns, not their texts, and the zone of times that have one."""
    import pandas as pd

    for name, kind in kinds.items():
        if kind == _JSON:
            values = [None if _is_missing(text) else json.loads(text) for text in frame[name]]
            frame[name] = pd.Series(values, dtype=object)
        if kind == _UTC:
            frame[name] = frame[name].dt.tz_localize("UTC")
    return frame
