"""A Kafka cluster to read from: the mock cluster inside librdkafka, which speaks the protocol.

It keeps a partition's newest 5 MB, as a broker with a retention does.
"""

from typing import Any, Self

PARTITIONS = 4
KEPT_BYTES = 5 * 1_024 * 1_024


class KafkaServer:
    """The cluster as a context manager: a broker at `address`, topics that are made when used."""

    def __enter__(self) -> Self:
        from confluent_kafka import Producer

        # It lives as long as the client that was made with it.
        quiet: dict[str, Any] = {"log_level": 0}
        self._cluster = Producer({"test.mock.num.brokers": 1, **quiet})
        [broker] = self._cluster.list_topics(timeout=10).brokers.values()
        self.address = f"{broker.host}:{broker.port}"
        self._producer = Producer({"bootstrap.servers": self.address, "linger.ms": 0, **quiet})
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close()
        self._cluster.close()

    def url(self, topic: str) -> str:
        """The address of a topic as a source's."""
        return f"kafka://{self.address}/{topic}"

    def send(
        self,
        topic: str,
        key: str | bytes | None,
        value: str | bytes | None,
        *,
        partition: int = 0,
        at: float | None = None,
        **headers: bytes,
    ) -> None:
        """Add a message and wait until the broker has it; `at` in seconds since 1970."""
        self._producer.produce(
            topic,
            key=key,
            value=value,
            partition=partition,
            timestamp=int(at * 1_000) if at else 0,
            headers=dict(headers),
        )
        left = self._producer.flush(10)
        assert left == 0
