"""Delivery: each message once on each channel, through outages, slow servers and killed processes.

Times are told by a clock of the test; only the tests with servers wait, and not for long.
"""

import json
import logging
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.operations import slack
from rag_platform.operations.delivery import Deliverer, as_one, within
from rag_platform.operations.mail import MailChannel
from rag_platform.operations.notifications import (
    Channel,
    ChannelRefused,
    ChannelUnavailable,
    LogChannel,
)
from rag_platform.operations.slack import SlackChannel
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Deliveries, Message, Outbox
from rag_platform.storage.schema_models import deliveries, notifications
from rag_platform_tests.catalogs import Place
from rag_platform_tests.servers.slack import Fault, SlackServer, failing
from rag_platform_tests.servers.smtp import SmtpServer

DAY = 86400.0


class Fake(Channel):
    """A channel that notes what it is sent; `errors` are raised first, one a message."""

    def __init__(self, name: str = "fake", *errors: Exception) -> None:
        self.name = name
        self.errors = deque(errors)
        self.error: Exception | None = None
        self.sent: list[Message] = []
        self.tries = 0

    def send(self, message: Message) -> None:
        self.tries += 1
        error = self.errors.popleft() if self.errors else self.error
        if error:
            raise error
        self.sent.append(message)

    @property
    def keys(self) -> list[str]:
        """Of what was sent."""
        return [message.key for message in self.sent]


