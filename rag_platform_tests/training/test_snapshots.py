"""Rows and facts, kept by content."""

import hashlib
import itertools
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import LocalStore, MemoryStore

from rag_platform.training.errors import UnusableData
from rag_platform.training.snapshots import Snapshots, Weeks

ROWS = pd.DataFrame(
    {
        "unit": ["b", "a", "c"],
        "whole": [1, 2, 3],
        "part": [1.5, None, -2.0],
        "text": ["ü", None, "z\n\0"],
        "words": [["a", "b"], None, []],
        "nested": [{"b": 1, "a": [1.0]}, {"a": None}, None],
        "at": pd.to_datetime(["2020-01-01", None, "2021-01-01T00:00:01.5"], format="ISO8601"),
        "is": [True, None, False],
        "sure": [True, False, True],
        "nothing": [None] * 3,
        "mixed": [1, "a", [2]],
    }
)


@pytest.fixture
def snapshots() -> Snapshots:
    return Snapshots(MemoryStore())


def test_rows_come_back_sorted_by_unit_in_one_form(snapshots: Snapshots) -> None:
    found = snapshots.load("m", snapshots.keep("m", ROWS))
    assert list(found.columns) == sorted(ROWS.columns)
    assert found["unit"].tolist() == ["a", "b", "c"]
    assert found.index.tolist() == [0, 1, 2]
    expected: dict[str, tuple[str, list[Any]]] = {
        "whole": ("int64", [2, 1, 3]),
        "part": ("float64", [None, 1.5, -2.0]),
        "text": ("str", [None, "ü", "z\n\0"]),
        "words": ("object", [None, ["a", "b"], []]),
        "nested": ("object", [{"a": None}, {"a": [1], "b": 1}, None]),
        "is": ("object", [None, True, False]),
        "sure": ("bool", [False, True, True]),
        "nothing": ("float64", [None, None, None]),
        "mixed": ("object", ["a", 1, [2]]),
    }
    for name, (kind, values) in expected.items():
        assert found[name].dtype == kind, name
        told = [
            None if value is None or value is pd.NA or value != value else value
            for value in found[name]
        ]
        assert told == values, name
    assert found["at"].tolist()[1:] == [
        pd.Timestamp("2020-01-01"),
        pd.Timestamp("2021-01-01T00:00:01.5"),
    ]


def variants() -> list[pd.DataFrame]:
    """The same content in other orders and types."""
    return [
        ROWS.iloc[[2, 0, 1]],
        ROWS[sorted(ROWS.columns, reverse=True)],
        ROWS.set_axis([7, 7, 7]),
        ROWS.astype({"whole": "float32"}),
        ROWS.astype({"whole": "Int64", "part": "Float64"}),
        ROWS.astype({"whole": object, "part": object, "unit": "category", "sure": object}),
        ROWS.assign(words=[("a", "b"), None, np.array([])]),
        ROWS.assign(nested=[{"a": [1], "b": 1.0}, {"a": np.nan}, None]),
        ROWS.astype({"at": "datetime64[ns]"}),
        ROWS.assign(whole=[Decimal(1), Decimal(2), Decimal(3)]),
        ROWS.assign(text=ROWS["text"].astype(object), nothing=np.nan),
    ]


@pytest.mark.parametrize("rows", variants())
def test_equal_content_has_an_equal_hash(snapshots: Snapshots, rows: pd.DataFrame) -> None:
    sha256 = snapshots.keep("m", ROWS)
    before = snapshots.load("m", sha256)
    assert snapshots.keep("m", rows) == sha256
    pd.testing.assert_frame_equal(snapshots.load("m", sha256), before)


@pytest.mark.parametrize(
    "rows",
    [
        ROWS.iloc[:2],
        pd.concat([ROWS, ROWS.iloc[:1]]),
        ROWS.rename(columns={"text": "texts"}),
        ROWS.drop(columns="nothing"),
        ROWS.assign(whole=[1, 2, 4]),
        ROWS.assign(whole=["1", "2", "3"]),
        ROWS.assign(sure=[1, 0, 1]),
        ROWS.assign(words=[["b", "a"], None, []]),
        ROWS.assign(words=[["a", "b"], [], []]),
        ROWS.assign(text=["ü", "", "z\n\0"]),
        ROWS.assign(text=["u\u0308", None, "z\n\0"]),
        ROWS.assign(part=[1.5, None, np.nextafter(-2.0, 0)]),
        ROWS.assign(at=ROWS["at"].dt.tz_localize("UTC")),
    ],
)
def test_other_content_has_another_hash(snapshots: Snapshots, rows: pd.DataFrame) -> None:
    assert snapshots.keep("m", rows) != snapshots.keep("m", ROWS)


