"""What drifted when, on either database."""

import pytest
import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_models import model_drift
from rag_platform.training.drift.compare import DriftReport
from rag_platform.training.drift.log import Drift, DriftLog

DAY = 86_400.0


def report(told: str | None) -> DriftReport:
    return DriftReport([], told is not None, told or "no drift in 9 rows", 9)


@pytest.fixture
def log(shared: Catalog) -> DriftLog:
    return DriftLog(shared)


def due(log: DriftLog, at: float, model: str = "m") -> str | None:
    return log.due(model, cooldown_days=7, now=at * DAY)


def test_training_is_asked_for_once_in_a_cool_down(log: DriftLog) -> None:
    assert due(log, 0) is None
    log.record("m", "scores", "2026-11-01", report("amount"), now=1 * DAY)
    log.record("other", "scores", "2026-11-01", report(None), now=1 * DAY)
    assert due(log, 1) == "amount"
    assert due(log, 1, "other") is None
    log.asked("m", 1 * DAY)
    assert due(log, 1) is None
    log.record("m", "scores", "2026-11-07", report("amount, city"), now=7 * DAY)
    assert due(log, 7.9) is None
    assert due(log, 8) == "amount, city"
    assert due(log, 8) == "amount, city"
    log.asked("m", 8 * DAY)
    assert due(log, 30) is None


def test_drift_that_has_passed_is_no_reason(log: DriftLog) -> None:
    log.record("m", "scores", "2026-11-01", report("amount"), now=1 * DAY)
    log.record("m", "scores", "2026-11-02", report(None), now=2 * DAY)
    assert due(log, 2) is None
    log.record("m", "training", "2026-10-26", report("city"), now=2 * DAY)
    assert due(log, 2) == "city"


def test_a_window_that_is_looked_at_again_asks_for_nothing_again(
    log: DriftLog, shared: Catalog
) -> None:
    log.record("m", "scores", "2026-11-01", report(None), now=1 * DAY)
    log.record("m", "scores", "2026-11-01", report("amount"), now=2 * DAY)
    assert due(log, 2) == "amount"
    log.asked("m", 2 * DAY)
    log.record("m", "scores", "2026-11-01", report("x" * 9_000 + "\0"), now=20 * DAY)
    assert due(log, 20) is None
    with shared.read() as connection:
        rows = connection.execute(sa.select(model_drift)).all()
    assert [(row.at, row.drifted, row.asked_at) for row in rows] == [(20 * DAY, True, 2 * DAY)]
    assert rows[0].detail == "x" * 500


def test_what_came_after_the_request_is_not_covered_by_it(log: DriftLog) -> None:
    log.record("m", "scores", "2026-11-01", report(None), now=1 * DAY)
    log.asked("m", 1 * DAY)
    log.record("m", "scores", "2026-11-02", report("amount"), now=2 * DAY)
    assert due(log, 2) == "amount"


def test_the_newest_of_a_model(log: DriftLog) -> None:
    log.record("m", "training", "2026-10-26", report("city"), now=1 * DAY)
    log.record("m", "scores", "2026-11-01", report(None), now=3 * DAY)
    log.record("other", "scores", "2026-11-01", report(None), now=4 * DAY)
    log.asked("m", 2 * DAY)
    assert log.recent("m", limit=9) == [
        Drift("scores", "2026-11-01", 3 * DAY, False, "no drift in 9 rows", None),
        Drift("training", "2026-10-26", 1 * DAY, True, "city", 2 * DAY),
    ]
    assert [row.kind for row in log.recent("m", limit=1)] == ["scores"]


def test_lines_of_a_window(log: DriftLog) -> None:
    log.record("m", "training", "2026-11-23", report("amount"), now=1 * DAY)
    log.record("a", "training", "2026-11-23", report(None), now=1 * DAY)
    log.record("a", "training", "2026-11-16", report("old"), now=1 * DAY)
    log.record("a", "scores", "2026-11-23", report("scores"), now=1 * DAY)
    assert log.lines("2026-11-23") == ["a: no drift in 9 rows", "m: amount"]
    assert log.lines("2026-11-23", "scores") == ["a: scores"]
    assert log.lines("2026-11-09") == []
