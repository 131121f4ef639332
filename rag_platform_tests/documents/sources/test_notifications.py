"""Messages of a queue that speaks SQS's protocol, in the forms that object stores send."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.documents.sources.notifications import EventQueue, Hints, queue_client
from rag_platform.storage.objects import S3Connection
from rag_platform_tests.servers.sqs import SqsServer

BUCKET = "docs"
CONNECTION = S3Connection(access_key_id="k", secret_access_key="s", region="eu-west-1")


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[SqsServer, Any]]:
    with SqsServer() as server:
        yield server, queue_client(server.queue_url, CONNECTION)


@pytest.fixture
def server(running: tuple[SqsServer, Any]) -> SqsServer:
    running[0].reset()
    return running[0]


@pytest.fixture
def queue(server: SqsServer, running: tuple[SqsServer, Any]) -> EventQueue:
    return EventQueue(server.queue_url, BUCKET, running[1])


def amazon(key: str, name: str = "ObjectCreated:Put", bucket: str = BUCKET) -> dict[str, Any]:
    """As S3 sends it to a queue; the key is written as in a form."""
    about = {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": "00617F08299329D189"}}
    return {"Records": [{"eventVersion": "2.1", "eventName": name, "s3": about}]}


MINIO = {
    "EventName": "s3:ObjectCreated:Put",
    "Key": "docs/a b.md",
    "Records": [
        {
            "eventSource": "minio:s3",
            "eventName": "s3:ObjectCreated:Put",
            "s3": {"bucket": {"name": "docs"}, "object": {"key": "a+b.md", "size": 3}},
        }
    ],
}
EVENT_BRIDGE = {
    "version": "0",
    "detail-type": "Object Deleted",
    "source": "aws.s3",
    "detail": {"bucket": {"name": "docs"}, "object": {"key": "a+b.md"}},
}


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (amazon("x/red+flower%2B1.md"), ["x/red flower+1.md"]),
        (amazon("%C3%BC.md", "ObjectRemoved:DeleteMarkerCreated"), ["ü.md"]),
        (amazon("a.md", bucket="other"), []),
        ({"Records": [*amazon("a")["Records"], *amazon("b")["Records"]]}, ["a", "b"]),
        ({"Records": []}, []),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "docs"}, []),
        ({"Type": "Notification", "Message": json.dumps(amazon("a.md"))}, ["a.md"]),
        (MINIO, ["a b.md"]),
        (EVENT_BRIDGE, ["a+b.md"]),
    ],
)
def test_events_of_stores(
    server: SqsServer, queue: EventQueue, body: dict[str, Any], keys: list[str]
) -> None:
    server.send(body)
    assert queue.take() == Hints(keys, unclear=False)


def test_events_of_seaweedfs(server: SqsServer, queue: EventQueue) -> None:
    """Its messages hold the path as an attribute and a body that is no text of ours."""
    for path in ("/buckets/docs/x/a+b.md", "/buckets/other/c.md", "/buckets/docs"):
        server.send("\x0a\x05bytes", key=path)
    assert queue.take() == Hints(["x/a+b.md"], unclear=False)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "[]",
        "17",
        "null",
        "{}",
        "[" * 100_000,
        {"Records": [{"s3": {}}]},
        {"Records": "a"},
        {"Type": "Notification", "Message": "hello"},
        {"detail": {"bucket": {"name": "docs"}, "object": {"key": 5}}},
        {"detail": {"bucket": {"name": "docs"}, "object": {"key": "x" * 1_025}}},
        '{"detail": {"bucket": {"name": "docs"}, "object": {"key": "\\ud800"}}}',
        '{"detail": {"bucket": {"name": "docs"}, "object": {"key": "a\\u0000"}}}',
    ],
)
def test_what_is_no_event_may_mean_anything(
    server: SqsServer, queue: EventQueue, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server.send(body)
    server.send(amazon("a.md"))
    with caplog.at_level(logging.WARNING):
        assert queue.take() == Hints(["a.md"], unclear=True)
    assert "1 messages are no events" in caplog.text


def test_messages_are_kept_until_they_are_forgotten(server: SqsServer, queue: EventQueue) -> None:
    for number in range(25):
        server.send(amazon(f"{number % 20}.md"))
    assert queue.waiting() == 25
    assert queue.take().keys == [f"{number}.md" for number in range(20)]
    assert queue.waiting() == 0
    assert queue.take().keys == []
    server.show_all()  # the pass that took them was killed
    assert len(queue.take().keys) == 20
    server.send(amazon("later.md"))
    queue.forget()
    assert [
        json.loads(one.body)["Records"][0]["s3"]["object"]["key"] for one in server.messages
    ] == ["later.md"]
    assert server.calls.count("DeleteMessageBatch") == 3


def test_a_queue_that_fails(
    server: SqsServer, queue: EventQueue, caplog: pytest.LogCaptureFixture
) -> None:
    server.send(amazon("a.md"))
    server.failing = {"ReceiveMessage", "GetQueueAttributes"}
    for ask in (queue.take, queue.waiting):
        with pytest.raises(SourceUnavailable, match="the queue cannot be used") as refused:
            ask()
        assert not refused.value.transient
    server.failing = {"DeleteMessageBatch"}
    queue.take()
    with caplog.at_level(logging.WARNING):
        queue.forget()
    assert "The messages come again" in caplog.text
    assert len(server.messages) == 1


def test_no_such_queue(server: SqsServer) -> None:
    url = f"{server.endpoint}/000000000000/nothing"
    with pytest.raises(SourceUnavailable, match="there is no such queue") as refused:
        EventQueue(url, BUCKET, queue_client(url, CONNECTION)).take()
    assert not refused.value.transient


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        (
            "https://sqs.us-east-2.amazonaws.com/123456789012/q",
            "https://sqs.us-east-2.amazonaws.com",
        ),
        (
            "https://eu-north-1.queue.amazonaws.com/123456789012/q",
            "https://sqs.eu-north-1.amazonaws.com",
        ),
        ("http://localhost:9324/000000000000/q", "http://localhost:9324"),
        (
            "https://sqs.us-east-2.amazonaws.com.evil.example/1/q",
            "https://sqs.us-east-2.amazonaws.com.evil.example",
        ),
    ],
)
def test_where_a_queue_is(url: str, endpoint: str) -> None:
    assert queue_client(url, CONNECTION).meta.endpoint_url == endpoint
