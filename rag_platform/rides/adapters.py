"""Adapters: how the records of each kind of file become rides in the columns of `schema`.

Every adapter takes a chunk of records as text or typed columns (names as `records.plain` writes
them) and gives the canonical columns. A value that cannot be read becomes null, for validation to
find. Distance, duration and speed: the third follows from two.

`simulated` takes, in each line the first name that a record has:

- ride_id, id, trip_id;
- started_at, start_time, pickup_datetime, timestamp, start: ISO 8601 or seconds since 1970, UTC
  where no zone is given; a file may have none of them;
- distance_km, distance (kilometres), distance_miles, distance_mi, distance_m, distance_meters;
- duration_s, duration (seconds, or 00:12:30), duration_sec, duration_seconds, duration_min,
  duration_minutes, duration_h, duration_hours;
- speed_kmh, speed (km/h), speed_km_h, speed_kph, speed_mph, speed_m_s;
- pickup_lon, pickup_longitude; the same of pickup_lat, dropoff_lon, dropoff_lat;
- pickup_zone, dropoff_zone, fare, weather, traffic, news.

`nyc_tlc` takes the records of New York's yellow and green taxis: local times, miles, zone ids,
which become the zone's name and centroid. `chicago` takes Chicago's taxi trips, by the names of
the open-data portal or of the TFX sample: wall-clock times (the sample keeps them as if they were
UTC), seconds, miles, coordinates of centroids.
"""

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_platform.rides.records import MAX_CELL

# Of pandas, which has no types of its own.
Frame = Any
Series = Any

KM_PER_MILE = 1.609344
# A time out of these years is a mistake: a number of another meaning, a clock that was never set.
_ERA = ("1990-01-01T00:00:00Z", "2100-01-01T00:00:00Z")

TEXTS = ("ride_id", "pickup_zone", "dropoff_zone", "weather", "traffic", "news")
_POINTS = ("pickup_lon", "pickup_lat", "dropoff_lon", "dropoff_lat")
# Control characters, line separators, and those that turn the direction of writing (RE2).
_CONTROL = r"[\x00-\x1f\x7f-\x{9f}\x{2028}-\x{202e}\x{2066}-\x{2069}]+"

# What a column of the file has to be multiplied by, to be in the canonical unit.
Units = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Adapter:
    """Names of the columns that are read, and the two steps: when a ride began, and the rest.

    `measures` are names of distance, duration and speed where a file needs two of the three and no
    times; empty where rides without times are none.
    """

    starts: tuple[str, ...]
    others: frozenset[str]
    when: Callable[[Frame], Series]
    convert: Callable[[Frame], Frame]
    measures: tuple[frozenset[str], ...] = ()

    def is_timeless(self, columns: Collection[str]) -> bool:
        """Whether these are the columns of rides of which nothing says when they began."""
        told = sum(not names.isdisjoint(columns) for names in self.measures)
        return told >= 2 and not set(self.starts) & set(columns)

    @property
    def columns(self) -> frozenset[str]:
        """All columns that are read where a file has them."""
        return self.others | set(self.starts)


def adapter(name: str) -> Adapter:
    """The adapter `simulated`, `nyc_tlc` or `chicago`."""
    return _ADAPTERS[name]


# What adapters share


def _first(frame: Frame, *names: str) -> Series:
    """Of each record the first of those columns that it has; null where it has none."""
    import pandas as pd

    found = pd.Series(None, index=frame.index, dtype=object)
    for name in (name for name in names if name in frame.columns):
        found = frame[name] if found.isna().all() else found.where(found.notna(), frame[name])
    return found


def _number(frame: Frame, *names: str) -> Series:
    import numpy as np
    import pandas as pd

    column = _first(frame, *names)
    if pd.api.types.is_timedelta64_dtype(column.dtype):
        return column.dt.total_seconds()
    column = pd.to_numeric(column, errors="coerce").astype("float64")
    return column.where(np.isfinite(column))


def _measure(frame: Frame, units: Units) -> Series:
    """A quantity in its canonical unit, from the first of those columns that a record has."""
    import pandas as pd

    found = pd.Series(float("nan"), index=frame.index)
    for name in (name for name in units if name in frame.columns):
        found = found.fillna(_number(frame, name) * units[name])
    return found


def _seconds(frame: Frame) -> Series:
    """Durations in seconds: numbers, or hours, minutes and seconds as in 00:12:30."""
    import pandas as pd

    found = _measure(frame, _DURATIONS)
    clock = _first(frame, "duration").astype("string")[found.isna()]
    clock = clock[clock.str.contains(":", regex=False, na=False)]
    if len(clock):
        found = found.fillna(pd.to_timedelta(clock, errors="coerce").dt.total_seconds())
    return found


