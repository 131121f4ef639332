"""Adapters, on samples of the real records and on what files may write otherwise."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rag_platform.rides.reading import read_file
from rag_platform.rides.records import BadRow
from rag_platform_tests.rides.location import RidesLocation

FIXTURES = Path(__file__).with_name("fixtures")


def read(path: Path, adapter: str) -> tuple[list[dict[str, Any]], list[BadRow]]:
    rides: list[dict[str, Any]] = []
    bad: list[BadRow] = []
    for table, refused in read_file(path, path.name, adapter):
        rides += table.to_pylist()
        bad += refused
    return rides, bad


@pytest.fixture
def simulated(location: RidesLocation) -> Any:
    """One record in the simulated form as the ride that it becomes."""

    def convert(**record: Any) -> dict[str, Any]:
        whole = {"started_at": "2026-06-10T12:00:00Z", "distance": 6, "duration": 1200} | record
        path = location.write_lines("a.jsonl", [{k: v for k, v in whole.items() if v is not None}])
        rides, bad = read(path, "simulated")
        assert bad == []
        return rides[0]

    return convert


# Simulated


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({}, (6.0, 1200.0, 18.0)),
        ({"duration": None, "speed": 18}, (6.0, 1200.0, 18.0)),
        ({"distance": None, "speed_kmh": 18}, (6.0, 1200.0, 18.0)),
        ({"distance": None, "distance_miles": 5}, (8.04672, 1200.0, 24.14016)),
        ({"distance": None, "distance_m": "2500"}, (2.5, 1200.0, 7.5)),
        ({"duration": None, "duration_min": 30}, (6.0, 1800.0, 12.0)),
        ({"duration": None, "speed_mph": 10}, (6.0, 6.0 / 16.09344 * 3600, 16.09344)),
        ({"distance": None, "Distance (mi)": 5}, (8.04672, 1200.0, 24.14016)),
        ({"distance": None, "distance_meters": 2500}, (2.5, 1200.0, 7.5)),
        ({"duration": None, "Duration [min]": 30}, (6.0, 1800.0, 12.0)),
        ({"duration": None, "duration_hours": 0.5}, (6.0, 1800.0, 12.0)),
        ({"duration": "00:20:00"}, (6.0, 1200.0, 18.0)),
        ({"duration": "1 days 00:20:00"}, (6.0, 87_600.0, 6.0 / 87_600 * 3600)),
        ({"duration": None, "Speed (km/h)": 18}, (6.0, 1200.0, 18.0)),
        ({"duration": None, "speed_m_s": 5}, (6.0, 1200.0, 18.0)),
        # A speed that contradicts the others stays, for clustering to find.
        ({"speed_kmh": 99}, (6.0, 1200.0, 99.0)),
    ],
)
def test_the_third_quantity_follows_from_two(simulated: Any, record: Any, expected: Any) -> None:
    ride = simulated(**record)
    found = (ride["distance_km"], ride["duration_s"], ride["speed_kmh"])
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-06-10T12:00:00Z", (2026, 6, 10, 12)),
        ("2026-06-10T14:00:00+02:00", (2026, 6, 10, 12)),
        ("2026-06-10 12:00:00", (2026, 6, 10, 12)),
        ("2026-06-10", (2026, 6, 10, 0)),
        (1781092800, (2026, 6, 10, 12)),
        (1781092800000, (2026, 6, 10, 12)),
        ("1781092800.0", (2026, 6, 10, 12)),
    ],
)
def test_times_may_be_written_in_several_ways(simulated: Any, written: Any, expected: Any) -> None:
    year, month, day, hour = expected
    ride = simulated(started_at=written)
    assert ride["started_at"] == datetime(year, month, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    "written", ["yesterday", "2026-06-31", "0042-01-01", "9999-12-31", 5, "1e400", True, [1], {}]
)
def test_other_times_are_none(location: RidesLocation, written: Any) -> None:
    record = {"started_at": written, "distance": 6, "duration": 1200}
    rides, bad = read(location.write_lines("a.jsonl", [record]), "simulated")
    assert rides == []
    assert [row.reason for row in bad] == ["missing_started_at"]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"distance": 6, "duration": 1200, "news": "fair"}, None),
        ({"distance": 6, "speed": 18}, None),
        ({"duration": 1200, "speed": 18}, None),
        ({"distance": 6, "fare": 12}, "wrong_columns"),
        ({"name": "lamp"}, "wrong_columns"),
    ],
)
def test_rides_of_one_file_need_no_times(
    location: RidesLocation, columns: dict[str, Any], problem: str | None
) -> None:
    rides, bad = read(location.write_lines("a.jsonl", [columns] * 2), "simulated")
    assert [row.reason for row in bad] == ([problem] if problem else [])
    assert [
        (r["started_at"], r["distance_km"], r["duration_s"], r["speed_kmh"]) for r in rides
    ] == ([] if problem else [(None, 6.0, 1200.0, 18.0)] * 2)


def test_the_commission_s_records_are_no_rides_without_times(location: RidesLocation) -> None:
    path = location.write("a.csv", "trip_distance,fare_amount\n2,9.5\n")
    assert [row.reason for row in read(path, "nyc_tlc")[1]] == ["wrong_columns"]


def test_other_names_and_texts(simulated: Any) -> None:
    ride = simulated(
        **{
            "Trip ID": 17,
            "Pickup Longitude": 9.5,
            "pickup_lat": "48.5",
            "news": ["Strike\n\nof trains", "Fair\u202e"],
            "weather": "  ",
            "traffic": "x" * 5_000,
        }
    )
    assert (ride["ride_id"], ride["pickup_lon"], ride["pickup_lat"]) == ("17", 9.5, 48.5)
    assert ride["news"] == "Strike of trains; Fair"
    assert ride["weather"] is None
    assert ride["traffic"] == "x" * 1_000


def test_a_ride_without_a_key_has_the_same_one_every_time(location: RidesLocation) -> None:
    text = "start,distance,duration\n" + "2026-06-10T12:00:00Z,6,1200\n" * 2
    first, _ = read(location.write("a.csv", text), "simulated")
    again, _ = read(location.write("a.csv", text), "simulated")
    other, _ = read(location.write("b.csv", text), "simulated")
    ids = [ride["ride_id"] for ride in first]
    assert len(set(ids)) == 2
    assert [ride["ride_id"] for ride in again] == ids
    assert not {ride["ride_id"] for ride in other} & set(ids)


# New York


def test_the_commission_s_sample_is_read() -> None:
    rides, bad = read(FIXTURES / "yellow_2019-03.parquet", "nyc_tlc")
    reasons = [row.reason for row in bad]
    assert len(rides) + len(bad) == 73
    assert reasons.count("range_duration_s") == 4
    assert reasons.count("range_fare") == 13
    assert len(bad) == 17
    ride = next(ride for ride in rides if ride["started_at"].minute == 30)
    # Recorded: 2019-03-10 00:30:03 to 00:40:48 in zone 161, 1.20 miles, 8.50 dollars.
    first = next(r for r in rides if r["started_at"] == datetime(2019, 3, 10, 5, 30, 3, tzinfo=UTC))
    assert ride is not None
    assert first["distance_km"] == pytest.approx(1.2 * 1.609344)
    assert first["duration_s"] == 645.0
    assert first["fare"] == 8.5
    assert first["pickup_zone"] == "Midtown Center"
    assert first["pickup_lon"] == pytest.approx(-73.977, abs=0.01)
    assert first["pickup_lat"] == pytest.approx(40.758, abs=0.01)


def test_a_ride_through_the_hour_that_does_not_exist() -> None:
    rides, _ = read(FIXTURES / "yellow_2019-03.parquet", "nyc_tlc")
    # Recorded: from 01:32:04 to 01:26:48 of the next day; the clocks went forward between.
    [ride] = [r for r in rides if r["started_at"] == datetime(2019, 3, 10, 6, 32, 4, tzinfo=UTC)]
    assert ride["duration_s"] == 86_084 - 3_600


def tlc(pickup: str, dropoff: str, **more: str) -> str:
    record = {
        "VendorID": "1",
        "tpep_pickup_datetime": pickup,
        "tpep_dropoff_datetime": dropoff,
        "trip_distance": "2",
        "PULocationID": "264",
        "DOLocationID": "1",
        "fare_amount": "9.5",
    } | more
    return ",".join(record) + "\n" + ",".join(record.values()) + "\n"


@pytest.mark.parametrize(
    ("pickup", "dropoff", "began", "seconds"),
    [
        # 01:50 EDT to 01:10 EST, twenty minutes on, and from there to 02:05 EST.
        ("2019-11-03 01:50:00", "2019-11-03 01:10:00", 5, 1_200),
        ("2019-11-03 01:50:00", "2019-11-03 02:05:00", 5, 4_500),
        ("2019-11-03 00:50:00", "2019-11-03 01:10:00", 4, 1_200),
    ],
)
def test_a_ride_through_the_hour_that_comes_twice(
    location: RidesLocation, pickup: str, dropoff: str, began: int, seconds: int
) -> None:
    rides, bad = read(location.write("a.csv", tlc(pickup, dropoff)), "nyc_tlc")
    assert bad == []
    assert rides[0]["started_at"] == datetime(2019, 11, 3, began, 50, tzinfo=UTC)
    assert rides[0]["duration_s"] == seconds


def test_official_names_and_zones_without_a_place(location: RidesLocation) -> None:
    text = tlc("2019-03-05 08:00:00", "2019-03-05 08:20:00")
    [ride], _ = read(location.write("a.csv", text), "nyc_tlc")
    assert ride["started_at"] == datetime(2019, 3, 5, 13, tzinfo=UTC)
    assert (ride["pickup_zone"], ride["pickup_lon"]) == ("Unknown", None)
    assert (ride["dropoff_zone"], ride["dropoff_lon"]) == ("Newark Airport", -74.174)


def test_a_time_that_never_was_is_no_start(location: RidesLocation) -> None:
    text = tlc("2019-03-10 02:30:00", "2019-03-10 03:30:00")
    rides, bad = read(location.write("a.csv", text), "nyc_tlc")
    assert rides == []
    assert [row.reason for row in bad] == ["missing_started_at"]


def test_records_with_zone_names() -> None:
    rides, bad = read(FIXTURES / "taxis.csv", "nyc_tlc")
    assert (len(rides), bad) == (20, [])
    # The file's first row: 20:21:09 to 20:27:24, 1.6 miles, Lenox Hill West.
    assert rides[0]["started_at"] == datetime(2019, 3, 24, 0, 21, 9, tzinfo=UTC)
    assert rides[0]["duration_s"] == 375.0
    assert rides[0]["distance_km"] == pytest.approx(2.5749504)
    assert rides[0]["pickup_zone"] == "Lenox Hill West"


# Chicago


def test_the_city_s_sample_is_read() -> None:
    rides, bad = read(FIXTURES / "chicago.csv", "chicago")
    assert len(rides) + len(bad) == 33
    assert sorted(row.reason for row in bad)[:1] == ["missing_duration_s"]
    first = rides[0]
    # Recorded: 00:30 of 1 January on the wall clock, 960 s, 4.4 miles, from area 3, no dropoff.
    assert first["started_at"] == datetime(2013, 1, 1, 6, 30, tzinfo=UTC)
    assert (first["duration_s"], first["fare"]) == (960.0, 12.45)
    assert first["distance_km"] == pytest.approx(7.0811136)
    assert (first["pickup_lat"], first["pickup_lon"]) == (41.972929317, -87.650290074)
    assert (first["pickup_zone"], first["dropoff_zone"]) == ("Community area 3", None)


def test_names_of_the_open_data_portal(location: RidesLocation) -> None:
    header = (
        "Trip ID,Trip Start Timestamp,Trip Seconds,Trip Miles,Pickup Community Area,"
        "Pickup Centroid Latitude,Pickup Centroid Longitude,Fare\n"
    )
    row = "abc,07/04/2023 11:45:00 PM,600,2,8,41.9,-87.63,12\n"
    rides, bad = read(location.write("a.csv", header + row), "chicago")
    assert bad == []
    assert rides[0]["ride_id"] == "abc"
    assert rides[0]["started_at"] == datetime(2023, 7, 5, 4, 45, tzinfo=UTC)
    assert (rides[0]["pickup_lat"], rides[0]["pickup_lon"]) == (41.9, -87.63)


# Typed columns


def columns(location: RidesLocation) -> Iterator[tuple[str, pa.Array]]:
    moment = datetime(2026, 6, 10, 12)
    yield "plain", pa.array([moment], pa.timestamp("ns"))
    yield "zoned", pa.array([moment], pa.timestamp("ms", tz="UTC"))
    yield "seconds", pa.array([1781092800], pa.int64())
    yield "text", pa.array(["2026-06-10T12:00:00Z"], pa.large_string())
    yield "dictionary", pa.array(["2026-06-10T12:00:00Z"]).dictionary_encode()


def test_typed_times_and_numbers(location: RidesLocation) -> None:
    from decimal import Decimal

    for name, column in columns(location):
        table = pa.table(
            {
                "Started At": column,
                "distance": pa.array([Decimal("6.00")]),
                "duration": pa.array([1200], pa.int16()),
                "weather": pa.array([["rain"]]),  # nested: taken for absent
            }
        )
        path = location.folder / f"{name}.parquet"
        pq.write_table(table, path)
        rides, bad = read(path, "simulated")
        assert bad == [], name
        assert rides[0]["started_at"] == datetime(2026, 6, 10, 12, tzinfo=UTC), name
        assert (rides[0]["speed_kmh"], rides[0]["weather"]) == (18.0, None)


def test_a_typed_duration(location: RidesLocation) -> None:
    from datetime import timedelta

    table = pa.table({"distance": [6.0], "duration": pa.array([timedelta(minutes=20)])})
    path = location.folder / "a.parquet"
    pq.write_table(table, path)
    [ride], bad = read(path, "simulated")
    assert (bad, ride["duration_s"], ride["speed_kmh"]) == ([], 1200.0, 18.0)


def test_half_a_pair_of_surrogates_is_no_text(location: RidesLocation) -> None:
    line = '{"start": "2026-06-10T12:00:00Z", "distance": 6, "duration": 1200, "news": "%s"}\n'
    text = line % r"fair \ud83d\ude95" + line % r"\ud83d fair"
    rides, bad = read(location.write("a.jsonl", text), "simulated")
    assert bad == []
    assert [ride["news"] for ride in rides] == ["fair \U0001f695", "? fair"]
