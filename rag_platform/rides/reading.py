"""A file of rides as tables: records, adapted, checked, and those of one day if that is asked."""

import bisect
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.rides.adapters import Adapter, Series, adapter
from rag_platform.rides.records import BadRow, Chunk, records
from rag_platform.rides.schema import ride_schema
from rag_platform.rides.validation import problems

Mask = np.ndarray[Any, np.dtype[np.bool_]]

if TYPE_CHECKING:
    import pyarrow as pa

# Part of what a letter says about its step; a change means that other rows are refused.
READING_FINGERPRINT = "rides-2"
_EVER, _NEVER = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """What one day takes of a file: rides from `begins`, before `ends`.

    `earliest` and `latest` bound what the file's name lets expect; a ride beyond is a mistake.
    Such rows, and those without a time, count to the day of the row before them or, at the top of
    a file, of the first one with a time. Where there is none, `takes_untold` says whether this
    day takes them. `takes_file`: a file that cannot be read is a problem of this day.
    `names_day`: the file's name is of one day, so that its rides need no times.
    """

    begins: datetime
    ends: datetime
    earliest: datetime | None = None
    latest: datetime | None = None
    takes_untold: bool = True
    takes_file: bool = True
    names_day: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Rides of a chunk in the columns of `ride_schema`, the records that are no rides, how many
    records are of other days, and how many there were in all."""

    rides: "pa.Table"
    bad: list[BadRow]
    others: int = 0
    records: int = 0


def read_file(
    path: Path, name: str, adapter_name: str
) -> "Iterator[tuple[pa.Table, list[BadRow]]]":
    """The rides of a file in chunks, in the columns of `ride_schema`, with the bad rows of each.

    `name` says by its ending how to read the file. A ride without a key of its own gets one from
    the name and its place in the file.
    """
    for part in read_parts(path, name, adapter_name, seen=set()):
        yield part.rides, part.bad


def read_parts(
    path: Path, name: str, adapter_name: str, *, seen: set[str], window: Window | None = None
) -> Iterator[Part]:
    """The same with figures; with a `window` only what is of that day.

    `seen` holds the keys of the rides taken before, and gets those of the rides taken now.
    """
    chosen = adapter(adapter_name)
    of_day = _OfDay(window) if window else None
    timeless: bool | None = None  # until the columns are known
    for chunk in records(path, name, chosen.columns):
        if timeless is None and chunk.numbers:
            columns = set(chunk.frame.columns)
            timeless = chosen.is_timeless(columns)
            if wrong := _wrong(chosen, columns, needs_times=bool(window and not window.names_day)):
                if window is None or window.takes_file:
                    yield Part(ride_schema().empty_table(), [BadRow(None, "wrong_columns", wrong)])
                return
        yield _taken(chunk, name, chosen, of_day, seen, timeless=bool(timeless))


def _wrong(chosen: Adapter, columns: set[str], *, needs_times: bool) -> str | None:
    """What is wrong with a file of these columns."""
    if columns & set(chosen.starts):
        return None
    problem = f"none of the columns {', '.join(chosen.starts)}"
    if not chosen.is_timeless(columns):
        return f"{problem}; is the adapter right?"
    return f"{problem}, nor a day in the file's name, as 2026-11-25.csv" if needs_times else None


def _numbered(bad: list[BadRow]) -> int:
    return sum(row.number is not None for row in bad)


def _taken(
    chunk: Chunk,
    name: str,
    chosen: Adapter,
    of_day: "_OfDay | None",
    seen: set[str],
    *,
    timeless: bool,
) -> Part:
    import pandas as pd
    import pyarrow as pa

    frame, numbers, bad, others = chunk.frame, chunk.numbers, chunk.bad, 0
    met = len(numbers) + _numbered(bad)
    started = chosen.when(frame)
    if of_day is not None:
        keep, bad, others = of_day.split(started, numbers, bad)
        frame = frame[keep].reset_index(drop=True)
        started = started[keep].reset_index(drop=True)
        numbers = [number for number, kept in zip(numbers, keep, strict=True) if kept]
    if not numbers:
        return Part(ride_schema().empty_table(), bad, others, met)
    ride = chosen.convert(frame)
    ride.insert(1, "started_at", started)
    own = _prefix(name) + pd.Series(numbers, index=ride.index).astype("string")
    ride["ride_id"] = ride["ride_id"].fillna(own)
    refused = problems(ride, timeless=timeless)
    refused |= _duplicates(ride["ride_id"].drop(index=list(refused)), seen)
    bad = [*bad, *(BadRow(numbers[at], *reason) for at, reason in refused.items())]
    good = ride.drop(index=list(refused))
    # pyarrow gets at the values by a way that pandas gives up for times with a zone.
    good["started_at"] = good["started_at"].dt.tz_convert(None)
    table = pa.Table.from_pandas(good, schema=ride_schema(), preserve_index=False)
    return Part(table.replace_schema_metadata(), bad, others, met)


def _duplicates(ids: Series, seen: set[str]) -> dict[int, tuple[str, str]]:
    """Rides whose key another has had before them."""
    found = {}
    for at, ride_id in ids.items():
        if ride_id in seen:
            detail = f"an earlier ride of the day has the id {ride_id[:60]!r}"
            found[at] = ("duplicate_ride", detail)
        seen.add(ride_id)
    return found


class _OfDay:
    """Which rows of a file belong to a day, chunk after chunk."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._last: float | None = None

    def split(
        self, started: Any, numbers: list[int], bad: list[BadRow]
    ) -> tuple[Mask, list[BadRow], int]:
        """A mask over the rows to take, the bad ones of the day, how many are of other days."""
        window = self._window
        is_ours = (started >= window.begins) & (started < window.ends)
        stray = started.notna() & ~started.between(
            window.earliest or _EVER, window.latest or _NEVER, inclusive="left"
        )
        known = is_ours.astype(float).mask(started.isna() | stray)
        timed = known.dropna()
        top = self._last
        if top is None:
            top = float(timed.iloc[0]) if len(timed) else float(window.takes_untold)
        if len(timed):
            self._last = float(timed.iloc[-1])
        belongs = known.ffill().fillna(top).to_numpy() > 0
        told = self._strays(started, numbers, belongs & stray.to_numpy())
        ours = [row for row in bad if self._is_ours(row, numbers, belongs, top)]
        others = int((~belongs).sum()) + _numbered(bad) - _numbered(ours)
        return belongs & ~stray.to_numpy(), [*ours, *told], others

    def _is_ours(self, row: BadRow, numbers: list[int], belongs: Mask, top: float) -> bool:
        if row.number is None:
            return self._window.takes_file
        at = bisect.bisect_left(numbers, row.number) - 1
        return bool(belongs[at]) if at >= 0 else top > 0

    def _strays(self, started: Any, numbers: list[int], which: Mask) -> list[BadRow]:
        return [
            BadRow(
                numbers[at],
                "outside_file_dates",
                f"started_at is {started[at]:%Y-%m-%d %H:%M}, not of the days in the file's name",
            )
            for at in which.nonzero()[0]
        ]


def _prefix(name: str) -> str:
    encoded = name.encode("utf-8", "surrogateescape")
    return hashlib.sha256(encoded).hexdigest()[:12] + "-"
