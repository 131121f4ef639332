"""The master of a Monday: which models are trained, which rest and why, and how it all ended.

Decisions are rows of the catalog, written once: a master that is run again decides nothing anew.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_models import master_decisions

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
        """Decide for all models at once, unless it was decided before; returns the decisions."""
        known = self.of(monday)
        if known:
            return known
        now = time.time()
        reasons = {name: _resting(training, now) for name, training in trainings.items()}
        rows = [
            {
                "monday": monday,
                "model": name,
                "decision": SKIP if reason else TRAIN,
                "reason": reason or "its data is fresh",
                "at": now,
            }
            for name, reason in reasons.items()
        ]
        # All in one: who carries them out must not take a part for the whole.
        with self._catalog.begin() as connection:
            self._catalog.upsert(connection, master_decisions, rows, update=())
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


def _resting(training: "Training", now: float) -> str | None:
    """Why a model is not trained; its data may be out of reach, which stops no other model."""
    try:
        return training.stale(now)
    except PlatformError as error:
        return str(error)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a training."""

    done: bool
    told: str


def summary(
    monday: str,
    decisions: Sequence[Decision],
    outcomes: Mapping[str, Outcome],
    drift: Sequence[str],
) -> str:
    """One message on all models; there is an outcome for each that was trained."""
    trained = [decision for decision in decisions if decision.is_training]
    failed = [decision for decision in trained if not outcomes[decision.model].done]
    lines = [
        f"Models, week of {monday}: {len(trained)} trained, {len(failed)} of them failed, "
        f"{len(decisions) - len(trained)} skipped"
    ]
    for decision in decisions:
        is_trained = decision.is_training
        told = outcomes[decision.model].told if is_trained else f"skipped: {decision.reason}"
        lines.append(f"- {decision.model}: {told}")
    return "\n".join([*lines, *(f"- drift: {line}" for line in drift)])
