from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from rag_platform.rides.schema import conform, ride_schema
from rag_platform.rides.simulation import ODD_SHARE, simulate, simulate_marked

TUESDAY = date(2026, 6, 30)


def _median(table: pa.Table, column: str, mask: Any) -> float:
    return float(np.median(table.filter(mask)[column].to_numpy()))


def test_the_same_day_and_seed_give_the_same_rides() -> None:
    assert simulate(TUESDAY, 500, 7).equals(simulate(TUESDAY, 500, 7))
    assert not simulate(TUESDAY, 500, 7).equals(simulate(TUESDAY, 500, 8))
    other_day = simulate(date(2026, 7, 1), 500, 7)
    assert not simulate(TUESDAY, 500, 7)["distance_km"].equals(other_day["distance_km"])


def test_rides_are_complete_and_of_their_day() -> None:
    rides = simulate(TUESDAY, 5_000, 1)
    assert rides.schema.equals(ride_schema())
    assert rides.num_rows == 5_000
    assert pc.count_distinct(rides["ride_id"]).as_py() == 5_000
    started = rides["started_at"]
    assert pc.min(started).as_py() >= datetime(2026, 6, 30, tzinfo=UTC)
    assert pc.max(started).as_py() < datetime(2026, 7, 1, tzinfo=UTC)
    for name in ride_schema().names:
        if name != "news":
            assert rides[name].null_count == 0, name
    assert pc.min(rides["distance_km"]).as_py() > 0
    assert pc.min(rides["duration_s"]).as_py() > 0


def test_the_figures_of_a_ride_agree() -> None:
    rides = simulate(TUESDAY, 2_000, 3)
    hours = rides["duration_s"].to_numpy() / 3600.0
    np.testing.assert_allclose(rides["speed_kmh"].to_numpy() * hours, rides["distance_km"])
    # A way is no shorter than the straight line: 111.32 km a degree, less from west to east.
    lat = (rides["dropoff_lat"].to_numpy() - rides["pickup_lat"].to_numpy()) * 111.32
    lon = (rides["dropoff_lon"].to_numpy() - rides["pickup_lon"].to_numpy()) * 111.32
    straight = np.hypot(lat, lon * np.cos(np.radians(48.5)))
    shorter = rides["distance_km"].to_numpy() < straight
    assert shorter.mean() < ODD_SHARE


def test_the_rush_hour_is_slow_and_the_night_is_quiet() -> None:
    rides = simulate(TUESDAY, 30_000, 5)
    hour = pc.hour(rides["started_at"])
    rush, night = pc.equal(hour, 18), pc.equal(hour, 3)
    assert pc.sum(rush).as_py() > 5 * pc.sum(night).as_py()
    assert _median(rides, "speed_kmh", night) > 1.2 * _median(rides, "speed_kmh", rush)
    heavy, light = (pc.equal(rides["traffic"], name) for name in ("heavy", "light"))
    assert _median(rides, "speed_kmh", light) > 1.3 * _median(rides, "speed_kmh", heavy)


def test_a_small_share_is_odd_and_the_table_does_not_say_which() -> None:
    rides, odd = simulate_marked(TUESDAY, 40_000, 2)
    assert rides.equals(simulate(TUESDAY, 40_000, 2))
    # 0.5 percent, give or take four standard deviations of a count.
    assert abs(odd.sum() - 200) < 4 * 200**0.5
    speed = rides["speed_kmh"].to_numpy()
    assert np.quantile(speed[~odd], 0.999) < 70 < speed[odd].max()
    assert np.quantile(speed[~odd], 0.001) > 3 > np.quantile(speed[odd], 0.2)


@pytest.mark.parametrize("rides", [0, 1, 2])
def test_few_rides(rides: int) -> None:
    assert simulate(TUESDAY, rides, 0).num_rows == rides
    assert simulate(TUESDAY, rides, 0).schema.equals(ride_schema())


@pytest.mark.parametrize(("rides", "seed"), [(-1, 0), (10_000_001, 0), (1, -1)])
def test_impossible_orders_are_refused(rides: int, seed: int) -> None:
    with pytest.raises(ValueError, match="rides must be 0 to 10,000,000"):
        simulate(TUESDAY, rides, seed)


def test_conform_adds_what_is_missing() -> None:
    given = {"distance_km": [3, 1, 2], "duration_s": [360, 0, 90], "ride_id": ["a", "b", "c"]}
    table = conform(pa.table(given | {"speed_kmh": [None, None, 77.0], "other": [1, 2, 3]}))
    assert table.schema.equals(ride_schema())
    assert table["speed_kmh"].to_pylist() == [30.0, None, 77.0]
    assert table["weather"].null_count == 3
    with pytest.raises(KeyError, match="duration_s"):
        conform(pa.table({"ride_id": ["a"], "distance_km": [1.0]}))
