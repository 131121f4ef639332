"""Each model as it stands: what serves, what is tried, and how it was measured."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from rag_platform.training.catalogue import model_spec
from rag_platform.training.errors import UnusableData
from rag_platform.training.ledger import Promotion, Rollout

if TYPE_CHECKING:
    from rag_platform.settings import Settings
    from rag_platform.training.evaluation import Evaluation
    from rag_platform.training.pipeline import Training
    from rag_platform.training.promotions import Promotions

_CROWNING = ("promoted", "rolled_back")
_GATE = ("gate", "value", "bound", "passed")


@dataclass(frozen=True, slots=True)
class Role:
    """A version that serves or is tried, since when, and the gates that let it.

    Times are UTC seconds since 1970. A gate has gate, value, bound and passed.
    """

    version: str
    since: float
    registered_at: float | None
    gates: Sequence[Mapping[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "version": self.version,
            "since": moment(self.since),
            "registered_at": None if self.registered_at is None else moment(self.registered_at),
            "gates": list(self.gates),
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """A model: its settings, the version that serves, and the one that is tried beside it.

    `data` is None for the sample; `rollout` is that of the challenger.
    """

    model: str
    enabled: bool
    trainer: str
    data: str | None
    schedule: str
    champion: Role | None
    challenger: Role | None
    rollout: Rollout | None

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        challenger = None
        if self.challenger is not None and self.rollout is not None:
            tried = {"share": self.rollout.share, "units": self.rollout.units}
            challenger = self.challenger.as_json() | tried
        return {
            "model": self.model,
            "enabled": self.enabled,
            "trainer": self.trainer,
            "data": self.data,
            "schedule": self.schedule,
            "champion": self.champion.as_json() if self.champion else None,
            "challenger": challenger,
        }


def standing(settings: "Settings", promotions: "Promotions", name: str) -> Standing:
    """A model as the settings and the ledger have it, without MLflow. Raises `NoSuchModel`."""
    spec, own = model_spec(name), settings.models.get(name)
    rows, rollout = promotions.history(name), promotions.rollout(name)
    champion = next((row.version for row in reversed(rows) if row.action in _CROWNING), None)
    if rollout is not None and rollout.challenger == champion:
        rollout = None
    return Standing(
        model=name,
        enabled=name in settings.enabled_models,
        trainer=own.trainer if own else "default",
        data=own.data if own else None,
        schedule=(own.schedule if own else None) or spec.schedule,
        champion=_role(rows, champion) if champion else None,
        challenger=_role(rows, rollout.challenger) if rollout else None,
        rollout=rollout,
    )


def _role(rows: Sequence[Promotion], number: str) -> Role:
    """What the ledger has of a version that serves or is tried."""
    mine = [row for row in rows if row.version == number]
    entered = next(row for row in reversed(mine) if row.action in (*_CROWNING, "challenger"))
    registered = next((row for row in mine if row.action == "registered"), None)
    judged = next((row for row in mine if "verdicts" in row.facts), None)
    verdicts = judged.facts["verdicts"] if judged else []
    return Role(
        version=number,
        since=entered.at,
        registered_at=registered.at if registered else None,
        gates=[{key: verdict.get(key) for key in _GATE} for verdict in verdicts],
    )


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A week whose candidate was evaluated, and the version that it became; None for none."""

    week: str
    at: float
    run_id: str
    version: str | None
    evaluation: "Evaluation"


def evaluated(training: "Training", promotions: "Promotions", *, limit: int) -> list[Evaluated]:
    """The newest first. Those that were kept in the form of another release are left out."""
    from rag_platform.training.evaluation import Evaluation

    history = promotions.history(training.spec.name)
    versions = {row.facts["run_id"]: row.version for row in history if row.action == "registered"}
    found = []
    for week, facts in islice(training.evaluations(), limit):
        with contextlib.suppress(UnusableData):
            evaluation = Evaluation.from_json(facts["report"])
            run_id = facts["run_id"]
            found.append(Evaluated(week, facts["at"], run_id, versions.get(run_id), evaluation))
    return found


def moment(at: float) -> str:
    """A time in ISO 8601, to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


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
