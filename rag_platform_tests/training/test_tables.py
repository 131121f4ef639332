"""Files as tables: what is in them comes out, and what is hostile stays outside."""

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.training import tables
from rag_platform.training.errors import UnusableData
from rag_platform.training.rows import BadRow, DataFile
from rag_platform.training.tables import is_table, read_records, read_table, read_text

Write = Callable[[str, bytes | str], DataFile]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file, packed where its name says so."""

    def written(name: str, content: bytes | str) -> DataFile:
        data = content.encode() if isinstance(content, str) else content
        path = tmp_path / "file"
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return DataFile(name, path, 0.0)

    return written


# CSV


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["a.csv", "A.CSV.GZ"])
def test_the_separator_is_found_and_a_byte_order_mark_is_no_name(
    write: Write, mark: str, name: str
) -> None:
    lines = ["text;amount;note", '"one\r\nline";1;a', "two;2.5;"]
    content = "\r\n".join(lines).replace(";", mark)
    data = b"\xef\xbb\xbf" + content.encode()
    packed = gzip.compress(data) if name.endswith("GZ") else data
    file = write("x", packed)
    found = read_table(DataFile(name, file.path, 0.0))
    assert found.index.tolist() == [1, 2]
    assert found["text"].tolist() == ["one\r\nline", "two"]
    assert found["amount"].tolist() == [1.0, 2.5]
    assert found["note"].tolist()[0] == "a"
    assert found["note"].isna().tolist() == [False, True]


def test_a_comma_in_a_text_separates_nothing_in_a_file_of_semicolons(write: Write) -> None:
    found = read_table(write("a.csv", "text;label\nyes, please, now;x\n"))
    assert found.to_dict("records") == [{"text": "yes, please, now", "label": "x"}]


@pytest.mark.parametrize(
    ("cells", "expected", "kind"),
    [
        (["1", "-2", "+3"], [1, -2, 3], "int64"),
        (["1", "", "3"], [1.0, None, 3.0], "float64"),
        (["1.5", "NA", "1e3", ".5"], [1.5, None, 1000.0, 0.5], "float64"),
        (["007", "8"], ["007", "8"], "str"),
        (["1", "x"], ["1", "x"], "str"),
        (["NA", "null"], ["NA", "null"], "str"),
        (["2026-11-26", "2026-11-27"], ["2026-11-26", "2026-11-27"], "str"),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"], "str"),
        (["1,5", "-2,25", "3", ""], [1.5, -2.25, 3.0, None], "float64"),
        (["1,5", "2,5,1"], ["1,5", "2,5,1"], "str"),
        (["inf", "1"], ["inf", "1"], "str"),
        (["", ""], [None, None], "str"),
        (["0", "-0.0"], [0.0, 0.0], "float64"),
        (["٣", "4"], ["٣", "4"], "str"),
    ],
)
def test_a_column_is_numbers_when_all_of_it_is(
    write: Write, cells: list[str], expected: list[Any], kind: str
) -> None:
    found = read_table(write("a.csv", "n;t\n" + "".join(f'"{cell}";z\n' for cell in cells)))
    assert found["n"].dtype == kind
    assert found["n"].astype(object).where(found["n"].notna(), None).tolist() == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), max_size=12)] * 2), max_size=8
    )
)
def test_what_was_written_is_read(write: Write, rows: list[tuple[str, str]]) -> None:
    target = io.StringIO()
    writer = csv.writer(target, quoting=csv.QUOTE_ALL)
    writer.writerows([("one", "two"), *rows])
    records = list(read_records(write("a.csv", target.getvalue())))
    assert [number for number, _ in records] == list(range(1, len(rows) + 1))
    assert [tuple(record.values()) for _, record in records if isinstance(record, dict)] == [
        (one or None, two or None) for one, two in rows
    ]


def test_bad_records_are_told_by_their_number(write: Write) -> None:
    content = b"a,b\n1,2\n3\n\n4,5,6\n\xff\xfe,8\n9,10\n"
    bad: list[BadRow] = []
    found = read_table(write("f.csv", content), bad)
    assert found["b"].to_dict() == {1: 2, 5: 10}
    assert [(row.file, row.number, row.reason) for row in bad] == [
        ("f.csv", 2, "bad_record"),
        ("f.csv", 3, "bad_record"),
        ("f.csv", 4, "bad_bytes"),
    ]
    with pytest.raises(UnusableData, match=r"'f\.csv': record 2 is unusable: 1 fields, not 2"):
        read_table(write("f.csv", content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"a,a\n1,2\n", "two columns are named 'a'"),
        ("a,b\n1,2\n".encode("utf-16"), "no UTF-8"),
        (b"text\n" + b'"' + b"x\n" * 2_500_000, "cannot be read to its end"),
    ],
)
def test_a_file_that_is_no_table(write: Write, content: bytes, said: str) -> None:
    with pytest.raises(UnusableData, match=said):
        read_table(write("a.csv", content))


def test_a_header_alone_is_a_table_without_rows(write: Write) -> None:
    found = read_table(write("a.csv", "a,b\n"))
    assert (len(found), list(found)) == (0, ["a", "b"])


def test_thousands_may_be_set_apart_by_commas(write: Write) -> None:
    lines = 'amount,lines,text\n"1,234.5","1,234,567","1,23"\n12,-5,4\n'
    found = read_table(write("a.csv", lines))
    assert found["amount"].tolist() == [1234.5, 12.0]
    assert found["lines"].tolist() == [1234567, -5]
    assert found["text"].tolist() == ["1,23", "4"]


def test_a_long_text_is_a_cell_like_others(write: Write) -> None:
    long = "word " * 200_000
    found = read_table(write("a.csv", f"n,text\n1,{long}\n2,short\n"))
    assert found["text"].tolist() == [long, "short"]


def test_a_column_without_a_name_gets_one(write: Write) -> None:
    assert list(read_table(write("a.csv", ", x \n0,1\n"))) == ["unnamed_1", "x"]


# JSON


def test_json_lines_keep_their_types_and_tell_bad_lines(write: Write) -> None:
    lines = [
        '{"text": "a", "n": 1, "l": ["x", {"y": 2}]}',
        "",
        "[1, 2]",
        '{"text": "\\ud83d", "n": 2}',
        '{"text": ',
        '{"text": "\\ud83d\\ude00", "n": 3, "l": []}',
    ]
    bad: list[BadRow] = []
    found = read_table(write("a.jsonl.gz", "\n".join(lines)), bad)
    assert found.index.tolist() == [1, 4, 6]
    assert found["text"].tolist() == ["a", "?", "😀"]
    assert found["n"].tolist() == [1, 2, 3]
    assert found["l"].tolist()[0] == ["x", {"y": 2}]
    assert found["l"].tolist()[2] == []
    assert [(row.number, row.reason) for row in bad] == [(3, "bad_record"), (5, "bad_record")]
    with pytest.raises(UnusableData, match="record 3 is unusable"):
        read_table(write("a.jsonl", "\n".join(lines)))


@pytest.mark.parametrize(
    "document",
    [
        [{"a": 1}, {"a": 2}],
        {"data": [{"a": 1}, {"a": 2}], "version": "1"},
    ],
)
def test_a_json_document_holds_a_list_of_records(write: Write, document: Any) -> None:
    found = read_table(write("a.json", json.dumps(document, indent=1)))
    assert found.to_dict("index") == {1: {"a": 1}, 2: {"a": 2}}


def test_lines_under_the_name_of_json_are_lines(write: Write) -> None:
    assert len(read_table(write("a.json", '{"a": 1}\n{"a": 2}\n'))) == 2


@pytest.mark.parametrize("content", ["[1, 2]", "3", "{", "[]", "[" * 100_000])
def test_a_json_document_without_records_is_no_table(write: Write, content: str) -> None:
    with pytest.raises(UnusableData, match="no JSON document with a list of records"):
        read_table(write("a.json", content))


# Parquet


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", None, "a"]).dictionary_encode(),
            "money": pa.array([Decimal("1.50"), None, Decimal("2")], pa.decimal128(9, 2)),
            "tokens": pa.array([["x", "y"], [], None]),
            "nested": pa.array([{"q": 1}, {"q": 2}, {"q": 3}]),
            "day": pa.array([date(2026, 11, 26)] * 3),
            "n": pa.array([1, 2, 3], pa.int16()),
        }
    )
    pq.write_table(table, tmp_path / "f")
    found = read_table(DataFile("a.parquet", tmp_path / "f", 0.0))
    assert found.index.tolist() == [1, 2, 3]
    assert found["text"].astype(object).where(found["text"].notna(), None).tolist() == [
        "a",
        None,
        "a",
    ]
    assert found["money"].tolist()[0] == 1.5
    assert found["money"].dtype == "float64"
    assert found["tokens"].tolist() == [["x", "y"], [], None]
    assert found["nested"].tolist() == [{"q": 1}, {"q": 2}, {"q": 3}]
    assert found["n"].tolist() == [1, 2, 3]
    records = list(read_records(DataFile("a.parquet", tmp_path / "f", 0.0)))
    assert records[1][0] == 2
    assert isinstance(records[1][1], dict)
    assert records[1][1]["nested"] == {"q": 2}


def test_damaged_parquet_is_refused(write: Write, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": list(range(1_000))}), tmp_path / "f")
    whole = (tmp_path / "f").read_bytes()
    for content in (b"", b"PAR1", whole[:-100], whole[:50] + whole[90:]):
        with pytest.raises(UnusableData, match="cannot be read to its end"):
            read_table(write("a.parquet", content))


# Bounds


def test_a_bomb_is_met_before_it_fills_the_memory(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 128 * 1024
    monkeypatch.setattr(tables, "MAX_DOCUMENT_BYTES", most)
    monkeypatch.setattr(tables, "MAX_BYTES", most)
    file = write("a.csv.gz", b"a,b\n" + b"x,y\n" * 5_000_000)
    tracemalloc.start()
    taken = 0
    with pytest.raises(UnusableData, match="bytes of content"):
        for taken, _ in read_records(file):  # noqa: B007
            pass
    for name in ("a.json.gz", "a.txt.gz"):
        with pytest.raises(UnusableData):
            read_text(DataFile(name, file.path, 0.0))
    assert taken < most / 4
    assert tracemalloc.get_traced_memory()[1] < 5 * 1024**2
    tracemalloc.stop()


def test_a_dictionary_may_not_unfold_into_a_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), ["x" * 10_000])
    pq.write_table(pa.table({"text": text}), tmp_path / "f")
    assert (tmp_path / "f").stat().st_size < 100_000
    monkeypatch.setattr(tables, "MAX_BYTES", 100 * 1024**2)
    with pytest.raises(UnusableData, match="bytes of text"):
        read_table(DataFile("a.parquet", tmp_path / "f", 0.0))


@pytest.mark.parametrize(
    ("bound", "most", "name", "content", "said"),
    [
        ("MAX_LINE", 100, "a.csv", "a\n" + "x" * 200, "a line of more than 100"),
        ("MAX_LINE", 100, "a.jsonl", '{"a": "' + "x" * 200 + '"}', "a line of more than 100"),
        ("MAX_COLUMNS", 2, "a.csv", "a,b,c\n1,2,3", "more than 2 columns"),
        ("MAX_CELLS", 5, "a.csv", "a,b\n1,2\n3,4\n5,6", "more than 5 cells"),
        ("MAX_ROWS", 2, "a.jsonl", '{"a": 1}\n' * 3, "more than 2 records"),
    ],
)
def test_bounds(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    most: int,
    name: str,
    content: str,
    said: str,
) -> None:
    file = write(name, content)
    assert len(read_table(file)) > 0
    monkeypatch.setattr(tables, bound, most)
    with pytest.raises(UnusableData, match=said):
        read_table(file)


def test_half_a_packed_file_is_refused(write: Write) -> None:
    whole = gzip.compress(("text\n" + "\n".join(map(str, range(50_000)))).encode())
    file = write("x", whole[: len(whole) // 2])
    with pytest.raises(UnusableData, match=r"cannot be read to its end \(EOFError\)"):
        read_table(DataFile("a.csv.gz", file.path, 0.0))


# Names and texts


def test_what_a_table_is_called(write: Write) -> None:
    names = ["a.csv", "A.CSV.GZ", "a.json", "a.jsonl.gz", "a.parquet", "a.txt", "a.conll.gz", "csv"]
    file = write("x", "")
    told = [is_table(DataFile(name, file.path, 0.0)) for name in names]
    assert told == [True] * 5 + [False] * 3
    with pytest.raises(UnusableData, match="no table"):
        read_table(DataFile("a.txt", file.path, 0.0))


def test_a_text_is_unpacked_and_must_be_utf_8(write: Write) -> None:
    assert read_text(write("a.conll.gz", "\ufeffWürde O\n")) == "Würde O\n"
    with pytest.raises(UnusableData, match="no UTF-8"):
        read_text(write("a.txt", b"\xff"))


def test_chunks_do_not_show(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("a.csv", "a,b\n" + "".join(f"{n},t{n}\n" for n in range(10)))
    whole = read_table(file)
    monkeypatch.setattr(tables, "_CHUNK", 3)
    pd.testing.assert_frame_equal(read_table(file), whole)
