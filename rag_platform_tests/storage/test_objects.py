import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import AlreadyExistsError, InvalidPathError

from rag_platform.storage.objects import (
    S3Connection,
    StorageUnavailable,
    check_reachable,
    display_url,
    open_store,
)
from rag_platform_tests.servers.ports import free_ports
from rag_platform_tests.servers.seaweed import S3Server
from rag_platform_tests.servers.seaweed import s3_server as run_s3_server


@pytest.fixture
def s3(s3_server: S3Server) -> S3Connection:
    return connection(s3_server.endpoint, s3_server.key, s3_server.secret)


def connection(endpoint: str, key: str = "id", secret: str = "no-such-secret") -> S3Connection:
    return S3Connection(endpoint, "us-east-1", access_key_id=key, secret_access_key=secret)


def unreachable(url: str, s3: S3Connection) -> str:
    """The message about a store that cannot be used."""
    with pytest.raises(StorageUnavailable) as caught:
        check_reachable(open_store(url, s3), url)
    message = str(caught.value)
    assert message.startswith(f"{url} at {s3.endpoint_url}: ")
    assert "\n" not in message
    assert "no-such-secret" not in message
    return message


def paths(store: Any) -> list[str]:
    return [meta["path"] for batch in store.list() for meta in batch]


def test_a_folder_is_made_only_when_asked(tmp_path: Path) -> None:
    url = (tmp_path / "new" / "with space #1").as_uri()
    with pytest.raises(StorageUnavailable, match="there is no such folder"):
        open_store(url)
    assert not (tmp_path / "new").exists()
    store = open_store(url, create=True)
    store.put("a/b.txt", b"content")
    check_reachable(store, url)
    assert (tmp_path / "new" / "with space #1" / "a" / "b.txt").read_bytes() == b"content"


def test_a_folder_that_went_away_is_not_an_empty_one(tmp_path: Path) -> None:
    url = (tmp_path / "mounted").as_uri()
    store = open_store(url, create=True)
    (tmp_path / "mounted").rmdir()
    with pytest.raises(StorageUnavailable, match="Create or mount it"):
        check_reachable(store, url)


@pytest.mark.parametrize("create", [False, True])
def test_a_file_is_no_folder(tmp_path: Path, create: bool) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(StorageUnavailable, match="folder"):
        open_store((tmp_path / "file").as_uri(), create=create)


def test_memory_holds_what_was_put() -> None:
    store = open_store("memory://")
    store.put("a", b"1")
    check_reachable(store, "memory://")
    assert paths(store) == ["a"]
    assert paths(open_store("memory://")) == []


@pytest.mark.parametrize("url", ["gopher://x/y", "relative/folder", "s3://", "file://host/data"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(StorageUnavailable, match=r"Write file:///folder or s3://"):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a prefix#1?x", "s3://bucket/a prefix#1?x"),
        ("s3://id:secret@bucket/prefix", "s3://bucket/prefix"),
        ("https://user:secret@host:8333/v1?token=secret", "https://host:8333/v1"),
        ("file:///data/a%20b", "file:///data/a%20b"),
        ("file:///data/a@b", "file:///data/a@b"),
    ],
)
def test_display_url_has_no_secret(url: str, shown: str) -> None:
    assert display_url(url) == shown


def test_a_prefix_is_kept_apart(s3_server: S3Server, s3: S3Connection) -> None:
    bucket = s3_server.make_bucket()
    store = open_store(f"s3://{bucket}/some/pre fix#1?x%20/", s3)
    store.put("a.txt", b"1")
    assert paths(store) == ["a.txt"]
    assert paths(open_store(f"s3://{bucket}", s3)) == ["some/pre fix#1?x%20/a.txt"]
    written = s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert [found["Key"] for found in written] == ["some/pre fix#1?x%20/a.txt"]


