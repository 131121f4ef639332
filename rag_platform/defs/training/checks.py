"""Quality gates of the models, as asset checks: of their data, and of every metric with a bound."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from rag_platform.training.gates import NOT_WORSE
from rag_platform.training.spec import ModelSpec
from rag_platform.training.validation import CHECKS

if TYPE_CHECKING:
    from rag_platform.training.drift.compare import DriftReport
    from rag_platform.training.evaluation import Evaluation
    from rag_platform.training.validation import Check

DRIFT = "rows_are_like_the_champions"


def data_specs(spec: ModelSpec) -> list[dg.AssetCheckSpec]:
    """Of `training_data`; each stops the training."""
    return [
        dg.AssetCheckSpec(name, asset=_key(spec.name, "training_data"), blocking=True)
        for name in dict.fromkeys((*CHECKS, *spec.task.checks))
    ]


def data_results(spec: ModelSpec, checks: "Sequence[Check]") -> Iterator[dg.AssetCheckResult]:
    """What validation found."""
    for check in checks:
        yield dg.AssetCheckResult(
            passed=check.passed,
            check_name=check.name,
            asset_key=_key(spec.name, "training_data"),
            description=check.told,
        )


def drift_spec(spec: ModelSpec) -> dg.AssetCheckSpec:
    """Of `drift_report`: a warning, for new rows are a reason to train, not against it."""
    return dg.AssetCheckSpec(
        DRIFT,
        asset=_key(spec.name, "drift_report"),
        description="The rows are distributed as those that the champion was fitted on.",
    )


def drift_result(spec: ModelSpec, report: "DriftReport | None") -> dg.AssetCheckResult:
    """Passed without drift, or without a champion to drift from."""
    return dg.AssetCheckResult(
        passed=report is None or not report.drifted,
        check_name=DRIFT,
        asset_key=_key(spec.name, "drift_report"),
        severity=dg.AssetCheckSeverity.WARN,
        description=report.told if report else "No champion yet: nothing to compare with.",
    )


def gate_name(gate: str) -> str:
    """The check of a gate: `f1:ORG` is `gate_f1_ORG`."""
    return "gate_" + re.sub(r"\W", "_", gate)


def gate_specs(spec: ModelSpec, gates: Mapping[str, float]) -> list[dg.AssetCheckSpec]:
    """Of `evaluation`; each keeps the candidate from being registered."""
    wanted = {gate: _wanted(spec, gate, bound) for gate, bound in gates.items()}
    wanted[NOT_WORSE] = "Not worse than the champion on held-back rows, by a paired test."
    return [
        dg.AssetCheckSpec(
            gate_name(gate),
            asset=_key(spec.name, "evaluation"),
            blocking=True,
            description=description,
        )
        for gate, description in wanted.items()
    ]


def _wanted(spec: ModelSpec, gate: str, bound: float) -> str:
    metric = spec.task.metrics.get(gate.partition(":")[0])
    side = "At least" if metric is None or metric.higher_is_better else "At most"
    return f"{side} {bound:g}."


def gate_results(spec: ModelSpec, evaluation: "Evaluation") -> Iterator[dg.AssetCheckResult]:
    """A verdict for each gate."""
    for verdict in evaluation.verdicts:
        figures = {
            "value": verdict.value,
            "bound": verdict.bound,
            "low": verdict.low,
            "high": verdict.high,
        }
        yield dg.AssetCheckResult(
            passed=verdict.passed,
            check_name=gate_name(verdict.gate),
            asset_key=_key(spec.name, "evaluation"),
            description=verdict.told,
            metadata={name: value for name, value in figures.items() if value is not None},
        )


def _key(model: str, stage: str) -> dg.AssetKey:
    return dg.AssetKey([model, stage])
