"""How a challenger comes to serve: in shadow, then for a growing share of the units, a step a day.

The decision is a function of what is known of the challenger; carrying it out is
`promotions.Promotions`. A challenger that breaks a guardrail leaves at once, whatever its step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rag_platform.training.ledger import CHALLENGER, CHAMPION
from rag_platform.training.splits import point

if TYPE_CHECKING:
    from rag_platform.settings_training import RolloutSettings

Arm = Literal["champion", "challenger"]
Action = Literal["hold", "step", "promote", "withdraw"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done; `share` is the percentage of units afterwards."""

    action: Action
    share: int
    reason: str


def arm_of(unit: str, model: str, share: int) -> Arm:
    """Who answers a unit at a share: for ever the same, and at a larger share those and more."""
    return CHALLENGER if point(unit, model) * 100 < share else CHAMPION


def decide(
    rules: "RolloutSettings", *, share: int, units: int, violations: Sequence[str]
) -> Decision:
    """What follows from the units that were answered on the step of `share`, and the guardrails."""
    if violations:
        return Decision("withdraw", 0, "; ".join(violations))
    needed = rules.step_units if share else rules.shadow_units
    where = f"at {share} %" if share else "in shadow"
    if units < needed:
        return Decision("hold", share, f"{where}: {units:,} of {needed:,} units answered")
    following = next((step for step in rules.steps if step > share), 100)
    told = f"{where}: {units:,} units answered within the guardrails"
    return Decision("promote" if following == 100 else "step", following, told)
