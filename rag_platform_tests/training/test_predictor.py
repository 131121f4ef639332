"""Serving without a gap: by unit, by alias, and whatever happens to MLflow."""

import logging
import shutil
import threading
import time
from typing import Any

import pandas as pd
import pytest

from rag_platform.training import registry as registry_module
from rag_platform.training.errors import NoSuchModel, RegistryUnavailable, UnusableData
from rag_platform.training.packaging import UnusablePackage
from rag_platform.training.predictor import Predictor
from rag_platform.training.promotions import Promotions
from rag_platform.training.registry import ModelRegistry
from rag_platform.training.splits import point
from rag_platform_tests.training.put import Put
from rag_platform_tests.training.test_registry import tamper
from rag_platform_tests.training.tiny import NAME, SERVICES, SPEC, TinyModel, tiny_rows

BY: dict[str, Any] = {"actor": "ann", "reason": "because"}


@pytest.fixture
def predictor(registry: ModelRegistry, promotions: Promotions) -> Predictor:
    return Predictor(SPEC, registry, promotions, SERVICES)


@pytest.fixture
def rows() -> pd.DataFrame:
    return tiny_rows(400)[["unit", "x"]]


def tried(promotions: Promotions, put: Put, share: int, champion: float, challenger: float) -> None:
    """Version 1 serves, and version 2 answers a share of the units."""
    promotions.promote(NAME, put(champion).number, **BY)
    promotions.enter(NAME, put(challenger).number, **BY)
    if share:
        promotions.step(NAME, share, **BY)


