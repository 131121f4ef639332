"""Lines of spending and daily measures become weeks of categories."""

import gzip
import json
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.training.errors import UnusableData
from rag_platform.training.readers import spending
from rag_platform.training.readers.spending import SpendingReader
from rag_platform.training.rows import DataFile, Rows

MONDAY = date(2024, 1, 1)


def day(number: int) -> str:
    return (MONDAY + timedelta(days=number)).isoformat()


def csv(*lines: str, header: str = "date,category,amount") -> str:
    return "\n".join([header, *lines, ""])


def read(tmp_path: Path, *contents: str, name: str = "spending.csv", labelled: bool = True) -> Rows:
    files = []
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}_{name}"
        data = content.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        files.append(DataFile(path.name, path, 0.0))
    return SpendingReader().read(files, labelled=labelled)


def amounts(rows: Rows) -> dict[str, float]:
    return dict(zip(rows.frame["unit"], rows.frame["target"], strict=True))


def daily(category: str, numbers: range, amount: float = 1.0) -> list[str]:
    return [f"{day(number)},{category},{amount}" for number in numbers]


def test_lines_of_a_week_are_summed_and_refunds_taken_off(tmp_path: Path) -> None:
    lines = [*daily("Food", range(21)), f"{day(8)},food ,10", f"{day(9)},FOOD,-2.5"]
    found = read(tmp_path, csv(*lines))
    assert amounts(found) == {
        "food|2024-01-01": 7.0,
        "food|2024-01-08": 14.5,
        "food|2024-01-15": 7.0,
    }
    frame = found.frame
    assert list(frame) == ["unit", "group", "target", "category", "week"]
    assert list(frame["group"]) == ["2024-01-01", "2024-01-08", "2024-01-15"]
    assert frame["week"].dt.day_name().unique().tolist() == ["Monday"]
    assert (found.records, found.bad) == (23, [])


def test_equal_lines_count_each_but_where_lines_have_keys(tmp_path: Path) -> None:
    plain = csv(*daily("food", range(21)), *daily("food", range(21)))
    assert amounts(read(tmp_path, plain))["food|2024-01-08"] == 14.0
    header = "basket_id,product_id,transaction_timestamp,department,sales_value"
    lines = [f"{number},7,{day(number)} 12:30:27,DELI,2.5" for number in range(21)]
    keyed = read(tmp_path, csv(*lines, lines[9], header=header))
    assert amounts(keyed)["deli|2024-01-08"] == 17.5
    assert [(bad.number, bad.reason) for bad in keyed.bad] == [(22, "duplicate")]
    assert keyed.records == 22


@pytest.mark.parametrize(
    ("first", "end", "weeks"),
    [(0, 28, 4), (1, 28, 3), (0, 27, 3), (6, 29, 3), (5, 30, 3)],
)
def test_weeks_that_are_not_whole_are_left_out(
    tmp_path: Path, first: int, end: int, weeks: int
) -> None:
    found = read(tmp_path, csv(*daily("food", range(first, end))))
    assert set(found.frame["target"]) == {7.0}
    assert len(found.frame) == weeks


def test_lines_of_working_days_end_on_a_friday(tmp_path: Path) -> None:
    working = [number for number in range(26) if number % 7 < 5]
    lines = [f"{day(number)},food,1" for number in working]
    assert list(amounts(read(tmp_path, csv(*lines))).values()) == [5.0] * 4
    assert list(amounts(read(tmp_path, csv(*lines[:-1]))).values()) == [5.0] * 3


def test_one_line_a_week_is_a_whole_week(tmp_path: Path) -> None:
    lines = [f"{day(7 * number + 2)},food,{number}" for number in range(1, 5)]
    assert list(amounts(read(tmp_path, csv(*lines))).values()) == [1.0, 2.0, 3.0, 4.0]
    # Of one or two weeks only a column `week` says that they are whole.
    assert len(read(tmp_path, csv(lines[0])).frame) == 0
    assert len(read(tmp_path, csv(lines[0], header="week,category,target")).frame) == 1


def test_no_lines_are_zero_from_the_first_week_on_and_a_gap_where_nobody_has_any(
    tmp_path: Path,
) -> None:
    lines = [
        *daily("food", range(7)),
        *daily("food", range(14, 42)),
        *daily("fuel", range(14, 28)),
        *daily("fuel", range(35, 42)),
    ]
    found = amounts(read(tmp_path, csv(*lines)))
    fuel = {unit[5:]: amount for unit, amount in found.items() if unit.startswith("fuel")}
    assert fuel == {"2024-01-15": 7, "2024-01-22": 7, "2024-01-29": 0, "2024-02-05": 7}
    assert "food|2024-01-08" not in found
    assert len(found) == 9


