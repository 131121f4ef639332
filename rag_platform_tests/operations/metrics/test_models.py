"""Metrics of trained models."""

from dataclasses import dataclass
from typing import Any

from rag_platform.operations.metrics import models
from rag_platform_tests.operations.metrics.reading import samples


@dataclass(frozen=True)
class Look:
    """A look for drift."""

    kind: str
    at: float
    drifted: bool


def test_what_serves_and_how_far_the_challenger_is() -> None:
    drift = [Look("scores", 90.0, True), Look("training", 80.0, False), Look("scores", 70.0, False)]
    found = {
        "churn": models.Serving(
            {"champion": ("3", 400.0), "challenger": ("4", 900.0)}, 0.25, drift
        ),
        "fraud": models.Serving({}, 0.0, []),
    }
    seen = samples(models.serving(found, now=1_000.0))
    assert seen["model_info"] == {("churn", "champion", "3"): 1, ("churn", "challenger", "4"): 1}
    assert seen["model_version_age_seconds"] == {
        ("churn", "champion"): 600,
        ("churn", "challenger"): 100,
    }
    assert seen["model_rollout_ratio"] == {("churn",): 0.25}
    assert seen["model_drift"] == {("churn", "scores"): 1}, "the newest look of each kind"
    assert seen["model_drift_timestamp_seconds"] == {
        ("churn", "scores"): 90,
        ("churn", "training"): 80,
    }


def _verdict(gate: str, value: float | None, bound: float | None, passed: bool) -> dict[str, Any]:
    return {"gate": gate, "value": value, "bound": bound, "passed": passed, "told": gate}


def test_gates_and_fairness_of_the_newest_candidate() -> None:
    report = {
        "verdicts": [
            _verdict("accuracy", 0.75, 0.5, True),
            _verdict("f1:ORG", 0.25, 0.5, False),
            _verdict("not_worse_than_champion", None, 0.05, True),
        ],
        "impacts": [{"column": "age", "value": 0.875}, {"column": "city", "value": None}],
    }
    seen = samples(models.evaluations({"churn": (report, 1_234.0)}))
    assert seen["model_gate_passed"] == {
        ("churn", "accuracy"): 1,
        ("churn", "not_worse_than_champion"): 1,
    }
    assert seen["model_gate_value"] == {("churn", "accuracy"): 0.75, ("churn", "f1:ORG"): 0.25}
    assert seen["model_gate_bound"] == {
        ("churn", "accuracy"): 0.5,
        ("churn", "f1:ORG"): 0.5,
        ("churn", "not_worse_than_champion"): 0.05,
    }
    assert seen["model_fairness"] == {("churn", "age"): 0.875}
    assert seen["model_last_training_timestamp_seconds"] == {("churn",): 1_234}


def test_metrics_by_role_have_a_limit() -> None:
    few = {"metrics": {"accuracy": {"value": 0.5, "low": 0.25, "high": 0.75}}}
    many = {"metrics": {f"f1:{n}": {"value": 1.0} for n in range(60)}}
    seen = samples(models.metrics({("a", "champion"): few, ("a", "challenger"): many}))
    found = seen["model_metric"]
    assert found["a", "accuracy", "champion"] == 0.5
    assert sum(role == "challenger" for _, _, role in found) == 50
