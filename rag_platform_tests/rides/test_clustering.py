import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.rides.clustering import Clustering, components, find_clusters
from rag_platform.rides.features import in_range, readings
from rag_platform.rides.robust import spread, usual_range
from rag_platform.rides.schema import conform
from rag_platform.rides.simulation import simulate_marked
from rag_platform_tests.rides import planted

ROOT = Path(__file__).resolve().parents[2]


def _rides(distance: Any, duration: Any, **more: Any) -> pa.Table:
    ids = [f"ride-{number}" for number in range(len(distance))]
    figures = {
        "distance_km": np.asarray(distance, float),
        "duration_s": np.asarray(duration, float),
    }
    return conform(pa.table({"ride_id": ids, **figures, **more}))


def _city(name: str, rides: int, seed: int = 1) -> pa.Table:
    return planted.CITIES[name](rides, np.random.default_rng(seed))


def _replaced(rides: pa.Table, **columns: Any) -> pa.Table:
    for name, values in columns.items():
        rides = rides.set_column(rides.column_names.index(name), name, pa.array(values))
    return rides


def _judge(found: Clustering, kind: Any) -> tuple[float, float]:
    """Recall and precision."""
    odd = kind >= 0
    return float(found.is_anomaly[odd].mean()), float(odd[found.is_anomaly].mean())


@pytest.mark.parametrize(
    ("size", "share"), [(10_000, 0.001), (10_000, 0.01), (10_000, 0.03), (100_000, 0.01)]
)
@pytest.mark.parametrize("city", planted.CITIES)
def test_planted_anomalies_are_found(city: str, size: int, share: float) -> None:
    rides, kind = planted.plant(_city(city, size), share, seed=2)
    recall, precision = _judge(find_clusters(rides), kind)
    assert recall >= 0.9
    # Of a city whose own tails are heavy, as many of its own rides are as far out as 0.1 percent.
    assert precision >= (0.15 if city == "heavy_tailed" and share == 0.001 else 0.5)


@pytest.mark.parametrize("kind", planted.KINDS)
@pytest.mark.parametrize("share", [0.002, 0.03])
def test_every_way_to_be_odd_is_found(kind: str, share: float) -> None:
    rides, planted_kind = planted.plant(_city("two_towns", 20_000), share, 3, (kind,))
    recall, precision = _judge(find_clusters(rides), planted_kind)
    assert recall >= 0.9
    assert precision >= 0.5


@pytest.mark.parametrize("size", [10_000, 100_000])
def test_the_odd_rides_of_the_simulation_are_found(size: int) -> None:
    rides, odd = simulate_marked(date(2026, 7, 4), size, 11)
    recall, precision = _judge(find_clusters(rides), np.where(odd, 0, -1))
    assert recall >= 0.9
    assert precision >= 0.5


def test_usual_rides_are_no_anomalies() -> None:
    assert find_clusters(_city("plain", 50_000)).is_anomaly.mean() < 0.001


def test_eps_does_not_drift_with_the_number_of_rides() -> None:
    eps = [find_clusters(_city("plain", size)).eps for size in (5_000, 20_000, 100_000, 400_000)]
    assert max(eps) < 1.3 * min(eps)


def test_towns_are_clusters_the_largest_first() -> None:
    rides = _city("two_towns", 30_000)
    found = find_clusters(rides)
    far = rides["distance_km"].to_numpy() > 30.0
    assert found.clusters == 2
    assert np.mean(found.cluster[~far] == 0) > 0.999
    assert np.mean(found.cluster[far] == 1) > 0.98


@pytest.mark.parametrize(("share", "is_pattern"), [(0.03, False), (0.10, True)])
def test_a_dense_clump_is_a_pattern_only_where_it_is_common(share: float, is_pattern: bool) -> None:
    rides = _city("plain", 20_000)
    random = np.random.default_rng(4)
    clump = random.random(20_000) < share
    distance, duration = rides["distance_km"].to_numpy(), rides["duration_s"].to_numpy()
    # 60 km in 20 minutes.
    distance = np.where(clump, 60.0 * random.normal(1.0, 0.01, 20_000), distance)
    duration = np.where(clump, 1200.0 * random.normal(1.0, 0.01, 20_000), duration)
    found = find_clusters(_rides(distance, duration))
    assert np.mean(found.is_anomaly[clump]) == pytest.approx(0.0 if is_pattern else 1.0, abs=0.01)


