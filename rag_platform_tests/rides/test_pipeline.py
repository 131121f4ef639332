"""The stages one after the other: killed at any instant and run again."""

import itertools
import os
import signal
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from rag_platform.encoders.openai import OpenAIConnection
from rag_platform.rides.pipeline import Rides
from rag_platform.rides.tables import SUMMARIES, DayTables
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.letters import WindowLetters
from rag_platform.storage.memo import Memo
from rag_platform_tests.forks import FORKS
from rag_platform_tests.rides.location import DAY, RidesLocation, gateway, ride
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer

_METHODS: dict[str, tuple[type, str]] = {
    "put": (DayTables, "put"),
    "letters": (WindowLetters, "replace"),
    "memo": (Memo, "put_many"),
}


def killed(home: Path, url: str, method: str, call: int) -> None:
    """All stages over a home whose folders are there, killed before the call of a method."""
    owner, name = _METHODS[method]
    original, calls = getattr(owner, name), itertools.count(1)

    def dying(*args: Any, **given: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **given)

    setattr(owner, name, dying)
    catalog = Catalog(f"sqlite:///{home}/catalog.db", lock_folder=home / "locks")
    place = RidesLocation.__new__(RidesLocation)
    place.catalog, place.folder, place.storage = catalog, home / "files", home / "storage"
    place.images = 0
    connection = OpenAIConnection(url, KEY, 5.0)
    run(place.rides(make=lambda: gateway(catalog, connection), max_summaries=6), place)


def run(rides: Rides, location: RidesLocation) -> None:
    for stage in (rides.run_raw, rides.run_clusters, rides.run_summaries):
        stage(DAY)
    rides.run_report(DAY, location.image)


def contents(location: RidesLocation) -> dict[str, bytes]:
    """All objects of the storage but what a killed writer left aside."""
    root = location.storage
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "_unfinished" not in path.parts
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "call"),
    [("put", 1), ("letters", 1), ("memo", 4), ("put", 3), ("put", 5)],
)
def test_killed_and_run_again(location: RidesLocation, method: str, call: int) -> None:
    location.simulate(count=2_000)
    location.write_lines("bad.jsonl", [ride(1, distance_km=-1)])
    with OpenAIServer() as server:
        server.chat.answer = lambda body: {"summary": "It stood still."}
        connection = OpenAIConnection(server.base_url, KEY, 5.0)
        home = location.folder.parent
        child = FORKS.Process(target=killed, args=(home, server.base_url, method, call))
        child.start()
        child.join(120)
        assert child.exitcode == -signal.SIGKILL
        rides = location.rides(make=lambda: gateway(location.catalog, connection), max_summaries=6)
        run(rides, location)
        # Six rides were asked about once: what was answered is in the memo or the cache.
        assert len(server.requests) <= 6 + 2
        left = contents(location)
        for path in location.storage.rglob("*.parquet"):
            path.unlink()
        run(rides, location)
        assert contents(location) == left
        assert len(server.requests) <= 6 + 2
    table = rides.tables.read(SUMMARIES, date.fromisoformat(DAY))
    assert table["status"].to_pylist() == ["summarized"] * 6
    assert sorted(path.name for path in (location.storage / "rides/raw_rides").rglob("*.*")) == [
        "part.parquet"
    ]


def test_days_that_were_left_undone(location: RidesLocation) -> None:
    settings = {"make": lambda: gateway(location.catalog, run_usd=1.0)}
    rides = location.rides(**settings)
    before, last = sorted(rides.days.before(rides.days.today(), 2))
    rides.run_raw(last.isoformat())
    assert rides.unfinished() == [last.isoformat()]
    for stage in (rides.run_clusters, rides.run_summaries):
        stage(last.isoformat())
        assert rides.unfinished() == [last.isoformat()]
    rides.run_report(last.isoformat(), location.image)
    assert rides.unfinished() == []
    rides.run_raw(before.isoformat())
    assert rides.unfinished() == [before.isoformat()]


def test_days_whose_summaries_wait_are_undone(location: RidesLocation) -> None:
    with OpenAIServer() as server:
        server.chat.answer = lambda body: {"summary": "It stood still."}
        connection = OpenAIConnection(server.base_url, KEY, 5.0)
        budget = [0.0]
        rides = location.rides(
            make=lambda: gateway(location.catalog, connection, run_usd=budget[0]), max_summaries=2
        )
        day = rides.days.yesterday().isoformat()
        location.simulate(day)
        for _ in range(2):
            for stage in (rides.run_raw, rides.run_clusters, rides.run_summaries):
                stage(day)
            rides.run_report(day, location.image)
            assert rides.unfinished() == ([day] if not budget[0] else [])
            budget[0] = 10.0
