"""Schedule, sensors and retries: when runs are asked for."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from rag_platform.defs import shared
from rag_platform.defs.documents import factory
from rag_platform.defs.operations.launch import STAGES
from rag_platform.documents.changelog import SourceListingRefused
from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.encoders.openai import EmbeddingServiceError
from rag_platform.errors import PlatformError
from rag_platform.llm.budget import BudgetExceeded
from rag_platform.storage.locks import LockTimeout
from rag_platform.storage.objects import StorageUnavailable
from rag_platform.storage.schema import changes
from rag_platform.storage.vectors.base import PointsRefused, RecipeMismatch, VectorStoreError
from rag_platform_tests.defs.location import INDEX, SOURCE, Location
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer, failing

WINDOW = "2026-06-01"


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


# The schedule


def tick_schedule(location: Location, moment: datetime) -> list[str]:
    """The windows that the source's schedule asks for."""
    schedule = location.defs.get_schedule_def(f"{SOURCE}_schedule")
    with dg.build_schedule_context(
        instance=location.instance,
        scheduled_execution_time=moment,
        resources=location.defs.resources,
        repository_def=location.defs.get_repository_def(),
    ) as context:
        requests = schedule.evaluate_tick(context).run_requests or ()
    assert len({request.run_key for request in requests}) == len(requests)
    return [request.partition_key or "" for request in requests]


def test_schedule_asks_for_the_current_window(location: Location) -> None:
    now = datetime.now(UTC)
    assert tick_schedule(location, now) == [now.strftime("%Y-%m-%d")]


def test_schedule_asks_again_for_windows_that_broke_off(location: Location) -> None:
    location.write("a.md", "# Alpha\n\nA red apple.\n")
    location.run(WINDOW)
    location.write("b.md", "# Beta\n\nA blue sky.\n")
    location.run("2026-06-02", stages=["raw_docs"])
    location.write("c.md", "# Gamma\n\nA green leaf.\n")
    location.run("2026-06-03", stages=[*STAGES, "chunks"])
    now = datetime.now(UTC)
    current = now.strftime("%Y-%m-%d")
    assert tick_schedule(location, now) == ["2026-06-02", "2026-06-03", current]
    location.run("2026-06-02")
    location.run("2026-06-03")
    assert tick_schedule(location, now) == [current]


@pytest.mark.parametrize(
    ("rules", "cron"),
    [
        ({}, "30 0 * * *"),
        ({"cadence": "hourly"}, "5 * * * *"),
        ({"schedule": "*/10 * * * *"}, "*/10 * * * *"),
    ],
)
def test_cron_follows_the_cadence(location: Location, rules: dict[str, str], cron: str) -> None:
    location.configure(source=rules)
    schedule = location.defs.get_schedule_def(f"{SOURCE}_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == (cron, "UTC")


# New objects


def tick_sensor(location: Location, cursor: str | None) -> Any:
    sensor = location.defs.get_sensor_def(f"{SOURCE}_new_objects")
    with dg.build_sensor_context(
        instance=location.instance,
        cursor=cursor,
        resources=location.defs.resources,
        repository_def=location.defs.get_repository_def(),
    ) as context:
        return sensor.evaluate_tick(context)


def test_sensor_asks_when_the_listing_is_another(location: Location) -> None:
    location.write("a.md", "# Alpha\n")
    first = tick_sensor(location, None)
    assert [request.partition_key for request in first.run_requests] == [today()]
    again = tick_sensor(location, first.cursor)
    assert again.run_requests == []
    assert again.skip_message == f"{location.folder.as_uri()}: as last time"
    assert again.cursor == first.cursor

    location.write("b.md", "# Beta\n")
    added = tick_sensor(location, again.cursor)
    assert len(added.run_requests) == 1
    assert added.run_requests[0].run_key is None  # a key would hide a listing seen before
    location.write("b.md", "# Beta, edited\n")
    edited = tick_sensor(location, added.cursor)
    assert len(edited.run_requests) == 1
    (location.folder / "b.md").unlink()
    removed = tick_sensor(location, edited.cursor)
    assert len(removed.run_requests) == 1


def test_sensor_and_schedule_intervals(location: Location) -> None:
    sensors = {sensor.name: sensor for sensor in location.defs.sensors}
    assert sensors[f"{SOURCE}_new_objects"].minimum_interval_seconds == 60
    assert sensors["stages_follow_their_inputs"].minimum_interval_seconds == 60
    location.configure(source={"url": "s3://bucket/prefix"})
    sensor = location.defs.get_sensor_def(f"{SOURCE}_new_objects")
    assert sensor.minimum_interval_seconds == 300


@pytest.mark.parametrize("automation", [True, False])
def test_one_switch_sets_what_runs_from_the_start(location: Location, automation: bool) -> None:
    location.configure(automation=automation)
    status = {sensor.name: sensor.default_status.value for sensor in location.defs.sensors}
    status |= {each.name: each.default_status.value for each in location.defs.schedules}
    expected = "RUNNING" if automation else "STOPPED"
    names = [f"{SOURCE}_new_objects", f"{SOURCE}_schedule"]
    names += ["reconcile_weekly", "stages_follow_their_inputs"]
    assert status == dict.fromkeys(names, expected)


# Retries


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (SourceUnavailable("x"), True),
        (StorageUnavailable("x"), True),
        (LockTimeout("x"), True),
        (VectorStoreError("x", transient=True), True),
        (VectorStoreError("x"), False),
        (PointsRefused("x"), False),
        (RecipeMismatch("x"), False),
        (SourceListingRefused("x"), False),
        (BudgetExceeded("x"), False),
        (PlatformError("x"), False),
    ],
)
def test_only_what_may_pass_by_itself_is_tried_again(error: PlatformError, transient: bool) -> None:
    with pytest.raises(dg.Failure) as caught, shared.one_line():
        raise error
    assert caught.value.description == "x"
    assert caught.value.allow_retries is transient


