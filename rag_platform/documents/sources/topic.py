"""A Kafka topic read between offsets, without a consumer group: the offsets live in the catalog."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from rag_platform.documents.sources.base import SourceUnavailable

if TYPE_CHECKING:
    from confluent_kafka import Consumer

# librdkafka's settings that come from the environment, where a person's secrets are.
SECURITY: Final = {
    "KAFKA_SECURITY_PROTOCOL": "security.protocol",
    "KAFKA_SASL_MECHANISM": "sasl.mechanism",
    "KAFKA_SASL_USERNAME": "sasl.username",
    "KAFKA_SASL_PASSWORD": "sasl.password",
    "KAFKA_SSL_CA_LOCATION": "ssl.ca.location",
    "KAFKA_SSL_CERTIFICATE_LOCATION": "ssl.certificate.location",
    "KAFKA_SSL_KEY_LOCATION": "ssl.key.location",
    "KAFKA_SSL_KEY_PASSWORD": "ssl.key.password",
}
_SECRET: Final = ("KAFKA_SASL_PASSWORD", "KAFKA_SSL_KEY_PASSWORD")
_PREFETCH_KB: Final = 8_192
_AT_ONCE: Final = 100
_POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `time` in seconds since 1970, 0 where the topic keeps none. A message without
    a value (a tombstone) says that what its key names has gone."""

    partition: int
    offset: int
    time: float
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a topic holds: of each partition the offset of its first message and the next one."""

    cluster: str
    partitions: dict[int, tuple[int, int]]


class Topic:
    """A connection to a topic, as a context manager. Errors are `SourceUnavailable`.

    `positions` are the next offsets to read, kept up with while `messages` is read.
    """

    def __init__(self, brokers: str, name: str, *, timeout_s: float) -> None:
        """`timeout_s`: how long the cluster may be silent."""
        self.positions: dict[int, int] = {}
        self._where = f"kafka://{brokers}/{name}"
        self._brokers = brokers
        self._name = name
        self._timeout_s = timeout_s
        self._problem: Any = None  # the last thing that the client complained of
        self._consumer: Consumer | None = None

    def __enter__(self) -> Self:
        try:
            from confluent_kafka import Consumer, KafkaException
        except ImportError as error:
            raise SourceUnavailable(
                f"{self._where}: needs the package confluent-kafka; run: pip install "
                "'rag_platform[kafka]'.",
                transient=False,
            ) from error
        try:
            self._consumer = Consumer(self._settings())
        except KafkaException as error:
            raise self._unavailable(error.args[0]) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._consumer is not None:
            self._consumer.close()

    def bounds(self) -> Bounds:
        """What the topic holds now."""
        from confluent_kafka import KafkaException, TopicPartition

        try:
            found = self._open.list_topics(self._name, timeout=self._timeout_s)
            topic = found.topics[self._name]
            if topic.error is not None:
                raise KafkaException(topic.error)
            return Bounds(
                found.cluster_id or "",
                {
                    number: self._open.get_watermark_offsets(
                        TopicPartition(self._name, number), timeout=self._timeout_s
                    )
                    for number in sorted(topic.partitions)
                },
            )
        except KafkaException as error:
            raise self._unavailable(error.args[0]) from error

    def messages(
        self, spans: Mapping[int, tuple[int, int]], *, before: float | None = None
    ) -> Iterator[Message]:
        """The messages of each partition from its first offset to before its second one.

        A partition ends at its first message from the time `before` on (seconds since 1970).
        Partitions come interleaved. Offsets that compaction or transactions left empty are passed.
        """
        from confluent_kafka import KafkaError, TopicPartition

        self.positions |= {number: start for number, (start, _) in spans.items()}
        ends = {number: end for number, (start, end) in spans.items() if start < end}
        self._open.assign([TopicPartition(self._name, n, spans[n][0]) for n in ends])
        for found in self._answers(ends):
            number, offset, error = found.partition(), found.offset(), found.error()
            if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise self.gap(number, "the broker removed it while it was read")
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                self._note(error)
                if not _may_pass(error):
                    raise self._unavailable(error)
                continue
            if number not in ends:  # of a partition that has come to its end
                continue
            end = ends[number]
            time = 0.0 if error else _seconds(found)
            if error or offset >= end:
                self.positions[number] = min(offset, end)
            elif before is not None and time >= before:
                self.positions[number] = offset
            else:
                self.positions[number] = offset + 1
                yield Message(
                    number, offset, time, found.key(), found.value(), tuple(found.headers() or ())
                )
                if offset + 1 < end:
                    continue
            del ends[number]
            self._open.pause([TopicPartition(self._name, number)])

    def gap(self, partition: int, what: str) -> SourceUnavailable:
        """The error of messages that can never be read."""
        return SourceUnavailable(
            f"{self._where}: partition {partition}: {what}; what changed or went in between is not "
            "known. Send the topic's documents once more, then run with --refresh (run config: "
            "refresh: true), which reads all that the topic holds now; a longer retention avoids "
            "this.",
            transient=False,
        )

    def _answers(self, ends: Mapping[int, int]) -> Iterator[Any]:
        """Whatever comes, until no partition is left; silence is an error."""
        silent_s = 0.0
        while ends:
            first = self._open.poll(_POLL_S)
            silent_s = silent_s + _POLL_S if first is None else 0.0
            if silent_s >= self._timeout_s:
                said = self._said(self._problem) if self._problem else "the brokers are silent"
                raise SourceUnavailable(
                    f"{self._where}: nothing came for {self._timeout_s:g} s ({said}); nothing was "
                    "recorded. Run again when the brokers answer."
                )
            if first is not None:
                yield first
                yield from self._open.consume(_AT_ONCE, timeout=0)  # what has come with it

    @property
    def _open(self) -> "Consumer":
        assert self._consumer is not None, "used outside its context"
        return self._consumer

    def _settings(self) -> dict[str, Any]:
        """Read-only, without a group, from offsets that are given; memory is bounded."""
        security = {
            setting: os.environ[name] for name, setting in SECURITY.items() if name in os.environ
        }
        return security | {
            "bootstrap.servers": self._brokers,
            "client.id": "rag_platform",
            "group.id": "rag_platform",  # the client wants one; nothing is committed
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": _PREFETCH_KB,
            "fetch.max.bytes": _PREFETCH_KB * 1_024,
            "fetch.wait.max.ms": 50,
            "error_cb": self._note,
            "log_level": 0,  # the same as the error callback tells, at each attempt to connect
        }

    def _note(self, error: Any) -> None:
        """Most of what the client complains of passes by itself: it tries on."""
        self._problem = error

    def _said(self, error: Any) -> str:
        said = " ".join(str(error.str()).split())[:300]
        for name in _SECRET:
            secret = os.environ.get(name)
            said = said.replace(secret, "***") if secret else said
        return said

    def _unavailable(self, error: Any) -> SourceUnavailable:
        if self._problem and _may_pass(error):  # a timeout; why, was told apart
            error = self._problem
        passes = _may_pass(error)
        remedy = (
            "Run again when the brokers answer."
            if passes
            else f"Check the topic's name, the rights to read it, and {', '.join(SECURITY)}."
        )
        return SourceUnavailable(
            f"{self._where}: {self._said(error)}; nothing was recorded. {remedy}", transient=passes
        )


def _may_pass(error: Any) -> bool:
    from confluent_kafka import KafkaError

    return not error.fatal() and error.code() not in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._AUTHENTICATION,
        KafkaError._INVALID_ARG,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    )


def _seconds(message: Any) -> float:
    kind, milliseconds = message.timestamp()
    return milliseconds / 1_000 if kind else 0.0
