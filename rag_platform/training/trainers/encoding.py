"""From the columns of a table to numbers, the same way in fitting and in serving."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from rag_platform.training.errors import UnusableData
from rag_platform.training.task import RESERVED

if TYPE_CHECKING:
    import pandas as pd

# A value of a column of text has to occur this often to be told from an unknown one, and of such
# values the most frequent are kept: names and numbers of persons are no categories.
MIN_OCCURRENCES = 5
MAX_CATEGORIES = 64


class Encoding(BaseModel):
    """Which columns are features, and the categories of those of text.

    Columns with one value only are left out. A missing value and an unknown category become NaN.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    numbers: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, rows: "pd.DataFrame", excluded: tuple[str, ...] = ()) -> "Encoding":
        """The encoding of these rows, without the `excluded` columns.

        Raises `UnusableData` when there is no column to learn from.
        """
        from pandas.api.types import is_numeric_dtype

        numbers, categories = [], {}
        for name in sorted(set(rows.columns) - {*RESERVED, *excluded}):
            if is_numeric_dtype(rows[name]):
                if rows[name].nunique(dropna=False) > 1:
                    numbers.append(name)
            elif len(kept := _frequent(_texts(rows, name))) > 1:
                categories[name] = kept
        if not numbers and not categories:
            raise UnusableData(f"{len(rows)} rows: no column differs between them; none to learn.")
        return cls(numbers=tuple(numbers), categories=categories)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the matrix."""
        return (*self.numbers, *self.categories)

    def matrix(self, rows: "pd.DataFrame") -> NDArray[np.float64]:
        """Rows by `columns`; a category is its place in the sorted list of them, by which
        trees split it like a number.

        Raises `UnusableData` when columns are missing, or hold what is no finite number.
        """
        if absent := [name for name in self.columns if name not in rows]:
            named = ", ".join(repr(name[:60]) for name in absent[:10])
            raise UnusableData(f"{len(absent)} columns that the model needs are missing: {named}.")
        matrix = np.empty((len(rows), len(self.columns)))
        for place, name in enumerate(self.columns):
            if name in self.categories:
                codes = {value: code for code, value in enumerate(self.categories[name])}
                matrix[:, place] = _texts(rows, name).map(codes).to_numpy(np.float64)
            else:
                matrix[:, place] = _numbers(rows, name)
        return matrix


def text_of(value: Any) -> str:
    """A value as text; a whole number is the same whether its column has decimals or not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _texts(rows: "pd.DataFrame", name: str) -> "pd.Series[Any]":
    """Values as text, None where missing."""
    import pandas as pd

    try:
        codes, values = pd.factorize(rows[name])
    except TypeError as error:
        raise UnusableData(f"column {name[:60]!r}: holds lists or objects, no values.") from error
    texts = np.array([*(text_of(value) for value in values), None], dtype=object)
    return pd.Series(texts[codes], index=rows.index, dtype=object)


def _frequent(texts: "pd.Series[Any]") -> tuple[str, ...]:
    counts = texts.value_counts()
    frequent = sorted(counts[counts >= MIN_OCCURRENCES].items(), key=lambda one: (-one[1], one[0]))
    return tuple(sorted(value for value, _ in frequent[:MAX_CATEGORIES]))


def _numbers(rows: "pd.DataFrame", name: str) -> NDArray[np.float64]:
    import pandas as pd

    values = rows[name]
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = (np.isnan(numbers) & values.notna().to_numpy()) | np.isinf(numbers)
    if wrong.any():
        first = rows.index[int(np.argmax(wrong))]
        raise UnusableData(
            f"column {name[:60]!r}: {wrong.sum()} of {len(rows)} values are no finite numbers, the "
            f"first in record {first}."
        )
    return np.asarray(numbers, np.float64)
