"""raw_rides: the day's rides from whatever files hold them."""

import os
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.rides import files as files_module
from rag_platform.rides.days import UnknownDay
from rag_platform.rides.files import FileChanged
from rag_platform.rides.pipeline import Rides
from rag_platform.rides.raw import RawFigures
from rag_platform.rides.tables import RAW
from rag_platform.storage.letters import MAX_LETTERS, Letter
from rag_platform.storage.objects import S3Connection
from rag_platform.storage.schema import step_letters
from rag_platform_tests.rides.location import DAY, RidesLocation, ride
from rag_platform_tests.servers.seaweed import S3Server

FIXTURES = Path(__file__).with_name("fixtures")
YELLOW = (FIXTURES / "yellow_2019-03.parquet").read_bytes()
BEFORE, AFTER = "2026-06-09", "2026-06-11"


def ids(rides: Rides, day: str = DAY) -> list[str]:
    found: list[str] = rides.tables.read(RAW, date.fromisoformat(day))["ride_id"].to_pylist()
    return found


def letters(rides: Rides, day: str = DAY) -> list[Letter]:
    return rides.letters.of(RAW, day)


# Whose ride it is


def test_rides_are_taken_by_the_time_they_begin(location: RidesLocation) -> None:
    times = [f"{BEFORE}T23:59:59Z", f"{DAY}T00:00:00Z", f"{DAY}T23:59:59Z", f"{AFTER}T00:00:00Z"]
    location.write_lines("all.jsonl", [ride(n, at) for n, at in enumerate(times)])
    rides = location.rides()
    found = {day: rides.run_raw(day) for day in (BEFORE, DAY, AFTER)}
    assert [ids(rides, day) for day in found] == [["r0"], ["r1", "r2"], ["r3"]]
    assert found[DAY] == RawFigures(1, 0, 4, 2, 0, 2, {})
    assert all(figures.conserved for figures in found.values())


def test_a_dated_file_is_looked_at_for_its_days_and_those_beside_them(
    location: RidesLocation,
) -> None:
    for number, day in enumerate(["2026-06-08", BEFORE, DAY, AFTER, "2026-06-12"]):
        location.write_lines(f"{day}.jsonl", [ride(number)])
    location.write_lines("undated.jsonl", [ride(9)])
    rides = location.rides()
    # Files of the day before and after may be dated in another time zone, or written late.
    assert rides.run_raw(DAY) == RawFigures(4, 0, 4, 4, 0, 0, {})
    assert sorted(ids(rides)) == ["r1", "r2", "r3", "r9"]


def test_month_files_with_the_day_on_which_the_clocks_go_forward(location: RidesLocation) -> None:
    location.write("yellow/yellow_2019-03.parquet", YELLOW)
    location.write("yellow/yellow_2019-07.parquet", YELLOW)  # of another time: not looked at
    rides = location.rides(adapter="nyc_tlc", timezone="America/New_York")
    days = [f"2019-03-{number:02}" for number in range(1, 32)]
    found = {day: rides.run_raw(day) for day in days}
    assert all(figures.records == 73 and figures.conserved for figures in found.values())
    # Of 73 records 40 began on 10 March in New York, 11 on the 9th; 17 are bad, one of them
    # dated into April, which belongs to the day of the record before it.
    assert (found["2019-03-10"].rides, found["2019-03-10"].bad) == (40, 0)
    totals = Counter[str]()
    for figures in found.values():
        totals.update(figures.reasons)
    assert totals == {"range_duration_s": 4, "range_fare": 13, "outside_file_dates": 1}
    assert sum(figures.rides for figures in found.values()) == 73 - 18
    started = rides.tables.read(RAW, date(2019, 3, 10))["started_at"]
    assert pc.min(started).as_py() >= datetime(2019, 3, 10, 5, tzinfo=UTC)
    assert pc.max(started).as_py() < datetime(2019, 3, 11, 4, tzinfo=UTC)


def test_a_day_of_25_hours(location: RidesLocation) -> None:
    hours = [f"2026-10-25T{hour:02}:30:00+00:00" for hour in range(24)]
    times = [*(f"2026-10-24T{hour}:30:00Z" for hour in (21, 22, 23)), *hours]
    location.write_lines("all.jsonl", [ride(n, at) for n, at in enumerate(times)])
    rides = location.rides(timezone="Europe/Berlin", start=date(2026, 10, 1))
    # From 22:00 UTC of the day before to 23:00 UTC.
    assert rides.run_raw("2026-10-25").rides == 25
    assert rides.run_raw("2026-10-26").rides == 1