def _text(frame: Frame, *names: str) -> Series:
    """Text of bounded length on one line; null where it is empty."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.array(_first(frame, *names).astype("string"), pa.large_string())
    text = pc.utf8_slice_codeunits(text, 0, MAX_CELL)
    text = pc.utf8_trim_whitespace(pc.replace_substring_regex(text, _CONTROL, " "))
    found = pd.Series(text.to_pandas().to_numpy(), index=frame.index, dtype="string")
    return found.mask(found == "")


def _moments(column: Series, zone: str, *, epoch_zone: str = "UTC", second: bool = False) -> Series:
    """Times in UTC from ISO 8601, MM/DD/YYYY HH:MM:SS AM, epoch seconds or milliseconds.

    Without a zone of their own they are of `zone`. An hour that comes twice is the first, or the
    `second`, of the two; one that does not exist is null, and so is a time out of `_ERA`.
    """
    import pandas as pd

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        found = column.dt.tz_convert("UTC").astype("datetime64[us, UTC]")
    elif pd.api.types.is_datetime64_dtype(column.dtype):
        found = _localized(column, zone, second)
    else:
        text = column.astype("string").str.strip()
        epoch = _epoch(text)
        has_zone = text.str.contains(r"(?:[zZ]|:\d\d(?:\.\d+)?[+-]\d\d(?::?\d\d)?)$", na=False)
        absolute = pd.to_datetime(text.where(has_zone), format="ISO8601", utc=True, errors="coerce")
        local = _bare(text.mask(has_zone | epoch.notna()))
        found = absolute.astype("datetime64[us, UTC]").fillna(_localized(local, zone, second))
        found = found.fillna(_localized(epoch, epoch_zone, second))
    return found.where(found.between(*(pd.Timestamp(moment) for moment in _ERA)))


def _epoch(text: Series) -> Series:
    import pandas as pd

    number = pd.to_numeric(text, errors="coerce").astype("float64")
    # Milliseconds tell themselves by their size: 1e11 seconds are in the year 5138.
    number = number.where(number.abs() < 1e11, number / 1_000)
    micros = (number.where(number.abs() < 1e11) * 1e6).round().astype("Int64")
    return pd.to_datetime(micros, unit="us", errors="coerce").astype("datetime64[us]")


def _bare(text: Series) -> Series:
    import pandas as pd

    found = pd.to_datetime(text, format="ISO8601", errors="coerce").astype("datetime64[us]")
    rest = text[found.isna() & text.notna()]
    if len(rest):
        american = pd.to_datetime(rest, format="%m/%d/%Y %I:%M:%S %p", errors="coerce")
        found = found.fillna(american.astype("datetime64[us]"))
    return found


def _localized(column: Series, zone: str, second: bool) -> Series:
    import numpy as np

    is_first = np.full(len(column), not second)
    local = column.dt.tz_localize(zone, ambiguous=is_first, nonexistent="NaT")
    return local.dt.tz_convert("UTC").astype("datetime64[us, UTC]")


def _completed(frame: Frame) -> Frame:
    """Each of distance, duration and speed, where the other two are known."""
    distance, duration, speed = (frame[name] for name in ("distance_km", "duration_s", "speed_kmh"))
    moving = speed.where(speed > 0)
    frame["duration_s"] = duration.fillna(distance / moving * 3_600)
    frame["distance_km"] = distance.fillna(speed * duration / 3_600)
    hours = frame["duration_s"].where(frame["duration_s"] > 0) / 3_600
    # A speed that the file tells stays, for clustering to see where it contradicts the others.
    frame["speed_kmh"] = speed.fillna(frame["distance_km"] / hours)
    return frame


# Simulated

_SIMULATED_STARTS = ("started_at", "start_time", "pickup_datetime", "timestamp", "start")
_DISTANCES: Units = {
    "distance_km": 1,
    "distance": 1,
    "distance_miles": KM_PER_MILE,
    "distance_mi": KM_PER_MILE,
    "distance_m": 0.001,
    "distance_meters": 0.001,
}
_DURATIONS: Units = {
    "duration_s": 1,
    "duration": 1,
    "duration_sec": 1,
    "duration_seconds": 1,
    "duration_min": 60,
    "duration_minutes": 60,
    "duration_h": 3_600,
    "duration_hours": 3_600,
}
_SPEEDS: Units = {
    "speed_kmh": 1,
    "speed": 1,
    "speed_km_h": 1,
    "speed_kph": 1,
    "speed_mph": KM_PER_MILE,
    "speed_m_s": 3.6,
}
_IDS = ("ride_id", "id", "trip_id")
_LONG = {name: name.replace("lon", "longitude").replace("lat", "latitude") for name in _POINTS}


def _simulated_when(frame: Frame) -> Series:
    return _moments(_first(frame, *_SIMULATED_STARTS), "UTC")


def _simulated(frame: Frame) -> Frame:
    import pandas as pd

    return _completed(
        pd.DataFrame(
            {
                "ride_id": _text(frame, *_IDS),
                "distance_km": _measure(frame, _DISTANCES),
                "duration_s": _seconds(frame),
                "speed_kmh": _measure(frame, _SPEEDS),
                **{name: _number(frame, name, _LONG[name]) for name in _POINTS},
                "fare": _number(frame, "fare"),
                **{name: _text(frame, name) for name in TEXTS if name != "ride_id"},
            }
        )
    )


# New York

_TLC = "America/New_York"
_TLC_STARTS = ("tpep_pickup_datetime", "lpep_pickup_datetime", "pickup_datetime", "pickup")
_TLC_ENDS = ("tpep_dropoff_datetime", "lpep_dropoff_datetime", "dropoff_datetime", "dropoff")
_TLC_ZONES = {
    "pickup": ("pulocationid", "pickup_location_id"),
    "dropoff": ("dolocationid", "dropoff_location_id"),
}


def _tlc_when(frame: Frame) -> Series:
    return _moments(_first(frame, *_TLC_STARTS), _TLC)


def _tlc(frame: Frame) -> Frame:
    import pandas as pd

    started, ends = _tlc_when(frame), _first(frame, *_TLC_ENDS)
    ended = _moments(ends, _TLC)
    # Where the clock goes back within a ride, its end is in the second of the two hours.
    ended = ended.where(ended >= started, _moments(ends, _TLC, second=True))
    ride = pd.DataFrame(
        {
            "ride_id": _text(frame, *_IDS),
            "distance_km": _number(frame, "trip_distance", "distance") * KM_PER_MILE,
            "duration_s": (ended - started).dt.total_seconds(),
            "speed_kmh": pd.Series(float("nan"), index=frame.index),
            "fare": _number(frame, "fare_amount", "fare"),
        }
    )
    for end, ids in _TLC_ZONES.items():
        place = _number(frame, *ids)
        zones = _zones()
        ride[f"{end}_lon"] = place.map(zones["lon"])
        ride[f"{end}_lat"] = place.map(zones["lat"])
        named = place.map(zones["zone"]).astype("string")
        ride[f"{end}_zone"] = named.fillna(_text(frame, f"{end}_zone"))
    for name in ("weather", "traffic", "news"):
        ride[name] = pd.Series(None, index=frame.index, dtype="string")
    return _completed(ride)


@functools.cache
def _zones() -> Frame:
    """New York's taxi zones by their id: zone, borough, lon, lat."""
    import pandas as pd

    return pd.read_csv(Path(__file__).with_name("zones.csv"), comment="#").set_index("location_id")


