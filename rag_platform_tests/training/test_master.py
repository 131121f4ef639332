"""What is decided on a Monday, and the message about it."""

from types import SimpleNamespace
from typing import Any

import pytest

from rag_platform.documents.sources.base import SourceUnavailable
from rag_platform.storage.catalog import Catalog
from rag_platform.training.master import Decision, Master, Outcome, summary

MONDAY = "2026-11-23"


def training(reason: str | Exception | None) -> Any:
    def stale(_: float) -> str | None:
        if isinstance(reason, Exception):
            raise reason
        return reason

    return SimpleNamespace(stale=stale)


def test_decisions_are_made_once(shared: Catalog) -> None:
    master = Master(shared)
    assert (master.newest(), master.of(MONDAY)) == (None, [])
    trainings = {
        "b": training(None),
        "a": training("31 days old"),
        "c": training(SourceUnavailable("s3://b: away", transient=True)),
    }
    expected = [
        Decision("a", "skip", "31 days old"),
        Decision("b", "train", "its data is fresh"),
        Decision("c", "skip", "s3://b: away"),
    ]
    assert master.decide(MONDAY, trainings) == expected
    assert master.decide(MONDAY, dict.fromkeys("abcd", training(None))) == expected
    assert master.newest() == MONDAY
    assert [row.is_training for row in expected] == [False, True, False]
    master.decide("2026-11-16", {"b": training(None)})
    assert master.newest() == MONDAY


def test_without_models_nothing_is_decided(shared: Catalog) -> None:
    assert Master(shared).decide(MONDAY, {}) == []
    assert Master(shared).newest() is None


def test_the_first_of_two_decides(shared: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both looked before either had written."""
    first, second = Master(shared), Master(shared)
    monkeypatch.setattr(second, "of", lambda _: [])
    first.decide(MONDAY, {"a": training("old"), "b": training(None)})
    second.decide(MONDAY, {"a": training(None), "b": training("old")})
    assert [row.decision for row in first.of(MONDAY)] == ["skip", "train"]


def test_one_message_tells_of_all() -> None:
    decisions = [
        Decision("a", "skip", "old"),
        Decision("b", "train", ""),
        Decision("c", "train", ""),
    ]
    outcomes = {"b": Outcome(True, "done, version 3 as challenger"), "c": Outcome(False, "failure")}
    assert summary(MONDAY, decisions, outcomes, ["a: no drift in 9 rows"]).splitlines() == [
        "Models, week of 2026-11-23: 2 trained, 1 of them failed, 1 skipped",
        "- a: skipped: old",
        "- b: done, version 3 as challenger",
        "- c: failure",
        "- drift: a: no drift in 9 rows",
    ]