class World:
    """An outbox, channels, a clock, and what is noted about deliveries."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.outbox = Outbox(catalog)
        self.now = time.time() + 1

    def deliver(self, *channels: Channel, **rules: Any) -> dict[str, int]:
        return Deliverer(self.catalog, channels, clock=lambda: self.now, **rules).deliver()

    def tell(self, *keys: str, ago_s: float = 0.0) -> None:
        for key in keys:
            self.outbox.tell(key, f"about {key}")
            with self.catalog.begin() as connection:
                written = sa.update(notifications).where(notifications.c.key == key)
                connection.execute(written.values(at=self.now - ago_s))

    def notes(self, channel: str = "fake") -> dict[str, Any]:
        """Key of a message to what is noted about it on a channel."""
        statement = sa.select(notifications.c.key, deliveries).join(
            deliveries, deliveries.c.notification_id == notifications.c.id
        )
        with self.catalog.read() as connection:
            rows = connection.execute(statement.where(deliveries.c.channel == channel))
            return {row.key: row for row in rows}

    @property
    def pending(self) -> list[str]:
        return [message.key for message in self.outbox.pending(1000)]


@pytest.fixture
def world(catalog: Catalog) -> World:
    return World(catalog)


@pytest.fixture
def everywhere(shared: Catalog) -> World:
    """On either database."""
    return World(shared)


# The plain course


def test_each_message_goes_out_once_on_each_channel(everywhere: World) -> None:
    world, one, other = everywhere, Fake("one"), Fake("other")
    world.tell("a", "b", "c")
    assert world.deliver(one, other) == {"one": 3, "other": 3}
    assert one.keys == other.keys == ["a", "b", "c"]
    assert world.pending == []
    assert world.deliver(one, other) == {"one": 0, "other": 0}
    world.tell("d")
    assert world.deliver(one, other) == {"one": 1, "other": 1}


def test_where_nothing_waits_nothing_is_locked_or_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Catalog, "begin", refuse)
    monkeypatch.setattr(Catalog, "exclusive", refuse)
    assert world.deliver(Fake()) == {"fake": 0}


def test_a_dead_channel_delays_no_other(everywhere: World) -> None:
    world, dead, well = everywhere, Fake("dead"), Fake("well")
    dead.error = ChannelUnavailable("connection refused")
    world.tell("a", "b")
    assert world.deliver(dead, well) == {"dead": 0, "well": 2}
    assert world.pending == ["a", "b"]
    dead.error = None
    world.now += 3600
    assert world.deliver(dead, well) == {"dead": 2, "well": 0}
    assert (sorted(dead.keys), well.keys, world.pending) == (["a", "b"], ["a", "b"], [])


def test_a_hanging_channel_delays_no_other(world: World) -> None:
    well, told = Fake("well"), threading.Event()

    class Hanging(Fake):
        def send(self, message: Message) -> None:
            told.wait(30)

    world.tell("a")
    started = time.monotonic()
    assert world.deliver(Hanging("hanging"), well, attempt_s=0.4) == {"hanging": 0, "well": 1}
    assert time.monotonic() - started < 5
    told.set()
    assert world.notes("hanging")["a"].error == "no whole answer within 0.4 s"


def test_the_catalogs_own_errors_are_raised(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Fake()

    def broken(*_: object) -> bool:
        raise ConnectionError("the database is away")

    world.tell("a")
    monkeypatch.setattr(Deliveries, "sent", broken)
    with pytest.raises(ConnectionError):
        world.deliver(channel)
    monkeypatch.undo()
    # Sent, and not noted: the ambiguous instant. It is sent again when the lease is over.
    assert world.deliver(channel) == {"fake": 0}
    world.now += 61
    assert world.deliver(channel) == {"fake": 1}
    assert channel.keys == ["a", "a"]


# Outages


def test_waits_double_with_jitter_up_to_a_quarter_of_an_hour(world: World) -> None:
    channel = Fake()
    channel.error = ChannelUnavailable("503")
    world.tell("a")
    waits = []
    for _ in range(10):
        assert world.deliver(channel) == {"fake": 0}
        assert world.deliver(channel) == {"fake": 0}, "it rests"
        waits.append(world.notes()["a"].next_at - world.now)
        world.now = world.notes()["a"].next_at
    expected = [30, 60, 120, 240, 480, *[900] * 5]
    for wait, plain in zip(waits, expected, strict=True):
        assert 0.75 * plain <= wait <= 1.25 * plain
    assert len({round(wait / plain, 3) for wait, plain in zip(waits, expected, strict=True)}) > 3
    assert channel.tries == 10
    assert world.notes()["a"].attempts == 10


def test_an_outage_of_hours_loses_nothing_and_makes_no_storm(everywhere: World) -> None:
    world, channel = everywhere, Fake()
    channel.error = ChannelUnavailable("connection refused")
    for number in range(60):  # ten hours, a message every ten minutes, ticks of five
        world.tell(f"m{number:02}")
        for _ in range(2):
            world.deliver(channel)
            world.now += 300
    assert channel.sent == []
    assert channel.tries <= 120
    assert len(world.pending) == 60
    channel.error = None
    world.now += 1200
    sent = world.deliver(channel)
    assert sent == {"fake": 60}
    assert world.pending == []
    # All are told: the first ones in a summary, then the newest ones by themselves.
    assert len(channel.sent) == 11
    summary, singles = channel.sent[0], channel.keys[1:]
    assert sorted(singles) == [f"m{number}" for number in range(50, 60)]
    assert summary.subject.startswith("50 earlier messages, ")
    assert [line[17:] for line in summary.body.splitlines()] == [
        f"about m{number:02}" for number in range(50)
    ]


def test_a_summary_that_fails_is_tried_again(world: World) -> None:
    channel = Fake("fake", ChannelUnavailable("503"))
    world.tell(*(f"m{number:02}" for number in range(30)), ago_s=7200)
    assert world.deliver(channel) == {"fake": 0}
    assert {row.status for row in world.notes().values()} == {"waiting"}
    assert len(world.notes()) == 20
    world.now += 60
    assert world.deliver(channel) == {"fake": 30}
    assert len(channel.sent) == 11
    assert channel.sent[0].key == "m00..m19"


def test_fresh_messages_and_a_few_late_ones_are_told_singly(world: World) -> None:
    channel, log = Fake(), Fake("log")
    log.bundles = False
    world.tell(*(f"late{number}" for number in range(11)), ago_s=DAY)
    world.tell(*(f"fresh{number}" for number in range(15)), ago_s=60)
    assert world.deliver(channel, log) == {"fake": 26, "log": 26}
    assert len(channel.sent) == 26
    world.tell(*(f"old{number}" for number in range(100)), ago_s=DAY)
    world.deliver(log)
    assert len(log.sent) == 126


def test_a_message_that_always_fails_blocks_no_other(world: World) -> None:
    class Picky(Fake):
        def send(self, message: Message) -> None:
            self.error = ValueError("boom") if message.key == "bad" else None
            super().send(message)

    channel = Picky()
    world.tell("bad", "good")
    assert world.deliver(channel) == {"fake": 0}
    assert world.notes()["bad"].error == "unexpected ValueError: boom"
    world.now += 40
    assert world.deliver(channel) == {"fake": 1}
    assert channel.keys == ["good"]
    world.now += 900 * 1.25
    world.tell("later")
    assert world.deliver(channel) == {"fake": 1}


def test_after_days_a_message_is_given_up(world: World, caplog: pytest.LogCaptureFixture) -> None:
    channel = Fake()
    channel.error = ChannelUnavailable("certificate has expired")
    world.tell("old", ago_s=3 * DAY + 1)
    world.tell("new", ago_s=3 * DAY - 60)
    world.deliver(channel)
    world.now += 30
    world.deliver(channel)
    assert {key: row.status for key, row in world.notes().items()} == {
        "old": "given_up",
        "new": "waiting",
    }
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line == "fake: 1 message given up after 3 days: certificate has expired"
    assert world.pending == ["new"]


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (ChannelUnavailable("429", retry_after_s=90.0), 90, 91),
        (ChannelUnavailable("429", retry_after_s=0.0), 0, 1),
        (ChannelUnavailable("429", retry_after_s=1e9), 3600, 3601),
        (ChannelUnavailable("lost", may_have_arrived=True), 225, 375),
        (ChannelUnavailable("503"), 22.5, 37.5),
        (RuntimeError("a defect"), 22.5, 37.5),
    ],
)
def test_how_long_a_channel_rests(
    world: World, error: Exception, least: float, most: float
) -> None:
    world.tell("a", "b")
    channel = Fake("fake", error)
    world.deliver(channel)
    assert least <= world.notes()["a"].next_at - world.now <= most
    if least:
        world.now += least - 0.5
        assert world.deliver(channel) == {"fake": 0}
        assert channel.tries == 1
    world.now += most - least + 0.5
    assert world.deliver(channel) == {"fake": 2}


# Refusals


def test_a_refused_message_is_given_up_and_the_next_is_sent(
    everywhere: World, caplog: pytest.LogCaptureFixture
) -> None:
    world, channel = everywhere, Fake("fake", ChannelRefused("msg_too_long. Shorten it"))
    world.tell("a", "b")
    assert world.deliver(channel) == {"fake": 1}
    assert channel.keys == ["b"]
    assert world.pending == []
    note = world.notes()["a"]
    assert (note.status, note.attempts, note.error) == ("given_up", 1, "msg_too_long. Shorten it")
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.ERROR,
        "fake: 1 message given up: msg_too_long. Shorten it",
    )


def test_a_refusing_channel_is_asked_once_and_told_in_one_line(
    everywhere: World, caplog: pytest.LogCaptureFixture
) -> None:
    world, channel, well = everywhere, Fake(), Fake("well")
    channel.error = ChannelRefused("invalid_auth. Set SLACK_BOT_TOKEN", of_channel=True)
    world.tell(*(f"m{number}" for number in range(20)))
    assert world.deliver(channel, well) == {"fake": 0, "well": 20}
    assert channel.tries == 1
    assert caplog.messages == ["fake: 20 messages given up: invalid_auth. Set SLACK_BOT_TOKEN"]
    assert world.pending == []
    # Once it is put right, what was given up can be had again.
    channel.error = None
    deliverer = Deliverer(world.catalog, [channel, well], clock=lambda: world.now)
    assert deliverer.revive() == 20
    assert deliverer.deliver() == {"fake": 20, "well": 0}
    assert world.pending == []


def test_secrets_of_a_channel_are_in_no_note_and_no_line(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.tell("a", "b")
    channel = Fake("fake", ChannelRefused("bad key s3cret"), ValueError("at http://s3cret/"))
    channel.secrets = ("s3cret",)
    world.deliver(channel)
    assert [row.error for row in world.notes().values()] == [
        "bad key ***",
        "unexpected ValueError: at http://***/",
    ]
    assert "s3cret" not in caplog.text
    assert caplog.text.count("***") == 2


# Parts


def test_within_gives_back_raises_and_ends() -> None:
    assert within(1, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(1, lambda: 1 // 0)
    event = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.1, lambda: event.wait(10))
    event.set()


@given(st.lists(st.floats(0, 2e9), min_size=2, max_size=20))
def test_a_summary_names_every_message(times: list[float]) -> None:
    messages = [
        Message(number, f"k{number}", at, f"s{number}\nbody")
        for number, at in enumerate(sorted(times))
    ]
    summary = as_one(messages)
    assert len(summary.body.splitlines()) == len(messages)
    assert summary.subject.startswith(f"{len(messages)} earlier messages")
    assert all(f" s{number}" in summary.body for number in range(len(messages)))
    assert as_one(messages[:1]) is messages[0]


# Servers


def slack_channel(server: SlackServer) -> SlackChannel:
    return SlackChannel(webhook_url=server.webhook_url)


def mail_channel(server: SmtpServer) -> MailChannel:
    return MailChannel(
        "127.0.0.1",
        server.port,
        security="none",
        sender="from@example.org",
        recipients=["to@example.org"],
    )


def test_slacks_limit_is_kept(shared: Catalog) -> None:
    outbox = Outbox(shared)
    for key in "abc":
        outbox.tell(key, key)
    with SlackServer(interval_s=1.0) as server:
        # A new deliverer each time, as every tick of a sensor has one.
        sent = [Deliverer(shared, [slack_channel(server)]).deliver()]
        outbox.tell("d", "d")
        sent.append(Deliverer(shared, [slack_channel(server)]).deliver())
        assert server.texts == ["a", "b", "c", "d"]
        assert server.requests == 4, "none came too fast"
    assert sent == [{"slack": 3}, {"slack": 1}]


def test_an_outage_of_both(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlackChannel, "interval_s", 0.0)
    world = World(catalog)
    mails = SmtpServer()
    with SlackServer() as first:
        port = first.port
    with SlackServer(port=port) as slacks:
        channels = [LogChannel(), slack_channel(slacks), mail_channel(mails)]
        slacks.fault = failing("service_unavailable", status=503)
        world.tell("a", "b")
        assert world.deliver(*channels) == {"log": 2, "slack": 0, "mail": 0}
        slacks.fault = None
        world.now += 40
        with mails:
            assert world.deliver(*channels) == {"log": 0, "slack": 2, "mail": 2}
        world.tell("c")
        assert world.deliver(*channels) == {"log": 1, "slack": 1, "mail": 0}
        world.now += 40
        with mails:
            assert world.deliver(*channels) == {"log": 0, "slack": 0, "mail": 1}
    assert sorted(slacks.texts) == sorted(mails.subjects) == ["about a", "about b", "about c"]
    assert world.pending == []


def test_a_mail_taken_without_an_answer_comes_again_as_the_same(
    catalog: Catalog,
) -> None:
    world = World(catalog)
    world.tell("a")
    with SmtpServer() as mails:
        mails.wait_s = 1.0
        assert world.deliver(mail_channel(mails), attempt_s=0.5) == {"mail": 0}
        mails.wait_s = 0.0
        assert world.deliver(mail_channel(mails)) == {"mail": 0}, "not soon"
        world.now += 375
        assert world.deliver(mail_channel(mails)) == {"mail": 1}
    first, second = (mail.message["Message-ID"] for mail in mails.mails)
    assert first == second


def test_a_dripping_server_holds_nobody(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack, "_TIMEOUT_S", 5)
    world = World(catalog)
    world.tell("a")
    with SlackServer() as server:
        server.faults.append(Fault("drip", body="o", seconds=30))
        started = time.monotonic()
        assert world.deliver(slack_channel(server), attempt_s=0.7) == {"slack": 0}
        assert time.monotonic() - started < 4
    assert world.notes("slack")["a"].next_at - world.now >= 225


# Processes


@contextmanager
def delivering(place: Place, count: int, **rules: Any) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are about to deliver; `go` lets them."""
    told = json.dumps({"url": place.url, "locks": str(place.locks), "lease_s": 60.0} | rules)
    command = [sys.executable, "-m", "rag_platform_tests.operations.delivering", told]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def result(process: subprocess.Popen[str]) -> dict[str, int]:
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    found: dict[str, int] = json.loads(out)
    return found