def test_a_record_without_a_time_is_of_the_day_before_it(location: RidesLocation) -> None:
    records = [
        ride(1, "at noon"),
        ride(2, f"{BEFORE}T10:00:00Z"),
        ride(3, ""),
        ride(4, f"{DAY}T10:00:00Z"),
        ride(5, "?"),
        ride(6, f"{BEFORE}T11:00:00Z"),
    ]
    location.write_lines("a.jsonl", records)
    rides = location.rides()
    for day, expected in {
        BEFORE: ["a.jsonl#1", "a.jsonl#3"],
        DAY: ["a.jsonl#5"],
        AFTER: [],
    }.items():
        rides.run_raw(day)
        assert [letter.item for letter in letters(rides, day)] == expected


def test_a_dated_file_without_any_time_is_of_its_first_day(location: RidesLocation) -> None:
    location.write_lines(f"{BEFORE}_{DAY}.jsonl", [ride(1, "?"), ride(2, "?")])
    rides = location.rides()
    assert [rides.run_raw(day).bad for day in (BEFORE, DAY, AFTER)] == [2, 0, 0]


def test_rides_without_times_are_of_the_day_in_their_file_s_name(location: RidesLocation) -> None:
    text = "distance,duration,news\n6,1200,fair\n6,-1,\n6\n"
    location.write(f"{DAY}.csv", text)
    location.write("undated.csv", text)
    location.write("2026-06.csv", text)
    rides = location.rides()
    found = {day: rides.run_raw(day) for day in (BEFORE, DAY, AFTER)}
    assert [(f.rides, f.bad, f.other_days) for f in found.values()] == [
        (0, 0, 3),
        (1, 2, 0),
        (0, 0, 3),
    ]
    assert all(figures.conserved for figures in found.values())
    [ride] = rides.tables.read(RAW, date.fromisoformat(DAY)).to_pylist()
    assert (ride["started_at"], ride["speed_kmh"], ride["news"]) == (None, 18.0, "fair")
    wrong = {letter.item: letter.detail for letter in letters(rides) if "columns" in letter.reason}
    assert list(wrong) == [f"2026-06.csv#{DAY}", f"undated.csv#{DAY}"]
    assert all("nor a day in the file's name" in detail for detail in wrong.values())


# Bad records


def test_bad_records_do_not_keep_good_ones_from_the_day(location: RidesLocation) -> None:
    location.write_lines(
        "a.jsonl",
        [
            ride(1),
            ride(2, distance_km=-3),
            ride(3, duration_s="soon"),
            ride(1),
            ride(5, news="fine"),
        ],
    )
    location.write("b.csv", "ride_id,started_at,distance,duration\nr1,x\nr6,2026-06-10,6,1200\n")
    rides = location.rides()
    found = rides.run_raw(DAY)
    assert found.reasons == {
        "bad_record": 1,
        "duplicate_ride": 1,
        "missing_duration_s": 1,
        "range_distance_km": 1,
    }
    assert (found.records, found.rides, found.bad, found.conserved) == (7, 3, 4, True)
    assert found.bad_share == 4 / 7
    assert ids(rides) == ["r1", "r5", "r6"]
    assert letters(rides) == [
        Letter("a.jsonl#2", "range_distance_km", "distance_km is -3, not from 0 to 1,000"),
        Letter("a.jsonl#3", "missing_duration_s", "duration_s is missing or cannot be read"),
        Letter("a.jsonl#4", "duplicate_ride", "an earlier ride of the day has the id 'r1'"),
        Letter("b.csv#1", "bad_record", "2 fields, not 4"),
    ]


def rows(location: RidesLocation) -> list[Any]:
    with location.catalog.read() as connection:
        return list(connection.execute(sa.select(step_letters).order_by(step_letters.c.item)))


