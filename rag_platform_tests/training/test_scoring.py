"""The daily scores: which rows, by whom, what is kept, and what becomes of a challenger."""

import shutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rag_platform.errors import PlatformError
from rag_platform.storage.objects import S3Connection
from rag_platform.training.drift.log import DriftLog
from rag_platform.training.drift.profile import Profile
from rag_platform.training.errors import TrainingError, UnusableData
from rag_platform.training.rollout import arm_of
from rag_platform.training.scoring import NoRows, NothingToScore, ScoreFigures, yesterday
from rag_platform_tests.servers.seaweed import S3Server
from rag_platform_tests.training.tiny import NAME, TinyModel, tiny_rows
from rag_platform_tests.training.weekly import Weekly

DAY = "2026-06-01"
QUICK = {"rollout": {"shadow_units": 100, "step_units": 100}}


def table(weekly: Weekly, day: str = DAY) -> pd.DataFrame:
    """What lies there for others to read."""
    found = pd.read_parquet(weekly.folder / "store/training" / NAME / "scores" / f"date={day}")
    assert isinstance(found, pd.DataFrame)
    return found


def content(weekly: Weekly, day: str = DAY) -> bytes:
    path = weekly.folder / "store/training" / NAME / "scores" / f"date={day}" / "part.parquet"
    return path.read_bytes()


def actions(weekly: Weekly) -> list[tuple[str, str, int | None]]:
    rows = weekly.promotions.history(NAME)
    return [(r.action, r.version, r.share) for r in rows if r.action != "registered"]


def rollout(weekly: Weekly) -> tuple[str, int, int] | None:
    found = weekly.promotions.rollout(NAME)
    return (found.challenger, found.share, found.units) if found else None


