"""Each model in a line: what serves, what is tried, and how it was measured."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_platform.training.pipeline import Training
    from rag_platform.training.promotions import Promotions


def line(training: "Training", promotions: "Promotions") -> str:
    """A model for the weekly digest."""
    name = training.spec.name
    champion, rollout = promotions.champion(name), promotions.rollout(name)
    if champion is None:
        return f"{name}: nothing serves yet"
    told = [f"version {champion.number} serves"]
    if rollout is not None:
        how = f"for {rollout.share} %" if rollout.share else "in shadow"
        told.append(f"version {rollout.challenger} is tried {how}")
    if gates := measured(training.newest_evaluation()):
        told.append(gates)
    return f"{name}: {', '.join(told)}"


def measured(evaluation: Mapping[str, Any] | None) -> str:
    """The gates of an evaluation with their bounds: `accuracy 0.93 (0.85), …`."""
    verdicts = (evaluation or {}).get("verdicts", [])
    return ", ".join(
        f"{row['gate']} {row['value']:.3g} ({row['bound']:.3g})" + ("" if row["passed"] else " NO")
        for row in verdicts
        if row["value"] is not None and row["bound"] is not None
    )
