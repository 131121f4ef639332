"""Whether a day's rides look like those of the days before.

A figure has drifted when the difference is both large and no accident: the Kolmogorov-Smirnov
distance is at least `MIN_DISTANCE`, or the population stability index (PSI) over fixed bins at
least `MIN_PSI`, and the test's p value, adjusted for the number of figures (Benjamini-Hochberg), is
below `MAX_P`. With a million rides everything is significant; with fifty nothing is small.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

MIN_DISTANCE = 0.15
MIN_PSI = 0.25
MAX_P = 0.01
MIN_RIDES = 100
# Rides of a day that are compared, evenly spread over it.
SAMPLE = 20_000

# The inner edges of each figure's bins. They never change: one day's PSI compares with another's.
EDGES: dict[str, tuple[float, ...]] = {
    "distance_km": (0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 20, 40),
    "duration_s": (120, 240, 360, 480, 600, 900, 1200, 1800, 2700, 3600, 7200),
    "speed_kmh": (5, 8, 10, 12, 15, 18, 22, 28, 35, 50, 80),
    "fare": (3, 5, 7, 9, 12, 16, 22, 30, 45, 70, 120),
    "hour": (2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22),
}
ZONE = "pickup_zone"
MAX_ZONES = 20

_WEEKEND = 5
LOOK_BACK = 28
_MOST_DAYS = 7

Sample = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shift:
    """How one figure differs from before. `distance` (KS) and medians are null for zones."""

    figure: str
    distance: float | None
    psi: float
    p: float
    before: float | None
    now: float | None

    @property
    def drifted(self) -> bool:
        """Large, and no accident."""
        is_large = (self.distance or 0.0) >= MIN_DISTANCE or self.psi >= MIN_PSI
        return is_large and self.p < MAX_P


def like_days(day: date, days: Sequence[date]) -> list[date]:
    """Of the days before, those to compare with: the newest of the same part of the week."""
    is_weekend = day.weekday() >= _WEEKEND
    alike = [
        other
        for other in sorted(days, reverse=True)
        if day - timedelta(days=LOOK_BACK) <= other < day
        and (other.weekday() >= _WEEKEND) == is_weekend
    ]
    return alike[:_MOST_DAYS]


def sample(rides: Any, zone: str) -> Sample:
    """The figures of a day's table of rides; hours are those of the time zone `zone`."""
    import pyarrow as pa

    if rides.num_rows > SAMPLE:
        rides = rides.take(pa.array(np.linspace(0, rides.num_rows - 1, SAMPLE).astype(np.int64)))
    local = rides["started_at"].to_pandas().dt.tz_convert(zone).dt
    hours = pa.chunked_array([pa.array(local.hour + local.minute / 60, pa.float64())])
    figures = {"hour": hours, **{name: rides[name] for name in EDGES if name != "hour"}}
    values = {name: column.to_numpy() for name, column in figures.items()}
    found: Sample = {name: column[~np.isnan(column)] for name, column in values.items()}
    return found | {ZONE: np.array(rides[ZONE].drop_null().to_pylist(), dtype=object)}


def shifts(now: Sample, before: Sequence[Sample]) -> list[Shift]:
    """Every figure that both sides have enough rides of, compared."""
    pooled = {name: np.concatenate([day[name] for day in before]) for name in now if before}
    found = [
        _shift(name, now[name], pooled[name])
        for name in pooled
        if min(len(now[name]), len(pooled[name])) >= MIN_RIDES
    ]
    return _adjusted(found)


def _shift(name: str, now: Any, before: Any) -> Shift:
    if name == ZONE:
        counts = _zone_counts(now, before)
        return Shift(name, None, psi(*counts), _chi_square(*counts), None, None)
    from scipy.stats import ks_2samp

    test = ks_2samp(before, now, method="asymp")
    return Shift(
        name,
        float(test.statistic),
        psi(_binned(now, EDGES[name]), _binned(before, EDGES[name])),
        float(test.pvalue),
        float(np.median(before)),
        float(np.median(now)),
    )


def psi(now: Any, before: Any) -> float:
    """The population stability index of two histograms over the same bins; 0: they agree."""
    # Half a ride in every bin, so that an empty one does not make the index infinite.
    shares = [(counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (now, before)]
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def _binned(values: Any, edges: tuple[float, ...]) -> Any:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def _zone_counts(now: Any, before: Any) -> tuple[Any, Any]:
    """Rides by zone, the busiest of before and one bin for all others."""
    zones, counts = np.unique(before.astype(str), return_counts=True)
    busiest = {zone: at for at, zone in enumerate(zones[np.argsort(-counts, kind="stable")])}
    sides = []
    for values in (now, before):
        places = [min(busiest.get(str(value), MAX_ZONES), MAX_ZONES) for value in values]
        sides.append(np.bincount(places, minlength=MAX_ZONES + 1))
    return sides[0], sides[1]


def _chi_square(now: Any, before: Any) -> float:
    from scipy.stats import chi2_contingency

    table = np.array([now, before])
    table = table[:, table.sum(axis=0) > 0]
    return float(chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0


def _adjusted(found: list[Shift]) -> list[Shift]:
    """With p values of Benjamini and Hochberg."""
    from dataclasses import replace

    from scipy.stats import false_discovery_control

    if not found:
        return []
    adjusted = false_discovery_control([shift.p for shift in found])
    return [replace(shift, p=float(p)) for shift, p in zip(found, adjusted, strict=True)]
