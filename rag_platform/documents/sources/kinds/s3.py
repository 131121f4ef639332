"""A bucket, or a prefix of one, as a source."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from rag_platform.documents.sources.base import (
    Fetched,
    Known,
    ListedObject,
    NotTaken,
    Place,
    Source,
    SourceUnavailable,
)
from rag_platform.documents.sources.notifications import EventQueue, queue_client
from rag_platform.documents.sources.selection import Selection
from rag_platform.settings_values import HttpUrl, Section
from rag_platform.storage.objects import (
    S3Connection,
    explain,
    may_pass,
    open_store,
    s3_client,
    split_s3,
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BATCH = 1_000
_ASK_THREADS = 10  # as many connections as boto3 keeps


class S3Options(Section):
    """What a bucket needs besides its address, which is nothing."""

    events: HttpUrl | None = Field(
        default=None,
        description="Address of an SQS queue that the bucket's events go to, used by nothing else: "
        "between full listings only objects that it names are looked at.",
    )
    full_hours: Annotated[float, Field(gt=0)] = Field(
        default=24.0,
        description="With `events`, the part of a day (UTC) that begins with a full listing.",
    )


class S3Source(Source):
    """The objects below a prefix of a bucket; folder markers are none.

    boto3 lists, because to it every key is a name; obstore, which reads many times faster, fails
    the whole listing at a key that it cannot address.

    With a queue of events a listing is complete only now and then. The cursor holds when it last
    was; which messages were met is kept by the queue, whose messages are deleted after the pass
    that they led to was recorded.
    """

    schemes = ("s3",)
    Options = S3Options
    fetch_threads = 32

    def __init__(
        self,
        url: str,
        selection: Selection,
        *,
        store: Any,
        client: Any,
        queue: EventQueue | None = None,
        full_hours: float = 24.0,
    ) -> None:
        self.url = url
        self._bucket, self._prefix = split_s3(url)
        self._selection = selection
        self._store = store
        self._client = client
        self._queue = queue
        self._period_s = full_hours * 3_600
        self._full_at: float | None = None

    @classmethod
    def open(cls, place: Place) -> Self:
        assert isinstance(place.options, S3Options)
        s3 = place.s3 or S3Connection()
        store, client = open_store(place.url, place.s3), s3_client(s3)
        options, queue = place.options, None
        if options.events:
            client_of_queue = queue_client(options.events, s3)
            queue = EventQueue(options.events, split_s3(place.url)[0], client_of_queue)
        return cls(
            place.url,
            place.selection,
            store=store,
            client=client,
            queue=queue,
            full_hours=options.full_hours,
        )

    def batches(
        self, since: str | None = None, until: datetime | None = None
    ) -> Iterator[list[ListedObject]]:
        self.complete, self._full_at = True, None
        if self._queue:
            self._queue.keep()  # what a pass took that was not recorded
        # What is new now may have to wait for a later page than that of a window that has ended,
        # so its messages are left where they are.
        if self._queue is None or until is not None:
            yield from self._all()
            return
        now = time.time()
        hints = self._queue.take()  # before the listing, which so shows at least what they say
        self.complete = self._is_due(since, now) or hints.unclear
        if self.complete:
            yield from self._all()
            self._full_at = now
        else:
            yield from self._named(hints.keys)

    def cursor(self) -> str | None:
        return None if self._full_at is None else json.dumps({"full_at": self._full_at})

    def recorded(self) -> None:
        if self._queue:
            self._queue.forget()

    def look(
        self, since: str | None = None, until: datetime | None = None
    ) -> Iterator[list[ListedObject]]:
        self.complete = True
        return self._all()

    def signal(self, since: str | None = None) -> str:
        if self._queue is None:
            return super().signal(since)
        now = time.time()
        if self._is_due(since, now):
            return f"listing {now // self._period_s:.0f}"
        return f"messages at {now}" if self._queue.waiting() else ""

    def fetch(self, key: str, known: Known | None = None) -> Fetched | None:
        from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError

        try:
            result = self._store.get(key)
            content = bytes(result.bytes())
        except (FileNotFoundError, NotFoundError):
            return None
        except (PermissionDeniedError, PermissionError) as error:
            raise NotTaken("unreadable", "no permission to read it") from error
        except BaseError as error:
            raise SourceUnavailable(f"{self.uri(key)}: {explain(error)}") from error
        meta = result.meta
        return Fetched(content, _seconds(meta["last_modified"]), meta["e_tag"] or "")

    def _is_due(self, since: str | None, now: float) -> bool:
        """Whether a part of the day has begun without a full listing."""
        try:
            full_at = float(json.loads(since or "")["full_at"])
        except (ValueError, TypeError, KeyError):
            return True
        return full_at // self._period_s != now // self._period_s

    def _all(self) -> Iterator[list[ListedObject]]:
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                rows = page.get("Contents", ())
                found = [(row["Key"][len(self._prefix) :], row) for row in rows]
                yield [
                    _object(key, row) for key, row in found if self._takes(key, size=row["Size"])
                ]
        except (BotoCoreError, ClientError) as error:
            raise self._unavailable(error) from error

    def _named(self, keys: list[str]) -> Iterator[list[ListedObject]]:
        """What became of the objects that events name."""
        own = [key[len(self._prefix) :] for key in keys if key.startswith(self._prefix)]
        own = [key for key in own if self._takes(key)]
        with ThreadPoolExecutor(_ASK_THREADS) as executor:
            for start in range(0, len(own), _BATCH):
                yield list(executor.map(self._now, own[start : start + _BATCH]))

    def _now(self, key: str) -> ListedObject:
        """An object as it is; one that is not there is gone, whatever its event said."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except (BotoCoreError, ClientError) as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
            if code in ("404", "NoSuchKey", "NotFound"):
                return ListedObject(key, 0, 0.0, None, gone=True)
            if code in ("403", "AccessDenied"):  # that it must not be read, its reading tells
                return ListedObject(key, 0, time.time(), None)
            raise self._unavailable(error) from error
        row = {**head, "Size": head["ContentLength"]}
        gone = not self._takes(key, size=row["Size"])
        return ListedObject(key, 0, 0.0, None, gone=True) if gone else _object(key, row)

    def _takes(self, key: str, *, size: int = 1) -> bool:
        is_folder = key.endswith("/") and not size
        return bool(key) and not is_folder and key in self._selection

    def _unavailable(self, error: Exception) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self.url}: listing failed, nothing was recorded: {explain(error)}",
            transient=may_pass(error),
        )


def _object(key: str, row: dict[str, Any]) -> ListedObject:
    failure, detail = None, ""
    if any(part in ("", ".", "..") for part in key.split("/")) or _CONTROL.search(key):
        failure, detail = "bad_name", "a key that is no path; give the object another key"
    modified = _seconds(row["LastModified"])
    key = key.replace("\0", "\\x00")  # PostgreSQL keeps none
    return ListedObject(key, row["Size"], modified, row.get("ETag", ""), failure, detail)


def _seconds(modified: datetime) -> float:
    """A listing may tell fractions that a single object's answer does not."""
    return float(int(modified.timestamp()))


KIND = S3Source
