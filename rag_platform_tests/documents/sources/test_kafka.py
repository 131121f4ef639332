"""A Kafka topic as a source, read from a cluster that speaks the protocol."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.documents.sources.base import ListedObject, SourceUnavailable
from rag_platform.documents.sources.kinds.kafka import KafkaOptions, KafkaSource, Offsets
from rag_platform.documents.sources.registry import BadSource, open_source
from rag_platform.documents.sources.selection import Selection
from rag_platform.documents.sources.topic import Message, Topic
from rag_platform.storage.schema import changes
from rag_platform_tests.documents.conftest import MakeDocs
from rag_platform_tests.servers.kafka import KEPT_BYTES, PARTITIONS, KafkaServer

pytest.importorskip("confluent_kafka")

EVERYTHING = Selection.of(("**",), ())
FIRST, SECOND, THIRD = (f"2026-07-0{day}" for day in (1, 2, 3))
_numbers = itertools.count()


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaServer]:
    with KafkaServer() as server:
        yield server


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"docs-{next(_numbers)}"


def noon(day: str) -> float:
    return datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()


def reader(kafka: KafkaServer, topic: str, **options: Any) -> KafkaSource:
    return KafkaSource(kafka.url(topic), EVERYTHING, KafkaOptions(**options))


def read(source: KafkaSource, since: str | None = None, **how: Any) -> dict[str, ListedObject]:
    found = [one for batch in source.batches(since, **how) for one in batch]
    assert len({one.key for one in found}) == len(found)
    return {one.key: one for one in found}


def texts(source: KafkaSource, since: str | None = None, **how: Any) -> dict[str, str | None]:
    """The documents of a pass; None for what has gone."""
    found: dict[str, str | None] = {}
    for key, one in read(source, since, **how).items():
        fetched = source.fetch(key)
        assert (fetched is None) == one.gone
        found[key] = fetched.content.decode() if fetched else None
    return found


# What a pass takes


def test_the_last_message_of_a_key_counts(kafka: KafkaServer, topic: str) -> None:
    kafka.send(topic, "a.md", "one", at=1_000.5)
    kafka.send(topic, "b.md", "bee", at=1_001.0)
    kafka.send(topic, "a.md", "two", at=1_002.0)
    kafka.send(topic, "b.md", None, at=1_003.0)
    kafka.send(topic, "c.md", "", partition=1, at=1_004.0)
    source = reader(kafka, topic, media_type="text/markdown")
    assert read(source) == {
        "a.md": ListedObject("a.md", 3, 1_002.0, "0-2"),
        "b.md": ListedObject("b.md", 0, 1_003.0, "0-3", gone=True),
        "c.md": ListedObject("c.md", 0, 1_004.0, "1-0"),
    }
    fetched = source.fetch("a.md")
    assert fetched is not None
    assert (fetched.content, fetched.etag, fetched.modified) == (b"two", "0-2", 1_002.0)
    assert fetched.media_type == "text/markdown"
    assert source.fetch("b.md") is None
    assert source.fetch("never.md") is None
    assert source.uri("a.md") == f"{kafka.url(topic)}#a.md"


def test_the_next_pass_goes_on_from_the_cursor(kafka: KafkaServer, topic: str) -> None:
    kafka.send(topic, "a", "one")
    source = reader(kafka, topic)
    assert texts(source) == {"a": "one"}
    reached = source.cursor()
    assert reached is not None
    assert Offsets.read(reached).next == {0: 1, **dict.fromkeys(range(1, PARTITIONS), 0)}
    assert texts(reader(kafka, topic), reached) == {}
    kafka.send(topic, "b", "two", partition=3)
    again = reader(kafka, topic)
    assert texts(again, reached) == {"b": "two"}
    assert Offsets.read(again.cursor() or "").next[3] == 1
    # From the start on, as a refresh asks.
    assert texts(reader(kafka, topic), None) == {"a": "one", "b": "two"}


def test_what_came_after_the_pass_began_is_left_to_the_next(
    kafka: KafkaServer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        kafka.send(topic, f"{number}", "old")
    bounds = Topic.bounds

    def then_more(self: Topic) -> Any:
        found = bounds(self)
        kafka.send(topic, "0", "new")
        return found

    source = reader(kafka, topic)
    with monkeypatch.context() as patch:
        patch.setattr(Topic, "bounds", then_more)
        assert texts(source) == {"0": "old", "1": "old", "2": "old"}
    assert texts(reader(kafka, topic), source.cursor()) == {"0": "new"}


@pytest.mark.parametrize("first", [0, 1])
def test_of_a_key_in_two_partitions_the_latest_counts(
    kafka: KafkaServer, topic: str, first: int
) -> None:
    kafka.send(topic, "a", "newest", partition=first, at=2_000.0)
    kafka.send(topic, "a", "old", partition=1 - first, at=1_000.0)
    kafka.send(topic, "a", "older, but later in its partition", partition=1 - first, at=900.0)
    assert texts(reader(kafka, topic)) == {"a": "newest"}


def test_only_the_selection_is_taken(kafka: KafkaServer, topic: str) -> None:
    kafka.send(topic, "a.md", "one")
    kafka.send(topic, "b.png", "two")
    selection = Selection.of(("*.md",), ())
    source = KafkaSource(kafka.url(topic), selection, KafkaOptions())
    assert texts(source) == {"a.md": "one"}


def test_keys_texts_and_readers_from_fields(kafka: KafkaServer, topic: str) -> None:
    value = '{"doc": {"id": 7, "body": "Grüße"}, "readers": ["sales", "hr"]}'
    kafka.send(topic, "x", value)
    kafka.send(topic, "y", '{"doc": {"id": "b.md", "body": "two"}}')
    source = reader(kafka, topic, key="field:doc.id", text="field:doc.body", acl="field:readers")
    found = read(source)
    assert {key: one.acl for key, one in found.items()} == {"7": ("hr", "sales"), "b.md": ()}
    fetched = source.fetch("7")
    assert fetched is not None
    assert fetched.content == "Grüße".encode()


def test_keys_and_readers_from_headers(kafka: KafkaServer, topic: str) -> None:
    kafka.send(topic, None, "one", id=b"a.md", acl=b"hr, board")
    kafka.send(topic, None, "two", id=b"b.md")
    kafka.send(topic, None, "three", id=b"c.md", acl=b"\xff")
    kafka.send(topic, None, None, id=b"d.md")
    found = read(reader(kafka, topic, key="header:id", acl="header:acl"))
    assert {key: one.acl for key, one in found.items()} == {
        "a.md": ("board", "hr"),
        "b.md": (),  # readers are asked for and not told: nobody
        "c.md": (),
        "d.md": (),
    }
    assert found["d.md"].gone


def test_a_message_that_cannot_be_taken_stops_no_other(kafka: KafkaServer, topic: str) -> None:
    bad: list[tuple[str | bytes | None, str | None]] = [
        (None, '{"text": "no key"}'),
        (b"\xff\xfe", '{"text": "no UTF-8"}'),
        ("a\nb", '{"text": "control"}'),
        ("x" * 1_025, '{"text": "too long"}'),
        (None, None),
    ]
    for key, value in bad:
        kafka.send(topic, key, value)
    for key, value in {"no-json": "{", "deep": "[" * 100_000, "none": '{"text": 5}'}.items():
        kafka.send(topic, key, value)
    kafka.send(topic, "surrogate", '{"text": "\\ud800"}')
    kafka.send(topic, "good", '{"text": "good"}')
    source = reader(kafka, topic, text="field:text")
    found = read(source)
    assert {key for key, one in found.items() if one.failure is None} == {"good"}
    failed = {key: one for key, one in found.items() if one.failure}
    unnamed = {f"unnamed/0-{offset}" for offset in range(5)}
    assert set(failed) == {*unnamed, "no-json", "deep", "none", "surrogate"}
    assert {one.failure for one in failed.values()} == {"bad_message"}
    assert failed["none"].detail == "partition 0, offset 7: no text at field:text"
    assert "control characters" in failed["unnamed/0-2"].detail
    assert not any(one.gone for one in found.values())


# Where a pass ends


def test_a_window_ends_at_the_first_message_after_it(kafka: KafkaServer, topic: str) -> None:
    kafka.send(topic, "a", "first", at=noon(FIRST))
    kafka.send(topic, "b", "second", at=noon(SECOND))
    kafka.send(topic, "c", "late", at=noon(FIRST))
    kafka.send(topic, "d", "first too", partition=1, at=noon(FIRST))
    end = datetime.fromisoformat(f"{SECOND}T00:00:00").replace(tzinfo=UTC)
    source = reader(kafka, topic)
    assert texts(source, until=end) == {"a": "first", "d": "first too"}
    reached = source.cursor()
    assert Offsets.read(reached or "").next == {0: 1, 1: 1, 2: 0, 3: 0}
    assert texts(source, reached) == {"b": "second", "c": "late"}


def test_a_pass_takes_no_more_than_its_bytes(kafka: KafkaServer, topic: str) -> None:
    for number in range(10):
        kafka.send(topic, f"{number}", "x" * 100, partition=number % 2)
    taken: list[str] = []
    since, passes = None, 0
    while True:
        source = reader(kafka, topic, max_pass_bytes=250)
        found = texts(source, since)
        if not found:
            break
        assert len(found) <= 3
        taken += found
        since, passes = source.cursor(), passes + 1
    assert sorted(taken) == [str(number) for number in range(10)]
    assert passes == 4


def test_partitions_that_were_added_are_read_from_their_start(
    kafka: KafkaServer, topic: str
) -> None:
    kafka.send(topic, "a", "known")
    kafka.send(topic, "b", "new", partition=2)
    source = reader(kafka, topic)
    read(source)
    now = Offsets.read(source.cursor() or "")
    before = Offsets(now.topic, now.cluster, {0: 1, 1: 0}).written()
    assert texts(source, before) == {"b": "new"}
    assert source.cursor() == now.written()


class Script:
    """What a consumer answers, for what the cluster of these tests cannot be brought to."""

    def __init__(self, *answers: tuple[int, int, int | None]) -> None:
        """Partition, offset and error code, or None for a message."""
        self._answers = list(answers)

    def assign(self, partitions: Any) -> None:
        """Nothing to do."""

    pause = assign

    def poll(self, timeout: float) -> Any:
        from confluent_kafka import KafkaError

        if not self._answers:
            return None
        partition, offset, code = self._answers.pop(0)

        class Answer:
            def partition(self) -> int:
                return partition

            def offset(self) -> int:
                return offset

            def error(self) -> Any:
                return None if code is None else KafkaError(code)

            def timestamp(self) -> tuple[int, int]:
                return (1, 5_000)

            def key(self) -> bytes:
                return b"k"

            def value(self) -> bytes:
                return b"v"

            def headers(self) -> None:
                return None

        return Answer()

    def consume(self, number: int, timeout: float) -> list[Any]:
        return []


def scripted(*answers: tuple[int, int, int | None]) -> Topic:
    topic = Topic("b:1", "docs", timeout_s=1)
    topic._consumer = Script(*answers)  # type: ignore[assignment]
    return topic


def test_offsets_that_compaction_left_empty_are_passed() -> None:
    from confluent_kafka import KafkaError

    eof = KafkaError._PARTITION_EOF
    topic = scripted((0, 3, None), (1, 4, None), (0, 9, eof), (1, 12, None), (1, 13, None))
    found = list(topic.messages({0: (1, 9), 1: (4, 10), 2: (5, 5)}))
    assert found == [Message(0, 3, 5.0, b"k", b"v"), Message(1, 4, 5.0, b"k", b"v")]
    # To the end of what was there, although the last offsets hold nothing.
    assert topic.positions == {0: 9, 1: 10, 2: 5}


def test_what_passes_by_itself_is_waited_for() -> None:
    from confluent_kafka import KafkaError

    topic = scripted((0, -1, KafkaError._TRANSPORT), (0, 0, None))
    assert [message.offset for message in topic.messages({0: (0, 1)})] == [0]


def test_removed_while_it_is_read() -> None:
    from confluent_kafka import KafkaError

    topic = scripted((0, 0, None), (0, 1, KafkaError._AUTO_OFFSET_RESET))
    with pytest.raises(SourceUnavailable, match="removed it while it was read") as caught:
        list(topic.messages({0: (0, 5)}))
    assert not caught.value.transient


def test_silence_and_refusals() -> None:
    from confluent_kafka import KafkaError

    with pytest.raises(SourceUnavailable, match="nothing came for 1 s") as caught:
        list(scripted((0, 0, None)).messages({0: (0, 2)}))
    assert caught.value.transient
    refused = scripted((0, -1, KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(SourceUnavailable, match="KAFKA_SASL_USERNAME") as caught:
        list(refused.messages({0: (0, 2)}))
    assert not caught.value.transient


# What cannot be read


def test_messages_removed_before_they_were_read(kafka: KafkaServer, topic: str) -> None:
    kafka.send(topic, "a", "read")
    source = reader(kafka, topic)
    texts(source)
    since = source.cursor()
    size = 500_000
    for number in range(KEPT_BYTES // size + 5):
        kafka.send(topic, f"{number}", "x" * size)
    with pytest.raises(
        SourceUnavailable, match=r"partition 0: offsets 1 to \d+ were rem"
    ) as caught:
        read(source, since)
    assert not caught.value.transient
    assert "--refresh" in str(caught.value)
    # The sensor asks for one run, which fails and tells; a refresh takes what is left.
    word = source.signal(since)
    kafka.send(topic, "last", "x" * size)
    assert word == source.signal(since) != ""
    left = read(source)
    assert len(left) == KEPT_BYTES // size
    assert source.signal(source.cursor()) == ""


def test_a_cursor_of_another_topic(kafka: KafkaServer, topic: str) -> None:
    kafka.send(topic, "a", "one")
    source = reader(kafka, topic)
    read(source)
    cluster = Offsets.read(source.cursor() or "").cluster
    for since, what in (
        (Offsets("other", cluster, {0: 1}), "topic 'other'"),
        (Offsets(topic, "elsewhere", {0: 1}), "cluster 'elsewhere'"),
        (Offsets(topic, cluster, {0: 1, 9: 5}), r"partitions \[9\]"),
        (Offsets(topic, cluster, {0: 500}), "offset 500 was reached but the topic ends at 1"),
    ):
        with pytest.raises(SourceUnavailable, match=what) as caught:
            read(source, since.written())
        assert not caught.value.transient


def test_no_broker_and_no_topic(kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    source = KafkaSource("kafka://127.0.0.1:9/docs", EVERYTHING, KafkaOptions(timeout=0.5))
    asks: list[Callable[[], object]] = [lambda: read(source), source.signal, source.oldest]
    for ask in asks:
        with pytest.raises(SourceUnavailable, match="Run again when the brokers answer") as caught:
            ask()
        assert caught.value.transient
    with pytest.raises(SourceUnavailable, match="Unknown topic") as caught:
        read(reader(kafka, "no-such-topic"))
    assert not caught.value.transient
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "hunter2")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    with pytest.raises(SourceUnavailable, match=r"security\.protocol") as caught:
        read(reader(kafka, "docs"))
    assert "hunter2" not in str(caught.value)


def test_without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    source = KafkaSource("kafka://b/docs", EVERYTHING, KafkaOptions())
    with pytest.raises(SourceUnavailable, match=r"rag_platform\[kafka\]") as caught:
        read(source)
    assert not caught.value.transient


@pytest.mark.parametrize(
    "url", ["kafka://broker", "kafka://broker/", "kafka:///t", "kafka://b/t/x"]
)
def test_bad_addresses(url: str) -> None:
    with pytest.raises(BadSource, match="kafka://broker:9092"):
        open_source("feed", url, selection=EVERYTHING, options={})


def test_options_are_checked() -> None:
    for options in ({"key": "value"}, {"text": "header:x"}, {"acl": "hr"}, {"group": "x"}):
        with pytest.raises(BadSource, match=r"sources\.feed\.options\."):
            open_source("feed", "kafka://b/t", selection=EVERYTHING, options=options)
    made = open_source("feed", "kafka://b:1,c:2/t.x-1", selection=EVERYTHING, options={})
    assert (made.complete, made.sensor_seconds) == (False, 60)


# What the sensor asks


def test_signal_and_oldest(kafka: KafkaServer, topic: str) -> None:
    kafka.send(topic, "a", "one", at=3_000.0)
    kafka.send(topic, "b", "two", partition=1, at=2_000.0)
    kafka.send(topic, "c", "three", partition=1, at=1_000.0)
    source = reader(kafka, topic)
    assert source.oldest() == 2_000.0
    word = source.signal()
    assert word
    assert word == source.signal()
    read(source)
    assert source.signal(source.cursor()) == ""
    assert source.oldest(source.cursor()) is None
    kafka.send(topic, "a", None, at=4_000.0)
    assert source.signal(source.cursor()) not in ("", word)
    assert source.oldest(source.cursor()) == 4_000.0


def test_an_empty_topic_asks_for_nothing(kafka: KafkaServer, topic: str) -> None:
    kafka.send(f"{topic}-other", "a", "one")
    empty = [(number, (0, 0)) for number in range(3)]
    source = reader(kafka, f"{topic}-other")
    with pytest.MonkeyPatch.context() as patch:
        bounds = Topic.bounds
        patch.setattr(
            Topic,
            "bounds",
            lambda self: type(bounds(self))(bounds(self).cluster, dict(empty)),
        )
        assert source.signal() == ""
        assert source.oldest() is None
        assert texts(source) == {}


# Exactly once into the log


def test_documents_of_a_topic_through_the_log(
    kafka: KafkaServer, topic: str, make_docs: MakeDocs
) -> None:
    docs = make_docs(url=kafka.url(topic))
    for key in "abc":
        kafka.send(topic, f"{key}.md", f"# {key}")
    assert docs.ask(FIRST).changes == {"inserted": 3}
    kafka.send(topic, "a.md", "# a, edited")
    kafka.send(topic, "b.md", None)
    kafka.send(topic, "c.md", "# c")  # sent again as it is
    done = docs.ask(SECOND)
    assert (done.listed, done.changes) == (3, {"updated": 1, "deleted": 1})
    assert docs.raw_keys(SECOND, 1) == ["a.md", "c.md"]
    assert docs.ask(SECOND).changes == {}
    # Read again from the first message on, it tells nothing new.
    assert docs.ask(SECOND, refresh=True).changes == {}


def test_windows_by_the_time_of_messages(
    kafka: KafkaServer, topic: str, make_docs: MakeDocs
) -> None:
    docs = make_docs(url=kafka.url(topic), dated_by="modified")
    for day in (FIRST, SECOND, THIRD):
        kafka.send(topic, f"{day}.md", f"text of {day}", at=noon(day))
    kafka.send(topic, "late.md", "late", at=noon(FIRST))
    kafka.send(topic, "ahead.md", "its clock is wrong", at=noon("2199-01-01"))
    kafka.send(topic, "behind.md", "a message behind that one", at=noon(THIRD))
    assert docs.ask(FIRST).changes == {"inserted": 1}
    assert docs.ask(SECOND).changes == {"inserted": 1}
    assert docs.ask(THIRD).changes == {"inserted": 2}
    assert docs.raw_keys(THIRD, 1) == [f"{THIRD}.md", "late.md"]
    today = docs.platform.calendar("manuals").current()
    assert docs.ask(today).changes == {"inserted": 2}


_KILLED = """
    import os, signal, sys
    from rag_platform.documents.changelog import ChangeLog
    from rag_platform.platform import Platform
    from rag_platform.settings import Settings

    def killed(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    ChangeLog._update_documents = killed  # in the transaction that records the pass
    Platform(Settings.model_validate_json(sys.argv[1])).raw("manuals").run(sys.argv[2])
"""


def test_killed_before_the_record_it_is_read_again(
    kafka: KafkaServer, topic: str, make_docs: MakeDocs
) -> None:
    docs = make_docs(url=kafka.url(topic))
    kafka.send(topic, "a.md", "one")
    kafka.send(topic, "b.md", "two")
    done = subprocess.run(
        [
            *(sys.executable, "-c", textwrap.dedent(_KILLED)),
            *(docs.platform.settings.model_dump_json(), FIRST),
        ],
        env=os.environ,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    assert docs.platform.raw("manuals").cursor() is None
    assert docs.ask(FIRST).changes == {"inserted": 2}
    kafka.send(topic, "c.md", "three")
    assert docs.ask(FIRST).changes == {"inserted": 1}
    with docs.platform.catalog.read() as connection:
        logged = connection.execute(sa.select(changes.c.key).order_by(changes.c.seq))
        assert list(logged.scalars()) == ["a.md", "b.md", "c.md"]


Sent = list[tuple[int, str | None]]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sent=st.lists(
        st.tuples(st.integers(0, 5), st.none() | st.text("ab", min_size=1, max_size=3)),
        min_size=1,
        max_size=25,
    ),
    most=st.integers(1, 8),
    again=st.integers(0, 3),
)
def test_passes_add_up_to_the_topic(kafka: KafkaServer, sent: Sent, most: int, again: int) -> None:
    """Whatever the size of passes, and with passes read twice because they were not recorded."""
    topic = f"docs-{next(_numbers)}"
    wanted: dict[str, str] = {}
    for number, text in sent:
        kafka.send(topic, f"{number}", text, partition=number % PARTITIONS)
        wanted.pop(f"{number}", None)
        if text is not None:
            wanted[f"{number}"] = text
    held: dict[str, str] = {}
    since, passes = None, 0
    source = reader(kafka, topic, max_pass_bytes=most)
    while source.signal(since):
        for _ in range(2 if passes == again else 1):  # killed before the record, the first time
            found = texts(source, since)
        held = {key: text for key, text in {**held, **found}.items() if text is not None}
        since, passes = source.cursor(), passes + 1
    assert held == wanted
