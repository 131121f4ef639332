"""What the driver makes of its workers' reports."""

from collections.abc import Iterator
from typing import Any

import pytest

from rag_platform.compute.clerk import Clerk
from rag_platform.compute.fill import _watch
from rag_platform.compute.jobs import ComputeError, Job

JOB = Job("embeddings", "docs", "docs_v1")
FAILED = {"error": "answered 400", "misfit": False}


class Workers:
    """Answers for one unit after the other, as long as the clerk lets them begin."""

    def __init__(self, *said: dict[str, Any]) -> None:
        self.clerk = Clerk()
        self.worked = 0
        self._said = said

    def reports(self) -> Iterator[dict[str, Any]]:
        for unit, said in enumerate(self._said):
            begun = self.clerk.begin(unit) > 0
            self.worked += begun
            yield said if begun else {}


def watch(workers: Workers, units: int) -> None:
    _watch(JOB, workers.reports(), units, end=workers.clerk.end)


def test_some_units_may_fail() -> None:
    workers = Workers(*[FAILED] * 15, *[{}] * 50)
    watch(workers, 65)
    assert workers.worked == 65


def test_after_many_that_failed_nothing_is_begun_and_all_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    workers = Workers(*[{}] * 3, *[FAILED] * 100)
    reports = workers.reports()
    _watch(JOB, reports, 103, end=workers.clerk.end)
    assert workers.worked == 3 + 16
    assert next(reports, None) is None  # nobody is left who would work behind the stage
    assert "so is the rest, after 16 that failed" in caplog.text


def test_a_worker_that_does_not_fit_ends_the_work_in_order() -> None:
    workers = Workers({}, {"error": "a worker has another encoder", "misfit": True}, *[{}] * 9)
    reports = workers.reports()
    with pytest.raises(ComputeError, match="docs/docs_v1/embeddings: a worker has another encoder"):
        _watch(JOB, reports, 11, end=workers.clerk.end)
    assert workers.worked == 2
    assert next(reports, None) is None