@pytest.mark.parametrize("size", [5_000, 100_000])
def test_the_rides_of_a_third_are_a_pattern_though_slow(size: int) -> None:
    """Rented bicycles: two thirds ride to work, one third looks at the sights for hours."""
    random = np.random.default_rng(3)
    looks = random.random(size) < 0.35
    minutes = random.lognormal(np.log(np.where(looks, 75.0, 9.0)), 0.42)
    speed = random.lognormal(np.log(np.where(looks, 4.0, 13.0)), np.where(looks, 0.35, 0.15))
    found = find_clusters(_rides(minutes / 60.0 * speed, minutes * 60.0))
    assert found.is_anomaly.mean() < 0.003


def test_many_small_patterns_are_all_usual() -> None:
    random = np.random.default_rng(12)
    town = random.integers(0, 40, 8_000)
    distance = 2.0 ** (town % 8) * random.normal(1.0, 0.01, 8_000)
    duration = 600.0 * 2.0 ** (town // 8 * 2) * random.normal(1.0, 0.01, 8_000)
    assert find_clusters(_rides(distance, duration)).is_anomaly.mean() < 0.05


@pytest.mark.parametrize("city", ["two_towns", "coarse"])
def test_the_order_of_rows_changes_nothing(city: str) -> None:
    rides, _ = planted.plant(_city(city, 30_000), 0.01, 5)
    order = np.random.default_rng(6).permutation(rides.num_rows)
    found, shuffled = find_clusters(rides), find_clusters(rides.take(order))
    np.testing.assert_array_equal(found.cluster[order], shuffled.cluster)
    np.testing.assert_array_equal(found.score[order], shuffled.score)
    assert shuffled.eps == found.eps


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(0, 300))
def test_the_order_of_a_few_rows_changes_nothing(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    rides = _rides(random.lognormal(1.0, 1.0, size), random.lognormal(6.0, 1.0, size))
    order = random.permutation(size)
    found, shuffled = find_clusters(rides), find_clusters(rides.take(order))
    np.testing.assert_array_equal(found.cluster[order], shuffled.cluster)
    np.testing.assert_array_equal(found.score[order], shuffled.score)


@settings(max_examples=15, deadline=None)
@given(
    kilometres=st.floats(0.001, 1000.0),
    seconds=st.floats(0.001, 1000.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_units_change_nothing(kilometres: float, seconds: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    distance, duration = random.lognormal(1.0, 0.7, 600), random.lognormal(6.0, 0.7, 600)
    found = find_clusters(_rides(distance, duration))
    scaled = find_clusters(_rides(distance * kilometres, duration * seconds))
    assert scaled.eps == pytest.approx(found.eps)
    np.testing.assert_allclose(scaled.score, found.score, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), size=st.integers(0, 60))
def test_any_figures_give_an_answer(data: st.DataObject, size: int) -> None:
    absurd = [0.0, 1.0, 600.0, 5e-324, 1e300, 1.7e308, float("inf")]
    figure = st.one_of(st.floats(), st.sampled_from(absurd), st.none())
    figures = st.lists(figure, min_size=size, max_size=size)
    distance, duration, speed = (
        pa.array(data.draw(figures), pa.float64()) for _ in ("distance", "duration", "speed")
    )
    ids = pa.array([f"{number}" for number in range(size)], pa.string())
    columns = {"ride_id": ids, "distance_km": distance, "duration_s": duration, "speed_kmh": speed}
    found = find_clusters(conform(pa.table(columns)))
    assert len(found.cluster) == len(found.score) == size
    assert np.all((found.score >= 0.0) & (found.score <= 1.0))
    np.testing.assert_array_equal(found.is_anomaly, found.score > 0.5)


@pytest.mark.parametrize("size", [0, 1, 2, 9, 10])
def test_a_handful_of_rides_is_one_cluster(size: int) -> None:
    found = find_clusters(_city("plain", size))
    assert found.cluster.tolist() == [0] * size
    assert found.clusters == min(size, 1)


@pytest.mark.parametrize("size", [30, 100, 1_000])
def test_one_odd_ride_among_few(size: int) -> None:
    rides = _city("plain", size)
    duration = rides["duration_s"].to_numpy().copy()
    duration[0] *= 40.0
    found = find_clusters(_rides(rides["distance_km"].to_numpy(), duration))
    assert found.is_anomaly[0]
    assert found.score[0] == found.score.max()
    assert found.is_anomaly.sum() <= 1 + 0.03 * size


@pytest.mark.parametrize(
    ("distance", "duration"),
    [(3.0, 600.0), (0.0, 600.0), (3.0, 0.0), (0.0, 0.0), (np.nan, 600.0), (np.nan, np.nan)],
)
def test_rides_that_are_all_the_same_are_usual(distance: float, duration: float) -> None:
    found = find_clusters(_rides(np.full(500, distance), np.full(500, duration)))
    assert found.cluster.tolist() == [0] * 500
    assert found.score.max() == 0.0


def test_an_odd_ride_among_equal_ones() -> None:
    distance, duration = np.full(500, 3.0), np.full(500, 600.0)
    duration[7] = 6000.0
    assert np.flatnonzero(find_clusters(_rides(distance, duration)).is_anomaly).tolist() == [7]


def test_without_distances_the_duration_tells() -> None:
    duration = _city("plain", 5_000)["duration_s"].to_numpy().copy()
    duration[3] = 200_000.0
    for missing in (0.0, np.nan):
        found = find_clusters(_rides(np.full(5_000, missing), duration))
        assert found.is_anomaly[3]
        assert found.is_anomaly.mean() < 0.005


def test_a_speed_that_contradicts_the_ride_is_odd() -> None:
    rides = _city("plain", 5_000)
    speed = rides["speed_kmh"].to_numpy().copy()
    speed[:20] = 2.0
    found = find_clusters(_replaced(rides, speed_kmh=speed))
    assert found.is_anomaly[:20].all()
    assert found.is_anomaly.mean() < 0.006
    # Told in miles an hour, all of them: no contradiction of single rides.
    miles = find_clusters(_replaced(rides, speed_kmh=rides["speed_kmh"].to_numpy() / 1.609))
    assert miles.is_anomaly.mean() < 0.002


@pytest.mark.parametrize("told", [0.0, 0.2, 5.0])
@pytest.mark.parametrize("form", ["exact", "whole_kmh", "whole_minutes", "metres_a_second"])
def test_what_the_rounding_explains_is_no_contradiction(form: str, told: float) -> None:
    random = np.random.default_rng(13)
    distance, speed = random.lognormal(1.0, 0.9, 6_000), random.lognormal(np.log(20.0), 0.35, 6_000)
    duration = distance / speed * 3600.0
    if form == "whole_kmh":
        speed = np.round(speed)
    elif form == "whole_minutes":
        duration = np.maximum(np.round(duration / 60.0), 1.0) * 60.0
    elif form == "metres_a_second":
        speed = speed / 3.6
    assert find_clusters(_rides(distance, duration, speed_kmh=speed)).is_anomaly.mean() < 0.003
    speed[:30] *= told
    found = find_clusters(_rides(distance, duration, speed_kmh=speed))
    assert found.is_anomaly[:30].mean() >= 0.9
    assert found.is_anomaly[30:].mean() < 0.003


def test_what_is_usual_depends_on_the_hour() -> None:
    """30 km/h is usual at night and odd in the rush."""
    random = np.random.default_rng(8)
    rush = random.random(20_000) < 0.5
    distance = random.lognormal(1.5, 0.5, 20_000)
    speed = np.where(rush, 9.0, 32.0) * random.lognormal(0.0, 0.08, 20_000)
    odd = np.flatnonzero(rush)[:40]
    speed[odd] = 32.0
    started = (planted.MONDAY_S + np.where(rush, 18, 3) * 3600) * 1_000_000
    times = pa.array(started, pa.timestamp("us", tz="UTC"))
    found = find_clusters(_rides(distance, distance / speed * 3600.0, started_at=times))
    assert found.is_anomaly[odd].all()
    assert found.is_anomaly.mean() < 0.005
    timeless = find_clusters(_rides(distance, distance / speed * 3600.0))
    assert not timeless.is_anomaly[odd].any()


def test_core_rides_and_clusters_are_those_of_dbscan() -> None:
    from sklearn.cluster import DBSCAN

    found = find_clusters(_city("two_towns", 3_000))
    known = found.places[found.sample]
    bulk = np.nan_to_num(known[in_range(known)])
    reference = DBSCAN(eps=found.eps, min_samples=found.min_samples).fit(bulk)
    cores = np.zeros(len(bulk), dtype=bool)
    cores[reference.core_sample_indices_] = True
    ours = found.cluster[found.sample][in_range(known)]
    for number in range(found.clusters):
        theirs = reference.labels_[cores & (ours == number)]
        assert len(set(theirs.tolist())) == 1
    noise = reference.labels_ == -1
    assert found.is_anomaly[found.sample][in_range(known)][noise].all()


def test_components_join_what_is_near() -> None:
    points = np.array([[0.0], [1.0], [2.0], [4.0], [5.0], [9.0]])
    assert components(points, 1.0).tolist() == [0, 0, 0, 1, 1, 2]
    assert components(points, 2.0).tolist() == [0, 0, 0, 0, 0, 1]
    assert components(points[:0], 1.0).tolist() == []


def test_spread_ignores_less_than_half() -> None:
    random = np.random.default_rng(9)
    values = random.normal(5.0, 2.0, 20_000)
    assert spread(values) == pytest.approx(2.0, rel=0.05)
    values[:6_000] = 1_000.0
    assert 2.0 < spread(values) < 3.5
    assert spread(np.full(10, 3.0)) == 0.0
    assert spread(np.array([])) == 0.0


def test_usual_range_ignores_some_odd_values() -> None:
    random = np.random.default_rng(10)
    values = random.normal(0.0, 1.0, 20_000)
    clean = usual_range(values)
    # The 0.1 % quantile of the normal distribution is 3.09; the tail is taken for a longer one.
    assert 3.0 <= clean.high < 4.2
    assert -4.2 < clean.low <= -3.0
    values[:600] = random.uniform(6.0, 12.0, 600)
    with_odd = usual_range(values)
    assert with_odd.high < 4.5
    assert not with_odd.holds(values[:600]).any()


def test_usual_range_takes_in_a_pattern_beyond_its_end_and_no_few() -> None:
    random = np.random.default_rng(14)
    values = random.normal(0.0, 1.0, 10_000)
    values[:300] = random.normal(20.0, 1.0, 300)
    assert usual_range(values).high < 5.0
    values[:800] = random.normal(20.0, 1.0, 800)
    assert 22.0 < usual_range(values).high < 26.0
    assert -26.0 < usual_range(-values).low < -22.0
    # Two of thirty are more than a twentieth, and no pattern.
    few = np.r_[np.linspace(-1.0, 1.0, 28), 20.0, 21.0]
    assert usual_range(few).high < 10.0


def test_readings_know_what_is_unknown() -> None:
    common = readings(_rides([0.0, 1.0, 2.0], [60.0, 60.0, -1.0]))
    assert np.isnan(common.distance_km).tolist() == [True, False, False]
    assert np.isnan(common.duration_s).tolist() == [False, False, True]
    rare = readings(_rides([0.0] + [1.0] * 99, [60.0] * 100))
    assert not np.isnan(rare.distance_km).any()


_MILLION = """
import json, pathlib, sys, time
import numpy as np
import pyarrow.parquet as pq
from rag_platform.rides.clustering import find_clusters
rides = pq.read_table(sys.argv[1])
find_clusters(rides.slice(0, 1000))
started = time.monotonic()
found = find_clusters(rides)
seconds = time.monotonic() - started
status = pathlib.Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
np.save(sys.argv[2], found.is_anomaly)
print(json.dumps([seconds, peak]))
"""


@pytest.mark.slow
def test_a_million_rides_take_seconds_and_less_than_a_gigabyte(tmp_path: Path) -> None:
    rides, kind = planted.plant(_city("two_towns", 1_000_000), 0.01, 2)
    pq.write_table(rides, tmp_path / "rides.parquet")
    files = [str(tmp_path / name) for name in ("rides.parquet", "is_anomaly.npy")]
    command = [sys.executable, "-c", _MILLION, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, peak_mib = json.loads(done.stdout)
    assert seconds < 15.0
    assert peak_mib < 1024.0
    found, odd = np.load(tmp_path / "is_anomaly.npy"), kind >= 0
    assert found[odd].mean() >= 0.9
    assert odd[found].mean() >= 0.5
