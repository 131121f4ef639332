"""Forecasts that are made when the model is: a table by category and week, kept as JSON."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from rag_platform.training.errors import UnusableData
from rag_platform.training.tasks.forecast import CATEGORY, MAX_HORIZON
from rag_platform.training.trainer import Model
from rag_platform.training.trainers.history import Floats, History, weeks_of

if TYPE_CHECKING:
    import pandas as pd

_FILE = "forecasts.json"
_COLUMNS = ("prediction", "lower", "upper", "mean_4")

Cells = tuple[tuple[float | None, ...], ...]


class Table(BaseModel):
    """Forecasts of the weeks of a history, and of `MAX_HORIZON` weeks after it.

    `first` is the Monday of the first row. Rows are weeks and columns categories; None where there
    is no forecast.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: date
    categories: tuple[str, ...]
    naive_error: tuple[float | None, ...]
    prediction: Cells
    lower: Cells
    upper: Cells
    mean_4: Cells
    parameters: dict[str, str | int | float | bool] = {}

    @model_validator(mode="after")
    def _shaped(self) -> Self:
        shapes = {np.array(getattr(self, name), np.float64).shape for name in _COLUMNS}
        wanted = (len(self.prediction), len(self.categories))
        if shapes != {wanted} or len(self.naive_error) != wanted[1] or wanted[0] <= MAX_HORIZON:
            raise ValueError("the columns of the table differ in shape")
        return self


@dataclass(frozen=True)
class Forecasts(Model):
    """Looks up what was forecast; no library is needed for it.

    - A week after the history: the forecast made at its end, `MAX_HORIZON` weeks ahead at most.
    - A week of the history: what would have been forecast the week before it, by a model of the
      weeks up to then where the trainer can tell that, or else as the fitted model has it.
    - A week further ahead, an unknown category, a week before or too early in the history: no
      prediction (NaN), and `note` says why.
    """

    table: Table

    @classmethod
    def of(
        cls,
        history: History,
        prediction: Floats,
        lower: Floats,
        upper: Floats,
        parameters: dict[str, str | int | float | bool],
    ) -> Self:
        """Of arrays with a row for each week of the history and `MAX_HORIZON` more, and a column
        for each category."""
        weeks = len(history.amounts)
        recent = [history.recent_mean(min(at, weeks)) for at in range(len(prediction))]
        floor = np.where(np.nanmin(history.amounts, axis=0) < 0, -np.inf, 0.0)
        columns = {
            "prediction": np.maximum(prediction, floor),
            "lower": np.maximum(np.minimum(lower, prediction), floor),
            "upper": np.maximum(np.maximum(upper, prediction), floor),
            "mean_4": np.array(recent),
        }
        return cls(
            Table(
                first=history.first.astype(object),
                categories=history.categories,
                naive_error=_cells(history.naive_error()[None])[0],
                parameters=parameters,
                **{name: _cells(values) for name, values in columns.items()},
            )
        )

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """`prediction`, `lower` and `upper` (80 % interval), in the unit of the amounts; `mean_4`,
        the mean of the four weeks before; `naive_error`, that of repeating last year or week in
        the history; and `note`."""
        import pandas as pd

        table = self.table
        weeks = weeks_of(rows).to_numpy().astype("datetime64[D]")
        steps = (weeks - np.datetime64(table.first)) // np.timedelta64(7, "D")
        steps = steps.astype(np.int64)
        columns = pd.Index(table.categories).get_indexer(rows[CATEGORY])
        is_there = (columns >= 0) & (steps >= 0) & (steps < len(table.prediction))
        at = np.where(is_there, steps, 0), np.where(is_there, columns, 0)
        found = {
            name: np.where(is_there, np.array(getattr(table, name), np.float64)[at], np.nan)
            for name in _COLUMNS
        }
        naive = np.array(table.naive_error, np.float64)[at[1]]
        found["naive_error"] = np.where(columns >= 0, naive, np.nan)
        notes = np.where(np.isnan(found["prediction"]), "too little history before this week", "")
        notes = np.where(steps < 0, f"before {table.first}, the first week known", notes)
        last = np.datetime64(table.first) + 7 * (len(table.prediction) - 1)
        notes = np.where(steps >= len(table.prediction), f"after {last}, the last week told", notes)
        notes = np.where(columns < 0, "a category that the model does not know", notes)
        return pd.DataFrame({**found, "note": notes.astype(object)}, index=rows.index)

    def save(self, folder: Path) -> None:
        """One JSON file."""
        (folder / _FILE).write_text(self.table.model_dump_json(), encoding="utf-8")

    def parameters(self) -> dict[str, str | int | float | bool]:
        """What the trainer tells, and the extent of the history."""
        return {
            **self.table.parameters,
            "categories": len(self.table.categories),
            "weeks": len(self.table.prediction) - MAX_HORIZON,
        }


def load(folder: Path) -> Forecasts:
    """What `save` wrote. Raises `UnusableData` when the folder holds something else."""
    try:
        text = (folder / _FILE).read_text(encoding="utf-8")
        return Forecasts(Table.model_validate_json(text))
    except (OSError, ValueError) as error:
        raise UnusableData(
            f"no forecasts in the folder ({type(error).__name__}); train the model again."
        ) from error


def _cells(values: Floats) -> Cells:
    return tuple(
        tuple(None if np.isnan(value) else float(value) for value in row) for row in values
    )