def test_keys_come_from_the_environment(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
    url = f"s3://{s3_server.make_bucket()}"
    check_reachable(open_store(url, S3Connection(s3_server.endpoint, "us-east-1")), url)


def test_keys_come_from_a_profile(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "credentials").write_text(
        f"[work]\naws_access_key_id = {s3_server.key}\n"
        f"aws_secret_access_key = {s3_server.secret}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    url = f"s3://{s3_server.make_bucket()}"
    work = S3Connection(s3_server.endpoint, "us-east-1", profile="work")
    check_reachable(open_store(url, work), url)
    with pytest.raises(StorageUnavailable, match=r"cannot be opened .*other"):
        open_store(url, S3Connection(s3_server.endpoint, "us-east-1", profile="other"))


def test_more_objects_than_a_page_are_all_listed(s3_server: S3Server, s3: S3Connection) -> None:
    store = open_store(f"s3://{s3_server.make_bucket()}/many", s3)
    for number in range(1_203):
        store.put(f"{number % 7}/{number:05}.txt", b"x")
    found = paths(store)
    assert len(found) == 1_203
    assert set(found) == {f"{number % 7}/{number:05}.txt" for number in range(1_203)}
    check_reachable(store, "s3://many")


@pytest.mark.parametrize("kind", ["s3", "file", "memory"])
def test_create_never_overwrites(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if kind == "s3":
        server = request.getfixturevalue("s3_server")
        url = f"s3://{server.make_bucket()}"
        store = open_store(url, connection(server.endpoint, server.key, server.secret))
    else:
        store = open_store(tmp_path.as_uri() if kind == "file" else "memory://")
    store.put("key", b"first", mode="create")
    with pytest.raises((AlreadyExistsError, FileExistsError)):
        store.put("key", b"second", mode="create")
    assert bytes(store.get("key").bytes()) == b"first"


@pytest.mark.parametrize(
    "key", ["a b/ü 日本 😀.md", "per%20cent", "a#b?c&d=1", "q'\"<>.md", "~*[x]"]
)
def test_odd_keys_stay_what_they_are(s3_server: S3Server, s3: S3Connection, key: str) -> None:
    bucket = s3_server.make_bucket()
    s3_server.client().put_object(Bucket=bucket, Key=key, Body=b"by others")
    store = open_store(f"s3://{bucket}", s3)
    assert paths(store) == [key]
    assert bytes(store.get(key).bytes()) == b"by others"
    store.put(key, b"by us")
    assert s3_server.client().get_object(Bucket=bucket, Key=key)["Body"].read() == b"by us"


@pytest.mark.parametrize("key", ["../up", "a/../../up", ".", "a//b", "new\nline", "tab\tkey"])
def test_keys_that_are_no_paths_are_refused(
    s3_server: S3Server, s3: S3Connection, tmp_path: Path, key: str
) -> None:
    for store in (open_store(f"s3://{s3_server.make_bucket()}", s3), open_store(tmp_path.as_uri())):
        with pytest.raises(ValueError, match="Could not parse path"):
            store.put(key, b"x")
        with pytest.raises(ValueError, match="Could not parse path"):
            store.get(key)
    assert list(tmp_path.iterdir()) == []


def test_a_leading_slash_is_dropped(s3_server: S3Server, s3: S3Connection) -> None:
    store = open_store(f"s3://{s3_server.make_bucket()}", s3)
    store.put("/etc/passwd", b"x")
    assert paths(store) == ["etc/passwd"]


def test_a_key_with_a_line_break_fails_the_listing_but_not_the_store(
    s3_server: S3Server, s3: S3Connection
) -> None:
    bucket = s3_server.make_bucket()
    for key in ("fine.md", "new\nline.md"):
        s3_server.client().put_object(Bucket=bucket, Key=key, Body=b"x")
    store = open_store(f"s3://{bucket}", s3)
    with pytest.raises(InvalidPathError, match="line"):
        paths(store)
    check_reachable(store, f"s3://{bucket}")


def test_a_missing_bucket_is_named(s3: S3Connection) -> None:
    assert "there is no such bucket. Create it" in unreachable("s3://no-such-bucket/prefix", s3)


@pytest.mark.parametrize("wrong", ["id", "secret"])
def test_wrong_credentials_are_said(s3_server: S3Server, wrong: str) -> None:
    url = f"s3://{s3_server.make_bucket()}"
    s3 = (
        connection(s3_server.endpoint)
        if wrong == "id"
        else connection(s3_server.endpoint, s3_server.key)
    )
    assert "the credentials were refused. Check AWS_ACCESS_KEY_ID" in unreachable(url, s3)


def test_a_server_that_is_down_is_known_within_seconds() -> None:
    start = time.monotonic()
    port = free_ports(1)[0]
    message = unreachable("s3://access-denied/x", connection(f"http://127.0.0.1:{port}"))
    assert "the server cannot be reached. Check `s3.endpoint_url`" in message
    assert time.monotonic() - start < 25


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    message = unreachable("s3://bucket", connection("http://nowhere.invalid:8333"))
    assert "cannot be reached" in message


@pytest.fixture
def answering() -> Iterator[str]:
    """A server that answers every request with 403 and a page of its own."""
    page = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy"
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    client.recv(65536)
                    client.sendall(page)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def test_a_refusal_without_a_reason_is_access_denied(answering: str) -> None:
    assert "access is denied" in unreachable("s3://bucket", connection(answering))


def test_a_server_that_stops_is_noticed(tmp_path: Path) -> None:
    with run_s3_server(tmp_path) as server:
        s3 = connection(server.endpoint, server.key, server.secret)
        url = f"s3://{server.make_bucket()}"
        store = open_store(url, s3)
        check_reachable(store, url)
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        check_reachable(store, url)


def test_the_connection_shows_no_secret() -> None:
    shown = repr(S3Connection("http://host", "r", None, "the-id", "the-secret", "the-token"))
    assert "http://host" in shown
    assert "the-" not in shown