def test_another_run_replaces_the_letters_of_its_day_only(location: RidesLocation) -> None:
    bad: dict[str, Any] = {"distance_km": -1}
    location.write_lines("a.jsonl", [ride(1, **bad), ride(2, f"{BEFORE}T10:00:00Z", **bad)])
    rides = location.rides()
    rides.run_raw(BEFORE)
    rides.run_raw(DAY)
    rides.run_raw(DAY)
    [first, second] = rows(location)
    assert (first.item, first.window, first.attempts) == ("a.jsonl#1", DAY, 2)
    assert (second.item, second.window, second.attempts) == ("a.jsonl#2", BEFORE, 1)
    assert {row.source for row in (first, second)} == {"rides"}
    assert {row.stage for row in (first, second)} == {"raw_rides"}
    assert first.first_at < first.last_at

    location.write_lines("a.jsonl", [ride(1), ride(2, f"{BEFORE}T10:00:00Z", **bad)])
    rides.run_raw(DAY)
    assert [row.item for row in rows(location)] == ["a.jsonl#2"]


def test_letters_are_capped_and_the_others_counted(location: RidesLocation) -> None:
    location.write_lines("a.jsonl", [ride(n, distance_km=-1) for n in range(MAX_LETTERS + 50)])
    rides = location.rides()
    assert rides.run_raw(DAY).bad == MAX_LETTERS + 50
    assert len(letters(rides)) == MAX_LETTERS


def test_files_that_cannot_be_read(location: RidesLocation) -> None:
    location.write("good.csv", "start,distance,duration\n2026-06-10T12:00:00Z,6,1200\n")
    location.write("wrong.csv", "name,price\nlamp,12\n")
    location.write("broken.parquet", b"nothing")
    location.write("notes.txt", "no ride file at all")
    rides = location.rides()
    found = rides.run_raw(DAY)
    assert (found.files, found.unreadable_files, found.rides, found.bad) == (3, 2, 1, 0)
    assert found.conserved
    told = letters(rides)
    assert [(letter.item, letter.reason) for letter in told] == [
        (f"broken.parquet#{DAY}", "unreadable"),
        (f"wrong.csv#{DAY}", "wrong_columns"),
    ]


