"""The files of a model's data, wherever they lie."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.storage.objects import S3Connection, StorageUnavailable
from rag_platform.training import data
from rag_platform.training.data import DataChanged, data_files, newest
from rag_platform.training.errors import UnusableData
from rag_platform_tests.servers.seaweed import S3Server

NO_S3 = S3Connection()


def put(path: Path, content: str = "x", modified: float = 1_000.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (modified, modified))
    return path


def names(url: str, s3: S3Connection = NO_S3) -> list[str]:
    with data_files(url, s3) as files:
        return [file.name for file in files]


# A folder


def test_a_folder_with_all_below_it_but_what_is_about_it(tmp_path: Path) -> None:
    for name in ("b.csv", "a/c d.parquet", "README.md", "a/readme", ".hidden/x.csv", ".x.csv"):
        put(tmp_path / name, name)
    with data_files(tmp_path.as_uri(), NO_S3) as files:
        assert [file.name for file in files] == ["a/c d.parquet", "b.csv"]
        assert [file.path.read_text() for file in files] == ["a/c d.parquet", "b.csv"]
        assert [file.modified for file in files] == [1_000.0, 1_000.0]


def test_one_file(tmp_path: Path) -> None:
    path = put(tmp_path / "über 100%.csv", modified=5.0)
    put(tmp_path / "other.csv", modified=9.0)
    with data_files(path.as_uri(), NO_S3) as files:
        assert [(file.name, file.path, file.modified) for file in files] == [
            ("über 100%.csv", path, 5.0)
        ]
    assert newest(path.as_uri(), NO_S3) == 5.0


def test_the_newest_is_known_without_reading(tmp_path: Path) -> None:
    for name, modified in (("a", 3.0), ("b/c", 7.5), ("d", 5.0), ("README", 99.0)):
        put(tmp_path / name, modified=modified).chmod(0)
    assert newest(tmp_path.as_uri(), NO_S3) == 7.5


def test_an_empty_folder_has_no_data(tmp_path: Path) -> None:
    assert newest(tmp_path.as_uri(), NO_S3) is None
    with pytest.raises(UnusableData, match="there is no file"):
        names(tmp_path.as_uri())


def test_a_folder_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    url = (tmp_path / "gone").as_uri()
    for ask in (names, lambda url: newest(url, NO_S3)):
        with pytest.raises(SourceUnavailable, match="neither a file nor a folder") as told:
            ask(url)
        assert told.value.transient
    with pytest.raises(StorageUnavailable, match="not the address of a store"):
        names("ftp://x/y")


def test_a_link_may_not_leave_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "secret", "secret")
    put(tmp_path / "in" / "a.csv")
    (tmp_path / "in" / "inside.csv").symlink_to("a.csv")
    assert names((tmp_path / "in").as_uri()) == ["a.csv", "inside.csv"]
    (tmp_path / "in" / "b.csv").symlink_to(tmp_path / "secret")
    with pytest.raises(UnusableData, match=r"'b\.csv' must not be read: a link that leaves"):
        names((tmp_path / "in").as_uri())


@pytest.mark.parametrize(("bound", "most"), [("MAX_FILES", 1), ("MAX_BYTES", 3)])
def test_a_folder_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    put(tmp_path / "a", "12")
    put(tmp_path / "b", "34")
    assert len(names(tmp_path.as_uri())) == 2
    monkeypatch.setattr(data, bound, most)
    with pytest.raises(UnusableData, match="more than"):
        names(tmp_path.as_uri())
    monkeypatch.undo()
    monkeypatch.setattr(data, "MAX_FILE_BYTES", 1)
    with pytest.raises(UnusableData, match="'a' has more than 1 bytes"):
        names(tmp_path.as_uri())


def rewritten(path: Path) -> None:
    put(path, "other", modified=2_000.0)


def replaced_in_the_same_second(path: Path) -> None:
    put(path.with_suffix(".new"), "y").rename(path)


def swapped_for_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(put(path.parents[1] / "secret"))


@pytest.mark.parametrize(
    "change", [rewritten, replaced_in_the_same_second, swapped_for_a_link, Path.unlink]
)
@pytest.mark.parametrize("is_single", [False, True])
def test_files_must_stay_as_they_are_while_they_are_read(
    tmp_path: Path, change: Callable[[Path], None], is_single: bool
) -> None:
    path = put(tmp_path / "in" / "a.csv")
    url = (path if is_single else path.parent).as_uri()
    with pytest.raises(DataChanged, match="Run again") as told, data_files(url, NO_S3):
        change(path)
    assert told.value.transient


def test_half_a_file_is_no_bad_file(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv")

    def read() -> None:
        with data_files(tmp_path.as_uri(), NO_S3):
            raise UnusableData("no table")

    with pytest.raises(UnusableData, match="no table"):
        read()

    def read_half() -> None:
        with data_files(tmp_path.as_uri(), NO_S3):
            rewritten(path)
            raise UnusableData("no table")

    with pytest.raises(DataChanged):
        read_half()


# A bucket


@pytest.fixture
def s3(s3_server: S3Server) -> S3Connection:
    return S3Connection(
        endpoint_url=s3_server.endpoint,
        region="us-east-1",
        access_key_id=s3_server.key,
        secret_access_key=s3_server.secret,
    )


def test_files_of_a_bucket_are_there_for_the_block(s3_server: S3Server, s3: S3Connection) -> None:
    bucket, client = s3_server.make_bucket("models"), s3_server.client()
    for key in ("in/b.csv", "in/sub/a b#.csv", "in/README.md", "in/.x/y.csv", "inside.csv"):
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    head = client.head_object(Bucket=bucket, Key="in/b.csv")["LastModified"].timestamp()
    with data_files(f"s3://{bucket}/in", s3) as files:
        assert [file.name for file in files] == ["b.csv", "sub/a b#.csv"]
        assert [file.path.read_text() for file in files] == ["in/b.csv", "in/sub/a b#.csv"]
        assert files[0].modified == int(head)
        paths = [file.path for file in files]
    assert not any(path.exists() for path in paths)
    found = newest(f"s3://{bucket}/in", s3)
    assert found is not None
    assert found >= int(head)
    with data_files(f"s3://{bucket}/inside.csv", s3) as files:
        assert [(file.name, file.path.read_text()) for file in files] == [
            ("inside.csv", "inside.csv")
        ]
    with data_files(f"s3://{bucket}/in/sub/a b#.csv", s3) as files:
        assert [(file.name, file.path.read_text()) for file in files] == [
            ("a b#.csv", "in/sub/a b#.csv")
        ]


def test_a_bucket_without_data(s3_server: S3Server, s3: S3Connection) -> None:
    bucket = s3_server.make_bucket("models")
    for url in (f"s3://{bucket}", f"s3://{bucket}/nothing/x.csv"):
        assert newest(url, s3) is None
        with pytest.raises(UnusableData, match="there is no file"):
            names(url, s3)
    with pytest.raises(SourceUnavailable, match="no such bucket") as told:
        names("s3://there-is-none-of-it/x", s3)
    assert not told.value.transient


def test_a_key_that_climbs_makes_no_path(s3_server: S3Server, s3: S3Connection) -> None:
    bucket = s3_server.make_bucket("models")
    s3_server.client().put_object(Bucket=bucket, Key="in/x\n.csv", Body=b"x")
    with pytest.raises(UnusableData, match="must not be read: a key that is no path"):
        names(f"s3://{bucket}/in", s3)


def test_an_object_that_was_replaced_since_the_listing(
    s3_server: S3Server, s3: S3Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, client = s3_server.make_bucket("models"), s3_server.client()
    client.put_object(Bucket=bucket, Key="a.csv", Body=b"old")
    listed = data._listing(f"s3://{bucket}", s3)
    monkeypatch.setattr(data, "_listing", lambda *_: listed)
    assert names(f"s3://{bucket}", s3) == ["a.csv"]
    client.put_object(Bucket=bucket, Key="a.csv", Body=b"new")
    with pytest.raises(DataChanged):
        names(f"s3://{bucket}", s3)
    client.delete_object(Bucket=bucket, Key="a.csv")
    with pytest.raises(DataChanged):
        names(f"s3://{bucket}", s3)


def test_only_some_files(tmp_path: Path) -> None:
    for day in ("2026-11-25", "2026-11-26"):
        (tmp_path / f"{day}.csv").write_text("unit\n1\n", "utf-8")
    wanted = ["2026-11-25.csv", "2026-11-27.csv"]
    with data_files(tmp_path.as_uri(), S3Connection(), only=wanted.__contains__) as files:
        assert [file.name for file in files] == ["2026-11-25.csv"]
    with data_files(tmp_path.as_uri(), S3Connection(), only=lambda name: False) as files:
        assert files == []
