"""Every gate both ways, and settings that name none."""

from dataclasses import replace
from typing import ClassVar

import pytest

from rag_platform.training.errors import TrainingError
from rag_platform.training.fairness import Impact
from rag_platform.training.gates import (
    DISPARATE_IMPACT,
    NOT_WORSE,
    NoSuchGate,
    Verdict,
    bounds,
    check_gates,
    judge,
    not_worse,
)
from rag_platform.training.statistics import Comparison, Estimate
from rag_platform.training.task import Metric
from rag_platform.training.tasks.classification import BinaryClassification
from rag_platform_tests.training import tiny


class Forecasts(tiny.TinyTask):
    """With a metric of money, one of parts, and no favourable answer."""

    metrics: ClassVar = {
        "mase": Metric("error over that of the naive", higher_is_better=False),
        "error": Metric("mean error", higher_is_better=False, unit="USD"),
        "f1": Metric("F1"),
    }


FORECASTS = replace(tiny.SPEC, task=Forecasts(), gates={"mase": 1.0})
CREDIT = replace(
    tiny.SPEC,
    task=BinaryClassification(positive="good", negative="bad"),
    gates={"accuracy": 0.75, DISPARATE_IMPACT: 0.8},
    audited={"age": (25.0,)},
)


def _around(value: float) -> Estimate:
    return Estimate(value, value - 0.02, value + 0.02)


def _impact(value: float | None, column: str = "age") -> Impact:
    return Impact(column, value, 0.5, 1.0, [], f"{column} was looked at")


def _compared(p_worse: float) -> Comparison:
    return Comparison("McNemar", 400, 0.01, -0.01, 0.03, p_worse, 1 - p_worse)


def _only(verdicts: list[Verdict], gate: str) -> Verdict:
    (found,) = [verdict for verdict in verdicts if verdict.gate == gate]
    return found


@pytest.mark.parametrize(
    ("value", "passed"), [(0.74, False), (0.7499, False), (0.75, True), (0.9, True)]
)
def test_a_least_bound(value: float, passed: bool) -> None:
    verdict = _only(judge(CREDIT, {}, {"accuracy": _around(value)}, []), "accuracy")
    assert verdict.passed is passed
    assert (verdict.bound, verdict.value) == (0.75, value)
    assert (verdict.low, verdict.high) == (value - 0.02, value + 0.02)
    assert "at least 0.75" in verdict.told
    assert verdict.told.split(": ")[-1].startswith("passed" if passed else "failed")
    assert ("close" in verdict.told) is (value < 0.8)


@pytest.mark.parametrize(("value", "passed"), [(1.2, False), (1.0, True), (0.7, True)])
def test_a_most_bound(value: float, passed: bool) -> None:
    (verdict,) = judge(FORECASTS, {}, {"mase": _around(value)}, [])
    assert verdict.passed is passed
    assert "at most 1" in verdict.told


def test_a_part_is_judged_as_its_metric_is_and_units_are_shown() -> None:
    gates = {"error:food": 10.0, "f1:ORG": 0.5}
    found = {"error:food": _around(12.0), "f1:ORG": _around(0.6), "mase": _around(0.5)}
    verdicts = judge(FORECASTS, gates, found, [])
    assert {verdict.gate: verdict.passed for verdict in verdicts} == {
        "mase": True,
        "error:food": False,
        "f1:ORG": True,
    }
    assert "12 USD" in _only(verdicts, "error:food").told
    assert "at most 10 USD" in _only(verdicts, "error:food").told


def test_a_metric_that_cannot_be_measured_fails() -> None:
    verdict = _only(judge(CREDIT, {"recall": 0.6}, {"accuracy": _around(0.9)}, []), "recall")
    assert not verdict.passed
    assert verdict.value is None
    assert "recall: cannot be measured on these rows; at least 0.6 is required" in verdict.told