def test_the_hash_is_what_it_always_was(snapshots: Snapshots) -> None:
    """Worked out by hand: SHA-256 of the kinds, then of each row's hash in their order."""
    rows = pd.DataFrame({"unit": ["b", "a"], "n": [1.0, 0.1], "l": [[1], None]})
    kinds = '[["l","json"],["n","number"],["unit","text"]]'
    told = [b'["[1]",1,"b"]', b'[null,0.1,"a"]']
    digests = sorted(hashlib.sha256(row).digest() for row in told)
    expected = hashlib.sha256(kinds.encode() + b"".join(digests)).hexdigest()
    assert snapshots.keep("m", rows) == expected


def test_a_time_is_the_same_in_all_zones(snapshots: Snapshots) -> None:
    berlin = timezone(timedelta(hours=1))
    utc = [datetime(2026, 11, 26, hour, tzinfo=UTC) for hour in (1, 2)]
    other = [moment.astimezone(berlin) for moment in utc]
    one, two = (snapshots.keep("m", pd.DataFrame({"at": at})) for at in (utc, other))
    assert one == two
    assert snapshots.load("m", one)["at"].tolist() == utc


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.lists(st.text("ab", max_size=2), max_size=3),
)


@settings(max_examples=40)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6), st.randoms())
def test_any_order_of_any_rows_is_the_same(rows: list[tuple[Any, Any]], random: Any) -> None:
    snapshots = Snapshots(MemoryStore())
    frame = pd.DataFrame(
        {
            "unit": [f"u{at}" for at in range(len(rows))],
            "one": pd.Series([one for one, _ in rows], dtype=object),
            "two": pd.Series([two for _, two in rows], dtype=object),
        }
    )
    sha256 = snapshots.keep("m", frame)
    shuffled = frame.iloc[random.sample(range(len(rows)), len(rows))]
    assert snapshots.keep("m", shuffled) == sha256
    loaded = snapshots.load("m", sha256)
    assert snapshots.keep("m", loaded) == sha256
    for name, at in itertools.product(["one", "two"], range(len(rows))):
        before, after = frame[name][at], loaded[name][at]
        assert after == before or (before is None and (after is None or after != after))


def test_damage_is_noticed_and_mended(tmp_path: Path) -> None:
    snapshots = Snapshots(LocalStore(tmp_path))
    sha256 = snapshots.keep("m", ROWS)
    (path,) = tmp_path.rglob("*.parquet")
    assert path == tmp_path / f"training/m/snapshots/{sha256}.parquet"
    whole = path.read_bytes()
    other = snapshots.keep("m", ROWS.iloc[:2])
    for content in (b"", whole[:-50], path.with_name(f"{other}.parquet").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UnusableData, match=f"snapshot {sha256[:12]} is damaged"):
            snapshots.load("m", sha256)
    assert snapshots.keep("m", ROWS) == sha256
    assert len(snapshots.load("m", sha256)) == 3
    path.unlink()
    with pytest.raises(UnusableData, match="is gone"):
        snapshots.load("m", sha256)


def test_a_hash_is_no_path(snapshots: Snapshots) -> None:
    with pytest.raises(UnusableData, match="no hash"):
        snapshots.load("m", "../../secret")


def test_what_cannot_be_kept_is_refused(snapshots: Snapshots) -> None:
    with pytest.raises(UnusableData, match="type bytes"):
        snapshots.keep("m", pd.DataFrame({"a": [b"x", [1]]}))


def test_half_a_pair_is_no_text(snapshots: Snapshots) -> None:
    sha256 = snapshots.keep("m", pd.DataFrame({"a": pd.Series(["\ud800", "b"], dtype=object)}))
    assert sorted(snapshots.load("m", sha256)["a"]) == ["?", "b"]


# Weeks


def test_facts_of_a_week(tmp_path: Path) -> None:
    weeks = Weeks(LocalStore(tmp_path))
    assert weeks.weeks("m") == []
    assert weeks.get("m", "2026-11-23", "training_data") is None
    weeks.put("m", "2026-11-23", "training_data", {"rows": 3, "text": "ü"})
    weeks.put("m", "2026-11-16", "evaluation", {})
    weeks.put("m_two", "2026-11-09", "evaluation", {})
    weeks.put("m", "2026-11-23", "training_data", {"rows": 4})
    # What a writer that was killed leaves behind.
    (tmp_path / "training/m/weeks/2026-11-30").mkdir()
    (tmp_path / "training/m/weeks/2026-11-30/evaluation.json#1").write_text("{")
    assert weeks.get("m", "2026-11-23", "training_data") == {"rows": 4}
    assert weeks.weeks("m") == ["2026-11-16", "2026-11-23"]
    stored = (tmp_path / "training/m/weeks/2026-11-16/evaluation.json").read_text()
    assert json.loads(stored) == {}
    with pytest.raises(ValueError, match="JSON"):
        weeks.put("m", "2026-11-23", "training_data", {"x": float("nan")})
