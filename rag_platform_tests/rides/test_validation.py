"""Which rides are plausible, and what is said of the others."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from rag_platform.rides.schema import conform, ride_schema
from rag_platform.rides.validation import RANGES, doubtful_units, problems


def frame(**changes: Any) -> pd.DataFrame:
    """One plausible ride with some values changed."""
    texts = ("ride_id", "pickup_zone", "dropoff_zone", "weather", "traffic", "news")
    ride = {
        "started_at": pd.Timestamp("2026-06-10T12:00Z"),
        "distance_km": 6.0,
        "duration_s": 1200.0,
        "speed_kmh": 18.0,
        "pickup_lon": 9.5,
        "pickup_lat": 48.5,
        "dropoff_lon": None,
        "dropoff_lat": None,
        "fare": None,
        **dict.fromkeys(texts, None),
        "ride_id": "r1",
        **changes,
    }
    one = pd.DataFrame([ride])
    one["started_at"] = pd.to_datetime(one["started_at"], utc=True).astype("datetime64[us, UTC]")
    return one.astype(dict.fromkeys(RANGES, "float64") | dict.fromkeys(texts, "string"))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"distance_km": 0.0, "speed_kmh": 0.0},
        {"distance_km": 1000.0},
        {"duration_s": 1.0},
        {"duration_s": 172_800.0},
        {"speed_kmh": 2_000.0},
        {"pickup_lon": -180.0, "pickup_lat": 90.0},
        {"fare": 0.0},
        {"news": "<script>alert(1)</script>"},
    ],
)
def test_plausible(change: dict[str, Any]) -> None:
    assert problems(frame(**change)) == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"started_at": None}, ("missing_started_at", "started_at is missing or cannot be read")),
        (
            {"distance_km": None},
            ("missing_distance_km", "distance_km is missing or cannot be read"),
        ),
        (
            {"distance_km": 1000.5},
            ("range_distance_km", "distance_km is 1000.5, not from 0 to 1,000"),
        ),
        ({"distance_km": -1.0}, ("range_distance_km", "distance_km is -1, not from 0 to 1,000")),
        ({"duration_s": 0.5}, ("range_duration_s", "duration_s is 0.5, not from 1 to 172,800")),
        ({"duration_s": 9e9}, ("range_duration_s", "duration_s is 9e+09, not from 1 to 172,800")),
        ({"speed_kmh": 2001.0}, ("range_speed_kmh", "speed_kmh is 2001, not from 0 to 2,000")),
        ({"pickup_lon": 180.5}, ("range_pickup_lon", "pickup_lon is 180.5, not from -180 to 180")),
        ({"dropoff_lat": -91.0}, ("range_dropoff_lat", "dropoff_lat is -91, not from -90 to 90")),
        ({"fare": -5.0}, ("range_fare", "fare is -5, not from 0 to 100,000")),
        ({"weather": "caf\ufffd"}, ("bad_bytes", "weather is no UTF-8 text")),
    ],
)
def test_not_plausible(change: dict[str, Any], expected: tuple[str, str]) -> None:
    assert problems(frame(**change)) == {0: expected}


def test_every_ride_has_one_reason_and_the_others_none() -> None:
    bad = frame(distance_km=-1, duration_s=None, fare=-1)
    rides = pd.concat([frame(), bad, frame(fare=-2)], ignore_index=True)
    found = problems(rides)
    assert {at: reason for at, (reason, _) in found.items()} == {
        1: "range_distance_km",
        2: "range_fare",
    }


def test_where_no_ride_has_a_time_none_needs_one() -> None:
    rides = frame(started_at=None, duration_s=0)
    assert problems(rides, timeless=True)[0][0] == "range_duration_s"
    assert problems(frame(started_at=None), timeless=True) == {}


@pytest.mark.parametrize(
    ("distance", "duration", "speed", "said"),
    [
        (6.0, 1200.0, None, None),
        (0.0, 1200.0, None, None),
        # 20 minutes taken for 20 seconds, and 6 km for 6 m.
        (6.0, 20.0, None, "half of the rides are faster than 1,080 km/h"),
        (0.006, 1200.0, None, "half of the rides are slower than 0.018 km/h"),
        (6.0, 1200.0, 18.9, None),
        (
            6.0,
            1200.0,
            5.0,
            "the speeds told are 0.28 times distance by duration",
        ),  # metres a second
    ],
)
def test_units_that_no_city_has_are_told(
    distance: float, duration: float, speed: float | None, said: str | None
) -> None:
    columns = {"ride_id": ["a", "b", "c"], "distance_km": [distance] * 2 + [0.0]}
    columns |= {"duration_s": [duration] * 3, "speed_kmh": pa.array([speed] * 3, pa.float64())}
    told = doubtful_units(conform(pa.table(columns)))
    assert (told or "").partition(":")[0] == (said or "")


def test_no_rides_have_no_doubtful_units() -> None:
    assert doubtful_units(ride_schema().empty_table()) is None
