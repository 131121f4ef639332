"""Cities that the code does not know, and odd rides planted among their rides in several ways.

The cities share nothing with `rag_platform.rides.simulation` but the columns.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rag_platform.rides.schema import conform

MONDAY_S = 1_782_691_200  # 2026-06-29, midnight UTC
KM_PER_MILE = 1.609344


def _table(
    distance: Any, duration: Any, started: Any = None, mark: str = "r", **more: Any
) -> pa.Table:
    rows = len(distance)
    columns: dict[str, Any] = {
        "ride_id": [f"{mark}{number:08d}" for number in range(rows)],
        "distance_km": np.asarray(distance, dtype=float),
        "duration_s": np.asarray(duration, dtype=float),
    }
    if started is not None:
        seconds = np.asarray(started, dtype=np.int64) * 1_000_000
        columns["started_at"] = pa.array(seconds, pa.timestamp("us", tz="UTC"))
    return conform(pa.table(columns | more))


def plain(rides: int, random: np.random.Generator) -> pa.Table:
    """Log-normal distances and speeds, without times or anything else."""
    distance = random.lognormal(np.log(4.0), 0.7, rides)
    return _table(distance, 3600.0 * distance / random.lognormal(np.log(22.0), 0.28, rides))


def two_towns(rides: int, random: np.random.Generator) -> pa.Table:
    """Short rides in town, and one in twelve to another town on a fast road; rush hours."""
    hour = random.choice(24, rides, p=np.r_[np.full(6, 0.01), np.full(18, 0.94 / 18)])
    far = random.random(rides) < 0.08
    distance = np.where(far, random.normal(42.0, 3.0, rides), random.gamma(2.2, 1.3, rides) + 0.3)
    rush = np.isin(hour, (7, 8, 17, 18))
    speed = np.where(far, 68.0, 19.0) * np.where(rush, 0.65, 1.0)
    speed *= random.lognormal(0.0, np.where(far, 0.1, 0.25), rides)
    started = MONDAY_S + hour * 3600 + random.integers(0, 3600, rides)
    return _table(distance, 3600.0 * distance / speed + 60.0, started)


def heavy_tailed(rides: int, random: np.random.Generator) -> pa.Table:
    """Speeds whose logarithm spreads as Student's t with 6 degrees: tails, and no way to know."""
    distance = np.exp(random.laplace(np.log(3.5), 0.45, rides))
    speed = np.exp(np.log(20.0) + 0.2 * random.standard_t(6, rides))
    started = MONDAY_S + random.integers(0, 86400, rides)
    return _table(distance, 3600.0 * distance / speed, started)


def coarse(rides: int, random: np.random.Generator) -> pa.Table:
    """Tenths of a mile and whole minutes, as some cities publish them; some miles are missing."""
    miles = np.round(random.lognormal(np.log(1.8), 0.75, rides), 1)
    minutes = np.round(miles / random.lognormal(np.log(13.0), 0.3, rides) * 60.0 + 1.5)
    miles[random.random(rides) < 0.2] = 0.0
    started = MONDAY_S + random.integers(0, 96, rides) * 900
    return _table(miles * KM_PER_MILE, minutes * 60.0, started)


CITIES: dict[str, Callable[[int, np.random.Generator], pa.Table]] = {
    "plain": plain,
    "two_towns": two_towns,
    "heavy_tailed": heavy_tailed,
    "coarse": coarse,
}


def _usual_speed(distance: Any, duration: Any) -> float:
    moving = (distance > 0) & (duration > 0)
    return float(np.median(distance[moving] / duration[moving]) * 3600.0)


# Each takes (distances, durations) of usual rides and gives those of odd ones.
Odd = Callable[[Any, Any, np.random.Generator], tuple[Any, Any]]


def long_time(distance: Any, duration: Any, random: np.random.Generator) -> tuple[Any, Any]:
    """The usual way in five to ten times the usual time."""
    return distance, duration * random.uniform(5.0, 10.0, len(duration))


def long_distance(distance: Any, duration: Any, random: np.random.Generator) -> tuple[Any, Any]:
    """To a city far away, at the speed of a good road."""
    far = random.uniform(150.0, 400.0, len(distance))
    return far, far / random.uniform(50.0, 90.0, len(distance)) * 3600.0


def crawling(distance: Any, duration: Any, random: np.random.Generator) -> tuple[Any, Any]:
    """At a slow walk, however far."""
    distance = np.maximum(distance, 1.0)
    return distance, distance / random.uniform(0.5, 2.0, len(distance)) * 3600.0


def impossible_speed(distance: Any, duration: Any, random: np.random.Generator) -> tuple[Any, Any]:
    """Faster than any car."""
    distance = np.maximum(distance, 1.0)
    return distance, distance / random.uniform(180.0, 500.0, len(distance)) * 3600.0


def short_but_long(distance: Any, duration: Any, random: np.random.Generator) -> tuple[Any, Any]:
    """Some hundred metres in two or three hours."""
    return random.uniform(0.3, 0.9, len(distance)), random.uniform(6000, 11000, len(distance))


def standing(distance: Any, duration: Any, random: np.random.Generator) -> tuple[Any, Any]:
    """Hardly a metre, for hours."""
    return random.uniform(0.0, 0.02, len(distance)), random.uniform(7000, 20000, len(distance))


def clumps(distance: Any, duration: Any, random: np.random.Generator) -> tuple[Any, Any]:
    """The same few odd rides over and over, as a broken meter writes them: dense, so a cluster."""
    which = random.integers(0, 3, len(distance))
    jitter = random.normal(1.0, 0.002, len(distance))
    kilometres = np.array([0.7, 55.0, 6.0])[which]
    seconds = np.array([9000.0, 600.0, 15000.0])[which]
    return kilometres * jitter, seconds * jitter


def long_wait(distance: Any, duration: Any, random: np.random.Generator) -> tuple[Any, Any]:
    """A meter that was left running for half a day."""
    return distance, random.uniform(6 * 3600, 14 * 3600, len(duration))


KINDS: dict[str, Odd] = {
    function.__name__: function
    for function in (
        long_time,
        long_distance,
        crawling,
        impossible_speed,
        short_but_long,
        standing,
        clumps,
        long_wait,
    )
}


def plant(table: pa.Table, share: float, seed: int, kinds: tuple[str, ...] = tuple(KINDS)) -> Any:
    """`table` with a share of its rides made odd, and the number of each row's kind, -1 for usual.

    The kinds take turns. Rides keep their times; the speed is worked out again.
    """
    random = np.random.default_rng(seed)
    rows = table.num_rows
    chosen = random.choice(rows, size=max(1, round(rows * share)), replace=False)
    kind = np.full(rows, -1)
    kind[chosen] = np.arange(len(chosen)) % len(kinds)
    distance = table["distance_km"].to_numpy().copy()
    duration = table["duration_s"].to_numpy().copy()
    for number, name in enumerate(kinds):
        mine = kind == number
        distance[mine], duration[mine] = KINDS[name](distance[mine], duration[mine], random)
    speed = pc.if_else(pa.array(duration > 0), pa.array(_speed(distance, duration)), None)
    for name, column in (
        ("distance_km", distance),
        ("duration_s", duration),
        ("speed_kmh", speed),
    ):
        table = table.set_column(table.column_names.index(name), name, pa.array(column))
    return table, kind


def _speed(distance: Any, duration: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return distance / duration * 3600.0