class Broken:
    """In the place of `TinyModel.predict`: some thresholds have something wrong with them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._predict = TinyModel.predict
        self._wrong: dict[float, Callable[[pd.DataFrame, pd.DataFrame], Any]] = {}
        wrong, predict = self._wrong, self._predict

        def patched(model: TinyModel, rows: pd.DataFrame) -> Any:
            found = predict(model, rows)
            change = wrong.get(model.threshold)
            return change(rows, found) if change else found

        patch.setattr(TinyModel, "predict", patched)

    def __call__(
        self, threshold: float, change: Callable[[pd.DataFrame, pd.DataFrame], Any]
    ) -> None:
        self._wrong[threshold] = change


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    return Broken(monkeypatch)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


# A day


def test_a_day_is_answered_by_the_champion(weekly: Weekly) -> None:
    weekly.serve(0.5)
    rows = tiny_rows(120)
    weekly.batch(DAY, rows=rows)
    figures = weekly.scoring().run(DAY)
    assert (figures.rows, figures.bad, figures.champion, figures.challenger) == (120, 0, "1", None)
    assert (figures.violations, figures.decision, figures.labelled) == ([], None, 0)
    found = table(weekly)
    assert found["unit"].tolist() == rows["unit"].tolist()
    assert found["prediction"].tolist() == ["yes" if x >= 0.5 else "no" for x in rows["x"]]
    np.testing.assert_allclose(found["score"], 1 / (1 + np.exp(0.5 - rows["x"])))
    assert set(found["served"]) == {"champion"}
    assert set(found["version"]) == {"1"}
    assert found["champion.prediction"].equals(found["prediction"])
    assert not [name for name in found if name.startswith("challenger")]


def test_files_and_folders_are_of_the_day_in_their_names(weekly: Weekly) -> None:
    weekly.serve(0.5)
    names = ("2026-06-01.csv", "date=2026-06-01/part.csv", "in-20260601-b.csv", "2026/06/01/x.csv")
    for number, name in enumerate(names):
        rows = tiny_rows(10 + number, seed=number)
        rows["unit"] = [f"{name}{unit}" for unit in rows["unit"]]
        weekly.batch(DAY, name=name, rows=rows)
    weekly.batch("2026-06-02", count=50)
    weekly.batch("2026-06-02", name="none.csv", count=50)
    (weekly.folder / "batches" / "README.md").write_text("2026-06-01")
    assert weekly.scoring().run(DAY).rows == 10 + 11 + 12 + 13


def test_a_bucket_with_hive_folders(
    weekly: Weekly, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    weekly.serve(0.5)
    bucket, client = s3_server.make_bucket(), s3_server.client()
    path = weekly.batch(DAY, count=30)
    for day in (DAY, "2026-06-02"):
        key = f"in/date={day}/part-0.csv"
        client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    scoring = weekly.scoring(scoring=f"s3://{bucket}/in")
    scoring._s3 = S3Connection(
        endpoint_url=s3_server.endpoint,
        region="us-east-1",
        access_key_id=s3_server.key,
        secret_access_key=s3_server.secret,
    )
    assert scoring.run(DAY).rows == 30
    with pytest.raises(NoRows, match=r"no file of 2026-06-03; the day stands in a file's name"):
        scoring.run("2026-06-03")


@pytest.mark.parametrize("day", ["2026-6-1", "today", "../x", "2026-06-31", ""])
def test_what_is_no_day_is_refused(weekly: Weekly, day: str) -> None:
    with pytest.raises(NothingToScore, match="no date"):
        weekly.scoring().run(day)


def test_a_morning_answers_the_day_before() -> None:
    from datetime import datetime, timedelta, timezone

    moment = datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert yesterday(moment) == "2026-02-27"


def test_without_a_version_nothing_is_answered(weekly: Weekly) -> None:
    weekly.batch(DAY)
    with pytest.raises(NothingToScore, match="no version serves yet; train one"):
        weekly.scoring().run(DAY)


def test_rows_that_cannot_be_used_are_dead_letters(weekly: Weekly) -> None:
    weekly.serve(0.5)
    path = weekly.batch(DAY, count=30)
    path.write_text(path.read_text() + "u99,many\n")
    figures = weekly.scoring().run(DAY)
    assert (figures.rows, figures.bad) == (30, 1)
    [letter] = weekly.scoring().letters.of("scores", DAY)
    assert (letter.item, letter.reason) == (f"{DAY}.csv#31", "no_number")
    path.write_text("unit,x\nu1,many\n")
    with pytest.raises(NoRows, match="hold no usable row"):
        weekly.scoring().run(DAY)


def test_two_rows_of_a_unit_keep_their_own_answers(weekly: Weekly) -> None:
    """Two requests of one applicant in a day: each has its answer, the last one its label."""
    weekly.serve(0.5)
    weekly.serve(0.6)
    rows = pd.DataFrame({"unit": ["b", "a", "b", "a"], "x": [0.0, 9.0, 1.0, 0.1]})
    weekly.batch(DAY, rows=rows)
    weekly.scoring().run(DAY)
    assert table(weekly)["prediction"].tolist() == ["no", "yes", "yes", "no"]
    pair = weekly.scoring().tables.pair("1", "2", days=9)
    assert pair is not None
    told = dict(zip(pair.rows["unit"], pair.champion["prediction"], strict=True))
    assert told == {"a": "no", "b": "yes"}
    assert dict(zip(pair.rows["unit"], pair.rows["x"], strict=True)) == {"a": 0.1, "b": 1.0}


# Again


def test_the_same_day_again_changes_nothing(weekly: Weekly) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.batch(DAY, count=120)
    first = weekly.scoring(**QUICK).run(DAY)
    assert first.decision is not None
    assert (first.decision.action, first.decision.share) == ("step", 5)
    before, state = content(weekly), (rollout(weekly), actions(weekly))
    again = weekly.scoring(**QUICK).run(DAY)
    # By the same versions in shadow, though the challenger has a share by now.
    assert content(weekly) == before
    assert (rollout(weekly), actions(weekly)) == state == (("2", 5, 0), actions(weekly))
    assert again.served_by_challenger == 0
    assert again.decision is not None
    assert again.decision.action == "hold"


def test_a_day_keeps_its_versions_unless_it_is_refreshed(weekly: Weekly) -> None:
    weekly.serve(0.5)
    weekly.batch(DAY, count=120)
    weekly.scoring().run(DAY)
    before = content(weekly)
    weekly.serve(0.9)
    weekly.promotions.promote(NAME, actor="ann", reason="by hand")
    assert weekly.scoring().run(DAY).champion == "1"
    assert content(weekly) == before
    assert weekly.scoring().run(DAY, refresh=True).champion == "2"
    assert set(table(weekly)["version"]) == {"2"}


def test_rows_that_come_late_are_answered_by_the_same_versions(weekly: Weekly) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.batch(DAY, count=120)
    weekly.scoring(**QUICK).run(DAY)
    late = tiny_rows(40, seed=5)
    late["unit"] = [f"late-{unit}" for unit in late["unit"]]
    weekly.batch(DAY, name=f"{DAY}-late.csv", rows=late)
    figures = weekly.scoring(**QUICK).run(DAY)
    assert (figures.rows, figures.served_by_challenger) == (160, 0)
    assert rollout(weekly) == ("2", 5, 0)


# The champion in trouble


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TrainingError("no column x"), f"champion 1 cannot answer the rows of {DAY}: no column x"),
        (ValueError("odd"), "odd"),
    ],
)
def test_a_champion_that_fails_changes_nothing(
    weekly: Weekly, broken: Broken, error: Exception, told: str
) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.batch(DAY, count=120)
    broken(0.5, raising(error))
    before = rollout(weekly), actions(weekly)
    with pytest.raises(type(error), match=told):
        weekly.scoring(**QUICK).run(DAY)
    assert (rollout(weekly), actions(weekly)) == before
    assert weekly.scoring().tables.days() == []
    assert DriftLog(weekly.catalog).lines(DAY, "scores") == []


def test_a_profile_that_cannot_be_read_takes_no_answers_away(
    weekly: Weekly, monkeypatch: pytest.MonkeyPatch
) -> None:
    weekly.serve(0.5)
    weekly.batch(DAY, count=120)
    monkeypatch.setattr(Profile, "from_json", raising(UnusableData("another form")))
    figures = weekly.scoring().run(DAY)
    assert (figures.champion_answers.failed, figures.drift.drifted) == (0, False)
    assert figures.drift.told == "not compared: another form"
    assert len(table(weekly)) == 120


# The challenger in trouble


class Passing(PlatformError):
    """A service is away for a moment."""

    transient = True


def test_a_challenger_that_crashes_is_withdrawn(weekly: Weekly, broken: Broken) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.promotions.step(NAME, 50, actor="rollout", reason="well")
    weekly.batch(DAY, count=120)
    broken(0.55, raising(ZeroDivisionError("the text of a document")))
    figures = weekly.scoring(**QUICK).run(DAY)
    assert figures.decision is not None
    assert figures.decision.action == "withdraw"
    assert figures.violations == [
        "errors: 120 of 120 units have no answer (ZeroDivisionError), more than max_error_rate, "
        "2.00%"
    ]
    assert rollout(weekly) is None
    assert weekly.registry.aliases(NAME) == {"champion": "1"}
    found = table(weekly)
    assert set(found["served"]) == {"champion"}
    assert found["prediction"].notna().all()
    [last] = weekly.promotions.history(NAME)[-1:]
    assert (last.action, last.actor, last.facts["day"]) == ("withdrawn", "rollout", DAY)
    assert "the text of a document" not in str(last)
    before = content(weekly)
    assert weekly.scoring(**QUICK).run(DAY).decision is None
    assert content(weekly) == before


def test_answers_of_the_wrong_form_are_errors(weekly: Weekly, broken: Broken) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.batch(DAY, count=120)
    broken(0.55, lambda rows, found: found.drop(columns="score"))
    figures = weekly.scoring().run(DAY)
    assert rollout(weekly) is None
    assert "its predictions lack columns score" in figures.violations[0]


def test_a_damaged_package_is_an_error_of_the_challenger(weekly: Weekly) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.batch(DAY, count=120)
    version = weekly.promotions.challenger(NAME)
    assert version is not None
    models = weekly.folder / "home" / "models"
    for path in models.rglob("tiny.json"):
        if "0.55" in path.read_text():
            path.write_text(path.read_text().replace("0.55", "0.56"))
    figures = weekly.scoring().run(DAY)
    assert figures.champion_answers.failed == 0
    assert rollout(weekly) is None
    assert "was changed" in figures.violations[0]


def test_what_may_pass_is_no_error_of_the_challenger(weekly: Weekly, broken: Broken) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.batch(DAY, count=120)
    broken(0.55, raising(Passing("away")))
    with pytest.raises(Passing):
        weekly.scoring().run(DAY)
    assert rollout(weekly) == ("2", 0, 0)
    assert weekly.scoring().tables.days() == []


def test_where_the_challenger_has_no_answer_the_champions_stands(
    weekly: Weekly, broken: Broken
) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.promotions.step(NAME, 50, actor="rollout", reason="well")
    weekly.batch(DAY, count=120)
    units = [f"u{n}" for n in range(120) if arm_of(f"u{n}", NAME, 50) == "challenger"]

    def forgetful(rows: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
        return found.assign(prediction=found["prediction"].where(rows["unit"] != units[0], None))

    broken(0.55, forgetful)
    figures = weekly.scoring(**QUICK).run(DAY)
    assert (figures.violations, figures.served_by_challenger) == ([], len(units) - 1)
    found = table(weekly).set_index("unit")
    assert found.loc[units[0], ["served", "version"]].tolist() == ["champion", "1"]
    assert found.loc[units[1], ["served", "version"]].tolist() == ["challenger", "2"]
    assert found["prediction"].notna().all()


def test_a_slow_challenger_is_withdrawn_and_a_pause_is_no_slowness(
    weekly: Weekly, broken: Broken
) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.batch(DAY, count=20)
    pauses = iter([0.2])

    def paused(_: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
        time.sleep(next(pauses, 0.0))
        return found

    broken(0.55, paused)
    assert weekly.scoring().run(DAY).violations == []
    assert next(pauses, None) is None

    def slow(_: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
        time.sleep(0.1)
        return found

    broken(0.55, slow)
    [told] = weekly.scoring().run(DAY).violations
    assert told.startswith("latency: ")
    assert rollout(weekly) is None


def test_scores_unlike_the_evaluation_withdraw(weekly: Weekly, broken: Broken) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.batch(DAY, count=200)
    broken(0.55, lambda rows, found: found.assign(score=found["score"] ** 4))
    [told] = weekly.scoring().run(DAY).violations
    assert told.startswith("score drift: ")
    assert rollout(weekly) is None


# A whole rollout


def days(count: int) -> list[str]:
    return [f"2026-06-{number:02d}" for number in range(1, count + 1)]


def test_from_shadow_to_champion_step_by_step(weekly: Weekly) -> None:
    weekly.serve(0.5)
    weekly.serve(0.52)
    served: list[set[str]] = []
    steps = []
    for number, day in enumerate(days(6)):
        weekly.batch(day, count=300, seed=number)
        figures = weekly.scoring(**QUICK).run(day)
        decision = figures.decision
        steps.append((decision.action, decision.share) if decision else None)
        found = table(weekly, day)
        mine = found["served"] == "challenger"
        served.append(set(found["unit"][mine]))
        assert figures.served_by_challenger == len(served[-1])
        for arm, version in (("champion", figures.champion), ("challenger", figures.challenger)):
            of_arm = found["served"] == arm
            assert set(found["version"][of_arm]) <= {version}
            if of_arm.any():
                assert found["prediction"][of_arm].equals(found[f"{arm}.prediction"][of_arm])
    assert steps == [("step", 5), ("step", 25), ("step", 50), ("promote", 100), None, None]
    # A unit that the challenger answered stays with it as its share grows.
    shadow, five, quarter, half, *after = served
    assert shadow == set() != five
    assert five < quarter < half
    assert half == {f"u{n}" for n in range(300) if arm_of(f"u{n}", NAME, 50) == "challenger"}
    assert after == [set(), set()]
    assert weekly.registry.aliases(NAME) == {"champion": "2"}
    assert rollout(weekly) is None
    assert [action for action, *_ in actions(weekly)] == [
        "promoted",
        "challenger",
        "step",
        "step",
        "step",
        "promoted",
    ]
    [told] = [r for r in weekly.promotions.history(NAME) if r.action == "promoted"][1:]
    assert (told.actor, told.reason) == (
        "rollout",
        "at 50 %: 300 units answered within the guardrails",
    )


def test_days_without_enough_units_hold(weekly: Weekly) -> None:
    weekly.serve(0.5)
    weekly.serve(0.52)
    shares = []
    for number, day in enumerate(days(5)):
        weekly.batch(day, count=40, seed=number)
        decision = weekly.scoring(**QUICK).run(day).decision
        assert decision is not None
        shares.append((decision.action, decision.share))
    assert shares == [("hold", 0), ("hold", 0), ("step", 5), ("hold", 5), ("hold", 5)]
    # An older day that is answered later does not count.
    weekly.batch("2026-05-01", count=300)
    figures = weekly.scoring(**QUICK).run("2026-05-01")
    assert figures.decision is not None
    assert figures.decision.action == "hold"
    assert rollout(weekly) == ("2", 5, 80)


def test_another_challenger_begins_anew(weekly: Weekly) -> None:
    weekly.serve(0.5)
    weekly.serve(0.52)
    weekly.batch(DAY, count=120)
    weekly.scoring(**QUICK).run(DAY)
    weekly.serve(0.54)
    weekly.batch("2026-06-02", count=60)
    figures = weekly.scoring(**QUICK).run("2026-06-02")
    assert figures.challenger == "3"
    assert rollout(weekly) == ("3", 0, 60)
    # The older day is still the old one's, who is not tried any more.
    assert weekly.scoring(**QUICK).run(DAY).decision is None
    assert rollout(weekly) == ("3", 0, 60)


# Labels that come late


def labels(weekly: Weekly, rows: pd.DataFrame, name: str = "labels.csv") -> dict[str, str]:
    folder = weekly.folder / "labels"
    folder.mkdir(exist_ok=True)
    if len(rows):
        rows[["unit", "target"]].to_csv(folder / name, index=False)
    return {"labels": folder.as_uri()}


def test_a_challenger_that_labels_show_to_be_worse_is_withdrawn(weekly: Weekly) -> None:
    weekly.serve(0.5)
    weekly.serve(1.1)
    truth = []
    rules = labels(weekly, tiny_rows(0))
    for number, day in enumerate(days(3)):
        rows = tiny_rows(150, seed=number)
        rows["unit"] = [f"{day}-{unit}" for unit in rows["unit"]]
        truth.append(rows)
        weekly.batch(day, rows=rows)
        figures = weekly.scoring(**rules).run(day)
        assert (figures.labelled, figures.comparison) == (0, None)
    told = pd.concat(truth[:2])
    labels(weekly, pd.concat([told, told.assign(unit="stranger")]))
    weekly.batch("2026-06-04", count=150, seed=9)
    figures = weekly.scoring(**rules).run("2026-06-04")
    assert figures.labelled == 300
    assert figures.comparison is not None
    wrong = [(told["x"] >= at) != (told["target"] == "yes") for at in (1.1, 0.5)]
    assert figures.comparison.difference == pytest.approx(wrong[0].mean() - wrong[1].mean())
    assert figures.decision is not None
    assert figures.decision.action == "withdraw"
    assert figures.decision.reason.startswith("worse: on 300 labelled units")
    assert weekly.registry.aliases(NAME) == {"champion": "1"}


def test_labels_that_tell_nothing_bad_hold_nobody_up(weekly: Weekly) -> None:
    weekly.serve(0.4)
    weekly.serve(0.5)
    rules = QUICK | labels(weekly, tiny_rows(400, seed=1))
    weekly.batch(DAY, rows=tiny_rows(400, seed=1))
    figures = weekly.scoring(**rules).run(DAY)
    assert (figures.labelled, figures.violations) == (400, [])
    assert figures.decision is not None
    assert figures.decision.action == "step"


def test_labels_are_joined_with_the_row_as_it_was(weekly: Weekly) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.batch(DAY, count=150)
    weekly.scoring().run(DAY)
    weekly.batch(DAY, count=150, seed=7).unlink()
    weekly.batch("2026-06-02", count=20, seed=3)
    rules = labels(weekly, tiny_rows(150))
    figures = weekly.scoring(**rules).run("2026-06-02")
    # Units of both days: the later answers count.
    assert figures.labelled == 150
    pair = weekly.scoring().tables.pair("1", "2", days=9)
    assert pair is not None
    x = dict(zip(pair.rows["unit"], pair.rows["x"], strict=True))
    assert x["u140"] == tiny_rows(150)["x"][140]
    assert x["u5"] == tiny_rows(20, seed=3)["x"][5]


def test_days_of_other_versions_are_not_compared(weekly: Weekly) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.batch(DAY, count=150)
    weekly.scoring().run(DAY)
    weekly.serve(0.6)
    assert weekly.scoring().tables.pair("1", "3", days=9) is None
    pair = weekly.scoring().tables.pair("1", "2", days=9)
    assert pair is not None
    assert len(pair.rows) == 150
    weekly.batch("2026-06-02", count=10)
    weekly.scoring().run("2026-06-02")
    assert weekly.scoring().tables.pair("1", "2", days=1) is None


def test_a_snapshot_that_is_gone_is_told(weekly: Weekly) -> None:
    weekly.serve(0.5)
    weekly.serve(0.55)
    weekly.batch(DAY, count=50)
    weekly.scoring().run(DAY)
    shutil.rmtree(weekly.folder / "store/training" / NAME / "snapshots")
    with pytest.raises(PlatformError, match="snapshot"):
        weekly.scoring().tables.pair("1", "2", days=9)


def test_drift_of_the_champion_is_noted_and_asks_for_training(weekly: Weekly) -> None:
    weekly.serve(0.5)
    moved = tiny_rows(200, seed=4)
    moved["x"] += 2.0
    weekly.batch(DAY, rows=moved)
    figures: ScoreFigures = weekly.scoring().run(DAY)
    assert figures.drift.drifted
    log = DriftLog(weekly.catalog)
    found = log.due(NAME, cooldown_days=7, now=time.time())
    assert found is not None
    assert "'x'" in found
