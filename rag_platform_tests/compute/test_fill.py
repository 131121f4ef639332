"""What the driver makes of its workers' reports."""

from typing import Any

import pytest

from rag_platform.compute.fill import _watch
from rag_platform.compute.jobs import ComputeError, Job

JOB = Job("embeddings", "docs", "docs_v1")
FAILED = {"error": "answered 400", "misfit": False}
MISFIT = {"error": "a worker has another encoder", "misfit": True}


def test_units_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    _watch(JOB, [FAILED] * 15 + [{}] * 50, 65)
    assert caplog.text.count("docs/docs_v1/embeddings: a unit is left to the run") == 15
    assert "the rest" not in caplog.text
    _watch(JOB, [FAILED] * 16 + [{}] * 49, 65)
    assert "16 units failed, so the rest is left to the run, too" in caplog.text


def test_a_worker_that_does_not_fit_ends_the_run_after_all_are_at_rest() -> None:
    """Who would work on behind it would pay for what the next run pays for."""
    reports: Any = iter([{}, MISFIT, *[{}] * 9])
    with pytest.raises(ComputeError, match="docs/docs_v1/embeddings: a worker has another encoder"):
        _watch(JOB, reports, 11)
    assert next(reports, None) is None
