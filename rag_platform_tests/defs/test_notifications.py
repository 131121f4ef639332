"""Failed runs told at once, once and only when no retry follows; delivery; the weekly digest."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from rag_platform.defs.operations import notifications
from rag_platform.defs.operations.notifications import (
    deliver,
    failure_message,
    is_final,
    notification_definitions,
)
from rag_platform.operations.slack import SlackChannel
from rag_platform.storage.outbox import Outbox
from rag_platform.storage.schema_models import deliveries
from rag_platform_tests.defs.location import Location
from rag_platform_tests.servers.slack import CHANNEL, TOKEN, SlackServer
from rag_platform_tests.servers.smtp import SmtpServer

WINDOW = "2026-06-01"


@dg.op
def breaks() -> None:
    raise ValueError("the disk is full\nmore of it")


@dg.job
def broken() -> None:
    breaks()


class Sensors:
    """The sensors of a location's settings, ticked by hand with their cursors."""

    def __init__(self, location: Location, instance: dg.DagsterInstance | None = None) -> None:
        self.location = location
        self.instance = instance or location.instance
        self._cursors: dict[str, str | None] = {}

    @property
    def defs(self) -> dg.Definitions:
        return dg.Definitions.merge(
            notification_definitions(
                self.location.settings, lambda _: ["intent_classifier: version 3, accuracy 0.93"]
            ),
            dg.Definitions(resources=self.location.defs.resources),
        )

    def tick(self, name: str) -> Any:
        repository = self.defs.get_repository_def()
        sensor = repository.get_sensor_def(name)
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self._cursors.get(name),
            repository_def=repository,
            resources=self.location.defs.resources,
        ) as context:
            result = sensor.evaluate_tick(context)
        self._cursors[name] = result.cursor
        return result

    def pending(self) -> list[str]:
        with self.location.platform() as platform:
            return [message.key for message in platform.outbox.pending()]


@pytest.fixture
def sensors(location: Location) -> Sensors:
    """Both sensors, which know where they begin."""
    sensors = Sensors(location)
    sensors.tick("failed_runs")
    sensors.tick("notifications")
    return sensors


def fail(instance: dg.DagsterInstance) -> str:
    """A run that fails; its id."""
    return broken.execute_in_process(instance=instance, raise_on_error=False).run_id


# What is told


def message_of(location: Location, outcome: Any, url: str | None = None) -> Any:
    return failure_message(location.instance, outcome.result.dagster_run, dagster_url=url)


def test_a_failure_names_step_window_and_reason(location: Location) -> None:
    location.write("a.md", "# Alpha\n")
    location.run(WINDOW)
    (location.folder / "a.md").unlink()
    outcome = location.run("2026-06-02")
    message = message_of(location, outcome, "https://dagster.example.org")
    assert message.text().split("\n") == [
        "manuals_documents for 2026-06-02 failed in manuals/raw_docs",
        f"manuals: 0 objects listed, 1 known; nothing deleted. Check {location.folder.as_uri()}, "
        "or confirm with --allow-deletions (run config: allow_deletions: true).",
        f"https://dagster.example.org/runs/{outcome.result.run_id}",
    ]
    assert message_of(location, outcome).link == f"/runs/{outcome.result.run_id}"


def test_a_failure_names_the_range_and_the_failed_gate(location: Location) -> None:
    location.write("a.pdf", "no PDF at all")
    message = message_of(location, location.run("2026-06-02", "2026-06-04"))
    assert message.windows == "2026-06-02 to 2026-06-04"
    assert message.step == "manuals/clean_docs"
    assert message.error == (
        "2026-06-02: 1 of 1 listed documents are dead letters, over the share of 20%; "
        "2026-06-03: 1 of 1 listed documents are dead letters, over the share of 20%; "
        "2026-06-04: 1 of 1 listed documents are dead letters, over the share of 20%. "
        "See `rag-platform dead-letters list`; exclude what cannot be parsed, or raise "
        "sources.manuals.max_dead_letter_share"
    )


def test_unexpected_errors_are_told_by_their_cause(location: Location) -> None:
    location.write("a.md", "# Alpha\n")
    location.run(WINDOW, stages=["raw_docs"])
    message = message_of(location, location.run(WINDOW, stages=["clean_docs"]))
    assert message.error == (
        "RuntimeError: manuals 2026-06-01: parsed_docs must run before clean_docs"
    )


