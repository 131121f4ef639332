"""Tables into rows."""

import json
from pathlib import Path

import pandas as pd
import pytest

from rag_platform.training.errors import UnusableData
from rag_platform.training.readers.tabular import TabularReader
from rag_platform.training.rows import DataFile, Rows

READER = TabularReader(
    target=("default", "outcome"),
    classes={"good": ("good", "0"), "bad": ("bad", "1")},
    unit=("row_id",),
    audited={"age": ("age_years",)},
    drop=("sex",),
    ratios={"monthly": ("amount", "months")},
)


def files(folder: Path, **contents: str) -> list[DataFile]:
    found = []
    for name, text in contents.items():
        path = folder / f"{name}.csv"
        path.write_text(text, encoding="utf-8")
        found.append(DataFile(path.name, path, 0.0))
    return found


def read(folder: Path, text: str, *, labelled: bool = True, reader: TabularReader = READER) -> Rows:
    return reader.read(files(folder, data=text), labelled=labelled)


def test_columns_become_what_they_are_called(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        "Row_ID,amount,months,SEX,Age_Years,job,Default\n7,100,10,m,30,clerk,0\n8,300,0,f,51,,1\n",
    )
    frame = rows.frame
    assert list(frame.columns) == [
        *("unit", "group", "target", "age"),
        *("amount", "months", "job", "monthly"),
    ]
    assert frame["unit"].tolist() == frame["group"].tolist() == ["7", "8"]
    assert frame["target"].tolist() == ["good", "bad"]
    assert frame["age"].tolist() == [30, 51]
    assert frame["monthly"].iloc[0] == 10
    assert pd.isna(frame["monthly"].iloc[1])
    assert pd.isna(frame["job"].iloc[1])
    assert frame.index.tolist() == [1, 2]
    assert (rows.records, rows.bad) == (2, [])


def test_the_canonical_names_are_always_known(tmp_path: Path) -> None:
    rows = read(tmp_path, "unit,group,target,age,amount\na,g,good,30,1\nb,g,bad,40,2\n").frame
    assert rows["unit"].tolist() == ["a", "b"]
    assert rows["group"].tolist() == ["g", "g"]
    assert list(rows.columns) == ["unit", "group", "target", "age", "amount"]


def test_a_second_name_of_the_target_is_never_a_feature(tmp_path: Path) -> None:
    rows = read(tmp_path, "row_id,amount,default,outcome\n1,5,0,good\n2,6,1,bad\n").frame
    assert list(rows.columns) == ["unit", "group", "target", "amount"]


def test_rows_that_are_to_be_predicted_have_no_target(tmp_path: Path) -> None:
    text = "row_id,amount,default\n1,5,0\n2,6,\n"
    assert list(read(tmp_path, text, labelled=False).frame.columns) == ["unit", "group", "amount"]
    assert len(read(tmp_path, "row_id,amount\n1,5\n", labelled=False).frame) == 1


def test_bad_rows_are_told_with_their_reason(tmp_path: Path) -> None:
    good = "".join(f"{number},{number},x,0\n" for number in range(1, 41))
    rows = read(
        tmp_path, f"row_id,amount,kind,default\n{good}41,5,x,\n42,5,x,2\n,5,x,0\n44,much,x,1\n"
    )
    assert [(bad.number, bad.reason) for bad in rows.bad] == [
        (41, "no_target"),
        (42, "unknown_class"),
        (43, "no_unit"),
        (44, "no_number"),
    ]
    assert rows.bad[3].detail == "'amount' is no number"
    assert len(rows.frame) == 40
    assert rows.records == 44
    assert rows.frame["amount"].dtype.kind == "f"


def test_an_infinite_number_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pd.DataFrame({"amount": [1.0, float("inf")], "default": [0, 1]}).to_parquet(path)
    rows = READER.read([DataFile("data.parquet", path, 0.0)], labelled=True)
    assert [(bad.number, bad.reason) for bad in rows.bad] == [(2, "infinite")]


def test_without_a_target_the_error_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match=r"'data\.csv'.*'amount'.*default, outcome, target"):
        read(tmp_path, "row_id,amount\n1,5\n")
    with pytest.raises(UnusableData, match="without a column that can be learned"):
        read(tmp_path, "row_id,default\n1,0\n")
    with pytest.raises(UnusableData, match="none is a table"):
        READER.read([DataFile("picture.png", tmp_path / "picture.png", 0.0)], labelled=True)


def test_rows_without_a_unit_are_told_apart_by_their_content(tmp_path: Path) -> None:
    text = "amount,job,default\n5,a,0\n6,a,1\n5,a,1\n"
    units = read(tmp_path, text).frame["unit"].tolist()
    assert units[0] != units[1]
    # The target has no part in it: a row has its name before it has its label.
    assert units[0] == units[2]
    unlabelled = read(tmp_path, "job,amount\na,5\n", labelled=False).frame["unit"].tolist()
    assert unlabelled == units[:1]


