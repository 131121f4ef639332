"""A day of taxi rides in a city that does not exist, to try the pipeline on.

The same day, number of rides and seed give the same rides. Speeds follow the hour, the traffic,
the weather and the length of the ride; a small share of the rides is odd (a driver who waits, a
ride to another city, a standstill, a clock that jumped), and the table does not say which.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.random import Generator

    Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]

ODD_SHARE = 0.005
MOST_RIDES = 10_000_000

# Zones of the city: name, kilometres east and north of its centre, share of the rides' starts.
_ZONES = (
    ("Old Town", 0.0, 0.0, 0.16),
    ("Central Station", 0.9, 0.6, 0.14),
    ("Harbour", 1.8, -1.4, 0.10),
    ("University", -1.6, 1.1, 0.10),
    ("Market Square", -0.7, -0.9, 0.10),
    ("Hospital", -2.9, -0.4, 0.07),
    ("Museum Park", 1.1, 2.3, 0.07),
    ("Stadium", 3.6, 1.9, 0.05),
    ("Riverside", 2.9, -3.2, 0.05),
    ("Garden Hill", -3.4, 3.2, 0.05),
    ("West End", -5.6, -0.8, 0.03),
    ("Mill Quarter", -1.9, -4.4, 0.03),
    ("North Gate", 0.4, 6.1, 0.02),
    ("Trade Fair", 6.2, -2.1, 0.01),
    ("Airport", 11.5, 9.0, 0.02),
)
_CENTRE_LON, _CENTRE_LAT = 9.5, 48.5
_KM_PER_DEGREE = 111.32

# Rides that start in each hour of the day, and the speed then, relative to the best.
_WEEKDAY = (2, 1, 1, 1, 1, 2, 5, 8, 10, 8, 7, 7, 8, 8, 7, 8, 9, 11, 12, 10, 8, 7, 6, 4)
_WEEKEND = (8, 8, 7, 5, 3, 2, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8, 9, 9, 9, 9, 9, 9)
_HEAVY_HOURS = (7, 8, 9, 16, 17, 18, 19)
_TRAFFIC = (("light", 1.18), ("moderate", 1.0), ("heavy", 0.76))
_WEATHER = (("clear", 1.0, 0.55), ("clouds", 1.0, 0.25), ("rain", 0.9, 0.14), ("fog", 0.85, 0.06))
_NEWS = (
    ("Football match at the stadium: streets around it are closed", 0.85),
    ("Strike of the underground: few trains until the evening", 0.9),
    ("Street festival in the old town", 0.88),
    ("Marathon through the city centre", 0.82),
    ("Trade fair opens its doors", 0.95),
    ("Demonstration on the market square", 0.86),
)


@dataclass(frozen=True)
class _Streets:
    """What each ride meets: indices into the tables above (`news` -1: none), and its speed."""

    traffic: "Integers"
    weather: "Integers"
    news: "Integers"
    pace: "Floats"


def simulate(day: date, rides: int, seed: int) -> "pa.Table":
    """`rides` rides that start on `day` (UTC), by time, in the columns of `ride_schema`."""
    return simulate_marked(day, rides, seed)[0]


def simulate_marked(
    day: date, rides: int, seed: int
) -> "tuple[pa.Table, np.ndarray[tuple[int], np.dtype[np.bool_]]]":
    """The same rides, and for each whether it was made odd."""
    if not 0 <= rides <= MOST_RIDES or seed < 0:
        raise ValueError(f"rides must be 0 to {MOST_RIDES:,} and the seed must not be negative")
    random = np.random.default_rng([day.toordinal(), seed])
    started = _starts(random, day, rides)
    streets = _streets(random, started)
    zone, pickup, dropoff, distance = _ways(random, rides)
    speed = 17.0 * streets.pace * np.maximum(distance, 0.3) ** 0.25 * _spread(random, rides, 0.16)
    duration = distance / speed * 3600.0 + 45.0 * _spread(random, rides, 0.5)
    odd = random.random(rides) < ODD_SHARE
    distance[odd], duration[odd] = _odd(random, distance[odd], duration[odd])
    return _table(day, started, streets, zone, pickup, dropoff, distance, duration), odd


def _starts(random: "Generator", day: date, rides: int) -> "Floats":
    """Seconds after midnight, ascending."""
    weights = np.array(_WEEKEND if day.weekday() >= 5 else _WEEKDAY, dtype=np.float64)
    hours = random.choice(24, size=rides, p=weights / weights.sum())
    return np.sort(np.floor((hours + random.random(rides)) * 3600.0))


def _streets(random: "Generator", started: "Floats") -> _Streets:
    hour = (started // 3600.0).astype(np.int64)
    by_hour = np.array([_traffic_odds(each) for each in range(24)])
    drawn = random.random(len(started))[:, None]
    traffic = (drawn > by_hour.cumsum(axis=1)[hour]).sum(axis=1)
    weather = _weather_of_day(random)[hour]
    news = _news_of_day(random)[hour]
    news[random.random(len(started)) > 0.4] = -1
    pace = np.array([factor for _, factor in _TRAFFIC])[traffic]
    pace = pace * np.array([factor for _, factor, _ in _WEATHER])[weather]
    pace = pace * np.append([factor for _, factor in _NEWS], 1.0)[news]
    return _Streets(traffic, weather, news, pace)


def _traffic_odds(hour: int) -> tuple[float, float, float]:
    if hour in _HEAVY_HOURS:
        return 0.05, 0.35, 0.60
    return (0.75, 0.22, 0.03) if hour < 6 or hour > 21 else (0.20, 0.62, 0.18)


def _weather_of_day(random: "Generator") -> "Integers":
    """The weather of each hour; it stays for some hours."""
    odds = [share for _, _, share in _WEATHER]
    return np.repeat(random.choice(len(_WEATHER), size=6, p=odds), 4)


def _news_of_day(random: "Generator") -> "Integers":
    """The headline of each hour, or -1: at most two of them, for four hours each."""
    hours = np.full(24, -1)
    for headline in random.choice(len(_NEWS), size=int(random.integers(0, 3)), replace=False):
        begin = int(random.integers(8, 20))
        hours[begin : begin + 4] = headline
    return hours


def _ways(random: "Generator", rides: int) -> "tuple[Integers, Any, Any, Floats]":
    """Zone indices (start, end), both places in km from the centre, and the km driven."""
    places = np.array([(east, north) for _, east, north, _ in _ZONES])
    odds = np.array([share for *_, share in _ZONES])
    start = random.choice(len(_ZONES), size=rides, p=odds / odds.sum())
    pickup = places[start] + random.normal(0.0, 0.45, size=(rides, 2))
    straight = np.exp(random.normal(np.log(2.3), 0.62, size=rides))
    angle = random.uniform(0.0, 2.0 * np.pi, size=rides)
    dropoff = pickup + straight[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # To the airport, and from it into the city.
    airport = len(_ZONES) - 1
    flies = (random.random(rides) < 0.04) & (start != airport)
    lands = start == airport
    end = random.choice(airport, size=rides, p=odds[:airport] / odds[:airport].sum())
    target = np.where(flies, airport, end)
    there = places[target] + random.normal(0.0, 0.45, size=(rides, 2))
    dropoff = np.where((flies | lands)[:, None], there, dropoff)
    straight = np.hypot(*(dropoff - pickup).T)
    distance = straight * (1.12 + 0.2 * _spread(random, rides, 0.4))
    return np.stack([start, _nearest(places, dropoff)]), pickup, dropoff, distance


def _nearest(places: Any, points: Any) -> "Integers":
    best = np.zeros(len(points), dtype=np.int64)
    least = np.full(len(points), np.inf)
    for number, place in enumerate(places):
        away = ((points - place) ** 2).sum(axis=1)
        best[away < least] = number
        least = np.minimum(least, away)
    return best


def _spread(random: "Generator", size: int, sigma: float) -> "Floats":
    return np.exp(random.normal(0.0, sigma, size=size))


def _odd(random: "Generator", distance: "Floats", duration: "Floats") -> "tuple[Floats, Floats]":
    """Rides as they should not be, in four ways."""
    kind = random.integers(0, 4, size=len(distance))
    factor = random.uniform(5.0, 9.0, size=len(distance))
    far_km = random.uniform(120.0, 300.0, size=len(distance))
    near_km = random.uniform(0.02, 0.3, size=len(distance))
    standing_s = random.uniform(3600.0, 9000.0, size=len(distance))
    waits, leaves, stands, jumps = (kind == number for number in range(4))
    road_s = far_km / random.uniform(60.0, 90.0, size=len(distance)) * 3600.0
    jump_s = distance / random.uniform(130.0, 220.0, size=len(distance)) * 3600.0
    return (
        np.select([leaves, stands], [far_km, near_km], distance),
        np.select(
            [waits, leaves, stands, jumps],
            [duration * factor, road_s, standing_s, jump_s],
        ),
    )


def _table(
    day: date,
    started: "Floats",
    streets: _Streets,
    zone: "Integers",
    pickup: Any,
    dropoff: Any,
    distance: "Floats",
    duration: "Floats",
) -> "pa.Table":
    import pyarrow as pa

    from rag_platform.rides.schema import conform

    midnight = int(datetime.combine(day, time(), UTC).timestamp())
    began = (started.astype(np.int64) + midnight) * 1_000_000
    kilometres, seconds = np.round(distance, 3), np.round(duration)
    zones = [name for name, *_ in _ZONES]
    columns = {
        "ride_id": [f"{day.isoformat()}-{number:07d}" for number in range(len(started))],
        "started_at": pa.array(began, pa.timestamp("us", tz="UTC")),
        "distance_km": kilometres,
        "duration_s": seconds,
        "pickup_zone": _named(zones, zone[0]),
        "dropoff_zone": _named(zones, zone[1]),
        "fare": np.round(3.2 + 1.9 * kilometres + 0.35 * seconds / 60.0, 2),
        "weather": _named([name for name, *_ in _WEATHER], streets.weather),
        "traffic": _named([name for name, _ in _TRAFFIC], streets.traffic),
        "news": _named([headline for headline, _ in _NEWS], streets.news),
    }
    for name, place in (("pickup", pickup), ("dropoff", dropoff)):
        latitude = _CENTRE_LAT + place[:, 1] / _KM_PER_DEGREE
        narrowing = np.cos(np.radians(_CENTRE_LAT))
        longitude = _CENTRE_LON + place[:, 0] / (_KM_PER_DEGREE * narrowing)
        columns[f"{name}_lat"] = np.round(latitude, 5)
        columns[f"{name}_lon"] = np.round(longitude, 5)
    return conform(pa.table(columns))


def _named(names: list[str], indices: "Integers") -> "pa.Array":
    """Names by index; -1 is null."""
    import pyarrow as pa

    found = pa.array(indices.astype(np.int32), mask=indices < 0)
    return pa.DictionaryArray.from_arrays(found, names).cast(pa.string())
