"""Sources on a real folder and a real S3 server."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rag_platform.documents.sources import (
    FolderSource,
    ListedObject,
    NotTaken,
    S3Source,
    Selection,
    Source,
    SourceUnavailable,
    utc,
)
from rag_platform.storage.objects import S3Connection, open_store, s3_client
from rag_platform_tests.servers.seaweed import S3Server

EVERYTHING = Selection.of(("**",), ())


def listed(source: Source) -> dict[str, ListedObject]:
    found = [one for batch in source.batches() for one in batch]
    assert len({one.key for one in found}) == len(found)
    return {one.key: one for one in found}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my docs #1"
    made.mkdir()
    return made


@pytest.fixture
def source(folder: Path) -> FolderSource:
    return FolderSource(folder.as_uri(), EVERYTHING)


def test_odd_names_are_listed_and_read(folder: Path, source: FolderSource) -> None:
    names = [
        "with space.md",
        "new\nline.md",
        "copy.md#1",
        "100%25.md",
        "back\\slash.md",
        "-rf",
        "ü/é/水.md",
        "a/..b/...",
        ".hidden/.file",
        "q?x=1&y",
    ]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * number)
    found = listed(source)
    assert {key: one.size for key, one in found.items()} == {n: i for i, n in enumerate(names)}
    assert {one.failure for one in found.values()} == {None}
    for number, name in enumerate(names):
        fetched = source.fetch(name)
        assert fetched is not None
        assert fetched.content == b"x" * number
        assert (fetched.etag, fetched.modified) == (found[name].etag, found[name].modified)
    assert source.uri("a b.md") == f"{folder.as_uri()}/a b.md"


def test_a_name_that_is_not_text(folder: Path, source: FolderSource) -> None:
    with open(os.fsencode(folder) + b"/caf\xe9.md", "wb") as file:
        file.write(b"text")
    found = listed(source)
    assert list(found) == ["caf\\xe9.md"]
    assert found["caf\\xe9.md"].failure == "bad_name"
    assert "rename the file" in found["caf\\xe9.md"].detail


def test_links(folder: Path, source: FolderSource, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file.md").write_text("far")
    (folder / "sub").mkdir()
    (folder / "sub" / "real.md").write_text("near")
    (folder / "inside.md").symlink_to("sub/real.md")
    (folder / "outside.md").symlink_to(tmp_path / "secret.txt")
    (folder / "upwards.md").symlink_to("../secret.txt")
    (folder / "folder").symlink_to(tmp_path / "elsewhere")
    (folder / "sub" / "round").symlink_to("..")
    (folder / "nowhere.md").symlink_to("missing")
    (folder / "self.md").symlink_to("self.md")
    (folder / "one.md").symlink_to("two.md")
    (folder / "two.md").symlink_to("one.md")
    (folder / "below a file.md").symlink_to("sub/real.md/x")
    (folder / "long.md").symlink_to("n" * 300)
    found = listed(source)
    assert {key: one.failure for key, one in found.items()} == {
        "sub/real.md": None,
        "inside.md": None,
        "outside.md": "outside_source",
        "upwards.md": "outside_source",
    }
    fetched = source.fetch("inside.md")
    assert fetched is not None
    assert fetched.content == b"near"


def test_a_link_that_is_led_out_after_the_listing(
    folder: Path, source: FolderSource, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "sub").mkdir()
    (folder / "sub" / "a.md").write_text("a")
    assert list(listed(source)) == ["sub/a.md"]
    (folder / "sub" / "a.md").unlink()
    (folder / "sub" / "a.md").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(NotTaken, match="outside_source"):
        source.fetch("sub/a.md")


def test_what_is_no_file_is_no_document(folder: Path, source: FolderSource) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "empty").mkdir()
    (folder / "null").symlink_to("/dev/null")
    assert listed(source) == {}


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("missing", "file"):
        with pytest.raises(SourceUnavailable, match="no such folder"):
            list(FolderSource((tmp_path / name).as_uri(), EVERYTHING).batches())


def test_a_folder_that_goes_during_the_scan(
    folder: Path, source: FolderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sub").mkdir()
    (folder / "a.md").write_text("a")
    scan = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "sub":
            (folder / "sub").rmdir()
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceUnavailable, match=r"listing failed at .*sub.*nothing was recorded"):
        list(source.batches())


# Root may read everything, so the listing is done by nobody where the tests run as root.
_LIST = """
import os, sys
from rag_platform.documents.sources import FolderSource, Selection, SourceUnavailable
source = FolderSource(sys.argv[1], Selection.of(("**",), tuple(sys.argv[2:])))
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    print([found.key for batch in source.batches() for found in batch])
except SourceUnavailable as error:
    print(error)