# Chicago

_CHICAGO = "America/Chicago"
_CHICAGO_STARTS = ("trip_start_timestamp",)


def _chicago_when(frame: Frame) -> Series:
    # Seconds since 1970 in these files count the wall clock's time, not UTC: the hours of the
    # rush and of the quiet night say so.
    return _moments(_first(frame, *_CHICAGO_STARTS), _CHICAGO, epoch_zone=_CHICAGO)


def _chicago(frame: Frame) -> Frame:
    import pandas as pd

    ride = {
        "ride_id": _text(frame, *_IDS),
        "distance_km": _number(frame, "trip_miles") * KM_PER_MILE,
        "duration_s": _number(frame, "trip_seconds"),
        "speed_kmh": pd.Series(float("nan"), index=frame.index),
        "fare": _number(frame, "fare"),
    }
    for end in ("pickup", "dropoff"):
        for axis in ("longitude", "latitude"):
            name = f"{end}_{'lon' if axis == 'longitude' else 'lat'}"
            ride[name] = _number(frame, f"{end}_centroid_{axis}", f"{end}_{axis}")
        area = _number(frame, f"{end}_community_area").round().astype("Int64").astype("string")
        ride[f"{end}_zone"] = "Community area " + area
    for name in ("weather", "traffic", "news"):
        ride[name] = pd.Series(None, index=frame.index, dtype="string")
    return _completed(pd.DataFrame(ride))


def _of_ends(*names: str) -> set[str]:
    return {name.format(end) for name in names for end in ("pickup", "dropoff")}


_ADAPTERS = {
    "simulated": Adapter(
        _SIMULATED_STARTS,
        frozenset(
            {*_IDS, *_DISTANCES, *_DURATIONS, *_SPEEDS, *_POINTS, *_LONG.values(), *TEXTS, "fare"}
        ),
        _simulated_when,
        _simulated,
        measures=tuple(map(frozenset, (_DISTANCES, _DURATIONS, _SPEEDS))),
    ),
    "nyc_tlc": Adapter(
        _TLC_STARTS,
        frozenset(
            {*_IDS, *_TLC_ENDS, *_TLC_ZONES["pickup"], *_TLC_ZONES["dropoff"]}
            | {"trip_distance", "distance", "fare_amount", "fare", "pickup_zone", "dropoff_zone"}
        ),
        _tlc_when,
        _tlc,
    ),
    "chicago": Adapter(
        _CHICAGO_STARTS,
        frozenset(
            {*_IDS, "trip_miles", "trip_seconds", "fare"}
            | _of_ends("{}_community_area", "{}_longitude", "{}_latitude")
            | _of_ends("{}_centroid_longitude", "{}_centroid_latitude")
        ),
        _chicago_when,
        _chicago,
    ),
}
