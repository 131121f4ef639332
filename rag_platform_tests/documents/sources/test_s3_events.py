"""A bucket whose events go to a queue: what is looked at, when, and what a kill leaves."""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pytest

from rag_platform.documents.changelog import ChangeLog, SourceListingRefused
from rag_platform.documents.sources.base import ListedObject, SourceUnavailable
from rag_platform.documents.sources.kinds.s3 import S3Options, S3Source
from rag_platform.documents.sources.notifications import EventQueue, queue_client
from rag_platform.documents.sources.registry import open_source
from rag_platform.documents.sources.selection import Selection
from rag_platform.platform import Platform
from rag_platform.storage.objects import S3Connection, open_store, s3_client
from rag_platform_tests.documents.conftest import Docs, MakeDocs
from rag_platform_tests.documents.sources.listings import EVERYTHING
from rag_platform_tests.documents.sources.test_notifications import amazon
from rag_platform_tests.servers.seaweed import S3Server
from rag_platform_tests.servers.sqs import SqsServer

FIRST, SECOND = "2026-07-01", "2026-07-02"


class Bucket:
    """A bucket that sends an event of each change, as S3 does."""

    def __init__(self, s3: S3Server, sqs: SqsServer) -> None:
        self.sqs = sqs
        self.connection = S3Connection(
            endpoint_url=s3.endpoint,
            region="us-east-1",
            access_key_id=s3.key,
            secret_access_key=s3.secret,
        )
        self._client = s3_client(self.connection)
        self._queue_client = queue_client(sqs.queue_url, self.connection)
        self.renew()

    def renew(self) -> None:
        """Another bucket, and an empty queue."""
        self.sqs.reset()
        self.name = f"docs-{uuid.uuid4().hex[:12]}"
        self._client.create_bucket(Bucket=self.name)
        self.url = f"s3://{self.name}/docs"

    def put(self, key: str, text: str, *, told: bool = True) -> None:
        self._client.put_object(Bucket=self.name, Key=f"docs/{key}", Body=text.encode())
        if told:
            self.tell(key)

    def delete(self, key: str, *, told: bool = True) -> None:
        self._client.delete_object(Bucket=self.name, Key=f"docs/{key}")
        if told:
            self.tell(key, "ObjectRemoved:Delete")

    def tell(self, key: str, name: str = "ObjectCreated:Put") -> None:
        self.sqs.send(amazon(quote_plus(f"docs/{key}"), name, self.name))

    def source(self, **options: Any) -> S3Source:
        return S3Source(
            self.url,
            options.pop("selection", EVERYTHING),
            store=open_store(self.url, self.connection),
            client=self._client,
            queue=EventQueue(self.sqs.queue_url, self.name, self._queue_client),
            **options,
        )


@pytest.fixture(scope="module")
def place_of_buckets(s3_server: S3Server) -> Iterator[Bucket]:
    with SqsServer() as sqs:
        yield Bucket(s3_server, sqs)


@pytest.fixture
def bucket(place_of_buckets: Bucket) -> Bucket:
    place_of_buckets.renew()
    return place_of_buckets


def asked(source: S3Source, since: str | None = None, **how: Any) -> dict[str, ListedObject]:
    return {found.key: found for batch in source.batches(since, **how) for found in batch}


def just_now() -> str:
    return json.dumps({"full_at": time.time()})


def test_the_first_listing_is_complete(bucket: Bucket) -> None:
    bucket.put("a.md", "a")
    source = bucket.source()
    assert list(asked(source)) == ["a.md"]
    assert source.complete
    cursor = source.cursor()
    assert cursor
    assert time.time() - json.loads(cursor)["full_at"] < 60
    # What was said before it is covered by it, and goes once it is recorded.
    assert len(bucket.sqs.messages) == 1
    source.recorded()
    assert bucket.sqs.messages == []


def test_then_only_what_events_name_is_looked_at(bucket: Bucket) -> None:
    for key in ("a.md", "b c+d.md", "quiet.md"):
        bucket.put(key, key, told=False)
    bucket.tell("b c+d.md")
    bucket.tell("b c+d.md")
    bucket.tell("never.md", "ObjectRemoved:Delete")
    source = bucket.source()
    found = asked(source, just_now())
    assert not source.complete
    assert source.cursor() is None
    assert {key: one.gone for key, one in found.items()} == {"b c+d.md": False, "never.md": True}
    whole = asked(source)
    assert whole["b c+d.md"] == found["b c+d.md"]


