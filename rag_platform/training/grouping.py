"""Named groups of a column's values, for fairness and for slices."""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "unknown"


def groups(values: "pd.Series[Any]", edges: tuple[float, ...] = ()) -> "pd.Series[str]":
    """The group of each value: by the edges it lies between, or without edges the value itself.

    (25, 35) gives "up to 25", "over 25 to 35" and "over 35". A missing value is of the group
    `UNKNOWN`, and so is a text that is no number where there are edges.
    """
    import pandas as pd

    if not edges:
        return values.astype("string").fillna(UNKNOWN).astype(str)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    names = np.array([*interval_names(edges), UNKNOWN], dtype=object)
    place = np.searchsorted(np.array(edges, np.float64), numbers, side="left")
    place[np.isnan(numbers)] = len(names) - 1
    return pd.Series(names[place], index=values.index, dtype=str, name=values.name)


def interval_names(edges: tuple[float, ...]) -> list[str]:
    """What the intervals between the edges are called, from the lowest."""
    between = [f"over {low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    return [f"up to {edges[0]:g}", *between, f"over {edges[-1]:g}"]
