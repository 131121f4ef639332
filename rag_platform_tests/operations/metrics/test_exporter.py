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
from rag_platform_tests.operations.metrics.reading import parts, put, samples, scraped, settings_of


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
