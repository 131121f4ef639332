"""What a candidate has to reach before it may be registered.

What is compared with a bound is the mean over all folds of repeated cross-validation. A single
split moves by several hundredths from seed to seed, and so would a verdict on it; the mean over
folds times repeats moves the least of all figures that the same rows can give. Its interval is
shown beside it, and not compared: against the lower end, a model would be asked for more the fewer
rows there are, by an amount that itself varies from week to week; against the upper end, for less.
The assignment of rows to folds and the seeds of the models depend on the data and the seed alone:
the same data gives the same verdict. A bound within the interval is said to be close.

A gate of a metric that these rows cannot tell fails: nothing shows that the model is good enough.
Gates against harm, `disparate_impact` and `not_worse_than_champion`, pass with the reason where
there is nothing to compare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_platform.training.errors import TrainingError
from rag_platform.training.spec import ModelSpec
from rag_platform.training.statistics import Comparison, Estimate

if TYPE_CHECKING:
    from rag_platform.training.fairness import Impact

NOT_WORSE = "not_worse_than_champion"
DISPARATE_IMPACT = "disparate_impact"
# How often a candidate that is as good as the champion may be found worse.
ALPHA = 0.05


class NoSuchGate(TrainingError):
    """A gate is set that the model's task cannot measure."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's: what was measured, against which bound, and in words.

    For `not_worse_than_champion` the value is the p-value of being worse, the bound its least one.
    """

    gate: str
    bound: float | None
    value: float | None
    low: float | None
    high: float | None
    passed: bool
    told: str


def check_gates(spec: ModelSpec, gates: Mapping[str, float]) -> None:
    """Raises `NoSuchGate` for a gate of a metric that the task does not have.

    Of a part, such as `f1:ORG`, only the metric is known before there are rows.
    """
    known = [*spec.task.metrics, *([DISPARATE_IMPACT] if favourable(spec) else [])]
    for name in gates:
        if name == NOT_WORSE:
            raise NoSuchGate(f"{spec.name}: gate {name!r} always applies and takes no bound.")
        metric, _, part = name.partition(":")
        if metric not in known or (part and metric == DISPARATE_IMPACT):
            raise NoSuchGate(
                f"{spec.name}: no metric for gate {name!r}; there are: {', '.join(known)}."
            )


def favourable(spec: ModelSpec) -> str | None:
    """The favourable answer, where the model's audited groups are compared by it."""
    return spec.task.positive if spec.audited else None


def bounds(spec: ModelSpec, gates: Mapping[str, float]) -> dict[str, float]:
    """The model's own gates with those of the settings in place of them or beside them."""
    check_gates(spec, spec.gates)
    check_gates(spec, gates)
    return {**spec.gates, **gates}


def judge(
    spec: ModelSpec,
    gates: Mapping[str, float],
    metrics: Mapping[str, Estimate],
    impacts: "Sequence[Impact]",
) -> list[Verdict]:
    """The verdicts of all gates with bounds; `gates` are those of the settings."""
    return [
        _on_impact(bound, impacts)
        if name == DISPARATE_IMPACT
        else _on_metric(spec, name, bound, metrics.get(name))
        for name, bound in bounds(spec, gates).items()
    ]


def _on_metric(spec: ModelSpec, name: str, bound: float, found: Estimate | None) -> Verdict:
    metric = spec.task.metrics[name.partition(":")[0]]
    side = "at least" if metric.higher_is_better else "at most"
    unit = f" {metric.unit}" if metric.unit not in ("", "%") else metric.unit
    wanted = f"{side} {bound:.4g}{unit}"
    if found is None:
        told = f"{name}: cannot be measured on these rows; {wanted} is required"
        return Verdict(name, bound, None, None, None, False, told)
    passed = found.value >= bound if metric.higher_is_better else found.value <= bound
    shown = f"{found.value:.4g}{unit} ({found.low:.4g} to {found.high:.4g})"
    close = ", close" if found.low <= bound <= found.high else ""
    told = f"{name}: {shown}, {wanted}: {'passed' if passed else 'failed'}{close}"
    return Verdict(name, bound, found.value, found.low, found.high, passed, told)


def _on_impact(bound: float, impacts: "Sequence[Impact]") -> Verdict:
    """By the audited column whose groups fare the most differently."""
    known = [(impact.value, impact) for impact in impacts if impact.value is not None]
    if not known:
        why = "; ".join(impact.told for impact in impacts) or "nothing is audited in these rows"
        told = f"{DISPARATE_IMPACT}: not measured ({why}): passed"
        return Verdict(DISPARATE_IMPACT, bound, None, None, None, True, told)
    value, impact = min(known, key=lambda pair: pair[0])
    passed = value >= bound
    told = (
        f"{DISPARATE_IMPACT}: {value:.3g} by {impact.column}, at least {bound:.3g}: "
        f"{'passed' if passed else 'failed'} ({impact.told})"
    )
    return Verdict(DISPARATE_IMPACT, bound, value, impact.low, impact.high, passed, told)


def not_worse(comparison: Comparison | None, told: str) -> Verdict:
    """Fails only where the candidate is worse by a one-sided test at `ALPHA`.

    `told` says what was compared, or why nothing was.
    """
    if comparison is None:
        return Verdict(NOT_WORSE, ALPHA, None, None, None, True, f"{NOT_WORSE}: {told}: passed")
    passed = comparison.p_worse >= ALPHA
    how = f"{comparison.test} on {comparison.units}, p {comparison.p_worse:.2g} of being worse"
    if comparison.low is None:
        how = f"{comparison.units} for the {comparison.test} are too few to tell"
    told = f"{NOT_WORSE}: {told}; {how}: {'passed' if passed else 'failed'}"
    return Verdict(NOT_WORSE, ALPHA, comparison.p_worse, None, None, passed, told)
