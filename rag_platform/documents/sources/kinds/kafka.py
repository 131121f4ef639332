"""A Kafka topic as a source: each message is the newest version of a document, or its removal."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from rag_platform.documents.sources import events
from rag_platform.documents.sources.base import (
    Fetched,
    Known,
    ListedObject,
    Place,
    Source,
    SourceUnavailable,
)
from rag_platform.documents.sources.events import Spool
from rag_platform.documents.sources.registry import BadSource
from rag_platform.documents.sources.selection import Selection
from rag_platform.documents.sources.topic import Bounds, Message, Topic
from rag_platform.settings_values import Count, Seconds, Section

_ADDRESS = re.compile(r"kafka://(?P<brokers>[^/?#@\s]+)/(?P<topic>[A-Za-z0-9._-]{1,249})/?")
_START = "Run with --refresh (run config: refresh: true) to read the topic from its first message."


class KafkaOptions(Section):
    """What a message holds, and how much one pass takes.

    Access to the cluster comes from the environment: KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM,
    KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD, KAFKA_SSL_CA_LOCATION, KAFKA_SSL_CERTIFICATE_LOCATION,
    KAFKA_SSL_KEY_LOCATION, KAFKA_SSL_KEY_PASSWORD.
    """

    key: Annotated[str, Field(pattern=r"^(key|header:.+|field:.+)$")] = Field(
        default="key",
        description="What names the document: the message's `key`, `header:NAME`, or `field:PATH` "
        "of a value that is JSON.",
    )
    text: Annotated[str, Field(pattern=r"^(value|field:.+)$")] = Field(
        default="value", description="The document: the whole `value`, or `field:PATH` of JSON."
    )
    acl: Annotated[str, Field(pattern=r"^(header:.+|field:.+)$")] | None = Field(
        default=None,
        description="Who may read it: `header:NAME` or `field:PATH`, words between commas or a "
        "list; nobody where a message lacks it. Null: as the source's `acl` says.",
    )
    media_type: str = Field(
        default="", description="Format of the documents where their keys end in none."
    )
    timeout: Seconds = Field(default=30.0, description="How long brokers may be silent.")
    max_pass_bytes: Count = Field(
        default=4_000_000_000,
        description="Bytes that one pass takes, kept in TMPDIR; the next one goes on from there.",
    )


@dataclass(frozen=True)
class Offsets:
    """A cursor: of each partition of a topic the next message to read."""

    topic: str
    cluster: str
    next: Mapping[int, int]

    def written(self) -> str:
        """As the catalog keeps it."""
        offsets = {str(number): self.next[number] for number in sorted(self.next)}
        return json.dumps({"topic": self.topic, "cluster": self.cluster, "offsets": offsets})

    @classmethod
    def read(cls, cursor: str) -> "Offsets":
        """What `written` gave."""
        found = json.loads(cursor)
        offsets = {int(number): offset for number, offset in found["offsets"].items()}
        return cls(found["topic"], found["cluster"], offsets)


class KafkaSource(Source):
    """The documents of a topic: of each key the last message counts, one without value removes.

    A pass reads from the recorded offsets to where the topic ended when it began. The offsets
    move in the transaction that records the pass, so that every message is taken exactly once. Of
    the messages of one key in several partitions the latest by time counts within a pass.
    """

    schemes = ("kafka",)
    Options = KafkaOptions
    sensor_seconds = 60
    complete = False

    def __init__(self, url: str, selection: Selection, options: KafkaOptions) -> None:
        """Raises `BadSource`."""
        found = _ADDRESS.fullmatch(url)
        if found is None:
            raise BadSource(f"{url}: must be kafka://broker:9092,broker:9092/topic.")
        self.url = url
        self._brokers, self._topic = found["brokers"], found["topic"]
        self._selection = selection
        self._options = options
        self.tells_readers = options.acl is not None
        self._spool: Spool | None = None
        self._reached: str | None = None

    @classmethod
    def open(cls, place: Place) -> Self:
        assert isinstance(place.options, KafkaOptions)
        return cls(place.url, place.selection, place.options)

    def batches(
        self, since: str | None = None, until: datetime | None = None
    ) -> Iterator[list[ListedObject]]:
        self.recorded()
        spool = self._spool = Spool()
        with self._connection() as topic:
            bounds = topic.bounds()
            starts = self._starts(since, bounds, topic)
            spans = {number: (starts[number], bounds.partitions[number][1]) for number in starts}
            for message in topic.messages(spans, before=until.timestamp() if until else None):
                self._take(message, spool)
                if spool.bytes >= self._options.max_pass_bytes:
                    break
            self._reached = self._cursor(bounds, topic.positions)
        yield from spool.batches()

    def cursor(self) -> str | None:
        return self._reached

    def recorded(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def fetch(self, key: str, known: Known | None = None) -> Fetched | None:
        return None if self._spool is None else self._spool.read(key)

    def signal(self, since: str | None = None) -> str:
        """A digest over the cursor and the ends of the partitions; "" where nothing waits.

        A cursor that cannot be gone on from has one word, whatever comes: it asks for one run,
        which fails and tells.
        """
        with self._connection() as topic:
            bounds = topic.bounds()
            ends = {number: end for number, (_, end) in bounds.partitions.items()}
            try:
                waits = self._starts(since, bounds, topic) != ends
            except SourceUnavailable:
                return _digest(f"{since} cannot be gone on from")
        return _digest(f"{since} {self._cursor(bounds, ends)}") if waits else ""

    def oldest(self, since: str | None = None) -> float | None:
        """The time of the first message that waits, over all partitions."""
        with self._connection() as topic:
            bounds = topic.bounds()
            reached = Offsets.read(since).next if since else {}
            first = [
                next(topic.messages({number: (max(low, reached.get(number, low)), end)}), None)
                for number, (low, end) in bounds.partitions.items()
            ]
        return min((message.time for message in first if message is not None), default=None)

    def uri(self, key: str) -> str:
        """The topic and the key in it."""
        return f"{self.url.rstrip('/')}#{key}"

    def _connection(self) -> Topic:
        return Topic(self._brokers, self._topic, timeout_s=self._options.timeout)

    def _cursor(self, bounds: Bounds, offsets: Mapping[int, int]) -> str:
        return Offsets(self._topic, bounds.cluster, offsets).written()

    def _starts(self, since: str | None, bounds: Bounds, topic: Topic) -> dict[int, int]:
        """Where each partition is read from: from where the last pass stopped, else its first
        message. What cannot be read any more is an error, because it would be missed silently."""
        if since is None:
            return {number: low for number, (low, _) in bounds.partitions.items()}
        known = Offsets.read(since)
        if (known.topic, known.cluster) != (self._topic, bounds.cluster):
            raise SourceUnavailable(
                f"{self.url}: what was read so far came from topic {known.topic!r} of cluster "
                f"{known.cluster!r}, this is {self._topic!r} of {bounds.cluster!r}. {_START}",
                transient=False,
            )
        if missing := sorted(set(known.next) - set(bounds.partitions)):
            raise SourceUnavailable(
                f"{self.url}: partitions {missing} are not there any more; the topic was made "
                f"anew. {_START}",
                transient=False,
            )
        for number, start in known.next.items():
            low, end = bounds.partitions[number]
            if start < low:
                raise topic.gap(
                    number, f"offsets {start:,} to {low - 1:,} were removed before they were read"
                )
            if start > end:
                raise topic.gap(
                    number,
                    f"offset {start:,} was reached but the topic ends at {end:,}: it was made anew "
                    "or has lost messages",
                )
        return {
            number: known.next.get(number, low) for number, (low, _) in bounds.partitions.items()
        }

    def _take(self, message: Message, spool: Spool) -> None:
        options = self._options
        value = self._json(message)
        key = events.key_of(self._part(options.key, message, value))
        problem = "no key" if key is None else events.key_problem(key)
        if key is None or problem:
            key = f"unnamed/{message.partition}-{message.offset}"
            problem = f"nothing names the document at {options.key} ({problem})"
        elif key not in self._selection:
            return
        content = None
        if not problem and message.value is not None:
            content = self._content(message, value)
            problem = None if content is not None else f"no text at {options.text}"
        where = f"partition {message.partition}, offset {message.offset}"
        found = ListedObject(
            key,
            size=len(content or b""),
            modified=message.time,
            etag=f"{message.partition}-{message.offset}",
            failure="bad_message" if problem else None,
            detail=f"{where}: {problem}" if problem else "",
            gone=message.value is None and not problem,
            acl=events.tags_of(self._part(options.acl, message, value)) if options.acl else None,
        )
        spool.put(found, content or b"", media_type=options.media_type, lane=message.partition)

    def _json(self, message: Message) -> Any:
        """The value as JSON where an option names a field of it; None where it is none."""
        options = self._options
        wanted = (options.key, options.text, options.acl or "")
        if message.value is None or not any(name.startswith("field:") for name in wanted):
            return None
        try:
            return events.parse_json(message.value)
        except ValueError:
            return None

    def _content(self, message: Message, value: Any) -> bytes | None:
        if self._options.text == "value":
            return message.value
        return events.bytes_of(self._part(self._options.text, message, value))

    def _part(self, name: str, message: Message, value: Any) -> Any:
        """What an option names of a message: its key, a header, or a field of its value."""
        what, _, path = name.partition(":")
        if what == "field":
            return events.at(value, path)
        if what == "header":
            found = [content for header, content in message.headers if header == path]
            return _text(found[-1]) if found else None
        return _text(message.key)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text(content: bytes | None) -> str | None:
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        return None


KIND = KafkaSource
