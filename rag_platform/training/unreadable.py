"""Versions that this code cannot read any more, after an upgrade say.

Training goes on without them: that there is nothing to compare with is told as the reason. Else a
champion of the past would keep every successor from taking its place.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rag_platform.training.errors import TrainingError, UnusableData
from rag_platform.training.trainer import Model

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.training.drift.compare import DriftReport
    from rag_platform.training.packaging import Packaged


class Unreadable(Model):
    """In the place of a model that cannot be loaded."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def predict(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """Raises `UnusableData` with the reason."""
        raise UnusableData(self._reason)

    def save(self, folder: Path) -> None:
        """Raises `UnusableData` likewise."""
        raise UnusableData(self._reason)


def twin_of(load: "Callable[[], Packaged]") -> Model:
    """The twin in a package, or what says why it cannot be loaded."""
    try:
        return load().twin
    except TrainingError as error:
        if error.transient:
            raise
        return Unreadable(str(error))


def drift_from(
    load: "Callable[[], Packaged]", rows: "pd.DataFrame", predictions: "pd.DataFrame | None" = None
) -> "DriftReport":
    """Rows against the profile in a package; one that cannot be read has no column to compare."""
    from rag_platform.training.drift.compare import DriftReport, compare

    try:
        profile = load().profile
    except TrainingError as error:
        if error.transient:
            raise
        return DriftReport([], False, f"not compared: {error}", len(rows))
    return compare(profile, rows, predictions)
