"""What a column looks like: numbers, categories or texts, in a form that can be compared.

Nothing is kept of a text but where it lies along a few axes of an embedding. A category that fewer
than `MIN_PLAIN` rows have is kept as a hash: it may be a name.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

NUMBER, CATEGORY, TEXT, ITEMS = "number", "category", "text", "items"
MIN_PLAIN = 10
BINS = 10
_DIGITS = 9
_MAX_VALUE = 60
# A column is of categories when its values recur ten times, or few of them make up half of it.
_RECUR, _TOP, _TOP_SHARE = 10, 30, 0.5
# Values that occur as often are all known: others are new.
_FREQUENT = 5
_MOST_KEYS = 0.9
_KEY = r"[!-~]+"
_DATE = r"\d{4}-\d{2}(?:-\d{2}(?:[T ]\d{2}:\d{2}.{0,20})?)?"


@dataclass(frozen=True, slots=True)
class Numbers:
    """A distribution: evenly spaced order statistics, and counts in bins that never change.

    `edges` lie between the bins; a value on an edge is of the bin below it.
    """

    size: int
    points: Floats
    edges: Floats
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, values: Floats, most: int) -> Self:
        """Of values without NaN; `most` is how many points are kept."""
        ordered = np.sort(rounded(values))
        places = (np.arange(min(most, len(ordered))) + 0.5) * len(ordered) / max(most, 1)
        points = ordered if len(ordered) <= most else ordered[places.astype(np.int64)]
        cuts = np.arange(1, BINS) * len(ordered) // BINS
        edges = np.unique(ordered[cuts]) if len(ordered) else np.empty(0)
        return cls(len(ordered), points, edges, binned(ordered, edges))

    @property
    def hidden(self) -> float:
        """How far the share below a value may be off, because not all values are kept."""
        return 0.5 / len(self.points) if len(self.points) < self.size else 0.0

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return {
            "size": self.size,
            "points": self.points.tolist(),
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """What `as_json` gave."""
        points, edges = (np.array(told[name], np.float64) for name in ("points", "edges"))
        return cls(int(told["size"]), points, edges, np.array(told["counts"], np.int64))


@dataclass(frozen=True, slots=True)
class Categories:
    """How often each of the most frequent values occurs, and, at the end, all others.

    Where values are rare or many, they are chosen by one half of the rows and counted in the
    other: those that were chosen for being frequent seem to be so more than they are, and the
    others less.
    """

    values: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, values: "pd.Series[str]", most: int) -> Self:
        """Of values without missing ones."""
        counts = values.value_counts()
        if len(counts) <= most and counts.min() >= _FREQUENT:
            chosen, counted = values, values
        else:
            order = np.random.default_rng(len(values)).permutation(len(values))
            chosen, counted = values.iloc[order[::2]], values.iloc[order[1::2]]
        # In one order where counts are equal.
        top = sorted(chosen.value_counts().items(), key=lambda item: (-item[1], item[0]))[:most]
        names = tuple(_named(str(value), counts[value]) for value, _ in top)
        return cls(names, cls(names, np.zeros(len(names) + 1, np.int64)).count(counted))

    def count(self, values: "pd.Series[str]") -> NDArray[np.int64]:
        """The same counts of other values."""
        place = {name: at for at, name in enumerate(self.values)}
        found = np.zeros(len(self.counts), np.int64)
        for value, count in values.value_counts().items():
            at = place.get(str(value), place.get(_hashed(str(value)), -1))
            found[at] += count
        return found

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return {"values": list(self.values), "counts": self.counts.tolist()}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """What `as_json` gave."""
        return cls(tuple(told["values"]), np.array(told["counts"], np.int64))


def rounded(values: Floats) -> Floats:
    """To nine significant digits, so that what was written as JSON equals what was not."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        near = np.round(values * scale) / scale
    return np.where(np.isfinite(near) & (values != 0), near, values)


def binned(values: Floats, edges: Floats) -> NDArray[np.int64]:
    """How many values are in each bin."""
    places = np.searchsorted(edges, values, side="left")
    return np.bincount(places, minlength=len(edges) + 1).astype(np.int64)


def kind_of(column: "pd.Series[Any]", plain_kind: str) -> str | None:
    """How a column (in the form of `snapshots.plain`) is compared; None for one that is not.

    Times move on, and keys differ in every delivery, without anything having changed.
    """
    told = column.dropna()
    if plain_kind in ("time", "utc", "nothing") or told.empty:
        return None
    if plain_kind == "number":
        return NUMBER
    if plain_kind == "truth":
        return CATEGORY
    if plain_kind == "json":
        lists = [json.loads(text) for text in told.head(1_000)]
        if not all(isinstance(value, list) for value in lists):
            return None
        is_words = all(isinstance(item, str) for value in lists for item in value)
        return TEXT if is_words else ITEMS
    counts = told.value_counts()
    is_few = len(counts) <= len(told) / 2 and counts[:_TOP].sum() >= _TOP_SHARE * len(told)
    if is_few or len(counts) <= len(told) / _RECUR:
        return CATEGORY
    few = told.head(1_000).str
    is_text = max(few.fullmatch(_KEY).mean(), few.fullmatch(_DATE).mean()) < _MOST_KEYS
    return TEXT if is_text else None


def as_kind(column: "pd.Series[Any]", plain_kind: str, kind: str) -> "pd.Series[Any]":
    """A column's values as a kind has them, whatever type it came with; what does not fit is
    missing."""
    import pandas as pd

    if kind == NUMBER:
        if plain_kind in ("number", "truth", "nothing"):
            values = column.astype("float64")
        elif plain_kind == "text":
            values = pd.to_numeric(column, errors="coerce").astype("float64")
        else:
            values = pd.Series(np.nan, column.index)
        return values.where(np.isfinite(values))
    if kind == CATEGORY:
        return column.map(_label, na_action="ignore").astype("str")
    if kind == ITEMS:
        return column.map(_length, na_action="ignore").astype("float64")
    texts = column.map(_words, na_action="ignore").astype("str")
    return texts.where(texts.str.strip() != "")


def _label(value: Any) -> str:
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if is_whole else str(value)


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) and value.startswith("[") else None
    except (ValueError, RecursionError):
        return None


def _length(value: Any) -> float:
    found = _parsed(value)
    return float(len(found)) if isinstance(found, list) else np.nan


def _words(value: Any) -> str:
    found = _parsed(value)
    is_words = isinstance(found, list) and all(isinstance(item, str) for item in found)
    return " ".join(found) if is_words else str(value)


def _named(value: str, count: int) -> str:
    is_plain = (
        count >= MIN_PLAIN
        and len(json.dumps(value)) <= _MAX_VALUE
        and not re.match("#[0-9a-f]", value)
    )
    return value if is_plain else _hashed(value)


def _hashed(value: str) -> str:
    return "#" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:12]