def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, MLflow does not answer."""

    def refused(uri: str) -> Any:
        raise ConnectionError("refused")

    monkeypatch.setattr(registry_module, "mlflow_client", refused)


def test_the_champion_answers(
    predictor: Predictor, promotions: Promotions, put: Put, rows: pd.DataFrame
) -> None:
    promotions.promote(NAME, put(0.5).number, **BY)
    # As a reader numbers them, and in another order than the index says.
    rows.index = pd.Index(range(1_000, 600, -1))
    found = predictor.predict(rows)
    assert list(found.columns) == ["prediction", "score", "version", "arm"]
    assert found.index.equals(rows.index)
    assert found["prediction"].tolist() == ["yes" if x >= 0.5 else "no" for x in rows["x"]]
    assert set(found["version"]) == {"1"}
    assert set(found["arm"]) == {"champion"}
    assert len(predictor.predict(rows[:0])) == 0


def test_without_a_version_it_says_what_to_do(predictor: Predictor, rows: pd.DataFrame) -> None:
    with pytest.raises(NoSuchModel, match="rag-platform train tiny_model"):
        predictor.predict(rows)


@pytest.mark.parametrize("share", [5, 50, 100])
def test_each_unit_is_answered_by_its_arm(
    predictor: Predictor, promotions: Promotions, put: Put, rows: pd.DataFrame, share: int
) -> None:
    tried(promotions, put, share, 0.25, 0.75)
    found = predictor.predict(rows)
    for unit, x, answer, version, arm in zip(
        rows["unit"], rows["x"], found["prediction"], found["version"], found["arm"], strict=True
    ):
        is_tried = point(unit, salt=NAME) * 100 < share
        assert (version, arm) == (("2", "challenger") if is_tried else ("1", "champion"))
        assert answer == ("yes" if x >= (0.75 if is_tried else 0.25) else "no")
    assert found.index.equals(rows.index)
    alone = pd.concat([predictor.predict(rows[at : at + 1]) for at in range(20)])
    pd.testing.assert_frame_equal(alone, found[:20])


def test_units_stay_with_the_challenger_as_its_share_grows(
    predictor: Predictor, promotions: Promotions, put: Put, rows: pd.DataFrame
) -> None:
    tried(promotions, put, 5, 0.25, 0.75)
    before: set[str] = set()
    for share in (5, 25, 50):
        promotions.step(NAME, share, **BY)
        found = predictor.predict(rows)
        now = set(rows["unit"][found["arm"] == "challenger"])
        assert before < now
        before = now


def test_in_shadow_the_challenger_answers_only_when_asked(
    predictor: Predictor, promotions: Promotions, put: Put, rows: pd.DataFrame
) -> None:
    tried(promotions, put, 0, 0.25, 0.75)
    assert set(predictor.predict(rows)["arm"]) == {"champion"}
    assert set(predictor.predict(rows, alias="challenger")["version"]) == {"2"}
    assert set(predictor.predict(rows, alias="champion")["version"]) == {"1"}
    promotions.withdraw(NAME, **BY)
    with pytest.raises(NoSuchModel, match="there is no challenger"):
        predictor.predict(rows, alias="challenger")


def test_it_follows_promotion_and_rollback(
    predictor: Predictor, promotions: Promotions, put: Put, rows: pd.DataFrame
) -> None:
    tried(promotions, put, 50, 0.25, 0.75)
    assert set(predictor.predict(rows)["version"]) == {"1", "2"}
    promotions.promote(NAME, **BY)
    assert set(predictor.predict(rows)["version"]) == {"2"}
    promotions.rollback(NAME, **BY)
    assert set(predictor.predict(rows)["version"]) == {"1"}


def test_rows_that_cannot_be_answered_are_told(
    predictor: Predictor, promotions: Promotions, put: Put, rows: pd.DataFrame
) -> None:
    tried(promotions, put, 50, 0.25, 0.75)
    with pytest.raises(UnusableData, match="no column x"):
        predictor.predict(rows[["unit"]])


def test_where_the_challenger_fails_the_champion_answers(
    predictor: Predictor,
    promotions: Promotions,
    put: Put,
    rows: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried(promotions, put, 50, 0.25, 0.75)
    predict = TinyModel.predict

    def failing(self: TinyModel, rows: pd.DataFrame) -> pd.DataFrame:
        if self.threshold == 0.75:
            raise ZeroDivisionError("odd")
        return predict(self, rows)

    monkeypatch.setattr(TinyModel, "predict", failing)
    found = predictor.predict(rows)
    assert set(found["arm"]) == {"champion"}
    assert found.index.equals(rows.index)
    assert "version 2, which is tried, failed (ZeroDivisionError: odd)" in caplog.text


# What is wrong does not serve


def test_a_changed_challenger_answers_nothing(
    predictor: Predictor,
    promotions: Promotions,
    registry: ModelRegistry,
    put: Put,
    rows: pd.DataFrame,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried(promotions, put, 50, 0.25, 0.75)
    version = registry.version(NAME, "2")
    assert version is not None
    tamper(registry, version.run_id)
    for _ in range(3):
        assert set(predictor.predict(rows)["version"]) == {"1"}
    assert caplog.text.count("the challenger answers nothing") == 1


def test_a_changed_champion_does_not_take_the_place_of_the_loaded_one(
    predictor: Predictor,
    promotions: Promotions,
    registry: ModelRegistry,
    put: Put,
    rows: pd.DataFrame,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good, bad = put(0.25), put(0.75)
    promotions.promote(NAME, good.number, **BY)
    predictor.predict(rows)
    # Moved in MLflow by somebody, past all checks.
    registry.set_alias(NAME, "champion", bad.number)
    tamper(registry, bad.run_id)
    for _ in range(3):
        assert set(predictor.predict(rows)["version"]) == {good.number}
    assert caplog.text.count("version 1 goes on serving: ") == 1
    fresh = Predictor(SPEC, registry, promotions, SERVICES)
    assert set(fresh.predict(rows)["version"]) == {good.number}


def test_a_changed_champion_that_is_the_only_one_is_refused(
    predictor: Predictor,
    promotions: Promotions,
    registry: ModelRegistry,
    put: Put,
    rows: pd.DataFrame,
) -> None:
    version = put(0.25)
    promotions.promote(NAME, version.number, **BY)
    tamper(registry, version.run_id)
    with pytest.raises(UnusablePackage, match="is not what was packed"):
        predictor.predict(rows)


# MLflow away


def test_without_mlflow_what_was_loaded_goes_on(
    predictor: Predictor,
    promotions: Promotions,
    put: Put,
    rows: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried(promotions, put, 50, 0.25, 0.75)
    before = predictor.predict(rows)
    away(monkeypatch)
    for _ in range(3):
        pd.testing.assert_frame_equal(predictor.predict(rows), before)
    assert caplog.text.count("goes on serving: tiny_model: MLflow at sqlite") == 1


def test_without_mlflow_a_new_process_serves_from_the_disk(
    predictor: Predictor,
    promotions: Promotions,
    registry: ModelRegistry,
    put: Put,
    rows: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried(promotions, put, 50, 0.25, 0.75)
    before = predictor.predict(rows)
    away(monkeypatch)
    fresh = Predictor(SPEC, registry, promotions, SERVICES)
    pd.testing.assert_frame_equal(fresh.predict(rows), before)
    shutil.rmtree(registry._home / "packages")
    with pytest.raises(RegistryUnavailable):
        Predictor(SPEC, registry, promotions, SERVICES).predict(rows)


# In the background, and by threads


def test_the_old_version_answers_until_the_new_one_is_loaded(
    registry: ModelRegistry,
    promotions: Promotions,
    put: Put,
    rows: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = put(0.25), put(0.75)
    promotions.promote(NAME, first.number, **BY)
    predictor = Predictor(SPEC, registry, promotions, SERVICES, check_every_s=0.01)
    predictor.predict(rows)
    loading, go_on = threading.Event(), threading.Event()
    folder = ModelRegistry.folder

    def slow(self: ModelRegistry, version: Any) -> Any:
        loading.set()
        assert go_on.wait(30)
        return folder(self, version)

    promotions.promote(NAME, second.number, **BY)
    monkeypatch.setattr(ModelRegistry, "folder", slow)
    deadline = time.monotonic() + 30
    while not loading.is_set():
        assert time.monotonic() < deadline
        assert set(predictor.predict(rows)["version"]) == {"1"}
    for _ in range(3):
        time.sleep(0.02)
        assert set(predictor.predict(rows)["version"]) == {"1"}
    go_on.set()
    while set(predictor.predict(rows)["version"]) != {"2"}:
        assert time.monotonic() < deadline


def test_it_looks_no_more_often_than_it_is_told(
    registry: ModelRegistry,
    promotions: Promotions,
    put: Put,
    rows: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promotions.promote(NAME, put(0.25).number, **BY)
    predictor = Predictor(SPEC, registry, promotions, SERVICES, check_every_s=3_600)
    predictor.predict(rows)

    def asked(*_: Any) -> Any:
        raise AssertionError("asked too early")

    monkeypatch.setattr(ModelRegistry, "version", asked)
    for _ in range(5):
        predictor.predict(rows)


def test_threads_get_whole_answers_while_versions_change(
    registry: ModelRegistry,
    promotions: Promotions,
    put: Put,
    rows: pd.DataFrame,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried(promotions, put, 50, 0.25, 0.75)
    thresholds = {"1": 0.25, "2": 0.75}
    predictor = Predictor(SPEC, registry, promotions, SERVICES, check_every_s=0.001)
    stop, problems, counts = threading.Event(), [], []

    def ask() -> None:
        count = 0
        while not stop.is_set():
            try:
                found = predictor.predict(rows)
                right = rows["x"].to_numpy() >= found["version"].map(thresholds).to_numpy()
                if ((found["prediction"] == "yes").to_numpy() != right).any():
                    problems.append("wrong")
                count += 1
            except Exception as error:
                problems.append(repr(error))
        counts.append(count)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(3):
        promotions.promote(NAME, "2", actor="ann", reason=f"there {turn}")
        promotions.rollback(NAME, actor="ann", reason=f"back {turn}")
    stop.set()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert min(counts) > 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