def test_rows_without_a_label_can_be_a_class_of_their_own(tmp_path: Path) -> None:
    reader = TabularReader(target=("fraud",), classes={"yes": ("1",)}, unlabelled="not known")
    assert read(tmp_path, "x,fraud\n1,1\n2,\n", reader=reader).frame["target"].tolist() == [
        "yes",
        "not known",
    ]
    assert read(tmp_path, "x\n1\n", reader=reader).frame["target"].tolist() == ["not known"]


def test_without_classes_the_value_is_the_class(tmp_path: Path) -> None:
    rows = read(tmp_path, "x,kind\n1,A\n2,b\n", reader=TabularReader(target=("kind",))).frame
    assert rows["target"].tolist() == ["A", "b"]


def test_several_files_and_forms_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "more.jsonl").write_text(
        "".join(json.dumps({"row_id": n, "amount": n, "default": n % 2}) + "\n" for n in (3, 4)),
        encoding="utf-8",
    )
    found = files(tmp_path, data="row_id,amount,default\n1,5,0\n2,6,1\n")
    found.append(DataFile("more.jsonl", tmp_path / "more.jsonl", 0.0))
    rows = READER.read(found, labelled=True).frame
    assert rows["unit"].tolist() == ["1", "2", "3", "4"]
    assert rows["target"].tolist() == ["good", "bad", "bad", "good"]
    assert rows.index.is_unique


def test_names_of_features_are_the_same_in_any_case(tmp_path: Path) -> None:
    found = files(tmp_path, a="Amount,job,default\n1,x,0\n", b="AMOUNT,Job,default\n2,y,1\n")
    rows = READER.read(found, labelled=True).frame
    assert rows["amount"].tolist() == [1, 2]
    assert rows["job"].tolist() == ["x", "y"]


def test_two_features_with_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match=r"two columns are named 'amount'"):
        read(tmp_path, "amount,Amount,default\n1,2,0\n")


def test_rows_without_a_group_stand_alone(tmp_path: Path) -> None:
    rows = read(tmp_path, "row_id,group,amount,default\n1,a,5,0\n2,,6,1\n3,,7,1\n").frame
    assert rows["group"].tolist() == ["a", "2", "3"]


def test_moments_are_texts_as_in_other_forms(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    began = pd.Series(pd.to_datetime(["2026-01-02", None] * 10))
    pd.DataFrame(
        {
            "began": began,
            "lasted": began - began.iloc[0],
            "amount": range(20),
            "default": [0, 1] * 10,
        }
    ).to_parquet(path)
    rows = READER.read([DataFile(path.name, path, 0.0)], labelled=True).frame
    assert rows["began"].iloc[0].startswith("2026-01-02")
    assert isinstance(rows["lasted"].iloc[0], str)
    assert rows["began"].isna().tolist() == [False, True] * 10


def test_numbers_with_commas_and_mistakes_are_numbers(tmp_path: Path) -> None:
    lines = [f'{n},"{n},500",0\n' for n in range(1, 30)]
    rows = read(tmp_path, "row_id,amount,default\n" + "".join(lines) + "30,none yet,1\n")
    assert rows.frame["amount"].tolist() == [1000 * n + 500 for n in range(1, 30)]
    assert [bad.reason for bad in rows.bad] == ["no_number"]


def test_a_file_without_rows_adds_nothing(tmp_path: Path) -> None:
    header = "row_id,amount,default\n"
    rows = READER.read(files(tmp_path, a=header, b=header + "1,5,0\n"), labelled=True).frame
    assert rows["unit"].tolist() == ["1"]
    assert rows["amount"].dtype == "int64"
    assert len(read(tmp_path, header, labelled=False).frame) == 0


def test_a_file_without_a_readable_record_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("[1]\n[2]\n", encoding="utf-8")
    with pytest.raises(UnusableData, match=r"'x\.jsonl': no record .* record 1: no JSON object"):
        READER.read([DataFile(path.name, path, 0.0)], labelled=True)


def test_columns_that_hold_no_values_are_no_features(tmp_path: Path) -> None:
    path = tmp_path / "n.parquet"
    nested = {"tags": [[1], None], "shop": [None, {"x": 1}], "raw": [b"\xff", None]}
    pd.DataFrame({"amount": [5, 6], **nested, "default": [0, 1]}).to_parquet(path)
    rows = READER.read([DataFile(path.name, path, 0.0)], labelled=True).frame
    assert list(rows.columns) == ["unit", "group", "target", "amount"]
