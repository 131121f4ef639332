"""Models that are trained: what serves, how it was measured, and whether the world has moved on."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rag_platform.operations.metrics.families import Family, gauge

_MOST_METRICS = 50

Report = Mapping[str, Any]  # an evaluation in its JSON form


class Drift(Protocol):
    """Whether rows differed from those that the model knows. Times are UTC seconds since 1970."""

    @property
    def kind(self) -> str: ...

    @property
    def at(self) -> float: ...

    @property
    def drifted(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Serving:
    """What serves of a model and what is tried: version and time of registration, by role.

    `share` is what the challenger answers, 0 to 1; `drift` has the newest first.
    """

    versions: Mapping[str, tuple[str, float]]
    share: float
    drift: Sequence[Drift]


def serving(models: Mapping[str, Serving], now: float) -> Iterator[Family]:
    """Versions, rollout and drift, as the catalog has them."""
    info = gauge("model_info", "1: the version in a role.", "model", "role", "version")
    age = gauge(
        "model_version_age_seconds", "Since the version in a role was registered.", "model", "role"
    )
    share = gauge("model_rollout_ratio", "Share that the challenger answers, 0 to 1.", "model")
    drift = gauge("model_drift", "1 where the newest rows or scores had drifted.", "model", "kind")
    drift_at = gauge(
        "model_drift_timestamp_seconds",
        "When drift was last looked for, in UTC seconds since 1970.",
        *("model", "kind"),
    )
    for model, found in models.items():
        for role, (version, registered) in found.versions.items():
            info.add(1, model, role, version)
            age.add(max(0.0, now - registered), model, role)
        share.add(found.share, model)
        newest = {each.kind: each for each in reversed(found.drift)}
        for kind, each in newest.items():
            drift.add(each.drifted, model, kind)
            drift_at.add(each.at, model, kind)
    yield from (info, age, share, drift, drift_at)


def evaluations(models: Mapping[str, tuple[Report, float]]) -> Iterator[Family]:
    """The newest evaluation of each model and when it was, whether it was registered or not."""
    passed = gauge(
        "model_gate_passed", "1 where the newest candidate passed the gate.", "model", "gate"
    )
    value = gauge("model_gate_value", "What was measured for the gate.", "model", "gate")
    bound = gauge("model_gate_bound", "What the gate required.", "model", "gate")
    fairness = gauge(
        "model_fairness",
        "Disparate impact: lowest selection rate of a group over the highest.",
        *("model", "column"),
    )
    trained = gauge(
        "model_last_training_timestamp_seconds",
        "When a candidate was last evaluated, in UTC seconds since 1970.",
        "model",
    )
    for model, (report, at) in models.items():
        for verdict in report["verdicts"]:
            gate = verdict["gate"]
            passed.add(verdict["passed"], model, gate)
            for family, name in ((value, "value"), (bound, "bound")):
                if verdict[name] is not None:
                    family.add(verdict[name], model, gate)
        for impact in report["impacts"]:
            if impact["value"] is not None:
                fairness.add(impact["value"], model, impact["column"])
        trained.add(at, model)
    yield from (passed, value, bound, fairness, trained)


def metrics(models: Mapping[tuple[str, str], Report]) -> Iterator[Family]:
    """The metrics of what serves and what is tried, by model and role."""
    value = gauge(
        "model_metric",
        "Metric of the version in a role, mean of cross-validation.",
        "model",
        "metric",
        "role",
    )
    for (model, role), report in models.items():
        # Of a metric by part there are as many as the data has parts; means cannot be added up.
        for metric, estimate in itertools.islice(report["metrics"].items(), _MOST_METRICS):
            value.add(estimate["value"], model, metric, role)
    yield value
