"""Series into rows of features."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from rag_platform.training.errors import UnusableData
from rag_platform.training.models.anomaly_detector import SPEC
from rag_platform.training.readers.nab import FEATURES, features
from rag_platform.training.rows import DataFile, Rows

START = datetime(2024, 1, 1, tzinfo=UTC)


def stamp(hour: float) -> str:
    return (START + timedelta(hours=hour)).strftime("%Y-%m-%d %H:%M:%S")


def put(folder: Path, name: str, content: bytes | str) -> DataFile:
    path = folder / name.replace("/", "_")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return DataFile(name, path, 0.0)


def series(values: list[float]) -> str:
    lines = [f"{stamp(hour)},{value}\n" for hour, value in enumerate(values)]
    return "timestamp,value\n" + "".join(lines)


def wave(hours: int, seed: int = 0) -> list[float]:
    noise = np.random.default_rng(seed).normal(0, 0.3, hours)
    values = 10 + 5 * np.sin(np.arange(hours) * np.pi / 12) + noise
    return [round(float(value), 4) for value in values]


def hourly(hours: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and values of a wave."""
    return np.arange(hours, dtype=np.float64) * 3600, np.array(wave(hours), np.float64)


def read(files: list[DataFile], *, labelled: bool = True) -> Rows:
    return SPEC.reader.read(files, labelled=labelled)


def labelled_files(folder: Path, key: str = "kind/one.csv") -> list[DataFile]:
    # Two windows of ten hours in 200 hours.
    windows = {key: [[stamp(60), stamp(70)], [stamp(120), stamp(130)]]}
    return [
        put(folder, "kind/one.csv.gz", gzip.compress(series(wave(200)).encode())),
        put(folder, "points.json", "{}"),
        put(folder, "windows.json", json.dumps(windows)),
    ]


def test_labels_come_from_windows_and_the_first_rows_have_none(tmp_path: Path) -> None:
    frame = read(labelled_files(tmp_path)).frame
    assert list(frame.columns) == ["unit", "group", "target", *FEATURES, "series"]
    assert frame["target"].iloc[:30].eq("unlabelled").all()
    anomalies = np.flatnonzero(frame["target"] == "anomaly")
    assert anomalies.tolist() == [*range(60, 71), *range(120, 131)]
    assert frame["target"].value_counts().to_dict() == {
        "normal": 148,
        "unlabelled": 30,
        "anomaly": 22,
    }
    assert frame["series"].unique().tolist() == ["kind/one"]
    assert frame["unit"].iloc[3] == "kind/one@2024-01-01T03:00:00.000000"
    assert frame["unit"].is_unique


def test_a_window_is_an_event_and_so_are_stretches_as_long(tmp_path: Path) -> None:
    frame = read(labelled_files(tmp_path)).frame
    events = frame.groupby("group")["target"].agg(["nunique", "first", "size"])
    assert (events["nunique"] == 1).all()
    windows = events[events["first"] == "anomaly"]
    assert windows["size"].tolist() == [11, 11]
    # From hour 30: stretches of ten hours, less what the windows take of them.
    assert events[events["first"] == "normal"]["size"].max() == 10


def test_windows_are_found_below_another_folder(tmp_path: Path) -> None:
    found = labelled_files(tmp_path, key="one.csv")
    assert (read(found).frame["target"] == "anomaly").sum() == 22
    other = labelled_files(tmp_path, key="other/one.csv")
    assert set(read(other).frame["target"]) == {"unlabelled"}


def test_without_windows_series_can_be_scored_and_trained_on(tmp_path: Path) -> None:
    file = put(tmp_path, "one.csv", series(wave(60)))
    assert set(read([file]).frame["target"]) == {"unlabelled"}
    frame = read([file], labelled=False).frame
    assert "target" not in frame
    assert frame.index.tolist() == list(range(1, 61))
    assert frame["group"].nunique() > 2


def test_features_know_nothing_of_what_comes_later() -> None:
    times, values = hourly(400)
    whole = features(times, values)
    changed = values.copy()
    changed[300:] = 1_000
    pd.testing.assert_frame_equal(features(times, changed)[:300], whole[:300])
    pd.testing.assert_frame_equal(features(times[:250], values[:250]), whole[:250])