def test_rare_categories_are_other_and_those_of_too_little_are_left_out(tmp_path: Path) -> None:
    often = daily("food", range(70))
    rare = [f"{day(7 * number)},rare {number % 2},5" for number in range(6)]
    found = read(tmp_path, csv(*often, *rare)).frame
    assert set(found["category"]) == {"food", "other"}
    assert found[found["category"] == "other"]["target"].tolist() == [5.0] * 6 + [0.0] * 4
    assert set(read(tmp_path, csv(*often, *rare[:4])).frame["category"]) == {"food"}


def test_what_was_often_long_ago_is_other(tmp_path: Path) -> None:
    lines = [*daily("food", range(7 * 80)), *daily("gone", range(7 * 50))]
    assert set(read(tmp_path, csv(*lines)).frame["category"]) == {"food"}


def test_there_are_at_most_so_many_categories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "MAX_CATEGORIES", 2)
    lines = [line for n in range(4) for line in daily(f"c{n}", range(28), amount=n - 3.0)]
    found = read(tmp_path, csv(*lines)).frame
    assert set(found["category"]) == {"c0", "c1", "other"}
    assert found["target"].sum() == 28 * (-3 - 2 - 1 - 0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("yesterday,food,1", "no_date"),
        ("1889-01-01,food,1", "no_date"),
        (",food,1", "no_date"),
        (f"{day(3)},,1", "no_category"),
        (f"{day(3)},{'x' * 101},1", "no_category"),
        (f"{day(3)},food,many", "no_amount"),
        (f"{day(3)},food,", "no_amount"),
        (f"{day(3)},food,1e999", "no_amount"),
    ],
)
def test_bad_lines_are_told_and_left_out(tmp_path: Path, line: str, reason: str) -> None:
    found = read(tmp_path, csv(*daily("food", range(28)), line))
    assert [(bad.number, bad.reason) for bad in found.bad] == [(29, reason)]
    assert list(amounts(found).values()) == [7.0] * 4
    assert found.records == 29


def test_json_lines_and_parquet_with_times_are_read(tmp_path: Path) -> None:
    records = [{"date": day(n), "category": "food", "amount": n} for n in range(21)]
    text = "\n".join(map(json.dumps, records))
    expected = {"food|2024-01-01": 21.0, "food|2024-01-08": 70.0, "food|2024-01-15": 119.0}
    assert amounts(read(tmp_path, text, name="lines.jsonl.gz")) == expected
    path = tmp_path / "lines.parquet"
    times = pd.to_datetime([f"{one['date']} 23:59" for one in records])
    frame = pd.DataFrame(records).assign(date=times)
    frame.rename(columns={"date": "Transaction_Timestamp"}).to_parquet(path)
    found = SpendingReader().read([DataFile(path.name, path, 0.0)], labelled=True)
    assert amounts(found) == expected


@pytest.mark.parametrize("zone", ["+09:00", "+02:00", "-05:00", "Z"])
def test_a_day_is_the_one_of_the_place_where_it_was_written(tmp_path: Path, zone: str) -> None:
    lines = [f"{day(n)}T00:30:00{zone},food,1" for n in range(14)]
    assert list(amounts(read(tmp_path, csv(*lines))).values()) == [7.0, 7.0]


def test_zones_of_parquet_are_those_of_the_place(tmp_path: Path) -> None:
    path = tmp_path / "lines.parquet"
    days = pd.date_range("2024-01-01", periods=14, tz="Asia/Tokyo")
    pd.DataFrame({"date": days, "category": "food", "amount": 1.0}).to_parquet(path)
    found = SpendingReader().read([DataFile(path.name, path, 0.0)], labelled=True)
    assert amounts(found) == {"food|2024-01-01": 7.0, "food|2024-01-08": 7.0}


def test_what_was_read_is_read_again_as_it_is(tmp_path: Path) -> None:
    first = read(tmp_path, csv(*daily("food", range(35)), *daily("fuel", range(7, 35)))).frame
    again = read(tmp_path, first.to_csv(index=False)).frame
    pd.testing.assert_frame_equal(
        first.sort_values("unit", ignore_index=True), again.sort_values("unit", ignore_index=True)
    )


def test_several_files_are_one_history(tmp_path: Path) -> None:
    parts = csv(*daily("food", range(10))), csv(*daily("food", range(10, 21)))
    assert list(amounts(read(tmp_path, *parts)).values()) == [7.0, 7.0, 7.0]