"""


def test_a_folder_that_must_not_be_read() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "open.md").write_text("x")
        (folder / "closed").mkdir(mode=0)
        command = [sys.executable, "-c", _LIST, folder.as_uri()]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        excluded = subprocess.run([*command, "closed/"], capture_output=True, text=True, check=True)
    assert f"listing failed at '{folder}/closed' (Permission denied)" in result.stdout
    assert result.stdout.count("\n") == 1
    assert excluded.stdout == "['open.md']\n"


def test_what_changed_its_kind_since_it_was_listed_has_vanished(
    folder: Path, source: FolderSource
) -> None:
    (folder / "now a folder.md").mkdir()
    (folder / "now a file").write_text("x")
    (folder / "loop").symlink_to("loop")
    for key in ("gone.md", "now a folder.md", "now a file/doc.md", "loop"):
        assert source.fetch(key) is None


def test_a_broken_disk_is_no_missing_file(
    folder: Path, source: FolderSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.md").write_text("a")

    def broken(_: int) -> os.stat_result:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", broken)
        with pytest.raises(SourceUnavailable) as refused:
            source.fetch("a.md")
    assert "a.md: reading failed (Input/output error)" in str(refused.value)


def test_an_etag_changes_with_the_file(folder: Path, source: FolderSource) -> None:
    path = folder / "a.md"
    path.write_text("one")
    os.utime(path, (1_780_000_000, 1_780_000_000))
    etags = {listed(source)["a.md"].etag}
    path.write_text("four")
    os.utime(path, (1_780_000_000, 1_780_000_000))
    etags.add(listed(source)["a.md"].etag)
    os.utime(path, ns=(1, 1_780_000_000_000_000_001))
    etags.add(listed(source)["a.md"].etag)
    (folder / "other").write_text("five")
    os.utime(folder / "other", ns=(1, 1_780_000_000_000_000_001))
    (folder / "other").replace(path)
    etags.add(listed(source)["a.md"].etag)
    assert len(etags) == 4


def test_more_than_one_batch(folder: Path, source: FolderSource) -> None:
    for number in range(1_001):
        (folder / f"{number}.md").touch()
    sizes = [len(batch) for batch in source.batches()]
    assert sum(sizes) == 1_001
    assert max(sizes) <= 1_000


@pytest.mark.parametrize(
    ("include", "exclude", "key", "belongs"),
    [
        (("**",), (".*",), "a.md", True),
        (("**",), (".*",), "a/b c\nd.md", True),
        (("**",), (".*",), ".env", False),
        (("**",), (".*",), ".git/config", False),
        (("**",), (".*",), "a/.cache/x.md", False),
        (("**",), (".*",), "a./x.md", True),
        (("**",), (), ".env", True),
        (("*.md",), (), "a/b.md", True),
        (("*.md",), (), "a/b.MD", False),
        (("/*.md",), (), "a/b.md", False),
        (("**",), ("drafts/",), "x/drafts/a.md", False),
        (("**",), ("drafts/",), "drafts", True),
    ],
)
def test_selection(
    include: tuple[str, ...], exclude: tuple[str, ...], key: str, belongs: bool
) -> None:
    assert (key in Selection.of(include, exclude)) is belongs


def test_a_pattern_that_takes_back_is_looked_for_in_excluded_folders(folder: Path) -> None:
    for key in ("drafts/a.md", "drafts/keep.md", "b.md"):
        (folder / key).parent.mkdir(exist_ok=True)
        (folder / key).write_text("x")
    taken = FolderSource(folder.as_uri(), Selection.of(("**",), ("drafts/*", "!keep.md")))
    assert set(listed(taken)) == {"drafts/keep.md", "b.md"}
    whole = FolderSource(folder.as_uri(), Selection.of(("**",), ("drafts/",)))
    assert set(listed(whole)) == {"b.md"}


def test_times_out_of_the_calendar() -> None:
    assert utc(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert utc(1e12).year == 9999
    assert utc(-1e12).year == 1


# S3


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


def test_s3_odd_keys_below_a_prefix(s3_server: S3Server, bucket: str) -> None:
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


def test_s3_keys_that_are_no_paths_stand_in_nobodys_way(s3_server: S3Server, bucket: str) -> None:
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


@pytest.mark.parametrize("key", ["a//b.md", "../x.md", "a/./b.md", "/a.md", "a.md/"])
def test_s3_a_listed_key_that_is_no_path(key: str) -> None:
    """Servers in front of a file system keep such keys off; S3 itself takes them."""

    class Client:
        def get_paginator(self, _: str) -> "Client":
            return self

        def paginate(self, **_: str) -> Iterator[dict[str, object]]:
            row = {"Key": f"docs/{key}", "Size": 3, "LastModified": utc(7.9), "ETag": "e"}
            yield {"Contents": [row]}

    source = S3Source("s3://b/docs", EVERYTHING, store=None, client=Client())
    one = listed(source)[key]
    assert (one.failure, one.modified, one.size) == ("bad_name", 7.0, 3)


def test_s3_an_object_that_changed_or_went(s3_server: S3Server, bucket: str) -> None:
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


def test_s3_more_than_one_page(s3_server: S3Server, bucket: str) -> None:
    client = s3_server.client()
    for number in range(1_005):
        client.put_object(Bucket=bucket, Key=f"{number:04d}.md", Body=b"")
    source = s3_source(s3_server, f"s3://{bucket}")
    assert sorted(listed(source)) == [f"{number:04d}.md" for number in range(1_005)]


def test_s3_a_listing_that_fails_is_no_empty_one(s3_server: S3Server, bucket: str) -> None:
    for source in (
        s3_source(s3_server, "s3://there-is-no-such-bucket"),
        s3_source(s3_server, f"s3://{bucket}", secret="wrong"),
    ):
        with pytest.raises(SourceUnavailable, match="nothing was recorded") as refused:
            list(source.batches())
        assert "\n" not in str(refused.value)
        assert not refused.value.transient
        assert s3_server.secret not in str(refused.value)


def test_s3_an_object_that_must_not_be_read(s3_server: S3Server, bucket: str) -> None:
    with pytest.raises(NotTaken, match="unreadable"):
        s3_source(s3_server, f"s3://{bucket}", secret="wrong").fetch("a.md")
