import warnings

import dagster as dg
import pytest

from rag_platform.resources.s3 import PlatformS3Resource
from rag_platform.storage.objects import S3Connection, open_store
from rag_platform_tests.servers.seaweed import S3Server


def test_an_asset_writes_with_keys_from_the_environment(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_server.make_bucket()

    @dg.asset
    def note(s3: PlatformS3Resource) -> None:
        open_store(f"s3://{bucket}/notes", s3.connection()).put("a.txt", b"hello")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resource = PlatformS3Resource(
            endpoint_url=s3_server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=dg.EnvVar("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=dg.EnvVar("AWS_SECRET_ACCESS_KEY"),
        )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
    assert dg.materialize([note], resources={"s3": resource}).success
    written = s3_server.client().get_object(Bucket=bucket, Key="notes/a.txt")
    assert written["Body"].read() == b"hello"


def test_every_field_reaches_the_connection_and_no_secret_its_repr() -> None:
    found = PlatformS3Resource(
        endpoint_url="http://127.0.0.1:1",
        region_name="eu-west-1",
        profile_name="work",
        aws_access_key_id="the-id",
        aws_secret_access_key="the-secret",
        aws_session_token="the-token",
    ).connection()
    assert found == S3Connection(
        "http://127.0.0.1:1", "eu-west-1", "work", "the-id", "the-secret", "the-token"
    )
    for secret in ("the-id", "the-secret", "the-token"):
        assert secret not in repr(found)
