"""The master of a Monday: which models are trained, which rest and why, and how it all ended.

Decisions are rows of the catalog, written once: a master that is run again decides nothing anew.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import master_decisions

if TYPE_CHECKING:
    from rag_platform.training.pipeline import Training

TRAIN, SKIP = "train", "skip"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done about a model, and why."""

    model: str
    decision: str
    reason: str

    @property
    def is_training(self) -> bool:
        """Whether the model is to be trained."""
        return self.decision == TRAIN


class Master:
    """The decisions of all Mondays, which are named by their dates."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def decide(self, monday: str, trainings: "Mapping[str, Training]") -> list[Decision]:
        """Decide for every model that nothing was decided for yet; returns all decisions."""
        known = {decision.model for decision in self.of(monday)}
        now = time.time()
        for name, training in trainings.items():
            if name in known:
                continue
            stale = training.stale(now)
            row = {
                "monday": monday,
                "model": name,
                "decision": SKIP if stale else TRAIN,
                "reason": stale or "its data is fresh",
                "at": now,
            }
            with self._catalog.begin() as connection:
                self._catalog.upsert(connection, master_decisions, [row])
        return self.of(monday)

    def of(self, monday: str) -> list[Decision]:
        """The decisions of a Monday, by model."""
        statement = (
            sa.select(
                master_decisions.c.model, master_decisions.c.decision, master_decisions.c.reason
            )
            .where(master_decisions.c.monday == monday)
            .order_by(master_decisions.c.model)
        )
        with self._catalog.read() as connection:
            return [Decision(*row) for row in connection.execute(statement)]

    def newest(self) -> str | None:
        """The last Monday that anything was decided on."""
        with self._catalog.read() as connection:
            return connection.execute(sa.select(sa.func.max(master_decisions.c.monday))).scalar()


def summary(
    monday: str, decisions: Sequence[Decision], outcomes: Mapping[str, str], drift: Sequence[str]
) -> str:
    """One message on all models: `outcomes` tells what became of each training."""
    trained = [decision.model for decision in decisions if decision.is_training]
    failed = [name for name in trained if not outcomes.get(name, "").startswith("done")]
    lines = [
        f"Models, week of {monday}: {len(trained)} trained, {len(failed)} of them failed, "
        f"{len(decisions) - len(trained)} skipped"
    ]
    for decision in decisions:
        told = outcomes.get(decision.model, "") if decision.is_training else decision.reason
        what = "" if decision.is_training else "skipped: "
        lines.append(f"- {decision.model}: {what}{told}")
    return "\n".join([*lines, *(f"- drift: {line}" for line in drift)])


def monday_of(moment: datetime) -> str:
    """The Monday of a moment, which names its master."""
    from rag_platform.training.calendar import week_of

    return week_of(moment)
