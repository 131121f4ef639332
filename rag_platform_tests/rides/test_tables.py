"""Tables of days, as dashboards read them."""

import json
from datetime import date
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from rag_platform.rides.tables import DayMissing, DayTables, table_path
from rag_platform.storage.objects import S3Connection, open_store
from rag_platform_tests.servers.seaweed import S3Server

ONE, TWO = date(2026, 6, 9), date(2026, 6, 10)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    if request.param == "folder":
        return open_store((tmp_path / "storage").as_uri(), create=True)
    server: S3Server = request.getfixturevalue("s3_server")
    connection = S3Connection(server.endpoint, "us-east-1", None, server.key, server.secret)
    return open_store(f"s3://{server.make_bucket('tables')}/some/prefix", connection)


def paths(store: Any) -> list[str]:
    return sorted(meta["path"] for batch in store.list() for meta in batch)


def numbers(*values: int) -> pa.Table:
    return pa.table({"n": pa.array(values, pa.int64())})


def test_written_and_read(store: Any) -> None:
    tables = DayTables(store)
    with pytest.raises(DayMissing, match="stage: no output of 2026-06-09 yet; run stage"):
        tables.read("stage", ONE)
    assert tables.known_facts("stage", ONE) is None
    tables.write("stage", ONE, numbers(1, 2), {"note": "ü"})
    tables.write("stage", TWO, numbers(), {})
    assert tables.read("stage", ONE).equals(numbers(1, 2))
    assert tables.read("stage", TWO).equals(numbers())
    assert tables.facts("stage", ONE) == {"note": "ü", "rows": 2}
    tables.write("stage", ONE, numbers(3), {})
    assert tables.read("stage", ONE).equals(numbers(3))
    assert paths(store) == [
        "rides/stage/date=2026-06-09/part.parquet",
        "rides/stage/date=2026-06-10/part.parquet",
    ]


def test_a_writer_that_fails_leaves_the_day_as_it_was(store: Any) -> None:
    tables = DayTables(store)
    tables.write("stage", ONE, numbers(1), {})
    before = paths(store)

    def fail() -> None:
        with tables.writer("stage", ONE, numbers().schema) as writer:
            writer.add(numbers(2, 3))
            raise KeyError("inside")

    with pytest.raises(KeyError):
        fail()
    assert tables.read("stage", ONE).equals(numbers(1))
    assert paths(store) == before


def test_other_programs_read_the_folder_as_one_table(tmp_path: Any) -> None:
    tables = DayTables(open_store(tmp_path.as_uri(), create=True))
    tables.write("stage", ONE, numbers(1, 2), {"a": 1})
    tables.write("stage", TWO, numbers(3), {})
    folder = tmp_path / "rides/stage"
    frame = pd.read_parquet(folder)
    assert frame.astype({"date": str}).to_dict("list") == {
        "n": [1, 2, 3],
        "date": ["2026-06-09", "2026-06-09", "2026-06-10"],
    }
    dataset = ds.dataset(folder, partitioning="hive")
    assert dataset.to_table(filter=ds.field("date") == "2026-06-10")["n"].to_pylist() == [3]
    [path] = (tmp_path / table_path("stage", ONE)).parent.iterdir()
    footer = pa.parquet.read_metadata(path).metadata
    assert json.loads(footer[b"rag_platform.facts"]) == {"a": 1}