def test_features_do_not_hang_on_the_unit_of_measurement() -> None:
    times, values = hourly(400)
    found = features(times, values)
    np.testing.assert_allclose(features(times, values * 1000 - 7), found, rtol=1e-4, atol=1e-4)
    assert np.isfinite(found[100:].to_numpy()).all()


def test_what_is_unusual_stands_out() -> None:
    times, values = hourly(400)
    values[350] += 30
    found = features(times, values)
    for name in ("jump", "spread", "season"):
        usual = found[name][:350].abs().max()
        assert found[name][350:353].abs().max() > 1.5 * usual, name


def test_rows_are_sorted_and_bad_ones_told(tmp_path: Path) -> None:
    lines = [f"{stamp(hour)},{hour}\n" for hour in (2, 1, 0, 3)]
    broken = [f"soon,1\n{stamp(4)},nan\n{stamp(1)},9\n"]
    rows = read([put(tmp_path, "one.csv", "timestamp,value\n" + "".join(lines + broken))])
    assert rows.frame.index.tolist() == [3, 2, 1, 4]
    assert [(bad.number, bad.reason) for bad in rows.bad] == [
        (5, "no_time"),
        (6, "no_value"),
        (7, "same_time"),
    ]
    assert rows.records == 7


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"a.csv": [["2024-01-01"]]}', '{"a.csv": [["x", "y"]]}']
)
def test_windows_in_another_form_are_refused(tmp_path: Path, text: str) -> None:
    found = [put(tmp_path, "a.csv", series(wave(60))), put(tmp_path, "windows.json", text)]
    with pytest.raises(UnusableData, match=r"windows\.json.*not in the form"):
        read(found)


def test_tables_and_series_are_not_mixed(tmp_path: Path) -> None:
    found = [put(tmp_path, "a.csv", series(wave(60))), put(tmp_path, "b.csv", "x,class\n1,0\n")]
    with pytest.raises(UnusableData, match=r"'b\.csv': no timestamp and value"):
        read(found)


@pytest.mark.parametrize("name", ["one.csv", "one.jsonl", "one.parquet"])
def test_series_come_in_every_form_and_with_names_in_any_case(tmp_path: Path, name: str) -> None:
    expected = read([put(tmp_path, "a.csv", series(wave(60)))]).frame
    times, values = [stamp(hour) for hour in range(60)], wave(60)
    table = pd.DataFrame({"Timestamp": times, "VALUE": values})
    file = put(tmp_path, name, "")
    if name.endswith("csv"):
        table.to_csv(file.path, index=False)
    elif name.endswith("jsonl"):
        table.to_json(file.path, orient="records", lines=True)
    else:
        table.to_parquet(file.path)
    found = read([file]).frame
    pd.testing.assert_frame_equal(found[list(FEATURES)], expected[list(FEATURES)])


def test_labels_may_stand_beside_the_values(tmp_path: Path) -> None:
    expected = read(labelled_files(tmp_path)).frame
    marks = [int(60 <= hour <= 70 or 120 <= hour <= 130) for hour in range(200)]
    lines = series(wave(200)).splitlines()
    text = "\n".join(f"{a},{b}" for a, b in zip(lines, ["Is_Anomaly", *marks], strict=True))
    found = read([put(tmp_path, "kind/one.csv", text)]).frame
    columns = ["group", "target", *FEATURES]
    pd.testing.assert_frame_equal(found[columns], expected[columns])
    assert "target" not in read([put(tmp_path, "kind/one.csv", text)], labelled=False).frame


def test_transactions_with_a_time_and_a_value_are_no_series(tmp_path: Path) -> None:
    text = f"timestamp,value,shop,is_fraud\n{stamp(0)},5,a,0\n{stamp(0)},900,b,1\n"
    frame = read([put(tmp_path, "t.csv", text)]).frame
    assert list(frame.columns) == ["unit", "group", "target", "value", "shop"]
    assert frame["target"].tolist() == ["normal", "anomaly"]


def test_other_tables_are_transactions(tmp_path: Path) -> None:
    frame = read([put(tmp_path, "t.csv", "Time,V1,Class\n0,1.5,0\n9,2.5,1\n0,1.5,\n")]).frame
    assert list(frame.columns) == ["unit", "group", "target", "v1"]
    assert frame["target"].tolist() == ["normal", "anomaly", "unlabelled"]