def test_bounds_of_the_settings_stand_over_the_models_own_and_beside_them() -> None:
    assert bounds(CREDIT, {"accuracy": 0.9, "auc": 0.8}) == {
        "accuracy": 0.9,
        DISPARATE_IMPACT: 0.8,
        "auc": 0.8,
    }
    assert not _only(
        judge(CREDIT, {"accuracy": 0.9}, {"accuracy": _around(0.8)}, []), "accuracy"
    ).passed


@pytest.mark.parametrize("name", ["acuracy", "acuracy:ORG", "", "disparate_impact:age"])
def test_an_unknown_gate_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(
        NoSuchGate, match=r"there are: accuracy, precision.*disparate_impact\."
    ) as told:
        check_gates(CREDIT, {"accuracy": 0.9, name: 0.5})
    assert repr(name) in str(told.value)
    assert isinstance(told.value, TrainingError)


def test_known_gates_are_not_refused() -> None:
    check_gates(CREDIT, {"accuracy": 0.9, "brier": 0.2, DISPARATE_IMPACT: 0.9})
    check_gates(FORECASTS, {"mase:food": 0.9})


def test_there_is_no_disparate_impact_where_nothing_is_audited() -> None:
    for spec in (FORECASTS, replace(CREDIT, audited={}), replace(FORECASTS, audited={"age": ()})):
        with pytest.raises(NoSuchGate, match=DISPARATE_IMPACT):
            check_gates(spec, {DISPARATE_IMPACT: 0.8})
    with pytest.raises(NoSuchGate, match=DISPARATE_IMPACT):
        bounds(replace(CREDIT, audited={}), {})  # the model's own gates are looked at, too


def test_the_comparison_with_the_champion_takes_no_bound() -> None:
    with pytest.raises(NoSuchGate, match="always applies"):
        check_gates(CREDIT, {NOT_WORSE: 0.1})


@pytest.mark.parametrize(("value", "passed"), [(0.79, False), (0.8, True), (1.0, True)])
def test_disparate_impact_is_that_of_the_column_that_fares_worst(
    value: float, passed: bool
) -> None:
    impacts = [_impact(0.95, "sex"), _impact(value), _impact(None, "region")]
    verdict = _only(judge(CREDIT, {}, {}, impacts), DISPARATE_IMPACT)
    assert verdict.passed is passed
    assert verdict.value == min(value, 0.95)
    assert ("sex was looked at" if value == 1.0 else "age was looked at") in verdict.told


@pytest.mark.parametrize("impacts", [[], [_impact(None)]])
def test_groups_that_are_too_small_pass_with_a_word(impacts: list[Impact]) -> None:
    verdict = _only(judge(CREDIT, {}, {}, impacts), DISPARATE_IMPACT)
    assert verdict.passed
    assert verdict.value is None
    assert "not measured" in verdict.told


@pytest.mark.parametrize(
    ("p_worse", "passed"), [(0.01, False), (0.049, False), (0.05, True), (1.0, True)]
)
def test_only_significantly_worse_is_worse(p_worse: float, passed: bool) -> None:
    verdict = not_worse(_compared(p_worse), "accuracy 0.8 against 0.81 of version 3")
    assert verdict.passed is passed
    assert verdict.told.startswith(
        f"{NOT_WORSE}: accuracy 0.8 against 0.81 of version 3; McNemar on 400, p {p_worse:.2g}"
    )


def test_too_few_to_compare_is_said() -> None:
    verdict = not_worse(Comparison("paired bootstrap", 8, 0.2, None, None, 1.0, 1.0), "version 3")
    assert verdict.passed
    assert "version 3; 8 for the paired bootstrap are too few to tell: passed" in verdict.told


def test_without_a_comparison_it_passes_with_the_reason() -> None:
    verdict = not_worse(None, "there is no champion yet")
    assert verdict.passed
    assert verdict.value is None
    assert verdict.told == f"{NOT_WORSE}: there is no champion yet: passed"
