"""What went wrong in a run, from its events, a line each."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import DagsterEventType as Kind

from rag_platform.operations.explain import first_line


@dataclass(frozen=True, slots=True)
class Problem:
    """A gate that failed or an error; `where` is source/stage or source/index/stage."""

    where: str
    text: str

    def __str__(self) -> str:
        # Errors of models name the asset themselves, in the log too.
        return (
            self.text if self.text.startswith(f"{self.where}: ") else f"{self.where}: {self.text}"
        )


def problems(events: Iterable[dg.DagsterEvent]) -> list[Problem]:
    """Gates whose last evaluation failed, then errors of steps, then what broke the run itself.

    A failed gate also fails its step, and the run after it: each is told once.
    """
    gates: dict[object, Problem | None] = {}
    errors: list[Problem] = []
    ending = None
    for event in events:
        if event.event_type == Kind.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            is_bad = not check.passed and check.severity == dg.AssetCheckSeverity.ERROR
            where = check.asset_key.to_user_string()
            gates[check.asset_check_key] = (
                Problem(where, first_line(check.description or "")) if is_bad else None
            )
        elif event.event_type == Kind.STEP_FAILURE:
            errors += _of_step(event)
        elif event.event_type == Kind.RUN_FAILURE:
            ending = event
    found = [problem for problem in gates.values() if problem]
    told = {problem.text for problem in found}
    found += [problem for problem in errors if problem.text not in told]
    if ending is not None and not found:
        data = ending.job_failure_data
        cause = _cause(data.error) if data is not None and data.error else ending.message
        found.append(Problem(ending.job_name, first_line(cause or "")))
    return found


def _of_step(event: dg.DagsterEvent) -> list[Problem]:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return [Problem(shown(event.step_key), first_line(data.user_failure_data.description))]
    # A blocking gate that failed is told by its own evaluation.
    if data.error is None or "AssetCheckFailed" in (data.error.cls_name or ""):
        return []
    return [Problem(shown(event.step_key), first_line(_cause(data.error)))]


def _cause(error: Any) -> str:
    """The message of what happened, without Dagster's own account around it."""
    return str((error.cause or error).message)


def shown(step_key: str | None) -> str:
    """A step by its asset: source/stage or source/index/stage."""
    return (step_key or "").replace("__", "/")
