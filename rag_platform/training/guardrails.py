"""What takes a challenger out of service by itself, looked at every day that it answers.

Each is an effect that matters and that chance does not explain: a guardrail that trips by noise
would never let anything be rolled out. What is looked at every day is not tested at 5 %: of twenty
looks one would find something. The bound is the one by which trials are stopped early (Haybittle
1971, Peto et al. 1976).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_platform.training.gates import DISPARATE_IMPACT, favourable
from rag_platform.training.spec import ModelSpec

if TYPE_CHECKING:
    from rag_platform.settings_training import RolloutSettings
    from rag_platform.training.drift.compare import DriftReport
    from rag_platform.training.score_tables import Pair
    from rag_platform.training.statistics import Comparison

SIGNIFICANCE = 0.001
# Below this nobody waits, and the ratio of two such times says nothing.
_UNNOTICED_S = 0.001


@dataclass(frozen=True, slots=True)
class Answered:
    """What one version made of a day's units.

    `seconds` is the time for one unit; `error` says why it answered none at all.
    """

    units: int
    failed: int
    seconds: float
    error: str = ""


def violations(
    spec: ModelSpec,
    rules: "RolloutSettings",
    gates: Mapping[str, float],
    *,
    champion: Answered,
    challenger: Answered,
    champion_drift: "DriftReport | None" = None,
    challenger_drift: "DriftReport | None" = None,
    comparison: "Comparison | None" = None,
    pair: "Pair | None" = None,
) -> list[str]:
    """What the challenger broke, a line each: errors, latency, scores, being worse, fairness.

    `comparison` is of the challenger against the champion on labelled units, `pair` what both have
    answered so far; without them, and without drift reports, the others are looked at alone.
    """
    found = [
        _errors(rules, champion, challenger),
        _latency(rules, champion, challenger),
        _scores(champion_drift, challenger_drift),
        _worse(comparison),
        _unfair(spec, gates, pair),
    ]
    return [line for line in found if line]


def _errors(rules: "RolloutSettings", champion: Answered, challenger: Answered) -> str | None:
    """Units without an answer, beyond those that the champion cannot answer either."""
    from scipy.stats import binom

    failed, units = challenger.failed - champion.failed, challenger.units - champion.failed
    if failed <= rules.max_error_rate * units:
        return None
    if binom.sf(failed - 1, units, rules.max_error_rate) > SIGNIFICANCE:
        return None
    why = f" ({challenger.error})" if challenger.error else ""
    return (
        f"errors: {challenger.failed:,} of {challenger.units:,} units have no answer{why}, more "
        f"than max_error_rate, {rules.max_error_rate:.2%}"
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
    if challenger is None or champion is None or champion.score_drifted:
        return None
    drifted = [
        column.told
        for column in challenger.columns
        if column.part == "scores" and column.drifted and column.p <= SIGNIFICANCE
    ]
    if not drifted:
        return None
    return f"score drift: unlike the rows that it was evaluated on: {drifted[0]}"


def _worse(comparison: "Comparison | None") -> str | None:
    if comparison is None or comparison.p_worse > SIGNIFICANCE:
        return None
    return (
        f"worse: on {comparison.units:,} labelled units its loss is {comparison.difference:.4g} "
        f"above the champion's (p = {comparison.p_worse:.2g}, {comparison.test})"
    )


def looks_at_groups(spec: ModelSpec, gates: Mapping[str, float]) -> bool:
    """Whether groups of people are compared."""
    return DISPARATE_IMPACT in gates and favourable(spec) is not None


def _unfair(spec: ModelSpec, gates: Mapping[str, float], pair: "Pair | None") -> str | None:
    """Certainly under the bound, and under what the champion does to the same people."""
    if pair is None or not looks_at_groups(spec, gates):
        return None
    from rag_platform.training.fairness import impacts

    selected = favourable(spec) or ""
    before = impacts(spec, pair.rows, pair.champion, selected=selected)
    after = impacts(spec, pair.rows, pair.challenger, selected=selected)
    for old, new in zip(before, after, strict=True):
        limit = min(gates[DISPARATE_IMPACT], 1.0 if old.value is None else old.value)
        if new.high is not None and new.high < limit:
            return f"fairness: {new.told}"
    return None
