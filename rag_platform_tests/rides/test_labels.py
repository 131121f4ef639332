import numpy as np
import pyarrow as pa
import pytest

from rag_platform.rides.labels import LABELS, cluster
from rag_platform.rides.schema import clustered_schema, conform, ride_schema
from rag_platform_tests.rides import planted

WHY = {
    "long_time": {"long_time", "slow"},
    "long_distance": {"long_distance"},
    "crawling": {"slow", "long_time"},
    "impossible_speed": {"fast"},
    "short_but_long": {"long_time", "slow"},
    "standing": {"long_time", "slow"},
    "long_wait": {"long_time", "slow"},
}


@pytest.fixture(scope="module")
def city() -> pa.Table:
    return planted.plain(10_000, np.random.default_rng(1))


def test_the_table_gets_what_was_found(city: pa.Table) -> None:
    rides, kind = planted.plant(city, 0.01, 2)
    found = cluster(rides)
    assert found.schema.equals(clustered_schema())
    assert found.select(ride_schema().names).equals(rides)
    odd = found["is_anomaly"].to_numpy()
    assert odd[kind >= 0].mean() > 0.9
    np.testing.assert_array_equal(odd, found["cluster"].to_numpy() == -1)
    np.testing.assert_array_equal(odd, found["score"].to_numpy() > 0.5)
    np.testing.assert_array_equal(odd, [bool(why) for why in found["why"].to_pylist()])
    np.testing.assert_array_equal(odd, [bool(said) for said in found["reason"].to_pylist()])
    assert {name for why in found["why"].to_pylist() for name in why} <= set(LABELS)


def test_clustering_what_was_clustered_gives_the_same(city: pa.Table) -> None:
    rides, _ = planted.plant(city, 0.01, 2)
    once = cluster(rides)
    assert cluster(conform(once)).equals(once)


@pytest.mark.parametrize("kind", WHY)
def test_labels_say_in_what_way_a_ride_is_odd(city: pa.Table, kind: str) -> None:
    rides, planted_kind = planted.plant(city, 0.005, 3, (kind,))
    odd = cluster(rides).filter(pa.array(planted_kind >= 0))
    fitting = [WHY[kind] <= set(why) for why in odd["why"].to_pylist()]
    assert np.mean(fitting) >= 0.9


def _one(city: pa.Table, distance: float, duration: float, speed: float | None = None) -> dict:  # type: ignore[type-arg]
    """What is found about a ride that is added to a city."""
    row = {"ride_id": "odd", "distance_km": distance, "duration_s": duration, "speed_kmh": speed}
    ride = conform(pa.Table.from_pylist([row]))
    return cluster(pa.concat_tables([city, ride])).to_pylist()[-1]  # type: ignore[no-any-return]


def test_reasons_are_sentences_with_the_figures(city: pa.Table) -> None:
    waits = _one(city, 4.0, 4.0 / 22.0 * 3600.0 * 10.0)
    # 109 minutes instead of 11, with 22 km/h as the city's middle speed.
    assert set(waits["why"]) == {"long_time", "slow"}
    assert "took 109 min, " in waits["reason"]
    assert " times what is usual for its distance and hour" in waits["reason"]
    assert 9.0 < float(waits["reason"].split("109 min, ")[1].split(" times")[0]) < 11.0
    assert "Drove at 2.2 km/h where 22." in waits["reason"]
    far = _one(city, 400.0, 20.0 * 3600.0)
    assert far["why"][0] == "long_distance"
    assert far["reason"].startswith("Went 400.0 km, farther than usual")
    jumps = _one(city, 10.0, 60.0)
    assert jumps["why"] == ["fast"]
    assert jumps["reason"].startswith("Drove at 600.0 km/h where 22.")


def test_a_ride_is_not_slow_and_fast_at_once() -> None:
    """A meter that was switched on and off: no way in five seconds, where some rides have none."""
    random = np.random.default_rng(5)
    distance = random.lognormal(np.log(4.0), 0.7, 8_000)
    duration = 3600.0 * distance / random.lognormal(np.log(22.0), 0.28, 8_000)
    distance[:30], duration[:30] = 0.0, random.uniform(2.0, 9.0, 30)
    rows = cluster(planted._table(distance, duration)).slice(0, 30).to_pylist()
    assert all(row["is_anomaly"] for row in rows)
    assert not [row["why"] for row in rows if {"slow", "fast"} <= set(row["why"])]
    assert all(row["reason"].lower().count("drove at 0.0 km/h") <= 1 for row in rows)


def test_a_contradicting_speed_is_off_pattern(city: pa.Table) -> None:
    told = _one(city, 4.0, 4.0 / 22.0 * 3600.0, speed=3.0)
    assert told["why"] == ["off_pattern"]
    assert told["reason"] == "Its speed of 3.0 km/h contradicts its distance and duration."


def test_figures_that_are_usual_only_one_by_one_are_off_pattern() -> None:
    """In a city where longer rides are faster, 16 km as slowly as 4 km are driven."""
    random = np.random.default_rng(2)
    distance = random.lognormal(np.log(4.0), 0.9, 20_000)
    speed = 12.0 * distance**0.5 * random.lognormal(0.0, 0.06, 20_000)
    city = planted._table(distance, distance / speed * 3600.0)
    slow = _one(city, 16.0, 16.0 / 24.0 * 3600.0)
    assert slow["is_anomaly"]
    assert "drove at 24.0 km/h where 4" in slow["reason"].lower()
    assert "off_pattern" in slow["why"]
    assert "long_time" in slow["why"]
    assert "its figures are usual one by one but not together" in slow["reason"].lower()


@pytest.mark.parametrize("rides", [0, 1, 10])
def test_few_rides_get_no_labels(rides: int) -> None:
    found = cluster(planted.plain(rides, np.random.default_rng(1)))
    assert found.schema.equals(clustered_schema())
    assert found["why"].to_pylist() == [[]] * rides
    assert found["reason"].null_count == rides
