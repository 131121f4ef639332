"""Messages for people: each told once, whoever notices it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox


@pytest.fixture
def outbox(shared: Catalog) -> Outbox:
    return Outbox(shared)


def texts(outbox: Outbox, limit: int = 100) -> list[str]:
    return [message.text for message in outbox.pending(limit)]


def test_a_message_is_told_once_and_delivered_once(outbox: Outbox) -> None:
    assert outbox.tell("a", "first")
    assert outbox.tell("b", "second")
    assert not outbox.tell("a", "first again")
    assert texts(outbox) == ["first", "second"]
    assert texts(outbox, 1) == ["first"]
    first = outbox.pending()[0]
    assert first.key == "a"
    assert first.at > 1_700_000_000
    outbox.sent([first.id])
    assert texts(outbox) == ["second"]
    assert not outbox.tell("a", "told long ago"), "delivered is told as well"
    assert texts(outbox) == ["second"]


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
