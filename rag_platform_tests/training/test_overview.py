"""A model in a line."""

from rag_platform.training.overview import line, measured
from rag_platform_tests.training.weekly import Weekly


def test_what_serves_what_is_tried_and_how_it_was_measured(weekly: Weekly) -> None:
    training, promotions = weekly.training(), weekly.promotions
    assert line(training, promotions) == "tiny_model: nothing serves yet"
    weekly.write()
    weekly.week()
    assert line(training, promotions).startswith("tiny_model: version 1 serves, accuracy 0.")
    weekly.serve(0.55)
    assert "version 1 serves, version 2 is tried in shadow, accuracy" in line(training, promotions)
    promotions.step("tiny_model", 25, actor="rollout", reason="well")
    assert "version 2 is tried for 25 %" in line(training, promotions)


def test_a_gate_that_did_not_hold_stands_out() -> None:
    rows = [
        {"gate": "accuracy", "value": 0.934, "bound": 0.85, "passed": True},
        {"gate": "auc", "value": 0.7, "bound": 0.75, "passed": False},
        {"gate": "f1:ORG", "value": None, "bound": 0.5, "passed": False},
    ]
    assert measured({"verdicts": rows}) == "accuracy 0.934 (0.85), auc 0.7 (0.75) NO"
    assert measured(None) == ""