def test_a_run_that_was_killed_says_so(location: Location) -> None:
    run = location.instance.create_run_for_job(broken, status=dg.DagsterRunStatus.STARTED)
    location.instance.report_run_failed(run, "Its process was killed.")
    message = failure_message(location.instance, run)
    assert (message.step, message.error) == ("", "Its process was killed.")


# The sensors


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    monkeypatch.setattr(SlackChannel, "interval_s", 0.0)
    with SlackServer() as server:
        yield server


def test_a_failed_run_is_on_every_channel_in_the_same_tick(
    location: Location, slack: SlackServer, caplog: pytest.LogCaptureFixture
) -> None:
    with SmtpServer() as mails:
        mail = {"host": "127.0.0.1", "port": mails.port, "security": "none"}
        location.configure(
            notifications={
                "slack": {"channel": CHANNEL, "base_url": slack.base_url},
                "mail": {**mail, "sender": "a@example.org", "recipients": ["b@example.org"]},
                "dagster_url": "https://dagster.example.org/",
            }
        )
        sensors = Sensors(location)
        sensors.tick("failed_runs")
        run_id = fail(location.instance)
        sensors.tick("failed_runs")
        lines = [
            "broken failed in breaks",
            "ValueError: the disk is full",
            f"https://dagster.example.org/runs/{run_id}",
        ]
        [post] = slack.posts
        assert post.text.split("\n")[:3] == lines
        [mail_message] = [mail.message for mail in mails.mails]
        assert mail_message["Subject"] == lines[0]
        assert mail_message.get_content().splitlines() == lines
        [record] = [each for each in caplog.records if each.name == "rag_platform.notifications"]
        assert record.levelno == logging.ERROR
        assert record.getMessage() == f"{lines[0]}: {lines[1]}; {lines[2]}"
        # And on no channel again, whoever looks.
        sensors.tick("failed_runs")
        sensors.tick("notifications")
        sensors.tick("notifications")
        assert (len(slack.posts), len(mails.mails)) == (1, 1)
    assert sensors.pending() == []


def test_the_rest_is_delivered_by_its_own_sensor(
    sensors: Sensors, caplog: pytest.LogCaptureFixture
) -> None:
    with sensors.location.platform() as platform:
        platform.outbox.tell("budget", "50 % of the budget is spent")
    assert sensors.tick("notifications").skip_message == "delivered: 1 by log"
    assert sensors.tick("notifications").skip_message == "delivered: 0 by log"
    assert caplog.messages.count("50 % of the budget is spent") == 1


def test_an_outage_of_the_catalog_hides_no_failure(
    sensors: Sensors, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> bool:
        raise sa.exc.OperationalError("insert", {}, ConnectionError("the database is away"))

    run_id = fail(sensors.instance)
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "tell", away)
        sensors.tick("failed_runs")  # Dagster gives it the run once, whatever comes of it
        with pytest.raises(sa.exc.OperationalError):
            sensors.tick("notifications")
    assert sensors.pending() == []
    sensors.tick("failed_runs")
    assert caplog.messages.count("broken failed in breaks") == 0
    assert sensors.tick("notifications").skip_message == "delivered: 1 by log"
    told = [line for line in caplog.messages if line.startswith("broken failed in breaks: ")]
    assert told == [f"broken failed in breaks: ValueError: the disk is full; /runs/{run_id}"]
    assert sensors.tick("notifications").skip_message == "delivered: 0 by log"


def test_old_failures_are_no_news_to_a_new_platform(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(location.instance)
    monkeypatch.setattr(notifications, "_OVERLAP", timedelta())
    sensors = Sensors(location)
    for _ in range(2):
        sensors.tick("failed_runs")
        assert sensors.tick("notifications").skip_message == "delivered: 0 by log"


# Retries of Dagster

_ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(
        InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file="none.py")), "repository"
    ),
    "broken",
)