def test_which_steps_are_tried_again(location: Location) -> None:
    def retried() -> set[str]:
        return {
            asset.key.path[-1]
            for asset in location.defs.assets
            if asset.op.retry_policy is not None
        }

    assert retried() == set()
    location.configure(source={"url": "s3://bucket/manuals"})
    assert retried() == {"raw_docs"}
    location.configure(vector_store="http://127.0.0.1:6333")
    assert retried() == {"vector_index"}
    location.configure(storage="s3://bucket/state")
    assert len(retried()) == 6
    assert (shared.NETWORK_RETRIES.max_retries, shared.NETWORK_RETRIES.delay) == (2, 20)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without the wait."""
    monkeypatch.setattr(factory, "NETWORK_RETRIES", dg.RetryPolicy(max_retries=2))


def retries_of(outcome: Any) -> int:
    kinds = [event.event_type for event in outcome.result.all_events]
    return kinds.count(dg.DagsterEventType.STEP_RESTARTED)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("status", "code", "attempts", "retries"),
    # The embedder itself tries a failing service three times; a refused key once.
    [(503, None, 4, 1), (401, "invalid_api_key", 1, 0)],
)
def test_a_failing_service_is_tried_again_and_a_refusal_is_not(
    location: Location,
    monkeypatch: pytest.MonkeyPatch,
    *,
    status: int,
    code: str | None,
    attempts: int,
    retries: int,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("rag_platform.encoders.openai._FIRST_WAIT_S", 0.01)
    location.write("a.md", "# Alpha\n\nA red apple.\n")
    with OpenAIServer() as server:
        server.faults.extend([failing(status, code)] * 3)
        location.configure(
            llm={
                "base_url": server.base_url,
                "prices": {"tiny": {"input_per_million": 0, "output_per_million": 0}},
            },
            indexes={INDEX: {"embedder": {"model": "tiny", "dimensions": 8}}},
        )
        outcome = location.run(WINDOW)
        assert len(server.requests) == attempts
    assert retries_of(outcome) == retries
    assert outcome.success is bool(retries)
    if not retries:
        event = next(event for event in outcome.result.all_events if event.is_step_failure)
        failure = event.step_failure_data.user_failure_data
        assert failure.description.startswith(f"tiny at {server.base_url}: answered 401")


@pytest.mark.usefixtures("at_once")
def test_a_source_that_comes_back_is_asked_again(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_platform.storage.objects._RETRIES", 0)
    location.configure(
        source={"url": "s3://bucket/prefix"}, s3={"endpoint_url": "http://127.0.0.1:9"}
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    outcome = location.run(WINDOW)
    assert retries_of(outcome) == 2
    assert outcome.checks["listing_is_plausible"][1].startswith(
        "s3://bucket/prefix: listing failed, nothing was recorded: "
    )
    assert outcome.stages == []
    with location.platform() as platform, platform.catalog.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(changes)) == 0


def test_errors_of_the_embedding_service_say_whether_they_pass() -> None:
    assert EmbeddingServiceError("x").transient is False
    assert EmbeddingServiceError("x", transient=True).transient is True
