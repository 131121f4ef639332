"""Tables with a row for each unit: which columns are what, by their names."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.training.errors import UnusableData
from rag_platform.training.rows import BadRow, DataFile, Reader, Rows
from rag_platform.training.tables import is_table, read_table, ungrouped
from rag_platform.training.task import GROUP, RESERVED, TARGET, UNIT
from rag_platform.training.trainers.encoding import text_of

if TYPE_CHECKING:
    import pandas as pd

# A column of text of which so many values are numbers is one of numbers with mistakes.
_MOSTLY = 0.9
_MIN_VALUES = 20


@dataclass(frozen=True)
class TabularReader(Reader):
    """Rows of tables in which every column is a feature, but for those that are named here.

    Columns with lists, objects or bytes in them are none.

    Names are the column's in the files, in any case; rows have them in lower case. `unit`, `group`
    and `target` are always known. Of the names of one thing the first that a file has is taken, the
    others are left out.

    - `target`: by which name the target stands in the files. `classes` are its classes with the
      values that mean them, in lower case; without `classes` the value is the class. A row without
      a target is a bad row, or where `unlabelled` is set of that class.
    - `unit`: what tells rows apart. Where a file has no such column, a hash of the row's content.
    - `audited`: columns that are no features, by the name they get, with their names in the files.
    - `drop`: columns that must not be features.
    - `ratios`: features to be added, as numerator and denominator, where a file has both and the
      denominator is above zero.
    """

    target: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unlabelled: str | None = None
    unit: tuple[str, ...] = ()
    audited: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    ratios: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def read(self, files: Sequence[DataFile], *, labelled: bool) -> Rows:
        """Rows of all tables. The index is the number of the record where there is one file.

        Bad rows: `no_target`, `unknown_class`, `no_unit`, `no_number` (a text in a column of
        numbers) and `infinite`.
        """
        import pandas as pd

        bad: list[BadRow] = []
        tables = [self._rows(file, bad, labelled=labelled) for file in files if is_table(file)]
        if not tables:
            raise UnusableData(f"{len(files)} files: none is a table; needs CSV, JSON or Parquet.")
        # One without rows has columns of no type.
        tables = [table for table in tables if len(table)] or tables[:1]
        frame = pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
        return Rows(frame, bad, len(frame) + len(bad))

    def _rows(self, file: DataFile, bad: list[BadRow], *, labelled: bool) -> "pd.DataFrame":
        import pandas as pd

        table = _table(file, bad)
        problems = pd.Series("", index=table.index, dtype=object)
        taken = {name: _column(table, names) for name, names in self._names().items()}
        target = table[taken[TARGET]] if taken[TARGET] is not None else None
        if labelled and target is None and self.unlabelled is None:
            raise _without_target(file, table, self._names()[TARGET])
        features = self._features(table)
        if not len(features.columns):
            raise UnusableData(
                f"{file.name[:200]!r}: a table without a column that can be learned."
            )
        features = _with_numbers(features, problems)
        units = _units(table, taken[UNIT], self._names()[TARGET], problems)
        frame = pd.DataFrame({UNIT: units}, index=table.index)
        frame[GROUP] = units
        if taken[GROUP] is not None:
            frame[GROUP] = _texts(table[taken[GROUP]]).fillna(units)
        if labelled:
            frame[TARGET] = self._targets(target, table.index, problems)
        for name in self.audited:
            if taken[name] is not None:
                frame[name] = table[taken[name]]
        frame = frame.join(features)
        wrong = problems[problems != ""]
        bad.extend(_bad(file, number, problem) for number, problem in wrong.items())
        return frame[problems == ""]

    def _names(self) -> dict[str, tuple[str, ...]]:
        """What a file may call each column that is no feature."""
        return {
            UNIT: (*self.unit, UNIT),
            GROUP: (GROUP,),
            TARGET: (*self.target, TARGET),
            **{name: (*names, name) for name, names in self.audited.items()},
        }

    def _features(self, table: "pd.DataFrame") -> "pd.DataFrame":
        others = {_folded(name) for names in self._names().values() for name in names}
        others |= {_folded(name) for name in (*self.drop, *RESERVED)}
        features = table[[name for name in table.columns if _folded(name) not in others]]
        features = features.loc[:, [_has_values(features[name]) for name in features]].copy()
        for name, (above, below) in self.ratios.items():
            columns = _column(features, (above,)), _column(features, (below,))
            if columns[0] is not None and columns[1] is not None:
                upper, lower = (_parsed(features[column]) for column in columns)
                features[name] = upper / lower.where(lower > 0)
        return features

    def _targets(
        self, values: "pd.Series[Any] | None", index: "pd.Index[Any]", problems: "pd.Series[Any]"
    ) -> "pd.Series[Any]":
        import pandas as pd

        if values is None:
            return pd.Series(self.unlabelled, index=index, dtype=object)
        texts = _texts(values)
        if self.classes:
            meant = {value: name for name, known in self.classes.items() for value in known}
            classes = texts.str.strip().str.lower().map(meant)
            problems[texts.notna() & classes.isna()] = "unknown_class: the target is of no class"
        else:
            classes = texts
        if self.unlabelled is not None:
            return classes.fillna(self.unlabelled)
        problems[texts.isna()] = "no_target: the target is missing"
        return classes


def _folded(name: str) -> str:
    return name.strip().casefold()


def _table(file: DataFile, bad: list[BadRow]) -> "pd.DataFrame":
    """The file with the names of its columns in lower case, so that files agree in them."""
    already = len(bad)
    table = read_table(file, bad)
    if not len(table.columns):
        first = "".join(
            f"; record {row.number}: {row.detail}" for row in bad[already : already + 1]
        )
        raise UnusableData(f"{file.name[:200]!r}: no record that can be read{first}.")
    table.columns = [_folded(str(name)) for name in table.columns]
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise UnusableData(f"{file.name[:200]!r}: two columns are named {twice[0][:60]!r}.")
    return table


def _texts(values: "pd.Series[Any]") -> "pd.Series[Any]":
    return values.map(text_of, na_action="ignore").astype(object)


def _column(table: "pd.DataFrame", names: Sequence[str]) -> str | None:
    """The table's column that has the first of these names."""
    there = {_folded(str(column)): str(column) for column in reversed(table.columns)}
    return next((there[_folded(name)] for name in names if _folded(name) in there), None)


