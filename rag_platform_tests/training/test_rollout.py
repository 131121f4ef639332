"""The way of a challenger, decided from what is known of it."""

from hypothesis import given
from hypothesis import strategies as st

from rag_platform.settings_training import RolloutSettings
from rag_platform.training.ledger import CHALLENGER, CHAMPION
from rag_platform.training.rollout import arm_of, decide

RULES = RolloutSettings(shadow_units=100, steps=(5, 25, 50, 100), step_units=40)


def test_a_good_challenger_takes_every_step_and_is_promoted() -> None:
    shares = []
    share = 0
    for _ in range(10):
        decision = decide(RULES, share=share, units=100, violations=[])
        shares.append((decision.action, decision.share))
        share = decision.share
        if decision.action == "promote":
            break
    assert shares == [("step", 5), ("step", 25), ("step", 50), ("promote", 100)]


def test_it_waits_for_its_units() -> None:
    assert decide(RULES, share=0, units=99, violations=[]).action == "hold"
    assert decide(RULES, share=0, units=100, violations=[]).action == "step"
    assert decide(RULES, share=25, units=39, violations=[]).action == "hold"
    held = decide(RULES, share=25, units=39, violations=[])
    assert (held.share, held.reason) == (25, "at 25 %: 39 of 40 units answered")


@given(st.sampled_from([0, 5, 25, 50]), st.integers(0, 10_000))
def test_a_broken_guardrail_ends_it_on_every_step(share: int, units: int) -> None:
    decision = decide(RULES, share=share, units=units, violations=["errors: x", "worse: y"])
    assert (decision.action, decision.share) == ("withdraw", 0)
    assert decision.reason == "errors: x; worse: y"


def test_one_step_to_everything() -> None:
    rules = RolloutSettings(shadow_units=1, steps=(100,), step_units=1)
    assert decide(rules, share=0, units=1, violations=[]).action == "promote"


@given(st.text(), st.integers(0, 100), st.integers(0, 100))
def test_a_unit_stays_with_the_challenger_as_its_share_grows(unit: str, a: int, b: int) -> None:
    small, large = sorted((a, b))
    if arm_of(unit, "model", small) == CHALLENGER:
        assert arm_of(unit, "model", large) == CHALLENGER
    assert arm_of(unit, "model", 0) == CHAMPION
    assert arm_of(unit, "model", 100) == CHALLENGER


def test_the_share_is_kept_and_models_are_split_apart() -> None:
    units = [f"unit-{n}" for n in range(20_000)]
    one = {unit for unit in units if arm_of(unit, "one", 25) == CHALLENGER}
    two = {unit for unit in units if arm_of(unit, "two", 25) == CHALLENGER}
    # Four standard deviations of a binomial count around a quarter, and around a sixteenth.
    assert abs(len(one) - 5_000) < 4 * (20_000 * 0.25 * 0.75) ** 0.5
    assert abs(len(one & two) - 1_250) < 4 * (20_000 / 16 * 15 / 16) ** 0.5
