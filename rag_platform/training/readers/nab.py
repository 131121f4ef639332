"""Time series as rows: files of `timestamp` and `value`, as of the Numenta Anomaly Benchmark.

Each value becomes a row of four features, made of it and what came before it alone, so that a day
can be scored as it comes:

- `season`: the last hour's mean against the same hour of the seven days before;
- `week`: the last hour's mean against the median of the week before;
- `jump`: the step from the value before;
- `spread`: the last hour's standard deviation against that of the day before.

Each is divided by the 99th percentile of its own size so far in the series: a series with much
noise is used to it, and 1 means the same in all of them.

`windows.json` holds by the file's name the intervals that are anomalies, of all series that are
labelled; or a third column marks the values that are, and those in a row are a window. A window is
one event (`group`), and so is each stretch between windows that is as long as the series' windows
are (a day where it has none); `Anomalies` measures events. What stands in the first 15 % of a
series is of no known class: NAB does not score it, the features have no past.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_platform.training.errors import UnusableData
from rag_platform.training.readers.tabular import TabularReader
from rag_platform.training.rows import BadRow, DataFile, Reader, Rows
from rag_platform.training.tables import is_table, read_table, read_text
from rag_platform.training.task import GROUP, TARGET, UNIT
from rag_platform.training.tasks.anomaly import ANOMALY, NORMAL, UNLABELLED
from rag_platform.training.trainers.encoding import text_of

if TYPE_CHECKING:
    import pandas as pd

FEATURES = ("season", "week", "jump", "spread")
SERIES = "series"
WINDOWS = "windows.json"
PROBATION = 0.15
_COLUMNS = {"timestamp", "value"}
# What is labelled and where, not the series themselves.
_DOCUMENTS = (".json", ".json.gz")
_DAY = 86_400
# In seconds since 1970, of one series.
Windows = list[tuple[float, float]]


@dataclass(frozen=True)
class SeriesReader(Reader):
    """Reads series; files in which it finds none go to the reader of `tables`.

    A series has the columns `timestamp` and `value`, in any case, and may have one for the target
    by a name that `tables` knows. A table with more columns is none.
    """

    tables: TabularReader

    def read(self, files: Sequence[DataFile], *, labelled: bool) -> Rows:
        """A row for each value, sorted by time within a file.

        Bad rows: `no_time`, `no_value`, `same_time` (a later value of the same time).
        """
        import pandas as pd

        bad: list[BadRow] = []
        data = [f for f in files if is_table(f) and not f.name.lower().endswith(_DOCUMENTS)]
        tables = [(file, _folded(read_table(file, bad))) for file in data]
        others = [file for file, table in tables if not self._is_series(table)]
        if len(others) == len(tables):
            return self.tables.read(files, labelled=labelled)
        if others:
            raise UnusableData(
                f"{others[0].name[:200]!r}: no timestamp and value, unlike other files here."
            )
        windows = _windows(files)
        frames = [
            _rows(file, table, self._marks(table), _of(file, windows), bad, labelled=labelled)
            for file, table in tables
        ]
        frame = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
        return Rows(frame, bad, len(frame) + len(bad))

    def _is_series(self, table: "pd.DataFrame") -> bool:
        others = set(table.columns) - _COLUMNS
        return len(table.columns) == len(_COLUMNS) + len(others) and (
            not others or (len(others) == 1 and others <= {*self.tables.target, TARGET})
        )

    def _marks(self, table: "pd.DataFrame") -> "pd.Series[Any] | None":
        """Which values are marked as anomalies, missing where it is not told; None without a mark.

        Raises `UnusableData` for values that mean no class.
        """
        label = next((name for name in table.columns if name not in _COLUMNS), None)
        if label is None:
            return None
        classes = self.tables.classes
        meant = {value: name == ANOMALY for name, known in classes.items() for value in known}
        texts = table[label].map(text_of, na_action="ignore").str.strip().str.lower()
        marks = texts.map(meant)
        if (marks.isna() & texts.notna()).any():
            raise UnusableData(f"series: values of {label!r} mean no class; known are {[*meant]}.")
        return marks


def _folded(table: "pd.DataFrame") -> "pd.DataFrame":
    return table.set_axis([str(name).strip().casefold() for name in table.columns], axis=1)


def features(times: NDArray[np.float64], values: NDArray[np.float64]) -> "pd.DataFrame":
    """The features of one series by rising time, in seconds; missing where there is no past."""
    import pandas as pd

    step = float(np.median(np.diff(times))) if len(times) > 1 else _DAY
    day = max(4, round(_DAY / max(step, 1.0)))
    hour = max(3, day // 24)
    value = pd.Series(values)
    recent = value.rolling(hour, min_periods=1).mean()
    middle = value.rolling(7 * day, min_periods=hour).median()
    upper, lower = (value.expanding(hour).quantile(share) for share in (0.75, 0.25))
    # Of a series that hardly ever moves, no move is of infinite size.
    least = 0.1 * (upper - lower) + 1e-9
    before = pd.concat([recent.shift(back * day) for back in range(1, 8)], axis=1)
    usual = before.median(axis=1)
    varied = before.sub(usual, axis=0).abs().median(axis=1)
    steps = value.diff().abs()
    deviation = value.rolling(hour, min_periods=2).std()
    found = {
        "season": (recent - usual) / (varied + least),
        "week": (recent - middle) / least,
        "jump": steps / (steps.rolling(day, min_periods=hour).median() + least),
        "spread": np.log(
            (deviation + least) / (deviation.rolling(day, min_periods=hour).median() + least)
        ),
    }
    return pd.DataFrame({name: _scaled(column) for name, column in found.items()})


def _scaled(column: "pd.Series[Any]") -> "pd.Series[Any]":
    return column / (column.abs().expanding(50).quantile(0.99) + 1e-6)


def _rows(
    file: DataFile,
    table: "pd.DataFrame",
    marks: "pd.Series[Any] | None",
    windows: Windows | None,
    bad: list[BadRow],
    *,
    labelled: bool,
) -> "pd.DataFrame":
    import pandas as pd

    name = _name(file)
    when = pd.to_datetime(table["timestamp"], errors="coerce", utc=True, format="mixed")
    values = pd.to_numeric(table["value"], errors="coerce").replace([np.inf, -np.inf], np.nan)
    problems = pd.Series("", index=table.index, dtype=object)
    problems[when.duplicated()] = "same_time: a value of this time is there already"
    problems[values.isna()] = "no_value: the value is no finite number"
    problems[when.isna()] = "no_time: the timestamp cannot be read"
    for number, problem in problems[problems != ""].items():
        reason, _, detail = problem.partition(": ")
        bad.append(BadRow(file.name, int(number), reason, detail))
    when, values = when[problems == ""].sort_values(), values[problems == ""]
    times = (when - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    frame = features(times.to_numpy(np.float64), values[when.index].to_numpy(np.float64))
    frame.index = when.index
    if marks is not None:
        marks = marks[when.index]
        windows = _runs(times.to_numpy(np.float64), (marks == True).to_numpy(bool))  # noqa: E712
    targets, groups = _labels(times.to_numpy(np.float64), windows)
    if marks is not None:
        targets = np.where(marks.isna(), UNLABELLED, targets).tolist()
    frame.insert(0, UNIT, name + "@" + when.dt.strftime("%Y-%m-%dT%H:%M:%S.%f"))
    frame.insert(1, GROUP, [f"{name}/{group}" for group in groups])
    if labelled:
        frame.insert(2, TARGET, targets)
    frame[SERIES] = name
    return frame


def _labels(times: NDArray[np.float64], windows: Windows | None) -> tuple[list[str], list[str]]:
    """The class of each time, and the event that it belongs to."""
    length = float(np.median([end - start for start, end in windows])) if windows else _DAY
    stretches = ((times - (times[0] if len(times) else 0)) // max(length, 1)).astype(int)
    targets = np.full(len(times), NORMAL if windows is not None else UNLABELLED, dtype=object)
    groups = np.array([f"stretch-{number}" for number in stretches], dtype=object)
    for start, end in windows or []:
        inside = (times >= start) & (times <= end)
        targets[inside], groups[inside] = ANOMALY, f"window-{start:.0f}"
    first = np.arange(len(times)) < int(PROBATION * len(times))
    targets[first] = UNLABELLED
    groups[first] = [f"first-{group}" for group in groups[first]]
    return targets.tolist(), groups.tolist()


def _runs(times: NDArray[np.float64], marks: NDArray[np.bool_]) -> Windows:
    """The first and the last time of each run of marked values."""
    steps = np.diff(np.concatenate([[False], marks, [False]]).astype(int))
    ends = zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1, strict=True)
    return [(float(times[first]), float(times[last])) for first, last in ends]


def _name(file: DataFile) -> str:
    return file.name.removesuffix(".gz").rsplit(".", 1)[0][-200:]


def _of(file: DataFile, windows: Mapping[str, Windows]) -> Windows | None:
    """The windows of a file, which may lie deeper than they say; None where it is not labelled."""
    name = "/" + _name(file)
    return next((found for key, found in windows.items() if name.endswith("/" + key)), None)


def _windows(files: Sequence[DataFile]) -> dict[str, Windows]:
    """By the names of series; none where there are no labels."""
    found: dict[str, Windows] = {}
    for file in files:
        if file.name.rsplit("/", 1)[-1] == WINDOWS:
            try:
                listed = json.loads(read_text(file))
                found |= {key.rsplit(".", 1)[0]: _spans(spans) for key, spans in listed.items()}
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                raise UnusableData(
                    f"{file.name[:200]!r}: not in the form {{file: [[start, end], ...]}}."
                ) from error
    return found


def _spans(spans: list[list[str]]) -> Windows:
    import pandas as pd

    times = [[pd.Timestamp(time) for time in span] for span in spans]
    if any(pd.isna(time) for span in times for time in span):
        raise ValueError("a window without a time")
    found = [
        tuple((time if time.tzinfo else time.tz_localize("UTC")).timestamp() for time in span)
        for span in times
    ]
    return [(start, end) for start, end in found]
