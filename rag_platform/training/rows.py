"""From files to rows in the form that `task.py` describes: the face of all readers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of the data. `name` is its key below the URL and data, never a path.

    `modified` is when the store says it was written, in UTC seconds since 1970.
    """

    name: str
    path: Path
    modified: float


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that is no row: where it stands, a reason code, and why in words."""

    file: str
    number: int | None
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Rows:
    """What was read: rows in one form, what could not be used, and how many records there were.

    `records` is rows and bad rows together, or more where a row is made of several records (a
    week's spending, say).
    """

    frame: "pd.DataFrame"
    bad: list[BadRow] = field(default_factory=list)
    records: int = 0


class Reader(ABC):
    """Knows the forms in which the data of a model comes. Light to make."""

    @abstractmethod
    def read(self, files: Sequence[DataFile], *, labelled: bool) -> Rows:
        """Rows of all files, in the files' order.

        With `labelled` every row needs its target; without, targets are left out where there are
        any. Raises `UnusableData` when a file holds nothing in a form that is known: what was
        found, and what is needed.
        """
