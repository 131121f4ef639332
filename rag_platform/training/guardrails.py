"""What takes a challenger out of service by itself, looked at every day that it answers.

Each is an effect that matters and that chance does not explain: a guardrail that trips by noise
would never let anything be rolled out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_platform.training.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

    from rag_platform.settings_training import RolloutSettings
    from rag_platform.training.drift.compare import DriftReport
    from rag_platform.training.statistics import Comparison

SIGNIFICANCE = 0.05
# Below this nobody waits, and the ratio of two such times says nothing.
_UNNOTICED_S = 0.001


@dataclass(frozen=True, slots=True)
class Answered:
    """What one version made of a day's units. `seconds` is the time for one unit on average."""

    units: int
    failed: int
    seconds: float

    @property
    def error_rate(self) -> float:
        """Share of units without an answer."""
        return self.failed / self.units if self.units else 0.0


def violations(
    spec: ModelSpec,
    rules: "RolloutSettings",
    gates: Mapping[str, float],
    *,
    champion: Answered,
    challenger: Answered,
    rows: "pd.DataFrame",
    champion_predictions: "pd.DataFrame",
    challenger_predictions: "pd.DataFrame | None",
    champion_drift: "DriftReport | None",
    challenger_drift: "DriftReport | None",
    comparison: "Comparison | None",
) -> list[str]:
    """What the challenger broke, a line each: errors, latency, scores, fairness, being worse."""
    found = [
        _errors(rules, champion, challenger),
        _latency(rules, champion, challenger),
        _scores(champion_drift, challenger_drift),
        _worse(comparison),
    ]
    if challenger_predictions is not None:
        found.append(_unfair(spec, gates, rows, champion_predictions, challenger_predictions))
    return [line for line in found if line]


def _errors(rules: "RolloutSettings", champion: Answered, challenger: Answered) -> str | None:
    rate = challenger.error_rate
    if rate <= rules.max_error_rate or rate <= champion.error_rate:
        return None
    return (
        f"errors: {challenger.failed:,} of {challenger.units:,} units have no answer, more than "
        f"max_error_rate, {rules.max_error_rate:.2%}"
    )


def _latency(rules: "RolloutSettings", champion: Answered, challenger: Answered) -> str | None:
    allowed = rules.max_latency_ratio * max(champion.seconds, _UNNOTICED_S)
    if challenger.seconds <= allowed:
        return None
    return (
        f"latency: {challenger.seconds * 1e3:.1f} ms a unit against {champion.seconds * 1e3:.1f}, "
        f"more than {rules.max_latency_ratio:g} times as long"
    )


def _scores(champion: "DriftReport | None", challenger: "DriftReport | None") -> str | None:
    """Scores unlike those of the challenger's own held-back rows, when the champion's are as ever:
    then it is not the world that has changed."""
    if challenger is None or champion is None:
        return None
    if not challenger.score_drifted or champion.score_drifted:
        return None
    return "score drift: its scores are not distributed as on the rows that it was evaluated on"


def _worse(comparison: "Comparison | None") -> str | None:
    if comparison is None or comparison.p_worse > SIGNIFICANCE:
        return None
    return (
        f"worse: on {comparison.units:,} labelled units its loss is {comparison.difference:.4g} "
        f"above the champion's (p = {comparison.p_worse:.3f}, {comparison.test})"
    )


def _unfair(
    spec: ModelSpec,
    gates: Mapping[str, float],
    rows: "pd.DataFrame",
    champion: "pd.DataFrame",
    challenger: "pd.DataFrame",
) -> str | None:
    bound, selected = gates.get("disparate_impact"), spec.task.positive
    if bound is None or selected is None:
        return None
    from rag_platform.training.fairness import impacts

    before = {impact.column: impact for impact in impacts(spec, rows, champion, selected=selected)}
    for impact in impacts(spec, rows, challenger, selected=selected):
        value, other = impact.value, before[impact.column].value
        # Certainly under the bound, and not because the day's rows are as they are.
        if value is None or impact.high is None or impact.high >= bound:
            continue
        if other is None or value < other:
            return f"fairness: {impact.told}"
    return None