def test_two_processes_at_a_time_send_each_message_once(place: Place, shared: Catalog) -> None:
    outbox = Outbox(shared)
    keys = [f"m{number:02}" for number in range(20)]
    for key in keys:
        outbox.tell(key, key)
    with SlackServer() as slacks, SmtpServer() as mails:
        targets = {"webhook_url": slacks.webhook_url, "mail_port": mails.port}
        with delivering(place, 2, **targets) as processes:
            for process in processes:
                go(process)
            counts = [result(process) for process in processes]
        assert slacks.texts == mails.subjects == keys
    assert [sum(each[name] for each in counts) for name in ("slack", "mail")] == [20, 20]
    assert outbox.pending() == []


@pytest.mark.parametrize("where", ["before", "after"])
def test_what_a_killed_process_was_about_is_the_only_thing_in_doubt(
    place: Place, shared: Catalog, where: Literal["before", "after"]
) -> None:
    """Killed while the third message is on its way: before or after the server has taken it."""
    outbox = Outbox(shared)
    keys = [f"m{number}" for number in range(6)]
    for key in keys:
        outbox.tell(key, key)
    with SmtpServer() as mails, delivering(place, 1, mail_port=mails.port) as [process]:
        mails.hold = (3, where)
        go(process)
        assert mails.held.wait(30)
        process.kill()
        process.wait()
        assert mails.subjects == (keys[:2] if where == "before" else keys[:3])
        # Nobody else sends what the killed process may have sent, as long as its lease runs.
        channel = mail_channel(mails)
        assert Deliverer(shared, [channel]).deliver() == {"mail": 3}
        assert [message.key for message in outbox.pending()] == ["m2"]
        late = Deliverer(shared, [channel], clock=lambda: time.time() + 61)
        assert late.deliver() == {"mail": 1}
        again = [] if where == "before" else ["m2"]
        assert sorted(mails.subjects) == sorted([*keys, *again])
    assert outbox.pending() == []
