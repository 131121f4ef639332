"""Parts: whole or not there, streamed, and retired by their successors."""

import os
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rag_platform.storage.objects import S3Connection, open_store
from rag_platform.storage.pages import PageStore, PartGone, PartKey
from rag_platform_tests.servers.seaweed import S3Server

SCHEMA = pa.schema([("n", pa.int64()), ("content", pa.binary())])
KEY = PartKey(("manuals",), "raw_docs", "2026-07-01", 1, "raw-1")


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "folder":
        return open_store((tmp_path / "pages").as_uri(), S3Connection(), create=True)
    server: S3Server = request.getfixturevalue("s3_server")
    connection = S3Connection(
        endpoint_url=server.endpoint,
        region="us-east-1",
        access_key_id=server.key,
        secret_access_key=server.secret,
    )
    return open_store(f"s3://{server.make_bucket('pages')}/some/prefix", connection)


@pytest.fixture
def pages(store: Any) -> PageStore:
    return PageStore(store)


def paths(store: Any) -> list[str]:
    return sorted(meta["path"] for batch in store.list() for meta in batch)


def write(pages: PageStore, key: PartKey, *numbers: int) -> None:
    with pages.writer(key, SCHEMA) as writer:
        for number in numbers:
            writer.add({"n": number, "content": bytes([number])}, size=1)


def write_and_fail(pages: PageStore, contents: list[bytes]) -> None:
    with pages.writer(KEY, SCHEMA) as writer:
        for number, content in enumerate(contents):
            writer.add({"n": number, "content": content}, size=len(content))
        raise KeyError("inside")


def numbers(pages: PageStore, key: PartKey) -> list[int]:
    return [n for batch in pages.read(key) for n in batch["n"].to_pylist()]


def test_the_address_of_a_part() -> None:
    key = PartKey(("manuals", "docs_v1"), "chunks", "2026-07-01-13:00", 12, "0123456789abcdef99")
    assert key.folder == "pages/manuals/docs_v1/chunks/2026-07-01-13:00/"
    assert key.path == f"{key.folder}000012-0123456789abcdef.parquet"


def test_written_and_read(pages: PageStore, store: Any) -> None:
    assert pages.version(KEY) is None
    with pages.writer(KEY, SCHEMA) as writer:
        writer.add({"n": 1, "content": b"\x00one"}, size=4)
        writer.add({"n": None, "content": None}, size=0)
        assert pages.version(KEY) is None
    assert writer.rows == 2
    assert paths(store) == ["pages/manuals/raw_docs/2026-07-01/000001-raw-1.parquet"]
    rows = [row for batch in pages.read(KEY) for row in batch.to_pylist()]
    assert rows == [{"n": 1, "content": b"\x00one"}, {"n": None, "content": None}]
    assert [b.schema.names for b in pages.read(KEY, columns=["n"])] == [["n"]]


def test_a_part_without_rows_is_there(pages: PageStore) -> None:
    write(pages, KEY)
    assert pages.version(KEY) is not None
    assert numbers(pages, KEY) == []


def test_an_error_leaves_nothing_to_see(pages: PageStore, store: Any) -> None:
    # Four row groups, more than a store's first buffer holds.
    with pytest.raises(KeyError):
        write_and_fail(pages, [os.urandom(4_000_000) for _ in range(4)])
    assert pages.version(KEY) is None
    assert paths(store) == []


def test_an_error_leaves_what_was_there(pages: PageStore) -> None:
    write(pages, KEY, 1, 2)
    version = pages.version(KEY)
    with pytest.raises(KeyError):
        write_and_fail(pages, [b"three"])
    assert pages.version(KEY) == version
    assert numbers(pages, KEY) == [1, 2]


def test_a_row_that_does_not_fit_leaves_nothing(pages: PageStore, store: Any) -> None:
    with pytest.raises((pa.ArrowException, TypeError)), pages.writer(KEY, SCHEMA) as writer:
        writer.add({"n": "one", "content": b""}, size=1)
    assert paths(store) == []


def test_a_part_read_while_it_is_written_anew(pages: PageStore) -> None:
    """The stages that keep rows of the old part stream them into the new one."""
    write(pages, KEY, 1, 2, 3)
    version = pages.version(KEY)
    with pages.writer(KEY, SCHEMA) as writer:
        for batch in pages.read(KEY):
            for row in batch.to_pylist():
                writer.add({"n": row["n"] * 10, "content": b""}, size=1)
    assert numbers(pages, KEY) == [10, 20, 30]
    assert pages.version(KEY) != version


