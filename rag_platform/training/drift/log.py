"""What drifted when, in the catalog, and whether training is to be asked for because of it."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from rag_platform.storage.schema_models import model_drift

if TYPE_CHECKING:
    from rag_platform.storage.catalog import Catalog
    from rag_platform.training.drift.compare import DriftReport

_DAY_S = 86_400.0
_MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class Drift:
    """What was found of one window. Times are UTC seconds since 1970."""

    kind: str
    window: str
    at: float
    drifted: bool
    detail: str
    asked_at: float | None


class DriftLog:
    """One row for a model, a kind (`training` or `scores`) and a window (week or day)."""

    def __init__(self, catalog: "Catalog") -> None:
        self._catalog = catalog

    def record(
        self, model: str, kind: str, window: str, report: "DriftReport", now: float | None = None
    ) -> None:
        """Replace what is known of a window. That training was asked for stays known."""
        row = {
            "model": model,
            "kind": kind,
            "window": window,
            "at": time.time() if now is None else now,
            "drifted": report.drifted,
            "detail": report.told.replace("\0", "")[:_MAX_TEXT],
        }
        with self._catalog.begin() as connection:
            self._catalog.upsert(connection, model_drift, [row], update=("at", "drifted", "detail"))

    def due(self, model: str, *, cooldown_days: int, now: float) -> str | None:
        """What drifted in the newest window of a kind, where training was not asked for yet.

        None as well for `cooldown_days` after it was last asked for, whatever the reason.
        """
        mine = model_drift.c.model == model
        with self._catalog.read() as connection:
            asked = connection.scalar(sa.select(sa.func.max(model_drift.c.asked_at)).where(mine))
            rows = connection.execute(
                sa.select(model_drift).where(mine).order_by(model_drift.c.window)
            ).all()
        if asked is not None and now - asked < cooldown_days * _DAY_S:
            return None
        newest = {row.kind: row for row in rows}
        open_ = [row for row in newest.values() if row.drifted and row.asked_at is None]
        return max(open_, key=lambda row: row.at).detail if open_ else None

    def lines(self, window: str, kind: str = "training") -> list[str]:
        """What was found in a window, a line for each model."""
        chosen = sa.and_(model_drift.c.window == window, model_drift.c.kind == kind)
        query = sa.select(model_drift).where(chosen).order_by(model_drift.c.model)
        with self._catalog.read() as connection:
            return [f"{row.model}: {row.detail}" for row in connection.execute(query)]

    def recent(self, model: str, *, limit: int) -> list[Drift]:
        """What was found of a model, the newest first."""
        names = ("kind", "window", "at", "drifted", "detail", "asked_at")
        query = (
            sa.select(*(model_drift.c[name] for name in names))
            .where(model_drift.c.model == model)
            .order_by(model_drift.c.at.desc(), model_drift.c.kind)
            .limit(limit)
        )
        with self._catalog.read() as connection:
            return [Drift(**row._mapping) for row in connection.execute(query)]

    def asked(self, model: str, now: float) -> None:
        """Note that training was asked for because of everything that has drifted until now."""
        mine = sa.and_(
            model_drift.c.model == model, model_drift.c.drifted, model_drift.c.asked_at.is_(None)
        )
        with self._catalog.begin() as connection:
            connection.execute(sa.update(model_drift).where(mine).values(asked_at=now))
