"""Why a ride is anomalous: labels, and the same in a sentence.

A figure of a ride is unusual where it lies beyond the range of the rides that belong to clusters:

- `long_time`: it took longer than usual, for its distance and hour or for any ride;
- `long_distance`: it went farther than usual;
- `slow`, `fast`: its speed is unusual, for its distance and hour or for any ride;
- `off_pattern`: its figures are usual one by one but not together, or contradict each other.

A ride usually has more than one of them: what takes long for its distance is slow as well.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from rag_platform.rides.clustering import Clustering, find_clusters
from rag_platform.rides.features import Readings
from rag_platform.rides.robust import Floats, spread, usual_range

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = ("long_time", "long_distance", "slow", "fast", "off_pattern")


def cluster(rides: "pa.Table") -> "pa.Table":
    """A table of rides in the columns of `clustered_schema`, in the same order."""
    return label(rides, find_clusters(rides))


def label(rides: "pa.Table", found: Clustering) -> "pa.Table":
    """The table of rides that `found` was found in, with what was found."""
    import pyarrow as pa

    from rag_platform.rides.schema import clustered_schema

    odd = np.flatnonzero(found.is_anomaly)
    why: list[list[str]] = [[] for _ in range(rides.num_rows)]
    reason: list[str | None] = [None] * rides.num_rows
    for row, (names, sentence) in zip(odd, _explained(found, odd), strict=True):
        why[row], reason[row] = names, sentence
    columns = [rides[name] for name in rides.column_names]
    columns += [found.cluster, found.is_anomaly, found.score, why, reason]
    schema = clustered_schema()
    return pa.table(
        [
            column if isinstance(column, pa.ChunkedArray) else pa.array(column, field.type)
            for column, field in zip(columns, schema, strict=True)
        ],
        schema=schema,
    )


def _explained(found: Clustering, odd: Any) -> list[tuple[list[str], str]]:
    if not len(odd):
        return []
    figures = _Figures(found, odd)
    strengths = figures.strengths()
    ranked = np.argsort(-strengths, axis=1, kind="stable")
    explained = []
    for ride, order in enumerate(ranked):
        names = [LABELS[at] for at in order if strengths[ride, at] > 1.0]
        names = names or ["off_pattern"]
        sentence = "; ".join(figures.sentence(ride, name) for name in names)
        explained.append((names, sentence[:1].upper() + sentence[1:] + "."))
    return explained


class _Figures:
    """Figures of odd rides beside those of the rides in clusters.

    A strength is how far a figure lies from the middle, against the end of the usual range: above
    1 it is unusual.
    """

    def __init__(self, found: Clustering, odd: Any) -> None:
        usual = found.sample[~found.is_anomaly[found.sample]]
        self._rides = found.readings.take(odd)
        self._expected_s = found.usual.expected_s(self._rides)
        self._km = self._rides.distance_km
        self._kmh = _speeds(self._rides)
        places = found.places
        self._way, self._pace, self._told = (
            _strength(places[odd, axis], places[usual, axis], least=1.0) for axis in range(3)
        )
        ordinary = found.readings.take(usual)
        speeds = _speeds(ordinary)
        self._time = _strength(_log(self._rides.duration_s), _log(ordinary.duration_s))
        self._speed = _strength(_log(self._kmh), _log(speeds))
        known = speeds[np.isfinite(speeds)]
        self._usual_kmh = float(np.median(known)) if len(known) else np.nan

    def strengths(self) -> Any:
        """(rides, labels)."""
        alone = np.max([np.abs(self._way), np.abs(self._time), np.abs(self._speed)], axis=0)
        together = np.where(alone <= 1.0, np.abs(self._pace), 0.0)
        slow = np.maximum(self._pace, -self._speed)
        fast = np.maximum(-self._pace, self._speed)
        return np.stack(
            [
                np.maximum(self._pace, self._time),
                self._way,
                # Five seconds without a metre are both: quick for a ride, and no speed.
                np.where(slow >= fast, slow, 0.0),
                np.where(fast > slow, fast, 0.0),
                np.maximum(together, np.abs(self._told)),
            ],
            axis=1,
        )

    def sentence(self, ride: int, name: str) -> str:
        """Why a label fits, as a part of a sentence."""
        took = _time_text(self._rides.duration_s[ride])
        if name == "long_time" and self._pace[ride] > 1.0:
            times = self._rides.duration_s[ride] / self._expected_s[ride]
            return f"took {took}, {times:,.1f} times what is usual for its distance and hour"
        if name == "long_time":
            return f"took {took}, longer than usual"
        if name == "long_distance":
            return f"went {self._km[ride]:,.1f} km, farther than usual"
        if name in ("slow", "fast"):
            return self._speed_sentence(ride)
        if abs(self._told[ride]) > 1.0:
            told = f"{self._rides.speed_kmh[ride]:,.1f} km/h"
            return f"its speed of {told} contradicts its distance and duration"
        return "its figures are usual one by one but not together"

    def _speed_sentence(self, ride: int) -> str:
        speed = f"drove at {self._kmh[ride]:,.1f} km/h"
        if abs(self._speed[ride]) > 1.0:
            return f"{speed} where {self._usual_kmh:,.1f} km/h is usual"
        expected_s = self._expected_s[ride]
        if not np.isfinite(self._kmh[ride]):
            took = _time_text(self._rides.duration_s[ride])
            return f"took {took} where {_time_text(expected_s)} is usual"
        expected = self._km[ride] / expected_s * 3600.0
        return f"{speed} where {expected:,.1f} km/h is usual for its distance and hour"


def _speeds(rides: Readings) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return rides.distance_km / rides.duration_s * 3600.0


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)


def _strength(values: Floats, usual: Floats, *, least: float = 0.01) -> Floats:
    """Signed; 0.0 where a value is unknown, or nothing usual is known. `least`: of the spread."""
    known = usual[np.isfinite(usual)]
    if not len(known):
        return np.zeros(len(values))
    middle, width = float(np.median(known)), max(spread(known), least)
    ends = usual_range((known - middle) / width)
    away = (values - middle) / width
    return np.nan_to_num(np.where(away > 0.0, away / ends.high, -away / ends.low), nan=0.0)


def _time_text(seconds: float) -> str:
    if not np.isfinite(seconds):
        return "an unknown time"
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.1f} h"
