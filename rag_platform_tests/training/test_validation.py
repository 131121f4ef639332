"""Rows that may be trained on, and rows that may not: every check both ways."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.training.rows import BadRow, Rows
from rag_platform.training.spec import ModelSpec
from rag_platform.training.task import GROUP, TARGET, UNIT, Finding
from rag_platform.training.validation import CHECKS, Check, Validated, validate
from rag_platform_tests.training.tiny import SPEC, TinyTask, tiny_rows

DAY = 86_400.0
NOW = 100 * DAY


class PickyTask(TinyTask):
    """With a check of its own: there must be both answers."""

    checks = ("both_answers", "other")

    def findings(self, rows: pd.DataFrame) -> list[Finding]:
        """One answer only."""
        one = rows[TARGET].nunique() < 2
        return [Finding("both_answers", "one answer only")] if one else []


PICKY = replace(SPEC, task=PickyTask(), ranges={"x": (-5.0, 5.0)})


def checked(
    rows: pd.DataFrame,
    spec: ModelSpec = PICKY,
    *,
    bad: list[BadRow] | None = None,
    records: int = 0,
    modified: float | None = None,
    **given: Any,
) -> Validated:
    options = {"now": NOW, "max_age_days": 30, "max_bad_share": 0.05} | given
    return validate(spec, Rows(rows, bad or [], records), modified=modified, **options)


def failed(found: Validated) -> list[str]:
    return [check.name for check in found.checks if not check.passed]


def check(found: Validated, name: str) -> Check:
    return next(check for check in found.checks if check.name == name)


def test_good_rows_pass_all_checks() -> None:
    rows = tiny_rows(100)
    found = checked(rows, records=100, modified=NOW - DAY)
    assert [check.name for check in found.checks] == [*CHECKS, "both_answers", "other"]
    assert found.passed
    pd.testing.assert_frame_equal(found.frame, rows)
    assert found.figures["rows"] == found.figures["records"] == found.figures["groups"] == 100
    assert found.figures["classes"] == rows[TARGET].value_counts().to_dict()
    assert found.figures["held_back"] == int(TinyTask().holdout(rows).sum())
    assert found.figures["age_days"] == 1.0


# usable


@pytest.mark.parametrize(("bad", "passes"), [(0, True), (5, True), (6, False)])
def test_the_share_of_unusable_records_is_bounded(bad: int, passes: bool) -> None:
    rows = [BadRow("f", number, "bad_record", "") for number in range(bad)]
    found = checked(tiny_rows(100 - bad), bad=rows, records=100)
    assert failed(found) == ([] if passes else ["usable"])
    assert found.figures["bad_share"] == bad / 100
    assert found.bad == rows


def test_bad_rows_of_all_kinds_count_together() -> None:
    rows = tiny_rows(94)
    rows.loc[:1, "x"] = 9.0
    rows.loc[[2, 3], UNIT] = None
    read = [BadRow("f", number, "bad_record", "") for number in range(6)]
    found = checked(rows, bad=read, records=100, max_bad_share=0.09)
    assert failed(found) == ["usable"]
    assert found.figures["reasons"] == {"bad_record": 6, "range_x": 2, "schema_missing_unit": 2}
    assert "10 of 100 records unusable, at most 9.0%: bad_record 6" in check(found, "usable").told
    assert len(found.frame) == 90


# schema


def test_rows_that_break_the_schema_are_left_out() -> None:
    rows = tiny_rows(100).set_axis(range(1, 101))
    rows[UNIT] = rows[UNIT].astype(object)
    for at, (column, value) in enumerate(
        [(UNIT, None), (GROUP, ""), (TARGET, None), (UNIT, "u" * 2_000), ("x", np.inf), (UNIT, 7)],
        start=11,
    ):
        rows.loc[at, column] = value
    found = checked(rows, max_bad_share=0.06)
    assert found.passed
    assert [row.number for row in found.bad] == list(range(11, 17))
    assert [row.reason for row in found.bad] == [
        "schema_missing_unit",
        "schema_group",
        "schema_missing_target",
        "schema_unit",
        "schema_number_x",
        "schema_unit",
    ]
    assert found.bad[1].file == "u11"
    assert len(found.frame) == 94
    assert failed(checked(rows, max_bad_share=0.05)) == ["usable", "schema"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (tiny_rows(50).drop(columns=TARGET), "no column target; there are: unit, group, x"),
        (pd.DataFrame(), "no column unit, group, target; there are: none"),
        (tiny_rows(50).assign(unit=range(50)), "unit holds int64, not text"),
        (tiny_rows(50).assign(group=1.5), "group holds float64, not text"),
        (tiny_rows(50).set_axis([UNIT, GROUP, TARGET, TARGET], axis=1), "none may stand twice"),
        (tiny_rows(50).set_axis([UNIT, GROUP, 3, TARGET], axis=1), "must be texts"),
    ],
)
def test_columns_that_do_not_fit_let_nothing_pass(rows: pd.DataFrame, said: str) -> None:
    found = checked(rows)
    assert [check.name for check in found.checks] == [*CHECKS, "both_answers", "other"]
    assert failed(found) == [
        name for name in [*CHECKS, "both_answers", "other"] if name != "freshness"
    ]
    assert said in check(found, "schema").told
    assert found.frame.empty


def test_what_is_no_number_in_a_column_with_a_range_is_unusable() -> None:
    rows = tiny_rows(100)
    rows["x"] = rows["x"].astype(str)
    rows.loc[3, "x"] = "much"
    found = checked(rows)
    assert found.passed
    assert found.frame["x"].dtype == "float64"
    assert [(row.file, row.reason) for row in found.bad] == [("u3", "schema_number_x")]


@pytest.mark.parametrize("kind", ["float32", "Float64", "Int64", "int8", "bool", "category"])
def test_columns_may_have_any_type(kind: str) -> None:
    rows = tiny_rows(100)
    rows["more"] = pd.Series(np.arange(100) % 7).astype(kind)
    if kind in ("Float64", "Int64"):
        rows.loc[3, "more"] = pd.NA
    found = checked(rows, replace(PICKY, ranges={"x": (-5, 5), "more": (0, 5)}))
    outside = [] if kind == "bool" else [f"u{at}" for at in range(6, 100, 7)]
    assert [row.file for row in found.bad] == outside
    assert checked(rows).passed


def test_a_target_may_be_a_list() -> None:
    rows = tiny_rows(100)
    rows[TARGET] = pd.Series([["ORG", [1, 2]], []] * 50)
    assert checked(rows, replace(SPEC, task=TinyTask())).passed


# ranges


def test_ranges_bound_values_and_the_share_of_rows_outside() -> None:
    rows = tiny_rows(100)
    rows.loc[[1, 2, 3, 4, 5], "x"] = [-5.0, 5.0, -5.01, 5.01, np.nan]
    found = checked(rows)
    assert found.passed
    assert [(row.file, row.reason) for row in found.bad] == [("u3", "range_x"), ("u4", "range_x")]
    assert found.bad[0].detail == "x is -5.01, not from -5 to 5"
    assert found.figures["missing"] == {"x": round(1 / 98, 6)}
    assert failed(checked(rows, max_bad_share=0.019)) == ["usable", "ranges"]


def test_a_column_with_a_range_may_be_absent() -> None:
    assert checked(tiny_rows(50), replace(PICKY, ranges={"age": (0, 120)})).passed


# Copies and contradictions


def test_copies_are_dropped_and_corrections_replace() -> None:
    rows = tiny_rows(60)
    corrected = rows.iloc[[5]].assign(x=0.25)
    found = checked(pd.concat([rows, rows.iloc[:10], corrected]))
    assert found.passed
    assert (found.figures["duplicates"], found.figures["replaced"]) == (10, 1)
    assert found.frame[UNIT].is_unique
    assert len(found.frame) == 60
    assert found.frame.loc[found.frame[UNIT] == "u5", "x"].tolist() == [0.25]
    assert found.bad == []
    assert found.frame.index.tolist() == list(range(60))


def test_equal_rows_with_other_targets_are_told() -> None:
    rows = tiny_rows(400)
    other = rows.iloc[:2].assign(
        unit=["a", "b"],
        group=["a", "b"],
        target=rows[TARGET].iloc[:2].map({"yes": "no", "no": "yes"}),
    )
    found = checked(pd.concat([rows, other]))
    assert found.figures["contradictions"] == 4
    assert "4 contradictions" in check(found, "usable").told
    assert checked(rows).figures["contradictions"] == 0


# enough_rows


@pytest.mark.parametrize(("count", "passes"), [(0, False), (19, False), (20, True)])
def test_there_must_be_enough_rows(count: int, passes: bool) -> None:
    found = checked(tiny_rows(200).iloc[:count])
    assert check(found, "enough_rows").passed == passes
    assert [check.name for check in found.checks] == [*CHECKS, "both_answers", "other"]


def test_some_rows_must_be_held_back() -> None:
    rows = tiny_rows(200)
    kept = rows[~TinyTask().holdout(rows)]
    assert failed(checked(kept)) == ["enough_rows"]


# no_leakage


def leaky(features: dict[str, Any], count: int = 400) -> Validated:
    return checked(tiny_rows(count).assign(**features), replace(SPEC, task=TinyTask()))


RANDOM = np.random.default_rng(0)
IS_YES = (tiny_rows(400)[TARGET] == "yes").to_numpy()
SIGN = np.where(IS_YES, 1.0, -1.0)
NOISE = RANDOM.random(400)


@pytest.mark.parametrize(
    ("feature", "measure"),
    [
        (SIGN * (1 + NOISE), "area under the ROC curve 1.0000"),
        (-SIGN * (1 + NOISE), "area under the ROC curve 1.0000"),
        (np.where(IS_YES, "y", "n"), "balanced accuracy 1.0000"),
        (IS_YES, "balanced accuracy 1.0000"),
        (np.where(IS_YES, NOISE, np.nan), "balanced accuracy 1.0000"),
        ([f"{'y' if yes else 'n'}{at % 20}" for at, yes in enumerate(IS_YES)], "balanced accuracy"),
    ],
)
def test_a_feature_that_is_the_target_is_found(feature: Any, measure: str) -> None:
    found = leaky({"leak": feature})
    assert failed(found) == ["no_leakage"]
    assert "leak alone tells the target" in check(found, "no_leakage").told
    assert measure in check(found, "no_leakage").told


@pytest.mark.parametrize(
    "feature",
    [
        SIGN + 3 * NOISE,
        np.where(RANDOM.random(400) < 0.97, SIGN, -SIGN),
        [f"key {at}" for at in range(400)],
        np.arange(400),
        [["a"]] * 400,
        [None] * 400,
        np.full(400, 3.0),
    ],
)
def test_a_good_feature_is_no_leak(feature: Any) -> None:
    assert leaky({"fine": feature}).passed


def test_with_few_rows_nothing_is_told_of_a_feature() -> None:
    rows = tiny_rows(40).assign(leak=tiny_rows(40)[TARGET])
    assert checked(rows, replace(SPEC, task=TinyTask())).passed


def test_an_audited_column_is_no_feature() -> None:
    spec = replace(SPEC, task=TinyTask(), audited={"sex": ()})
    assert checked(tiny_rows(400).assign(sex=tiny_rows(400)[TARGET]), spec).passed


def test_a_rare_class_is_told_by_its_own_rows() -> None:
    """That 99 % of rows are of one class makes no feature a leak; a copy of the class does."""
    is_rare = np.arange(2_000) % 100 == 0
    rows = tiny_rows(2_000).assign(target=np.where(is_rare, "rare", "often"))
    task = replace(SPEC, task=TinyTask())
    assert checked(rows.assign(noise=RANDOM.integers(0, 3, 2_000)), task).passed
    assert failed(checked(rows.assign(leak=np.where(is_rare, 7, 8)), task)) == ["no_leakage"]


def test_a_quantity_as_a_feature_of_itself() -> None:
    target = np.exp(RANDOM.normal(size=400))
    spec = replace(SPEC, task=TinyTask())
    rows = tiny_rows(400).assign(target=target)
    assert checked(rows.assign(near=target + RANDOM.normal(0, 0.2, 400)), spec).passed
    found = checked(rows.assign(leak=-np.log(target)), spec)
    assert "rank correlation 1.0000" in check(found, "no_leakage").told


def test_held_back_rows_may_not_stand_among_the_others() -> None:
    rows = tiny_rows(1_000)
    held = TinyTask().holdout(rows)
    seen = rows[held].head(30).assign(unit=lambda f: "copy" + f[UNIT], group="elsewhere")
    assert not TinyTask().holdout(seen).any()
    found = checked(pd.concat([rows, seen]))
    assert failed(found) == ["no_leakage"]
    assert f"{30 / held.sum():.1%} of the held-back rows" in check(found, "no_leakage").told
    assert checked(pd.concat([rows, seen.head(2)])).passed
    same_group = seen.assign(group=rows[held].head(30)[GROUP])
    assert checked(pd.concat([rows, same_group])).passed


def test_rows_of_few_values_meet_by_chance() -> None:
    rows = tiny_rows(1_000)
    assert checked(rows.assign(x=(rows["x"] + RANDOM.random(1_000) * 2).round(0))).passed


# freshness


@pytest.mark.parametrize(
    ("modified", "passes", "said"),
    [
        (None, True, "does not age"),
        (NOW - 30 * DAY, True, "30.0 days old, at most 30"),
        (NOW - 30.1 * DAY, False, "30.1 days old, at most 30"),
        (NOW + 0.5 * DAY, True, "-0.5 days old"),
        (NOW + 2 * DAY, False, "2.0 days ahead of now"),
    ],
)
def test_data_must_be_fresh(modified: float | None, passes: bool, said: str) -> None:
    found = checked(tiny_rows(50), modified=modified)
    assert failed(found) == ([] if passes else ["freshness"])
    assert said in check(found, "freshness").told


# Of the task


def test_the_task_has_checks_of_its_own() -> None:
    found = checked(tiny_rows(50).assign(target="yes"))
    assert failed(found) == ["both_answers"]
    assert check(found, "both_answers").told == "one answer only"


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(*[CELLS] * 4), max_size=5))
def test_no_rows_are_too_bad_to_be_told_of(rows: list[tuple[Any, ...]]) -> None:
    columns = [UNIT, GROUP, TARGET, "x"]
    frame = pd.DataFrame(
        {
            name: pd.Series([row[at] for row in rows], dtype=object)
            for at, name in enumerate(columns)
        }
    )
    found = checked(frame)
    assert [check.name for check in found.checks] == [*CHECKS, "both_answers", "other"]
    assert not found.passed
    assert len(found.frame) + len(found.bad) <= len(rows)
