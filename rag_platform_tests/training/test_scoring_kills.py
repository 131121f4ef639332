"""Scoring that is killed at any step and run again, and by two processes at once."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox
from rag_platform.training.drift.log import DriftLog
from rag_platform.training.promotions import Promotions
from rag_platform.training.registry import ModelRegistry
from rag_platform.training.score_tables import ScoreTables
from rag_platform_tests.catalogs import new_catalog
from rag_platform_tests.forks import FORKS
from rag_platform_tests.training.put import own
from rag_platform_tests.training.tiny import NAME, TinyModel
from rag_platform_tests.training.weekly import Weekly

# Forked from one that has imported what they need, and has no threads yet.
DAY = "2026-06-01"
QUICK = {"rollout": {"shadow_units": 100, "step_units": 100}}


@dataclass(frozen=True)
class Place:
    """A folder with everything of a model, to be opened by any process."""

    folder: Path

    def open(self) -> Weekly:
        catalog = Catalog(f"sqlite:///{self.folder}/catalog.db", lock_folder=self.folder / "locks")
        uri = own(f"sqlite:///{self.folder}/home/mlflow.db")
        registry = ModelRegistry(uri, home=self.folder / "home", catalog=catalog)
        promotions = Promotions(catalog, registry, Outbox(catalog))
        return Weekly(self.folder, catalog, registry, promotions)

    def copy(self, name: str) -> "Place":
        """Another one, with the same content."""
        return Place(shutil.copytree(self.folder, self.folder.parent / name))


@pytest.fixture
def place(mlflow_template: Path, tmp_path: Path) -> Place:
    (tmp_path / "first" / "home").mkdir(parents=True)
    new_catalog(tmp_path / "first" / "catalog.db")
    shutil.copyfile(mlflow_template, tmp_path / "first" / "home" / "mlflow.db")
    return Place(tmp_path / "first")


def crashing(patch: Callable[[Any, str, Any], None] = setattr) -> None:
    """The challenger fails on every row."""
    predict = TinyModel.predict

    def patched(model: TinyModel, rows: Any) -> Any:
        if model.threshold == 0.55:
            raise ValueError("odd")
        return predict(model, rows)

    patch(TinyModel, "predict", patched)


def deadly(owner: type, name: str, *, after: bool) -> None:
    """Die before or after a method has done its work."""
    method = getattr(owner, name)

    def tripping(*args: Any, **kwargs: Any) -> Any:
        if after:
            method(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, tripping)


def dies(place: Place, owner: type, name: str, after: bool, crash: bool) -> None:
    weekly = place.open()
    deadly(owner, name, after=after)
    if crash:
        crashing()
    weekly.scoring(**QUICK).run(DAY, run_id="killed")


def state(weekly: Weekly) -> dict[str, Any]:
    """What stays of a day."""
    scores = weekly.folder / "store/training" / NAME / "scores"
    rollout = weekly.promotions.rollout(NAME)
    rows = [row for row in weekly.promotions.history(NAME) if row.action != "registered"]
    return {
        "scores": {path.parent.name: path.read_bytes() for path in scores.rglob("*.parquet")},
        "rollout": rollout and (rollout.share, rollout.units, rollout.counted_day),
        "aliases": weekly.registry.aliases(NAME),
        "ledger": [(row.action, row.version, row.champion, row.share, row.reason) for row in rows],
        "drift": DriftLog(weekly.catalog).lines(DAY, "scores"),
        "told": sorted(message.text for message in Outbox(weekly.catalog).pending(100)),
    }


# How a day ends: the share and the aliases afterwards.
ENDS: dict[str, tuple[int | None, dict[str, str]]] = {
    "step": (5, {"champion": "1", "challenger": "2"}),
    "promote": (None, {"champion": "2"}),
    "withdraw": (None, {"champion": "1"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_a_day_that_was_killed_ends_as_it_would_have(
    place: Place, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    is_bad = end == "withdraw"
    weekly = place.open()
    weekly.serve(0.5)
    weekly.serve(0.55 if is_bad else 0.52)
    if end == "promote":
        weekly.promotions.step(NAME, 50, actor="rollout", reason="well")
    weekly.batch(DAY, count=150)
    weekly.catalog.close()
    points: dict[str, tuple[type, str, bool]] = {
        "after_the_count": (Promotions, "count", True),
        "after_the_end": (Promotions, end, True),
    }
    if end == "step":  # so far, all ends go the same way
        points["after_the_scores"] = (ScoreTables, "write", True)
        points["after_the_drift"] = (DriftLog, "record", True)
    states: dict[str, Any] = {}
    for name in ("undisturbed", *points):
        copy = place.copy(name)
        if name in points:
            process = FORKS.Process(target=dies, args=(copy, *points[name], is_bad))
            process.start()
            process.join(60)
            assert process.exitcode == -signal.SIGKILL
        weekly = copy.open()
        with monkeypatch.context() as patch:
            if is_bad:
                crashing(patch.setattr)
            weekly.scoring(**QUICK).run(DAY, run_id="again")
        states[name] = state(weekly)
        weekly.catalog.close()
    expected = states.pop("undisturbed")
    share, aliases = ENDS[end]
    assert (expected["rollout"][0] if expected["rollout"] else None, expected["aliases"]) == (
        share,
        aliases,
    )
    for name, found in states.items():
        assert found == expected, name


def scores(place: Place, days: list[str], start: Any) -> None:
    weekly = place.open()
    start.wait()
    for day in days:
        weekly.scoring(**QUICK).run(day, run_id=str(os.getpid()))


@pytest.mark.slow
def test_two_processes_at_once_leave_what_one_leaves(place: Place) -> None:
    weekly = place.open()
    weekly.serve(0.5)
    weekly.serve(0.52)
    days = ["2026-06-01", "2026-06-02"]
    for number, day in enumerate(days):
        weekly.batch(day, count=150, seed=number)
    weekly.catalog.close()
    alone = place.copy("alone")
    weekly = alone.open()
    for day in days:
        weekly.scoring(**QUICK).run(day)
    expected = state(weekly)
    assert expected["rollout"] == (25, 0, days[-1])

    together, start = place.copy("together"), FORKS.Barrier(2)
    processes = [FORKS.Process(target=scores, args=(together, days, start)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert state(together.open()) == expected
