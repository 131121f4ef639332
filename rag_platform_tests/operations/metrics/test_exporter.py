"""The exporter: no collector takes another along, and no scrape waits longer than it may."""

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.operations.metrics.exporter import Collector, Exporter, Part, collector
from rag_platform.operations.metrics.families import Family, gauge
from rag_platform.operations.metrics.snapshot import Snapshot
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import source_cursors
from rag_platform_tests.operations.metrics.reading import (
    parts,
    put,
    read,
    samples,
    scraped,
    settings_of,
)


class Source:
    """A collector that counts how often it was asked, and may be held or made to fail."""

    def __init__(self, name: str, *, keep_s: float = 0.0) -> None:
        self.name = name
        self.asked = 0
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self.collector = collector(name, self._collect, keep_s=keep_s)

    def _collect(self) -> Iterator[Family]:
        self.asked += 1
        assert self.free.wait(10)
        if self.error is not None:
            raise self.error
        yield gauge(self.name, "How often it was asked.").add(self.asked)


def test_who_fails_takes_no_other_along(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Source("good"), Source("bad")
    bad.error = ValueError("no\n  way")
    exporter = Exporter([good.collector, bad.collector])
    with caplog.at_level(logging.WARNING):
        first, second = scraped(exporter), scraped(exporter)
    assert first["good"] == {(): 1}
    assert first["clock_seconds"][()] == pytest.approx(time.time(), abs=60)
    assert second["good"] == {(): 2}
    assert "bad" not in first
    assert first["collector_success"] == {("good",): 1}  # and 0 for the other
    assert caplog.messages == ["metrics of bad: ValueError: no way"], "told once"
    assert second["clock_seconds"][()] >= first["clock_seconds"][()]
    bad.error = None
    third = scraped(exporter)
    assert third["bad"] == {(): 3}
    assert third["collector_success"] == {("good",): 1, ("bad",): 1}


def test_a_collector_may_fail_as_a_whole() -> None:
    def away() -> list[Part]:
        raise OSError("away")

    found = Exporter([Collector("lost", away)]).scrape()
    (success,) = (family for family in found if family.name.endswith("success"))
    assert success.samples == {("lost",): 0}


def test_what_was_known_is_shown_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert that waits for two hours does not begin anew because of one lost answer."""
    source = Source("flaky")
    exporter = Exporter([source.collector])
    assert scraped(exporter)["flaky"] == {(): 1}
    source.error = OSError("away")
    found = scraped(exporter)
    assert found["flaky"] == {(): 1}
    assert found["collector_success"] == {}
    assert found["collector_age_seconds"]["flaky",] > 0
    with monkeypatch.context() as patch:
        patch.setattr("rag_platform.operations.metrics.exporter._OLDEST_S", 0.0)
        assert "flaky" not in scraped(exporter)
    source.error = None
    assert scraped(exporter)["flaky"] == {(): 4}


def test_success_has_the_same_names_at_all_times() -> None:
    """A series that comes and goes breaks the time for which an alert waits."""
    ways = ["both", "one", "none", "both"]

    def collect() -> list[Part]:
        way = ways.pop(0)
        if way == "none":
            raise OSError("away")
        return [Part("a", (), 0.1), Part("b", (), 0.1, "no" if way == "one" else None)]

    exporter = Exporter([Collector("all", collect)])
    seen = []
    while ways:
        (success,) = (f for f in exporter.scrape() if f.name.endswith("success"))
        seen.append({name: value for (name,), value in success.samples.items()})
    assert seen == [
        {"all": 1, "a": 1, "b": 1},
        {"all": 1, "a": 1, "b": 0},
        {"all": 0, "a": 0, "b": 0},
        {"all": 1, "a": 1, "b": 1},
    ]


def test_what_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("hung")
    exporter = Exporter([source.collector], scrape_s=0.05)
    assert scraped(exporter)["collector_running_seconds"] == {}
    source.free.clear()
    assert scraped(exporter)["hung"] == {(): 1}
    assert scraped(exporter)["collector_running_seconds"]["hung",] >= 0.05
    monkeypatch.setattr("rag_platform.operations.metrics.exporter._OLDEST_S", 0.0)
    found = scraped(exporter)
    assert "hung" not in found
    assert found["collector_success"] == {}
    source.free.set()


def test_collecting_begins_before_the_first_scrape() -> None:
    source = Source("dear")
    exporter = Exporter([source.collector])
    exporter.begin()
    deadline = time.monotonic() + 10
    while source.asked == 0:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_scrape_waits_no_longer_than_it_may() -> None:
    quick, slow = Source("quick"), Source("slow")
    slow.free.clear()
    exporter = Exporter([slow.collector, quick.collector], scrape_s=0.3)
    began = time.monotonic()
    found = scraped(exporter)
    assert time.monotonic() - began < 5
    assert found["quick"] == {(): 1}
    assert "slow" not in found
    assert found["collector_success"] == {("quick",): 1}
    scraped(exporter)
    assert slow.asked == 1, "it is never asked twice at a time"
    slow.free.set()
    deadline = time.monotonic() + 10
    while "slow" not in (found := scraped(exporter)):
        assert time.monotonic() < deadline
    # What took long is shown again without being asked for again.
    assert found["slow"] == {(): 1}
    assert scraped(exporter)["slow"] == {(): 1}
    assert slow.asked == 1


def test_what_is_dear_is_collected_between_scrapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_platform.operations.metrics.exporter._KEPT_TIMES", 0.0)
    monkeypatch.setattr("rag_platform.operations.metrics.exporter._DEAR_S", 0.0)
    source = Source("dear")
    exporter = Exporter([source.collector])
    assert scraped(exporter)["dear"] == {(): 1}
    source.free.clear()
    began = time.monotonic()
    assert scraped(exporter)["dear"] == {(): 1}, "what was known is shown at once"
    assert time.monotonic() - began < 5
    source.free.set()
    deadline = time.monotonic() + 10
    while scraped(exporter)["dear"] == {(): 1}:
        assert time.monotonic() < deadline


def test_what_changes_seldom_is_kept() -> None:
    source = Source("seldom", keep_s=60.0)
    exporter = Exporter([source.collector])
    assert [scraped(exporter)["seldom"] for _ in range(3)] == [{(): 1}] * 3
    failing = Source("failing", keep_s=60.0)
    failing.error = OSError("away")
    exporter = Exporter([failing.collector])
    scraped(exporter)
    failing.error = None
    assert scraped(exporter)["failing"] == {(): 2}, "a failure is not kept"


def test_scrapes_at_a_time_share_what_is_collected() -> None:
    source = Source("shared")
    source.free.clear()
    exporter = Exporter([source.collector])
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(scraped(exporter))) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    source.free.set()
    for thread in threads:
        thread.join(10)
    assert len(found) == 4
    assert all("shared" in each for each in found)
    assert source.asked < 4


def test_a_query_that_fails_leaves_the_others_their_snapshot(
    shared: Catalog, tmp_path: Path
) -> None:
    """On PostgreSQL an error ends a transaction, but for savepoints."""
    put(shared, source_cursors, {"source": "notes"})
    count = sa.select(sa.func.count().label("n")).select_from(source_cursors)

    def counted(seen: Snapshot) -> Iterator[Family]:
        (row,) = seen.rows(count)
        yield gauge("cursors", "Cursors.").add(row.n)
        with shared.begin() as other:  # by somebody else, meanwhile
            other.execute(source_cursors.delete())

    def broken(seen: Snapshot) -> Iterator[Family]:
        seen.rows(sa.text("select 1 from nowhere"))
        yield gauge("never", "Never.")

    found = parts(shared, settings_of(tmp_path), first=counted, broken=broken, again=counted)
    assert samples(found["first"].families) == {"cursors": {(): 1}}
    assert "nowhere" in (found["broken"].problem or "")
    assert samples(found["again"].families) == {"cursors": {(): 1}}, "one snapshot"


def test_a_database_that_was_restarted_is_found_again(
    postgres_catalog: str, tmp_path: Path
) -> None:
    """Its connections are gone; no scrape is lost by that."""
    catalog = Catalog(postgres_catalog, lock_folder=tmp_path)

    def count(seen: Snapshot) -> Iterator[Family]:
        (row,) = seen.rows(sa.select(sa.func.count().label("n")).select_from(source_cursors))
        yield gauge("cursors", "Cursors.").add(row.n + 1)

    assert read(catalog, settings_of(tmp_path), count) == {"cursors": {(): 1}}
    other = sa.create_engine(catalog.url)
    with other.begin() as connection:
        ended = connection.scalar(
            sa.text(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        )
    other.dispose()
    assert ended
    assert read(catalog, settings_of(tmp_path), count) == {"cursors": {(): 1}}
    catalog.close()


def test_a_statement_without_end_is_ended(
    shared: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_platform.operations.metrics.snapshot._STATEMENT_S", 0.3)
    forever = sa.text(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000000)"
        " select max(i) from n"
    )

    def endless(seen: Snapshot) -> Iterator[Family]:
        seen.rows(forever)
        yield gauge("never", "Never.")

    def quick(seen: Snapshot) -> Iterator[Family]:
        (row,) = seen.rows(sa.select(sa.literal(3).label("n")))
        yield gauge("three", "Three.").add(row.n)

    began = time.monotonic()
    found = parts(shared, settings_of(tmp_path), endless=endless, quick=quick)
    assert time.monotonic() - began < 20
    assert found["endless"].problem is not None
    assert samples(found["quick"].families) == {"three": {(): 3}}