def test_hostile_names_and_links(location: RidesLocation, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("start,distance,duration\n2026-06-10T12:00:00Z,6,1200\n")
    os.symlink(secret, location.folder / "link.csv")
    name = "<img src=x>\n\u202ecod.csv"
    location.write(name, "start,distance,duration\n2026-06-10T12:00:00Z,-6,1200\n")
    rides = location.rides()
    found = rides.run_raw(DAY)
    assert (found.rides, found.unreadable_files) == (0, 1)
    assert {letter.reason for letter in letters(rides)} == {"outside_source", "range_distance_km"}
    shown = [letter.item for letter in letters(rides)]
    assert "<img src=x> cod.csv#1" in shown
    assert sorted(os.listdir(location.storage)) == ["rides"]


def test_a_file_too_large_is_told(location: RidesLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "MAX_FILE_BYTES", 10)
    location.write_lines("a.jsonl", [ride()])
    rides = location.rides()
    assert rides.run_raw(DAY).unreadable_files == 1
    assert letters(rides)[0].reason == "too_large"


# The day as a whole


def test_a_day_without_files_is_an_empty_table(location: RidesLocation) -> None:
    rides = location.rides()
    assert rides.run_raw(DAY) == RawFigures(0, 0, 0, 0, 0, 0, {})
    assert ids(rides) == []


def test_another_run_leaves_the_same_bytes(location: RidesLocation) -> None:
    location.simulate(count=500)
    rides = location.rides()
    rides.run_raw(DAY)
    path = location.storage / "rides/raw_rides" / f"date={DAY}" / "part.parquet"
    first = path.read_bytes()
    rides.run_raw(DAY)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["part.parquet"]


def test_late_files_are_seen_and_taken(location: RidesLocation) -> None:
    rides = location.rides()
    today = rides.days.today()
    day, other = (one.isoformat() for one in rides.days.before(today, 2))
    location.write_lines(f"{day}.jsonl", [ride(1, f"{day}T10:00:00Z")])
    assert rides.raw.changed(7) == {}  # no day ran yet
    rides.run_raw(day)
    assert rides.raw.changed(7) == {}

    location.write_lines("late.jsonl", [ride(2, f"{day}T11:00:00Z")])
    assert list(rides.raw.changed(7)) == [day]
    assert rides.run_raw(day).rides == 2
    assert rides.raw.changed(7) == {}

    location.write_lines(f"{day}.jsonl", [ride(3, f"{day}T10:30:00Z"), ride(4, f"{day}T10:31:00Z")])
    assert list(rides.raw.changed(7)) == [day]
    (location.folder / "late.jsonl").unlink()
    rides.run_raw(day)
    assert ids(rides, day) == ["r3", "r4"]
    assert rides.tables.known_facts(RAW, date.fromisoformat(other)) is None


def test_another_time_zone_makes_another_day(location: RidesLocation) -> None:
    rides = location.rides()
    *_, before = rides.days.before(rides.days.today(), 3)
    day = before.isoformat()
    rides.run_raw(day)
    assert rides.raw.changed(7) == {}
    assert day in location.rides(timezone="America/New_York").raw.changed(7)


@pytest.mark.parametrize("key", ["2026-6-10", "../../x", "2012-12-31"])
def test_days_out_of_the_calendar_are_refused(location: RidesLocation, key: str) -> None:
    with pytest.raises(UnknownDay):
        location.rides().run_raw(key)


def test_a_folder_that_is_not_there_fails_and_keeps_the_day(location: RidesLocation) -> None:
    location.write_lines("a.jsonl", [ride()])
    rides = location.rides()
    rides.run_raw(DAY)
    location.folder.rename(location.folder.with_name("elsewhere"))
    with pytest.raises(SourceUnavailable):
        rides.run_raw(DAY)
    assert ids(rides) == ["r1"]


# S3


def test_rides_in_a_bucket(location: RidesLocation, s3_server: S3Server) -> None:
    bucket, client = s3_server.make_bucket("rides"), s3_server.client()
    keys = {
        f"in/{DAY}/a b%41 ü.jsonl": location.write_lines("a.jsonl", [ride(1)]).read_bytes(),
        "in/b.csv.gz": location.write(
            "b.csv.gz", "ride_id,start,distance,duration\nr2,2026-06-10T12:00:00Z,6,1200\n"
        ).read_bytes(),
        "in/yellow_2019-03.parquet": YELLOW,
        "other/c.jsonl": location.write_lines("c.jsonl", [ride(3)]).read_bytes(),
    }
    for key, content in keys.items():
        client.put_object(Bucket=bucket, Key=key, Body=content)
    rides = location.rides(url=f"s3://{bucket}/in")
    connection = S3Connection(
        endpoint_url=s3_server.endpoint,
        region="us-east-1",
        access_key_id=s3_server.key,
        secret_access_key=s3_server.secret,
    )
    rides._s3 = connection
    assert rides.run_raw(DAY).rides == 2
    assert sorted(ids(rides)) == ["r1", "r2"]
    assert rides.raw._files.list()[0].name == f"{DAY}/a b%41 ü.jsonl"

    [file] = [one for one in rides.raw._files.list() if one.name == "b.csv.gz"]
    client.put_object(Bucket=bucket, Key="in/b.csv.gz", Body=b"another")
    with pytest.raises(FileChanged), rides.raw._files.local(file):
        pytest.fail("it was replaced since it was listed")


# Conservation


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "day": st.sampled_from([BEFORE, DAY, AFTER, "2031-01-01", "never"]),
                "id": st.integers(0, 5),
                "distance": st.sampled_from([1.0, -1.0, None]),
            }
        ),
        max_size=25,
    ),
    st.sampled_from(["a.jsonl", f"{DAY}.jsonl", "2026-06.jsonl"]),
)
def test_every_record_is_of_exactly_one_day(
    location: RidesLocation, records: list[dict[str, Any]], name: str
) -> None:
    for path in location.folder.iterdir():
        path.unlink()
    location.write_lines(
        name,
        [
            ride(r["id"], f"{r['day']}T10:00:00Z", distance_km=r["distance"]) | {"n": n}
            for n, r in enumerate(records)
        ],
    )
    rides = location.rides()
    found = [rides.run_raw(day) for day in (BEFORE, DAY, AFTER)]
    assert all(figures.conserved and figures.records == len(records) for figures in found)
    taken = sum(figures.rides + figures.bad for figures in found)
    timeless = not any(record["day"] != "never" for record in records)
    far = sum(record["day"] == "2031-01-01" for record in records)
    if name == "a.jsonl" and timeless:
        assert taken == 3 * len(records)  # nothing says which day they are of
    elif name == "a.jsonl":
        assert taken <= len(records)
        assert taken >= len(records) - far - sum(r["day"] == "never" for r in records)
    else:
        # A dated file is of the days in its name: what it dates elsewhere is bad, once. Where
        # nothing in a month file has a time, its first day takes it all.
        assert taken == (
            0
            if name == "2026-06.jsonl"
            and far + sum(r["day"] == "never" for r in records) == len(records)
            else len(records)
        )
