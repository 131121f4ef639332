"""Schedule and sensor of a feed: lag becomes windows, oldest first."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from rag_platform.defs.documents.automation import job_name
from rag_platform.defs.shared import RANGE_TAGS
from rag_platform_tests.defs.location import SOURCE, Location
from rag_platform_tests.servers.kafka import KafkaServer

pytest.importorskip("confluent_kafka")

NOON = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def day(ago: int) -> str:
    return (NOON - timedelta(days=ago)).strftime("%Y-%m-%d")


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaServer]:
    with KafkaServer() as server:
        yield server


def send(kafka: KafkaServer, topic: str, key: str, *, ago: int = 0) -> None:
    at = (NOON - timedelta(days=ago)).timestamp()
    kafka.send(topic, key, f"# Text of {key}", at=at)


def tick(location: Location, cursor: str | None = None) -> Any:
    sensor = location.defs.get_sensor_def(f"{SOURCE}_new_objects")
    with dg.build_sensor_context(
        instance=location.instance,
        cursor=cursor,
        resources=location.defs.resources,
        repository_def=location.defs.get_repository_def(),
    ) as context:
        return sensor.evaluate_tick(context)


def windows(request: Any) -> tuple[str, ...]:
    """The first and the last window of a request, or its only one."""
    if request.partition_key:
        return (request.partition_key,)
    return tuple(request.tags[tag] for tag in RANGE_TAGS)


def asked(found: Any) -> list[tuple[str, ...]]:
    return [windows(request) for request in found.run_requests or ()]


def feed(location: Location, kafka: KafkaServer, topic: str, **rules: Any) -> None:
    rules = {"url": kafka.url(topic), "start": day(20), **rules}
    location.configure(source=rules)


def test_lag_asks_once_for_today(location: Location, kafka: KafkaServer) -> None:
    send(kafka, "today", "a.md", ago=3)
    feed(location, kafka, "today")
    first = tick(location)
    assert asked(first) == [(day(0),)]
    again = tick(location, first.cursor)
    assert (asked(again), again.cursor) == ([], first.cursor)
    location.run(day(0), stages=["raw_docs"])
    done = tick(location, first.cursor)
    assert asked(done) == []
    assert done.skip_message == f"{kafka.url('today')}: as last time"
    send(kafka, "today", "b.md")
    assert asked(tick(location, done.cursor)) == [(day(0),)]


def test_what_waits_goes_to_its_windows(location: Location, kafka: KafkaServer) -> None:
    for ago in (12, 11, 1, 0):
        send(kafka, "history", f"{ago}.md", ago=ago)
    feed(location, kafka, "history", dated_by="modified")
    first = tick(location)
    # A run takes seven days, in order; what is left is asked for when they are done.
    assert asked(first) == [(day(12), day(6))]
    assert asked(tick(location, first.cursor)) == []
    location.run(day(12), day(6), stages=["raw_docs"])
    second = tick(location, first.cursor)
    assert asked(second) == [(day(1), day(0))]
    location.run(day(1), day(0), stages=["raw_docs"])
    assert asked(tick(location, second.cursor)) == []
    with location.platform() as platform:
        raw = platform.raw(SOURCE)
        pages = {window: platform.raw(SOURCE)._log.last_pass(window) for window in raw.written()}
    held = {window: page.objects for window, page in pages.items() if page.objects}
    assert held == {day(12): 1, day(11): 1, day(1): 1, day(0): 1}
    assert len(pages) == 9


def test_what_came_late_goes_to_the_newest_window(location: Location, kafka: KafkaServer) -> None:
    for ago in (3, 2):
        send(kafka, "late", f"{ago}.md", ago=ago)
    feed(location, kafka, "late", dated_by="modified")
    location.run(day(3), day(2), stages=["raw_docs"])
    send(kafka, "late", "late.md", ago=3)
    assert asked(tick(location)) == [(day(2), day(0))]


def test_no_second_run_beside_one_that_is_under_way(location: Location, kafka: KafkaServer) -> None:
    send(kafka, "busy", "a.md", ago=2)
    feed(location, kafka, "busy", dated_by="modified")
    job = location.defs.resolve_job_def(job_name(SOURCE))
    tags = dict(zip(RANGE_TAGS, (day(2), day(0)), strict=True))
    run = location.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    waiting = tick(location)
    assert asked(waiting) == []
    assert waiting.skip_message.endswith(f"{day(2)} is being run; asked again after that")
    assert waiting.cursor is None  # asked for at the next tick
    location.instance.report_run_canceled(run)
    assert asked(tick(location)) == [(day(2), day(0))]


def test_a_gap_asks_for_one_run_that_fails_and_tells(
    location: Location, kafka: KafkaServer
) -> None:
    send(kafka, "gap", "a.md")
    feed(location, kafka, "gap")
    location.run(day(0), stages=["raw_docs"])
    for number in range(12):
        kafka.send("gap", f"{number}.md", "x" * 500_000)
    first = tick(location)
    assert asked(first) == [(day(0),)]
    outcome = location.run(day(0), stages=["raw_docs"])
    assert "were removed before they were read" in outcome.checks["listing_is_plausible"][1]
    send(kafka, "gap", "b.md")
    assert asked(tick(location, first.cursor)) == []
    config = {f"{SOURCE}__raw_docs": {"config": {"refresh": True}}}
    assert location.run(day(0), stages=["raw_docs"], config=config).success


def test_the_schedule_asks_for_what_waits(location: Location, kafka: KafkaServer) -> None:
    send(kafka, "clock", "a.md", ago=2)
    feed(location, kafka, "clock", dated_by="modified")
    schedule = location.defs.get_schedule_def(f"{SOURCE}_schedule")

    def requests() -> list[tuple[str, ...]]:
        with dg.build_schedule_context(
            instance=location.instance,
            scheduled_execution_time=datetime.now(UTC),
            resources=location.defs.resources,
            repository_def=location.defs.get_repository_def(),
        ) as context:
            return [windows(r) for r in schedule.evaluate_tick(context).run_requests or ()]

    assert requests() == [(day(2), day(0))]
    location.run(day(2), stages=["raw_docs"])  # and breaks off
    assert requests() == [(day(2),), (day(0),)]
    # Where the brokers are silent the run is asked for, and says so.
    feed(location, kafka, "no-such-topic", dated_by="modified")
    assert requests()[-1] == (day(0),)


def test_a_topic_that_cannot_be_asked_is_skipped(location: Location, kafka: KafkaServer) -> None:
    feed(location, kafka, "no-such-topic")
    found = tick(location, "before")
    assert asked(found) == []
    assert "Unknown topic" in found.skip_message
    sensor = location.defs.get_sensor_def(f"{SOURCE}_new_objects")
    assert sensor.minimum_interval_seconds == 60