def test_an_object_is_taken_as_it_is_whatever_its_events_say(bucket: Bucket) -> None:
    bucket.put("back.md", "x", told=False)
    bucket.tell("back.md", "ObjectRemoved:Delete")  # removed, and there again
    bucket.tell("went.md")  # written, and gone since
    found = asked(bucket.source(), just_now())
    assert {key: one.gone for key, one in found.items()} == {"back.md": False, "went.md": True}


def test_events_of_other_objects(bucket: Bucket) -> None:
    for key in ("a.md", "a.tmp", "folder/"):
        bucket.tell(key)
    bucket.sqs.send(amazon("elsewhere/x.md", bucket=bucket.name))
    bucket.sqs.send(amazon("docs/x.md", bucket="another"))
    bucket.put("a.md", "a", told=False)
    bucket.put("folder/", "", told=False)
    only = Selection.of(("**",), ("*.tmp",))
    source = bucket.source(selection=only)
    found = asked(source, just_now())
    assert [key for key, one in found.items() if not one.gone] == ["a.md"]
    assert "a.tmp" not in found
    assert "x.md" not in found
    source.recorded()
    assert bucket.sqs.messages == []


def test_a_part_of_the_day_begins_with_a_full_listing(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("quiet.md", "x", told=False)
    midnight = datetime(2026, 7, 2, tzinfo=UTC).timestamp()
    source, quarter = bucket.source(), bucket.source(full_hours=6.0)
    monkeypatch.setattr(
        "rag_platform.documents.sources.kinds.s3.time.time", lambda: midnight + 6.5 * 3_600
    )
    for at, whole, quarterly in (
        (midnight - 1, True, True),
        (midnight, False, True),
        (midnight + 6 * 3_600, False, False),
        (midnight + 30 * 3_600, True, True),  # a clock that was wrong
    ):
        cursor = json.dumps({"full_at": at})
        assert bool(asked(source, cursor)) is source.complete is whole
        assert bool(asked(quarter, cursor)) is quarter.complete is quarterly
    for cursor in ("", "x", "[]", '{"full_at": "noon"}'):
        assert asked(source, cursor)


def test_a_message_that_cannot_be_read_leads_to_a_full_listing(bucket: Bucket) -> None:
    bucket.put("quiet.md", "x", told=False)
    bucket.sqs.send("hello")
    source = bucket.source()
    assert list(asked(source, just_now())) == ["quiet.md"]
    assert source.complete


def test_a_window_that_has_ended_is_listed_and_leaves_the_messages(bucket: Bucket) -> None:
    bucket.put("a.md", "a")
    source = bucket.source()
    found = asked(source, just_now(), until=datetime(2026, 7, 2, tzinfo=UTC))
    assert (list(found), source.complete, source.cursor()) == (["a.md"], True, None)
    source.recorded()
    assert bucket.sqs.calls == []


def test_a_preview_leaves_the_messages(bucket: Bucket) -> None:
    bucket.put("a.md", "a")
    source = bucket.source()
    assert [one.key for batch in source.look(just_now()) for one in batch] == ["a.md"]
    assert source.complete
    assert bucket.sqs.calls == []


def test_the_signal_asks_the_queue(bucket: Bucket) -> None:
    source = bucket.source()
    assert source.signal(just_now()) == ""
    bucket.put("a.md", "a")
    words = {source.signal(just_now()) for _ in range(3)}
    assert len(words) == 3, "a message that is still there asks again"
    assert "" not in words
    asked(source, just_now())
    assert source.signal(just_now()) == "", "a pass is at work on it"
    # Without a full listing today, one is asked for once.
    assert source.signal(None) == source.signal(None) != ""


def test_a_queue_that_fails_fails_the_listing(bucket: Bucket) -> None:
    bucket.sqs.failing = {"ReceiveMessage"}
    with pytest.raises(SourceUnavailable, match="the queue cannot be used"):
        asked(bucket.source(), just_now())


def test_objects_that_cannot_be_asked_for_fail_the_listing(bucket: Bucket) -> None:
    bucket.put("a.md", "a")
    source = bucket.source()
    source._client = s3_client(replace(bucket.connection, endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(SourceUnavailable, match="the server cannot be reached") as refused:
        asked(source, just_now())
    assert refused.value.transient


def test_an_object_that_must_not_be_read_is_left_to_its_reading(bucket: Bucket) -> None:
    bucket.put("a.md", "a")
    source = bucket.source()
    source._client = s3_client(replace(bucket.connection, secret_access_key="wrong"))
    assert {key: (one.etag, one.gone) for key, one in asked(source, just_now()).items()} == {
        "a.md": (None, False)
    }


def test_options(bucket: Bucket) -> None:
    source = open_source(
        "docs",
        bucket.url,
        selection=EVERYTHING,
        options={"events": bucket.sqs.queue_url, "full_hours": 1},
        s3=bucket.connection,
    )
    assert source.signal(None).startswith("listing")
    assert S3Options().events is None


# Through raw_docs


@pytest.fixture
def docs(bucket: Bucket, make_docs: MakeDocs, monkeypatch: pytest.MonkeyPatch) -> Docs:
    monkeypatch.setattr(Platform, "_s3", bucket.connection)
    return make_docs(url=bucket.url, options={"events": bucket.sqs.queue_url})


def test_a_day_of_events(bucket: Bucket, docs: Docs) -> None:
    for key in ("a.md", "b.md", "c.md"):
        bucket.put(key, f"text of {key}")
    today = docs.platform.calendar("manuals").current()
    assert docs.ask(today).changes == {"inserted": 3}
    assert bucket.sqs.messages == []

    bucket.put("a.md", "another text")
    bucket.delete("b.md")
    bucket.put("d.md", "text of d")
    bucket.put("quiet.md", "nobody tells", told=False)
    assert docs.ask(today).changes == {"updated": 1, "deleted": 1, "inserted": 1}
    assert bucket.sqs.messages == []
    # The same messages once more: nothing follows from them.
    bucket.tell("a.md")
    bucket.tell("b.md", "ObjectRemoved:Delete")
    assert docs.ask(today).changes == {}
    # Nothing is said, nothing is gone.
    assert docs.ask(today).changes == {}
    # Asked anew, all is listed.
    assert docs.ask(today, refresh=True).changes == {"inserted": 1}


def test_killed_before_the_pass_is_recorded(
    bucket: Bucket, docs: Docs, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = docs.platform.calendar("manuals").current()
    docs.ask(today)
    bucket.put("a.md", "a")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ChangeLog, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            docs.ask(today)
    assert len(bucket.sqs.messages) == 1
    bucket.sqs.show_all()
    docs.open()
    assert docs.ask(today).changes == {"inserted": 1}
    assert bucket.sqs.messages == []


def test_killed_before_the_messages_are_deleted(
    bucket: Bucket, docs: Docs, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = docs.platform.calendar("manuals").current()
    docs.ask(today)
    bucket.put("a.md", "a")

    def killed(_: EventQueue) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EventQueue, "forget", killed)
        with pytest.raises(KeyboardInterrupt):
            docs.ask(today)
    bucket.sqs.show_all()
    docs.open()
    assert docs.ask(today).changes == {}
    assert docs.page(today).standing == 1
    assert bucket.sqs.messages == []


def test_a_refused_pass_keeps_its_messages(bucket: Bucket, docs: Docs) -> None:
    keys = [f"{number}.md" for number in range(4)]
    for key in keys:
        bucket.put(key, key)
    today = docs.platform.calendar("manuals").current()
    docs.ask(today)
    for key in keys:
        bucket.delete(key)
    with pytest.raises(SourceListingRefused):
        docs.ask(today)
    assert len(bucket.sqs.messages) == 4
    bucket.sqs.show_all()
    assert docs.ask(today, allow_deletions=True).changes == {"deleted": 4}
    assert bucket.sqs.messages == []


def test_messages_of_a_pass_that_failed_are_no_other_passs(bucket: Bucket) -> None:
    """A page of the past lists all, but may leave what is new to the current one."""
    bucket.put("a.md", "a")
    source = bucket.source()
    asked(source)  # and is not recorded
    asked(source, until=datetime(2026, 7, 2, tzinfo=UTC))
    source.recorded()
    assert len(bucket.sqs.messages) == 1
