"""Sources: where documents come from. A source lists its objects and gives their bytes.

A kind of source is one module in `kinds/`; docs/extending.md shows how to write one.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Self

from rag_platform.documents.sources.selection import Selection
from rag_platform.errors import PlatformError
from rag_platform.settings_values import Section
from rag_platform.storage.objects import S3Connection


class SourceUnavailable(PlatformError):
    """The source could not be listed or read; nothing about its documents follows from that."""

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class NotTaken(Exception):
    """One object that is there and must not be taken: a reason code, and why in words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of a listing; `modified` in seconds since 1970, UTC.

    `etag` is None where a listing cannot tell whether the object changed: it is asked for each
    time. `failure` is the reason code of an object that can be seen but not taken. `gone`, in the
    listing of a source that is not `complete`, says that the object has been removed. `acl` names
    who may read it, where the source itself knows.
    """

    key: str
    size: int
    modified: float
    etag: str | None
    failure: str | None = None
    detail: str = ""
    gone: bool = False
    acl: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What was noted of an object when its bytes were last read."""

    etag: str | None
    modified: float | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes with what the store said of them when they were read."""

    content: bytes
    modified: float
    etag: str | None
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The object is as it is known: its bytes were not sent again. `etag` and `modified` as they
    are noted from now on."""

    modified: float
    etag: str | None


class NoOptions(Section):
    """A kind of source that needs nothing but its address."""


@dataclass(frozen=True)
class Place:
    """What a source is opened with. `options` is an instance of the kind's `Options`."""

    name: str
    url: str
    selection: Selection
    options: Section = field(default_factory=NoOptions)
    s3: S3Connection | None = None


class Source(ABC):
    """A set of addressable documents: those of a place that a selection lets through.

    `schemes` are those of the addresses that the kind takes, `Options` its settings, and
    `sensor_seconds` how often it may be asked whether there is something new. The listing of a
    `complete` source shows all there is, so that what it does not show is gone; that of another
    shows what happened since a cursor. `tells_readers` says that it names the readers (`acl`) of
    every object; the option by which it is told so is called `acl` too, so that a search asks who
    reads.
    """

    schemes: ClassVar[tuple[str, ...]]
    Options: ClassVar[type[Section]] = NoOptions
    sensor_seconds: ClassVar[int] = 300

    url: str
    complete: bool = True
    tells_readers: bool = False
    fetch_threads: int = 4

    @classmethod
    @abstractmethod
    def open(cls, place: Place) -> Self:
        """The source at a place. Nothing is asked of it yet."""

    @abstractmethod
    def batches(
        self, since: str | None = None, until: datetime | None = None
    ) -> Iterator[list[ListedObject]]:
        """All objects, in batches. Raises `SourceUnavailable`; a part is never the whole.

        Of a source that is not complete: what happened after the cursor `since` (from its first
        event on where that is None) and, where it can tell, before `until`. Of several events of
        one key the last counts.
        """

    def cursor(self) -> str | None:
        """Where the next listing goes on; valid once `batches` has come to its end."""
        return None

    def recorded(self) -> None:  # noqa: B027  # most hold nothing
        """The pass of the last listing stands in the catalog: what was held for it may be let go.

        Never raises.
        """

    def look(
        self, since: str | None = None, until: datetime | None = None
    ) -> Iterator[list[ListedObject]]:
        """`batches` for a preview: nothing of it may be lost to the next pass."""
        return self.batches(since, until)

    def oldest(self, since: str | None = None) -> float | None:
        """Time (seconds since 1970) of the first event after the cursor `since`, where a source
        can tell; with it what waits is brought to its windows, oldest first."""
        return None

    @abstractmethod
    def fetch(self, key: str, known: Known | None = None) -> Fetched | Unchanged | None:
        """The object's bytes now; None when it is no longer there. Raises `NotTaken`.

        `known` is what a source may ask with whether they have changed.
        """

    def signal(self, since: str | None = None) -> str:
        """A word that differs when there may be something new: by default a digest over keys and
        etags of a listing, whatever its order. `since` is the cursor that was reached; "" says
        that nothing is new since then."""
        total = 0
        for batch in self.batches(since):
            for found in batch:
                identity = f"{len(found.key)}:{found.key}{found.etag}".encode()
                total ^= int.from_bytes(hashlib.sha256(identity).digest(), "big")
        return f"{total:064x}"

    def uri(self, key: str) -> str:
        """The address of a document as people see it."""
        return f"{self.url.rstrip('/')}/{key}"
