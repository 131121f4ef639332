"""What happened to the versions of each model: rows that are added and never changed."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_models import promotions, rollouts

Action = Literal["registered", "challenger", "step", "promoted", "rolled_back", "withdrawn"]
CHAMPION: Literal["champion"] = "champion"
CHALLENGER: Literal["challenger"] = "challenger"


@dataclass(frozen=True, slots=True)
class Promotion:
    """One thing that happened to a version. `champion` is the version that served afterwards.

    `share` is the percentage of units that the challenger answers from then on. `at` is in UTC
    seconds since 1970.
    """

    id: int
    model: str
    at: float
    action: str
    version: str
    champion: str | None
    share: int | None
    actor: str
    run_id: str | None
    reason: str
    facts: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The row for scripts: every field under its name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far a challenger has come: `share` % of the units, 0 in shadow."""

    model: str
    challenger: str
    share: int
    began_at: float
    counted_day: str | None
    units: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Who does what to a version, and why."""

    action: Action
    actor: str
    reason: str
    run_id: str | None = None
    facts: Mapping[str, Any] | None = None

    def is_of(self, row: Promotion) -> bool:
        """Whether a row of the ledger stands for this decision."""
        mine = (self.action, self.actor, self.reason, self.run_id)
        return mine == (row.action, row.actor, row.reason, row.run_id)


class Ledger:
    """The rows of all models, and how far each challenger has come."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def rows(self, model: str) -> list[Promotion]:
        """What happened to the versions of a model, oldest first."""
        with self.catalog.read() as connection:
            found = connection.execute(
                sa.select(promotions).where(promotions.c.model == model).order_by(promotions.c.id)
            )
            return [Promotion(*row) for row in found]

    def recent(self, model: str, limit: int, *, before: int | None = None) -> list[Promotion]:
        """What happened to them, the newest first; `before` an id."""
        rows = promotions
        wanted = (
            sa.select(rows).where(rows.c.model == model).order_by(rows.c.id.desc()).limit(limit)
        )
        if before is not None:
            wanted = wanted.where(rows.c.id < before)
        with self.catalog.read() as connection:
            return [Promotion(*row) for row in connection.execute(wanted)]

    def rollout(self, model: str) -> Rollout | None:
        """The challenger of a model; None where there is none."""
        with self.catalog.read() as connection:
            found = connection.execute(
                sa.select(rollouts).where(rollouts.c.model == model)
            ).one_or_none()
            return Rollout(*found) if found else None

    def champion(self, model: str) -> str | None:
        """The version that serves, as far as was recorded."""
        row = self.crowning(model)
        return row.version if row else None

    def crowning(self, model: str) -> Promotion | None:
        """How the version that serves came to do so."""
        rows = reversed(self.rows(model))
        return next((row for row in rows if row.action in ("promoted", "rolled_back")), None)

    def previous_champion(self, model: str) -> str | None:
        """The version that served before the one that serves, and was not rolled back from."""
        served: list[str] = []
        for row in self.rows(model):
            if row.action == "promoted":
                served.append(row.version)
            elif row.action == "rolled_back" and row.version in served:
                while served[-1] != row.version:
                    served.pop()
        return served[-2] if len(served) > 1 else None

    def registration(self, model: str, version: str) -> Promotion | None:
        """How a version was registered: its facts are `run_id` and the `sha256` of its manifest."""
        rows = (row for row in self.rows(model) if row.action == "registered")
        return next((row for row in rows if row.version == version), None)

    def has_entered(self, model: str, version: str) -> bool:
        """Whether a version was ever the challenger or the champion."""
        return any(
            row.version == version and row.action in ("challenger", "promoted")
            for row in self.rows(model)
        )

    def add(
        self,
        connection: sa.Connection,
        model: str,
        version: str,
        decision: Decision,
        *,
        champion: str | None,
        share: int | None = None,
    ) -> Promotion:
        """Add a row within a transaction."""
        row = {
            "model": model,
            "at": time.time(),
            "action": decision.action,
            "version": version,
            "champion": champion,
            "share": share,
            "actor": decision.actor,
            "run_id": decision.run_id,
            "reason": decision.reason,
            "facts": dict(decision.facts or {}),
        }
        number = connection.scalar(sa.insert(promotions).values(row).returning(promotions.c.id))
        assert number is not None
        return Promotion(number, **row)  # type: ignore[arg-type]