def _without_target(file: DataFile, table: "pd.DataFrame", names: Sequence[str]) -> UnusableData:
    found = ", ".join(repr(str(column)[:40]) for column in table.columns[:12]) or "none"
    return UnusableData(
        f"{file.name[:200]!r}: no column for the target; found {found}; needs one of "
        f"{', '.join(names)}."
    )


def _bad(file: DataFile, number: Any, problem: str) -> BadRow:
    reason, _, detail = problem.partition(": ")
    return BadRow(file.name, int(number), reason, detail)


def _parsed(values: "pd.Series[Any]") -> "pd.Series[float]":
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    if not is_numeric_dtype(values):
        values = values.map(ungrouped)
    return pd.to_numeric(values, errors="coerce").astype("float64")


def _with_numbers(features: "pd.DataFrame", problems: "pd.Series[Any]") -> "pd.DataFrame":
    """Columns of text that are meant as numbers become numbers; what is none is noted.

    Moments become texts, as they are in CSV: the number of one depends on the unit of the file.
    """
    from pandas.api.types import is_numeric_dtype

    for name in features.columns:
        values = features[name]
        if values.dtype.kind in "mM":
            features[name] = values.map(str, na_action="ignore").astype(object)
            continue
        numbers = _parsed(values) if is_numeric_dtype(values) else _meant_as_numbers(values)
        if numbers is None:
            continue
        problems[numbers.isna() & values.notna()] = f"no_number: {name[:60]!r} is no number"
        problems[np.isinf(numbers)] = f"infinite: {name[:60]!r} is infinite"
        if not is_numeric_dtype(values):
            features[name] = numbers
    return features


def _has_values(column: "pd.Series[Any]") -> bool:
    return column.dtype != object or not column.map(type).isin([list, dict, bytes]).any()


def _meant_as_numbers(values: "pd.Series[Any]") -> "pd.Series[float] | None":
    there = int(values.notna().sum())
    if there < _MIN_VALUES:
        return None
    numbers = _parsed(values)
    return numbers if int(numbers.notna().sum()) >= _MOSTLY * there else None


def _units(
    table: "pd.DataFrame", column: str | None, targets: Sequence[str], problems: "pd.Series[Any]"
) -> "pd.Series[Any]":
    """The column's values as text, or hashes of all that the rows hold but the target."""
    import pandas as pd

    if column is not None:
        units = _texts(table[column])
        problems[units.isna()] = f"no_unit: {column[:60]!r} is missing"
        return units
    left_out = {_folded(name) for name in targets}
    kept = sorted(name for name in table.columns if _folded(name) not in left_out)
    columns = [table[name].map(text_of).to_list() for name in kept]
    texts = ("\x1f".join(values) for values in zip(*columns, strict=True))
    hashes = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
    return pd.Series([text[:32] for text in hashes], index=table.index, dtype=object)
