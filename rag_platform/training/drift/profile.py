"""What the rows and the scores that a model knows look like: kept with it, compared with others."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from rag_platform.training.drift.columns import (
    CATEGORY,
    TEXT,
    Categories,
    Numbers,
    as_kind,
    kind_of,
)
from rag_platform.training.drift.texts import Texts
from rag_platform.training.errors import UnusableData
from rag_platform.training.snapshots import plain
from rag_platform.training.task import RESERVED, TARGET

if TYPE_CHECKING:
    import pandas as pd

ROWS, LABELS, SCORES = "rows", "labels", "scores"
_VERSION = 1
# Bounds of a profile as a whole (300 KB as JSON); the columns have them in equal shares.
MAX_COLUMNS = 200
_POINTS, _MOST_POINTS = 6_000, 2_000
_VALUES, _MOST_VALUES = 1_500, 30
_AXES, _MOST_AXES = 12, 12
_MAX_NAME = 100

Shape = Numbers | Categories | Texts


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column of the `rows`, the `labels` (the target) or the `scores`: how many values there
    were and were missing, and their shape. Without a kind only the missing ones are compared."""

    part: str
    name: str
    kind: str | None
    size: int
    missing: int
    shape: Shape | None


@dataclass(frozen=True, slots=True)
class Profile:
    """Columns of rows and scores, as they were when the model was made.

    As JSON it is smaller than 300 KB, and holds no text of a person.
    """

    columns: tuple[ColumnProfile, ...]

    @staticmethod
    def of(rows: "pd.DataFrame", predictions: "pd.DataFrame | None" = None) -> "Profile":
        """Of rows and of a model's answers, without unit and group.

        The answers may be to any of the rows. They should be to rows that the model was not
        fitted on: of those that it was, it is surer than of any others.
        """
        found = list(_prepared(rows, predictions))
        kinds = [kind for *_, kind in found]
        most = _Most(
            points=_each(
                _POINTS, _MOST_POINTS, sum(k not in (TEXT, CATEGORY, None) for k in kinds)
            ),
            values=_each(_VALUES, _MOST_VALUES, kinds.count(CATEGORY)),
            axes=_each(_AXES, _MOST_AXES, kinds.count(TEXT)),
        )
        return Profile(tuple(_profile(*column, most) for column in found))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes: nothing but JSON."""
        columns = [
            {
                "part": column.part,
                "name": column.name,
                "kind": column.kind,
                "size": column.size,
                "missing": column.missing,
                "shape": column.shape.as_json() if column.shape else None,
            }
            for column in self.columns
        ]
        return {"version": _VERSION, "columns": columns}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """What `to_json` gave. Raises `UnusableData` for anything else."""
        try:
            if told["version"] != _VERSION:
                raise UnusableData(f"a profile of version {told['version']!r:.20} is not known.")
            return cls(tuple(_column_from(column) for column in told["columns"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UnusableData(f"a profile that is none ({type(error).__name__}).") from error


@dataclass(frozen=True, slots=True)
class _Most:
    points: int
    values: int
    axes: int


def _each(total: int, most: int, count: int) -> int:
    return min(most, total // max(count, 1))


def parts(
    rows: "pd.DataFrame", predictions: "pd.DataFrame | None"
) -> "Iterator[tuple[str, pd.DataFrame]]":
    """The frames whose columns are compared, each with the name of its part."""
    yield ROWS, rows[[name for name in rows if name not in RESERVED]]
    if TARGET in rows:
        yield LABELS, rows[[TARGET]]
    if predictions is not None:
        yield SCORES, predictions


def _prepared(
    rows: "pd.DataFrame", predictions: "pd.DataFrame | None"
) -> "Iterator[tuple[str, str, pd.Series[Any], str, str | None]]":
    """Part, name, values, plain kind and kind of each column; scores and labels first, should
    there be more columns than a profile holds."""
    count = texts = 0
    for part, frame in reversed(list(parts(rows, predictions))):
        columns, plain_kinds = plain(frame)
        for name in columns:
            if count == MAX_COLUMNS or len(json.dumps(name)) > _MAX_NAME:
                continue
            kind = kind_of(columns[name], plain_kinds[name])
            texts += kind == TEXT
            if kind == TEXT and texts > _AXES:
                kind = None
            yield part, name, columns[name], plain_kinds[name], kind
            count += 1


def _profile(
    part: str,
    name: str,
    column: "pd.Series[Any]",
    plain_kind: str,
    kind: str | None,
    most: _Most,
) -> ColumnProfile:
    if kind is None:
        return ColumnProfile(part, name, None, len(column), int(column.isna().sum()), None)
    values = as_kind(column, plain_kind, kind)
    told = values.dropna()
    missing = len(values) - len(told)
    shape: Shape
    if kind == CATEGORY:
        shape = Categories.of(told, most.values)
    elif kind == TEXT:
        shape = Texts.of(told, most.axes)
    else:
        shape = Numbers.of(told.to_numpy(), most.points)
    return ColumnProfile(part, name, kind, len(column), missing, shape)


def _column_from(told: dict[str, Any]) -> ColumnProfile:
    kind, shape = told["kind"], told["shape"]
    if kind is not None:
        form: type[Shape] = {CATEGORY: Categories, TEXT: Texts}.get(kind, Numbers)
        shape = form.from_json(shape)
    return ColumnProfile(
        told["part"], told["name"], kind, int(told["size"]), int(told["missing"]), shape
    )