def failed(
    instance: dg.DagsterInstance, origin: RemoteJobOrigin | None, parent: str | None = None
) -> dg.DagsterRun:
    """A run that may be retried once, and has failed, as Dagster writes that down."""
    family = {"dagster/parent_run_id": parent, "dagster/root_run_id": parent} if parent else {}
    run = instance.create_run_for_job(
        broken,
        tags={"dagster/max_retries": "1"} | family,
        status=dg.DagsterRunStatus.STARTED,
        remote_job_origin=origin,
        parent_run_id=parent,
        root_run_id=parent,
    )
    instance.report_run_failed(run)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def test_a_run_that_is_tried_again_is_told_only_when_that_fails_too(location: Location) -> None:
    overrides = {"run_retries": {"enabled": True}}
    with dg.instance_for_test(overrides=overrides) as instance:
        sensors = Sensors(location, instance)
        sensors.tick("failed_runs")
        sensors.tick("notifications")
        first = failed(instance, _ORIGIN)
        assert first.tags["dagster/will_retry"] == "true"
        assert not is_final(first)
        sensors.tick("failed_runs")
        assert sensors.tick("notifications").skip_message == "delivered: 0 by log"

        second = failed(instance, _ORIGIN, parent=first.run_id)
        assert second.tags["dagster/will_retry"] == "false"
        sensors.tick("failed_runs")
        with location.platform() as platform:
            assert platform.outbox.is_told(f"run-failed-{second.run_id}")
            assert not platform.outbox.is_told(f"run-failed-{first.run_id}")


def test_what_a_command_ran_is_told_since_nobody_tries_it_again(location: Location) -> None:
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True}}) as instance:
        run = failed(instance, None)
    assert run.tags["dagster/will_retry"] == "true"
    assert is_final(run)


# The digest

MONDAY = datetime(2026, 11, 23, 8, tzinfo=UTC)


def test_the_schedule_asks_for_one_digest_a_day(location: Location) -> None:
    location.configure(notifications={"digest": "0 7 * * 2"})
    schedule = Sensors(location).defs.get_schedule_def("weekly_digest")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 7 * * 2", "UTC")
    with dg.build_schedule_context(scheduled_execution_time=MONDAY) as context:
        [request] = schedule.evaluate_tick(context).run_requests or ()
    assert request.run_key == "2026-11-23"
    assert request.run_config == {"ops": {"tell_the_week": {"config": {"day": "2026-11-23"}}}}


def test_a_week_is_told_once(sensors: Sensors, caplog: pytest.LogCaptureFixture) -> None:
    fail(sensors.instance)
    fail(sensors.instance)
    day = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    job = sensors.defs.resolve_job_def("digest")
    config = {"ops": {"tell_the_week": {"config": {"day": day}}}}
    caplog.set_level(logging.WARNING, "rag_platform.notifications")
    for _ in range(2):
        assert job.execute_in_process(instance=sensors.instance, run_config=config).success
    told = [each for each in caplog.records if each.name == "rag_platform.notifications"]
    [line] = [each.getMessage() for each in told]
    assert line.startswith("Week of ")
    assert "2 runs failed" in line
    assert "broken: 2" in line
    assert "intent_classifier: version 3, accuracy 0.93" in line
    with sensors.location.platform() as platform:
        assert platform.outbox.is_told(f"digest-{day}")


@pytest.mark.parametrize("automation", [True, False])
def test_sensors_and_schedule_run_where_automation_does(
    location: Location, automation: bool
) -> None:
    location.configure(automation=automation)
    definitions = notification_definitions(location.settings)
    found = [*(definitions.sensors or []), *(definitions.schedules or [])]
    assert {each.name: each.default_status.value for each in found} == dict.fromkeys(
        ["failed_runs", "notifications", "weekly_digest"], "RUNNING" if automation else "STOPPED"
    )


def test_delivery_takes_the_channels_of_the_settings(
    location: Location, slack: SlackServer
) -> None:
    location.configure(notifications={"slack": {"channel": "#unknown", "base_url": slack.base_url}})
    with location.platform() as platform:
        platform.outbox.tell("a", "text")
        assert deliver(platform) == {"log": 1, "slack": 0}
        with platform.catalog.read() as connection:
            [error] = connection.execute(
                sa.select(deliveries.c.error).where(deliveries.c.channel == "slack")
            ).scalars()
    assert error.startswith("channel_not_found. Set notifications.slack.channel")
