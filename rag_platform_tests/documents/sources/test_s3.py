"""A bucket of a real S3 server as a source."""

from collections.abc import Iterator

import pytest

from rag_platform.documents.sources.base import NotTaken, SourceUnavailable
from rag_platform.documents.sources.kinds.s3 import S3Source
from rag_platform.documents.windows import utc
from rag_platform.storage.objects import S3Connection, open_store, s3_client
from rag_platform_tests.documents.sources.listings import EVERYTHING, listed
from rag_platform_tests.servers.seaweed import S3Server


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.make_bucket("docs")


def s3_source(server: S3Server, url: str, *, secret: str | None = None) -> S3Source:
    connection = S3Connection(
        endpoint_url=server.endpoint,
        region="us-east-1",
        access_key_id=server.key,
        secret_access_key=secret or server.secret,
    )
    return S3Source(
        url, EVERYTHING, store=open_store(url, connection), client=s3_client(connection)
    )


def test_odd_keys_below_a_prefix(s3_server: S3Server, bucket: str) -> None:
    client = s3_server.client()
    keys = ["a b.md", "100%.md", "x#1", "ü/é.md", "q?x=1&y.md", ".hidden", "e.md"]
    for number, key in enumerate(keys):
        client.put_object(Bucket=bucket, Key=f"docs/{key}", Body=b"x" * number)
    client.put_object(Bucket=bucket, Key="docsx/y.md", Body=b"")
    client.put_object(Bucket=bucket, Key="other.md", Body=b"")
    source = s3_source(s3_server, f"s3://{bucket}/docs/")
    found = listed(source)
    assert {key: one.size for key, one in found.items()} == {k: i for i, k in enumerate(keys)}
    for number, key in enumerate(keys):
        fetched = source.fetch(key)
        assert fetched is not None
        assert fetched.content == b"x" * number
        assert (fetched.etag, fetched.modified) == (found[key].etag, found[key].modified)
    assert source.uri("a b.md") == f"s3://{bucket}/docs/a b.md"


def test_keys_that_are_no_paths_stand_in_nobodys_way(s3_server: S3Server, bucket: str) -> None:
    client = s3_server.client()
    source = s3_source(s3_server, f"s3://{bucket}/docs")
    client.put_object(Bucket=bucket, Key="docs/good.md", Body=b"good")
    bad = ["tab\there.md", "bell\x07.md"]
    for key in bad:
        client.put_object(Bucket=bucket, Key=f"docs/{key}", Body=b"bad")
    client.put_object(Bucket=bucket, Key="docs/folder/", Body=b"")
    found = listed(source)
    assert {key: one.failure for key, one in found.items()} == {
        "good.md": None,
        **dict.fromkeys(bad, "bad_name"),
    }
    fetched = source.fetch("good.md")
    assert fetched is not None
    assert fetched.content == b"good"


@pytest.mark.parametrize("key", ["a//b.md", "../x.md", "a/./b.md", "/a.md", "a.md/", "a\0.md"])
def test_a_listed_key_that_is_no_path(key: str) -> None:
    """Servers in front of a file system keep such keys off; S3 itself takes them."""

    class Client:
        def get_paginator(self, _: str) -> "Client":
            return self

        def paginate(self, **_: str) -> Iterator[dict[str, object]]:
            row = {"Key": f"docs/{key}", "Size": 3, "LastModified": utc(7.9), "ETag": "e"}
            yield {"Contents": [row]}

    source = S3Source("s3://b/docs", EVERYTHING, store=None, client=Client())
    one = listed(source)[key.replace("\0", "\\x00")]
    assert (one.failure, one.modified, one.size) == ("bad_name", 7.0, 3)


def test_an_object_that_changed_or_went(s3_server: S3Server, bucket: str) -> None:
    client = s3_server.client()
    client.put_object(Bucket=bucket, Key="a.md", Body=b"one")
    source = s3_source(s3_server, f"s3://{bucket}")
    before = listed(source)["a.md"]
    client.put_object(Bucket=bucket, Key="a.md", Body=b"two")
    fetched = source.fetch("a.md")
    assert fetched is not None
    assert fetched.content == b"two"
    assert fetched.etag != before.etag
    client.delete_object(Bucket=bucket, Key="a.md")
    assert source.fetch("a.md") is None
    assert listed(source) == {}


def test_more_than_one_page(s3_server: S3Server, bucket: str) -> None:
    client = s3_server.client()
    for number in range(1_005):
        client.put_object(Bucket=bucket, Key=f"{number:04d}.md", Body=b"")
    source = s3_source(s3_server, f"s3://{bucket}")
    assert sorted(listed(source)) == [f"{number:04d}.md" for number in range(1_005)]


def test_a_listing_that_fails_is_no_empty_one(s3_server: S3Server, bucket: str) -> None:
    for source in (
        s3_source(s3_server, "s3://there-is-no-such-bucket"),
        s3_source(s3_server, f"s3://{bucket}", secret="wrong"),
    ):
        with pytest.raises(SourceUnavailable, match="nothing was recorded") as refused:
            list(source.batches())
        assert "\n" not in str(refused.value)
        assert not refused.value.transient
        assert s3_server.secret not in str(refused.value)


def test_an_object_that_must_not_be_read(s3_server: S3Server, bucket: str) -> None:
    with pytest.raises(NotTaken, match="unreadable"):
        s3_source(s3_server, f"s3://{bucket}", secret="wrong").fetch("a.md")


def test_a_listing_that_breaks_off_is_no_listing() -> None:
    from botocore.exceptions import EndpointConnectionError

    class Client:
        def get_paginator(self, _: str) -> "Client":
            return self

        def paginate(self, **_: str) -> Iterator[dict[str, object]]:
            row = {"Key": "docs/a.md", "Size": 3, "LastModified": utc(7), "ETag": "e"}
            yield {"Contents": [row]}
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    source = S3Source("s3://b/docs", EVERYTHING, store=None, client=Client())
    with pytest.raises(SourceUnavailable, match="nothing was recorded") as refused:
        listed(source)
    assert refused.value.transient
