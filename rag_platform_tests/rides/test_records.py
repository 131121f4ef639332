"""Records of files that are sound, broken, or made to do harm."""

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.rides import records as module
from rag_platform.rides.records import BadRow, records

WANTED = frozenset({"a", "b"})


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], list[BadRow]]:
    """Numbered records without their nulls, and the bad rows."""
    found, bad = [], []
    for chunk in records(path, path.name, WANTED):
        rows = chunk.frame.to_dict("records") if chunk.numbers else []
        found += [
            (number, {k: v for k, v in row.items() if v is not None})
            for number, row in zip(chunk.numbers, rows, strict=True)
        ]
        bad += chunk.bad
    return found, bad


TWO = [(1, {"a": "1", "b": "x"}), (2, {"a": "2", "b": "y"})]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.csv", "a,other,B\n1,?,x\n2,?,y\n"),
        ("f.csv", "\ufeffa,b\r\n1,x\r\n\r\n2,y"),
        ("f.CSV", '"a","b"\n"1","x"\n"2","y"\n'),
        ("f.csv.gz", "a,b\n1,x\n2,y\n"),
        ("f.jsonl", '{"a": 1, "b": "x"}\n\n{"A ": "2", "b": "y", "other": [{}]}\n'),
        ("f.csv", " (A) ,other,[b]\n1,?,x\n2,?,y\n"),
        ("f.jsonl.gz", '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}'),
        ("f.json", '[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]'),
        ("f.json", '{"city": "Bonn", "rides": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}'),
        ("f.json", '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'),
        ("f.json.gz", '[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]'),
    ],
)
def test_the_same_records_in_every_form(tmp_path: Path, name: str, content: str) -> None:
    found, bad = read(write(tmp_path, name, content))
    assert bad == []
    assert [row for _, row in found] == [row for _, row in TWO]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"A": [1, 2], "b": ["x", "y"], "other": [[1], [2]]}), path)
    assert read(path) == ([(1, {"a": 1, "b": "x"}), (2, {"a": 2, "b": "y"})], [])


@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz", "f.jsonl", "f.json", "f.json.gz"])
def test_an_empty_file_has_no_records(tmp_path: Path, name: str) -> None:
    assert read(write(tmp_path, name, b"")) == ([], [])


def test_a_csv_row_of_another_width_is_told_with_its_number(tmp_path: Path) -> None:
    found, bad = read(write(tmp_path, "f.csv", "a,b\n1,x\n2\n3,y,z\n4,w\n"))
    assert [number for number, _ in found] == [1, 4]
    assert bad == [
        BadRow(2, "bad_record", "1 fields, not 2"),
        BadRow(3, "bad_record", "3 fields, not 2"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"[1, 2]",
        b"null",
        b"12",
        b'{"a": 1',
        b'{"a": "\xff\xfe"}',
        b"<html>",
        b'{"a": ' + b"[" * 50_000,
        b'{"a": ' + b"9" * 5_000 + b"}",
    ],
    ids=["list", "null", "number", "cut", "bytes", "html", "deep", "digits"],
)
def test_a_bad_line_of_json_does_not_end_the_file(tmp_path: Path, line: bytes) -> None:
    content = b'{"a": 1}\n' + line + b'\n{"a": 3}\n'
    found, bad = read(write(tmp_path, "f.jsonl", content))
    assert found == [(1, {"a": "1"}), (3, {"a": "3"})]
    assert [(row.number, row.reason) for row in bad] == [(2, "bad_record")]


def whole_file(bad: list[BadRow]) -> str:
    [row] = bad
    assert row.number is None
    return row.reason


def test_an_open_quote_ends_the_file_with_what_stands_before(tmp_path: Path) -> None:
    content = "a,b\n1,x\n" + '2,"y\n' + "3,z\n" * 100_000
    found, bad = read(write(tmp_path, "f.csv", content))
    assert found == [(1, {"a": "1", "b": "x"})]
    assert whole_file(bad) == "unreadable"
    assert bad[0].detail == "cannot be read after record 1 (Error)"


@pytest.mark.parametrize("name", ["f.csv", "f.jsonl"])
def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, b"a,b\n" + b"x" * 40_000_000)
    tracemalloc.start()
    found, bad = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == []
    assert [row.reason for row in bad if row.number is None]
    assert peak < 20_000_000