def test_retire_removes_earlier_fingerprints_of_the_same_pass_only(
    pages: PageStore, store: Any
) -> None:
    def key(pass_no: int, fingerprint: str, window: str = "2026-07-01") -> PartKey:
        return PartKey(("manuals",), "parsed_docs", window, pass_no, fingerprint)

    kept = [key(1, "new"), key(2, "old"), key(10, "old"), key(1, "old", "2026-07-02")]
    kept.append(PartKey(("manuals", "docs_v1"), "parsed_docs", "2026-07-01", 1, "old"))
    for one in [*kept, key(1, "old"), key(1, "older")]:
        write(pages, one)
    pages.retire(key(1, "new"))
    pages.retire(key(1, "new"))
    assert paths(store) == sorted(one.path for one in kept)


def test_batches_are_bounded_by_rows_and_by_bytes(pages: PageStore) -> None:
    with pages.writer(KEY, SCHEMA) as writer:
        for number in range(4_500):
            writer.add({"n": number, "content": b""}, size=1)
    assert [batch.num_rows for batch in pages.read(KEY)] == [2_000, 2_000, 500]
    assert {batch.num_rows for batch in pages.read(KEY, rows=250)} == {250}
    assert numbers(pages, KEY) == list(range(4_500))
    with pages.writer(KEY, SCHEMA) as writer:
        for number in range(5):
            writer.add({"n": number, "content": b"x"}, size=2_000_000)
    assert [batch.num_rows for batch in pages.read(KEY)] == [2, 2, 1]


def test_memory_does_not_grow_with_the_part(tmp_path: Path) -> None:
    pages = PageStore(open_store((tmp_path / "pages").as_uri(), S3Connection(), create=True))
    content = bytes(100_000)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    with pages.writer(KEY, SCHEMA) as writer:
        for number in range(1_000):  # 100 MB
            writer.add({"n": number, "content": content + number.to_bytes(4)}, size=100_000)
    _, python_peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert python_peak < 20_000_000
    total, most = 0, 0
    for batch in pages.read(KEY):
        total += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert total == 1_000
    assert most < 30_000_000


def test_the_part_that_is_stored_whatever_made_it(pages: PageStore) -> None:
    assert pages.newest(KEY) is None
    write(pages, KEY, 1, 2)
    write(pages, PartKey(KEY.scope, KEY.stage, KEY.window, 2, "raw-1"), 9)
    later = PartKey(KEY.scope, KEY.stage, KEY.window, 1, "of-another-step")
    found = pages.newest(later)
    assert found is not None
    assert numbers(pages, found) == [1, 2]


@pytest.mark.parametrize("says_where", [True, False])
def test_of_other_changes_nothing_is_read(
    pages: PageStore, monkeypatch: pytest.MonkeyPatch, says_where: bool
) -> None:
    monkeypatch.setattr("rag_platform.storage.pages.BATCH_ROWS", 2)
    if not says_where:  # as parts were written once
        monkeypatch.setattr("rag_platform.storage.pages._ORDER", "of no column")
    schema = pa.schema([("pages", pa.list_(pa.int64())), ("seq", pa.int64()), ("n", pa.int64())])
    with pages.writer(KEY, schema) as writer:
        for seq in (3, 3, 3, 5, 8, 9, 9, 12):  # a change for each row or some
            writer.add({"pages": [seq], "seq": seq, "n": seq * 10}, size=1)
    read: list[int] = []
    read_row_group = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, group: int, **how: Any) -> Any:
        read.append(group)
        return read_row_group(file, group, **how)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    found = list(pages.find(KEY, "seq", {5, 9}, columns=["n"]))
    assert found == [{"n": 50}, {"n": 90}, {"n": 90}]
    assert set(read) == ({1, 2, 3} if says_where else {0, 1, 2, 3})
    read.clear()
    assert list(pages.find(KEY, "seq", {4, 7})) == []
    assert set(read) == ({1} if says_where else {0, 1, 2, 3})
    read.clear()
    [row] = pages.find(KEY, "seq", {12})
    assert row == {"pages": [12], "seq": 12, "n": 120}
    assert set(read) == ({3} if says_where else {0, 1, 2, 3})


def test_rows_are_found_by_a_value(pages: PageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_platform.storage.pages.BATCH_ROWS", 3)
    with pages.writer(KEY, SCHEMA) as writer:
        for number in range(10):
            writer.add({"n": number % 8, "content": bytes([number])}, size=1)
    found = list(pages.find(KEY, "n", {7, 1}, columns=["content"]))
    assert found == [{"content": bytes([number])} for number in (1, 7, 9)]
    assert list(pages.find(KEY, "content", [b"\x02"], columns=["n", "content"])) == [
        {"n": 2, "content": b"\x02"}
    ]
    assert list(pages.find(KEY, "n", [99], columns=["n"])) == []
    assert list(pages.find(KEY, "n", [], columns=["n"])) == []
    with pytest.raises(PartGone):
        list(pages.find(PartKey(("none",), "raw_docs", "w", 1, "x"), "n", [1], columns=["n"]))