def test_purchase_cards_have_categories_in_any_case(tmp_path: Path) -> None:
    header = "FISCAL_YEAR,DEPT_NAME,MERCHANT,CAT_DESCR,TRANS_DT,MERCHANDISE_AMT"
    lines = [
        f"2024,EDUCATION,SHOP,{'BOOK STORES' if n % 2 else 'Book  Stores'},{day(n)},{n - 2}"
        for n in range(21)
    ]
    found = amounts(read(tmp_path, csv(*lines, header=header)))
    assert found["book stores|2024-01-01"] == sum(range(-2, 5))


MEASURES = "date,freq,spend_grf,spend_tws,spend_s_grf,spend_19_grf,spend_grf_q1,spend_all_incmiddle"


def measures(numbers: range, **gaps: int) -> list[str]:
    return [f"{day(n)},d,{n / 10},{'' if n in gaps.values() else -0.5},9,9,9,9" for n in numbers]


def test_measures_are_means_of_whole_weeks(tmp_path: Path) -> None:
    found = read(tmp_path, csv(*measures(range(2, 34), gap=16), header=MEASURES))
    told = amounts(found)
    assert {unit.partition("|")[0] for unit in told} == {
        "grocery and food",
        "transport and warehousing",
    }
    assert told["grocery and food|2024-01-08"] == pytest.approx(1.0)
    assert [unit for unit in told if unit.startswith("transport")] == [
        "transport and warehousing|2024-01-08",
        "transport and warehousing|2024-01-22",
    ]
    assert found.records == 32


def test_a_day_that_is_told_twice_counts_once(tmp_path: Path) -> None:
    lines = measures(range(28))
    once = amounts(read(tmp_path, csv(*lines, header=MEASURES)))
    assert amounts(read(tmp_path, csv(*lines, lines[9], header=MEASURES))) == once


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (csv("1,2", header="household_id,age"), "household_id.*needs date, category, amount"),
        (csv(f"{day(0)},food", header="date,category"), "needs date, category, amount"),
        (csv(f"{day(0)},m,1", header="date,freq,spend_grf"), "must be daily"),
    ],
)
def test_another_form_is_named(tmp_path: Path, content: str, told: str) -> None:
    with pytest.raises(UnusableData, match=told):
        read(tmp_path, content)


def test_a_table_of_another_form_beside_a_usable_one_is_told(tmp_path: Path) -> None:
    households = csv("1,2", header="household_id,age")
    found = read(tmp_path, households, csv(*daily("food", range(21))))
    assert len(found.frame) == 3
    assert [(bad.file, bad.number, bad.reason) for bad in found.bad] == [
        ("0_spending.csv", None, "other_form")
    ]
    assert found.records == 22


def test_forms_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="do not go together"):
        read(tmp_path, csv(*daily("food", range(9))), csv(*measures(range(9)), header=MEASURES))
    with pytest.raises(UnusableData, match="none is a table"):
        SpendingReader().read([], labelled=True)


def test_rows_to_be_predicted_are_the_records(tmp_path: Path) -> None:
    lines = [f"{day(3)},Food,5", f"{day(3)},Food,6", "nonsense,food,1", f"{day(9)},rare,1"]
    found = read(tmp_path, csv(*lines), labelled=False)
    assert list(found.frame) == ["unit", "group", "category", "week"]
    assert found.frame["unit"].tolist() == ["food|2024-01-01"] * 2 + ["rare|2024-01-08"]
    assert found.frame.index.tolist() == [1, 2, 4]
    assert [bad.number for bad in found.bad] == [3]
    without = read(tmp_path, csv(f"{day(7)},food", header="week,category"), labelled=False)
    assert without.frame["unit"].tolist() == ["food|2024-01-08"]
    with pytest.raises(UnusableData, match="columns date and category"):
        read(tmp_path, csv(*measures(range(9)), header=MEASURES), labelled=False)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 55), st.sampled_from("abc"), st.integers(-99, 99))))
def test_no_money_of_a_whole_week_is_lost_or_made(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[int, str, int]]
) -> None:
    frame = [*daily("a", range(56)), *(f"{day(n)},{name},{amount}" for n, name, amount in lines)]
    found = read(tmp_path_factory.mktemp("lines"), csv(*frame)).frame
    kept = set(found["category"])
    others = {name for _, name, _ in lines} - kept
    for place, week in enumerate(sorted(found["week"].unique())):
        told = found[found["week"] == week]["target"].sum()
        here = [(name, amount) for n, name, amount in lines if n // 7 == place]
        counted = [amount for name, amount in here if name in kept or "other" in kept]
        assert told == 7 + sum(counted)
    assert found["unit"].is_unique
    assert not others or "other" in kept or len(others) <= 2
