"""The pool of simple forecasts finds out what kind of spending it has before it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.training.errors import UnusableData
from rag_platform.training.trainers.forecasts import Forecasts
from rag_platform.training.trainers.history import History
from rag_platform.training.trainers.lags import MEMBERS, Lags, _Pool
from rag_platform_tests.training.trainers.spending_rows import SERVICES, rows, weeks


def fitted(found: pd.DataFrame, seed: int = 1) -> Forecasts:
    return Lags().fit(found, seed=seed, services=SERVICES)


def test_what_never_changes_is_forecast_as_it_is() -> None:
    told = fitted(rows({"rent": [900.0] * 30, "none": [0.0] * 30})).predict(weeks("rent", 30, 37))
    assert told["prediction"].tolist() == pytest.approx([900.0] * 8)
    assert told["lower"].tolist() == pytest.approx([900.0] * 8)
    assert told["mean_4"].tolist() == [900.0] * 8
    assert told["naive_error"].tolist() == [0.0] * 8
    assert told["note"].tolist() == [""] * 8


def test_noise_about_a_level_is_averaged_over_long() -> None:
    random = np.random.default_rng(3)
    found = rows({f"c{n}": list(random.normal(100, 10, 60)) for n in range(8)})
    pool = _Pool(History.of(found))
    heavy = {MEMBERS[place] for place in np.argsort(pool.weights[-1].mean(axis=1))[-5:]}
    assert heavy <= {"mean of 52", "mean of 13", *(m for m in MEMBERS if m.startswith("median"))}
    told = pd.concat([fitted(found).predict(weeks(f"c{n}", 60, 63)) for n in range(8)])
    assert np.abs(told["prediction"] - 100).max() < 8


def test_a_level_that_wanders_is_followed() -> None:
    random = np.random.default_rng(4)
    walks = {f"c{n}": list(1000 + random.normal(0, 10, 80).cumsum()) for n in range(8)}
    pool = _Pool(History.of(rows(walks)))
    heavy = MEMBERS[int(pool.weights[-1].mean(axis=1).argmax())]
    assert heavy in ("mean of 1", "mean of 2", "smoothing 0.7")


def test_a_shift_of_the_level_is_followed_within_weeks() -> None:
    random = np.random.default_rng(5)
    levels = np.repeat([100.0, 40.0], [60, 12])
    found = rows({f"c{n}": list(levels + random.normal(0, 3, 72)) for n in range(6)})
    told = fitted(found).predict(weeks("c0", 72, 75))
    assert (told["prediction"] < 60).all()
    assert (told["mean_4"] < 45).all()


def test_a_course_of_the_year_that_comes_again_is_found() -> None:
    random = np.random.default_rng(6)
    season = 100 + 50 * np.sin(np.arange(160) * 2 * np.pi / 52)
    found = rows({f"c{n}": list(season[:150] + random.normal(0, 2, 150)) for n in range(6)})
    told = fitted(found).predict(weeks("c1", 150, 153))
    errors = np.abs(told["prediction"] - season[150:154])
    assert errors.mean() < 0.5 * np.abs(told["mean_4"] - season[150:154]).mean()


def test_intervals_hold_four_of_five_amounts() -> None:
    random = np.random.default_rng(7)
    amounts = random.gamma(2.0, 50.0, (20, 78))  # skewed, as spending is
    found = rows({f"c{n:02}": list(line[:70]) for n, line in enumerate(amounts)})
    model = fitted(found)
    held = [
        (told["lower"] <= amounts[n, 70:]) & (amounts[n, 70:] <= told["upper"])
        for n in range(20)
        for told in [model.predict(weeks(f"c{n:02}", 70, 77))]
    ]
    assert 0.72 <= np.mean(held) <= 0.90


def test_history_is_answered_from_the_weeks_before() -> None:
    random = np.random.default_rng(8)
    amounts = list(random.normal(100, 20, 50))
    known = fitted(rows({"a": amounts[:40]}))
    longer = fitted(rows({"a": amounts}))
    back = longer.predict(weeks("a", 20, 40))
    # The week after the shorter history, and those before: the same forecasts.
    assert back["prediction"].tolist() == pytest.approx(
        known.predict(weeks("a", 20, 40))["prediction"].tolist()
    )
    assert back["mean_4"].iloc[0] == pytest.approx(np.mean(amounts[16:20]))


def test_no_later_week_changes_an_earlier_forecast() -> None:
    amounts = list(np.random.default_rng(9).normal(100, 20, 50))
    changed = [*amounts[:40], *([1e6] * 10)]
    before = fitted(rows({"a": amounts})).predict(weeks("a", 10, 40))
    after = fitted(rows({"a": changed})).predict(weeks("a", 10, 40))
    assert before["prediction"].tolist() == pytest.approx(after["prediction"].tolist())


def test_what_cannot_be_told_says_why() -> None:
    model = fitted(rows({"a": [1.0, 2.0] * 10}))
    told = model.predict(
        pd.concat([weeks("a", 0, 0), weeks("a", 28, 28), weeks("b", 20, 20), weeks("a", 20, 20)])
    )
    assert told["prediction"].isna().tolist() == [True, True, True, False]
    assert told["upper"].isna().tolist() == [True, True, True, False]
    assert told["note"].tolist() == [
        "too little history before this week",
        "after 2022-07-11, the last week told",
        "a category that the model does not know",
        "",
    ]
    early = model.predict(pd.DataFrame({"category": ["a"], "week": ["2021-12-27"]}))
    assert early["note"].tolist() == ["before 2022-01-03, the first week known"]
    with pytest.raises(UnusableData, match="lack category"):
        model.predict(pd.DataFrame({"week": ["2022-01-03"]}))


def test_answers_stand_as_the_rows_do() -> None:
    model = fitted(rows({"a": [1.0, 2.0] * 10, "b": [5.0, 9.0] * 10}))
    asked = pd.concat([weeks("b", 20, 22), weeks("a", 20, 22)]).set_axis([9, 8, 7, 9, 5, 4])
    told = model.predict(asked)
    assert told.index.tolist() == [9, 8, 7, 9, 5, 4]
    assert (told["prediction"].iloc[:3] >= 5).all()
    assert (told["prediction"].iloc[3:] <= 2).all()
    assert len(model.predict(asked.iloc[:0])) == 0


def test_amounts_that_were_never_negative_are_not_forecast_so() -> None:
    random = np.random.default_rng(10)
    sparse = list(np.where(random.random(60) < 0.4, random.gamma(1, 90, 60), 0.0))
    refunds = [amount - 20 for amount in sparse]
    model = fitted(rows({"sparse": sparse, "refunds": refunds}))
    assert (model.predict(weeks("sparse", 10, 67))["lower"] >= 0).all()
    assert (model.predict(weeks("refunds", 60, 67))["lower"] < 0).any()


def test_gaps_and_late_categories_do_no_harm() -> None:
    random = np.random.default_rng(11)
    gapped = [amount if n % 2 else None for n, amount in enumerate(random.normal(50, 5, 60))]
    late = [None] * 50 + list(random.normal(10, 1, 10))
    new = [None] * 57 + [4.0, 5.0, 6.0]
    model = fitted(rows({"gapped": gapped, "late": late, "new": new}))
    assert np.abs(model.predict(weeks("gapped", 60, 67))["prediction"] - 50).max() < 8
    assert np.abs(model.predict(weeks("late", 60, 67))["prediction"] - 10).max() < 2
    told = model.predict(weeks("new", 60, 60))
    assert told["note"].tolist() == ["too little history before this week"]
    assert told["mean_4"].tolist() == [5.0]


def test_a_saved_model_is_the_same_to_the_byte(tmp_path: Path) -> None:
    found = rows({"a": [1.0, 7.0, 3.0] * 10, "b": [None] * 25 + [2.5] * 5})
    folders = tmp_path / "one", tmp_path / "two"
    for seed, folder in enumerate(folders):
        folder.mkdir()
        fitted(found.sample(frac=1, random_state=seed), seed=seed).save(folder)
    one, two = ((folder / "forecasts.json").read_bytes() for folder in folders)
    assert one == two
    loaded = Lags().load(folders[0], services=SERVICES)
    asked = pd.concat([weeks("a", 0, 40), weeks("b", 0, 40)])
    pd.testing.assert_frame_equal(loaded.predict(asked), fitted(found).predict(asked))
    assert loaded.parameters()["weeks"] == 30
    assert loaded.parameters()["heaviest_member"] in MEMBERS


@pytest.mark.parametrize("damage", ["missing", "text", "shape", "unknown"])
def test_another_file_is_refused(tmp_path: Path, damage: str) -> None:
    fitted(rows({"a": [1.0, 7.0, 3.0] * 10})).save(tmp_path)
    file = tmp_path / "forecasts.json"
    table = json.loads(file.read_text())
    if damage == "missing":
        file.unlink()
    elif damage == "text":
        file.write_bytes(b"\xff{")
    else:
        table |= {"shape": {"lower": table["lower"][1:]}, "unknown": {"code": "x"}}[damage]
        file.write_text(json.dumps(table))
    with pytest.raises(UnusableData, match="train the model again"):
        Lags().load(tmp_path, services=SERVICES)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.just(0.0), st.floats(-1e5, 1e5, allow_subnormal=False)),
        min_size=12,
        max_size=40,
    ).filter(lambda amounts: sum(amount is not None for amount in amounts) >= 9),
    st.floats(0.01, 100),
)
def test_intervals_hold_their_forecast_and_scale_with_the_amounts(
    amounts: list[float | None], factor: float
) -> None:
    scaled = [None if amount is None else amount * factor for amount in amounts]
    asked = weeks("a", 0, len(amounts) + 7)
    told = fitted(rows({"a": amounts})).predict(asked).dropna()
    assert (told["lower"] <= told["prediction"]).all()
    assert (told["prediction"] <= told["upper"]).all()
    other = fitted(rows({"a": scaled})).predict(asked).dropna()
    np.testing.assert_allclose(
        other["prediction"], told["prediction"] * factor, rtol=1e-6, atol=1e-6
    )
