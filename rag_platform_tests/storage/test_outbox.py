"""Messages for people: each told once, whoever notices it, and sent by one at a time."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Deliveries, Message, Outbox

LEASE_S = 60.0


class Clock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.now = time.time() + 1

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def outbox(shared: Catalog) -> Outbox:
    return Outbox(shared)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deliveries(shared: Catalog, clock: Clock) -> Deliveries:
    return Deliveries(shared, lease_s=LEASE_S, clock=clock)


def texts(outbox: Outbox, limit: int = 100) -> list[str]:
    return [message.text for message in outbox.pending(limit)]


def due(deliveries: Deliveries, channel: str = "slack") -> list[str]:
    return [message.key for message in deliveries.due(channel)]


# Writing


def test_a_message_is_told_once(outbox: Outbox) -> None:
    assert not outbox.is_told("a")
    assert outbox.tell("a", "first")
    assert outbox.tell("b", "second")
    assert not outbox.tell("a", "first again")
    assert outbox.is_told("a")
    assert texts(outbox) == ["first", "second"]
    assert texts(outbox, 1) == ["first"]
    first = outbox.pending()[0]
    assert first.key == "a"
    assert first.at > 1_700_000_000


def test_a_message_stands_or_falls_with_its_transaction(shared: Catalog, outbox: Outbox) -> None:
    def break_off() -> None:
        with shared.begin() as connection:
            assert outbox.tell_in(connection, "a", "never happened")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        break_off()
    assert texts(outbox) == []
    assert outbox.tell("a", "happened")
    assert texts(outbox) == ["happened"]


def test_many_who_notice_at_a_time_tell_once(outbox: Outbox) -> None:
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda n: outbox.tell("a", f"from {n}"), range(32)))
    assert told.count(True) == 1
    assert texts(outbox) == [f"from {told.index(True)}"]


def test_no_text_breaks_the_transaction_that_it_is_written_in(outbox: Outbox) -> None:
    outbox.tell("a", "a NUL \0, half a character \ud83d, a whole one \U0001f600")
    assert texts(outbox) == ["a NUL , half a character ?, a whole one \U0001f600"]


@pytest.mark.parametrize(
    ("text", "subject", "body"),
    [
        ("one line", "one line", ""),
        ("first \nsecond\nthird\n", "first", "second\nthird"),
        ("first\n\n  second", "first", "second"),
        ("", "", ""),
    ],
)
def test_the_first_line_is_the_subject(text: str, subject: str, body: str) -> None:
    message = Message(1, "key", 0.0, text)
    assert (message.subject, message.body) == (subject, body)


# Claims


def test_a_message_is_done_when_every_channel_is(outbox: Outbox, deliveries: Deliveries) -> None:
    outbox.tell("a", "first")
    outbox.tell("b", "second")
    channels = ["log", "slack"]
    [first, second] = deliveries.due("log")
    assert deliveries.sent(deliveries.claim("log", [first, second]))
    assert due(deliveries, "log") == []
    assert due(deliveries) == ["a", "b"]
    deliveries.finish(channels)
    assert texts(outbox) == ["first", "second"]

    assert deliveries.sent(deliveries.claim("slack", [first]))
    claim = deliveries.claim("slack", [second])
    assert deliveries.give_up(claim, [second], error="no such channel")
    deliveries.finish(channels)
    assert texts(outbox) == []
    # A channel that is new hears of new messages, not of those of all times.
    assert due(deliveries, "mail") == []
    assert not outbox.tell("a", "told long ago")


def test_a_claim_is_exclusive_until_its_lease_is_over(
    outbox: Outbox, deliveries: Deliveries, clock: Clock
) -> None:
    outbox.tell("a", "first")
    messages = deliveries.due("slack")
    dead = deliveries.claim("slack", messages)
    assert dead.messages == messages
    assert dead.attempts == 1
    assert deliveries.due("slack") == []
    assert deliveries.claim("slack", messages).messages == []
    assert deliveries.claim("mail", messages).messages == messages
    clock.now += LEASE_S - 1
    assert deliveries.due("slack") == []
    clock.now += 1
    assert deliveries.due("slack") == messages
    second = deliveries.claim("slack", messages)
    assert (second.messages, second.attempts) == (messages, 2)
    # The first one turns out to live: it has lost its claim, and changes nothing.
    assert not deliveries.sent(dead)
    assert not deliveries.wait(dead, messages, until=clock.now, error="late")
    assert deliveries.sent(second)
    assert deliveries.due("slack") == []


def test_what_waits_makes_the_channel_rest(
    outbox: Outbox, deliveries: Deliveries, clock: Clock
) -> None:
    for key in "abc":
        outbox.tell(key, key)
    assert deliveries.rests_until("slack") == deliveries.last_attempt("slack") == 0.0
    first = deliveries.due("slack")[:1]
    claim = deliveries.claim("slack", first)
    until = clock.now + 30
    assert deliveries.wait(claim, first, until=until, error="503")
    assert deliveries.rests_until("slack") == until
    assert deliveries.rests_until("mail") == 0.0
    assert deliveries.last_attempt("slack") == claim.at
    assert due(deliveries) == ["b", "c"]
    clock.now += 30
    assert deliveries.rests_until("slack") == 0.0
    assert due(deliveries) == ["b", "c", "a"], "the least tried first"


def test_what_was_given_up_may_be_tried_again(
    outbox: Outbox, deliveries: Deliveries, clock: Clock
) -> None:
    outbox.tell("a", "first")
    outbox.tell("b", "second")
    [first, second] = deliveries.due("slack")
    deliveries.give_up(deliveries.claim("slack", [first]), [first], error="invalid_auth")
    deliveries.sent(deliveries.claim("slack", [second]))
    deliveries.finish(["slack"])
    assert deliveries.revive(since=clock.now + 1) == 0
    assert texts(outbox) == []
    assert deliveries.revive(since=clock.now) == 1
    assert texts(outbox) == ["first"]
    assert due(deliveries) == ["a"]
    assert deliveries.claim("slack", [first]).attempts == 2


def test_many_claim_each_message_once(outbox: Outbox, deliveries: Deliveries) -> None:
    for number in range(40):
        outbox.tell(str(number), "text")
    messages = deliveries.due("slack")
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: deliveries.claim("slack", messages), range(8)))
    claimed = [message.id for claim in claims for message in claim.messages]
    assert sorted(claimed) == [message.id for message in messages]