@pytest.mark.parametrize("name", ["f.csv.gz", "f.jsonl.gz", "f.json.gz"])
def test_a_packed_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(module, "MAX_INFLATED_BYTES", 30_000)
    monkeypatch.setattr(module, "MAX_JSON_BYTES", 30_000)
    text = "1" * 900
    content = f"a\n{text}\n" if name == "f.csv.gz" else f'{{"a": "{text}"}}\n'
    _, bad = read(write(tmp_path, name, content * 100))
    assert [row.detail for row in bad if row.number is None]


def test_a_file_cut_off_keeps_what_came_through(tmp_path: Path) -> None:
    text = "".join(f"{number * number % 9_973},x\n" for number in range(20_000))
    path = write(tmp_path, "f.csv.gz", "a,b\n" + text)
    path.write_bytes(path.read_bytes()[:-5_000])
    found, bad = read(path)
    assert 5_000 < len(found) < 20_000
    assert whole_file(bad) == "unreadable"


@pytest.mark.parametrize("name", ["f.csv.gz", "f.jsonl.gz", "f.json.gz", "f.parquet", "f.PARQUET"])
def test_what_is_not_what_its_name_says(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PAR1 this is nothing of the kind PAR1")
    assert whole_file(read(path)[1]) == "unreadable"


LONG = 100_000


@pytest.mark.parametrize("name", ["f.csv", "f.jsonl", "f.parquet"])
def test_long_texts_are_cut_as_they_are_read(tmp_path: Path, name: str) -> None:
    """Two thousand records with a text of 100 kB each take no 200 MB."""
    path, text = tmp_path / name, "y" * LONG
    if name == "f.parquet":
        pq.write_table(pa.table({"a": [text] * 2_000}), path)
    else:
        line = f"{text}\n" if name == "f.csv" else json.dumps({"a": text}) + "\n"
        path.write_text(("a\n" if name == "f.csv" else "") + line * 2_000, encoding="utf-8")
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    [chunk] = records(path, name, WANTED)
    kept = tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - before
    tracemalloc.stop()
    assert chunk.bad == []
    assert set(chunk.frame["a"].str.len()) == {1_000}
    assert kept < 20_000_000


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_GROUP_BYTES", 10_000)
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"a": list(range(10_000))}), path)
    assert whole_file(read(path)[1]) == "too_large"


def test_a_name_of_another_kind(tmp_path: Path) -> None:
    assert whole_file(read(write(tmp_path, "f.xlsx", b""))[1]) == "unknown_format"


def test_too_many_columns(tmp_path: Path) -> None:
    header = ",".join(f"c{n}" for n in range(1_001))
    assert whole_file(read(write(tmp_path, "f.csv", header + "\n"))[1]) == "unreadable"


def test_bytes_that_are_no_text_show_as_such(tmp_path: Path) -> None:
    found, bad = read(write(tmp_path, "f.csv", b"a,b\n1,caf\xe9\n2,\x00\n"))
    assert (found, bad) == ([(1, {"a": "1", "b": "caf\ufffd"}), (2, {"a": "2", "b": "\x00"})], [])


def test_chunks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 10)
    lines = ["1,x" if number % 3 else "1" for number in range(1, 36)]
    path = write(tmp_path, "f.csv", "a,b\n" + "\n".join(lines))
    sizes = [len(chunk.numbers) + len(chunk.bad) for chunk in records(path, "f.csv", WANTED)]
    assert sizes == [10, 10, 10, 5]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.binary(max_size=400)
    | st.text(alphabet='a,b\n"{}[]:1', max_size=200).map(str.encode)
    | st.lists(st.dictionaries(st.sampled_from("abc"), st.integers() | st.none())).map(
        lambda rows: json.dumps(rows).encode()
    ),
    name=st.sampled_from(["f.csv", "f.csv.gz", "f.json", "f.jsonl", "f.parquet", "f.jsonl.gz"]),
)
def test_no_content_raises(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found, bad = read(path)
    numbers = [number for number, _ in found] + [row.number for row in bad if row.number]
    assert len(set(numbers)) == len(numbers)
    assert sum(row.number is None for row in bad) <= 1
