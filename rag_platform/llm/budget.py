"""The budget: every paid request is reserved at its worst case before it is sent, then settled."""

import logging
import time
from datetime import UTC, datetime
from decimal import Decimal

import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import ledger

logger = logging.getLogger(__name__)

MICRO = 1_000_000

# What a request counts for: its price once known, its worst case until then.
_COUNTED = sa.func.coalesce(ledger.c.settled_microusd, ledger.c.reserved_microusd)


class BudgetExceeded(PlatformError):
    """A request could pass a limit, so it was not sent."""


class Budget:
    """Limits per day (UTC) and per run over the ledger that all processes share.

    A reservation counts at its worst case until it is settled or failed, so a process that is
    killed between the two can never make the sum too small.
    """

    def __init__(
        self, catalog: Catalog, *, daily_usd: float | Decimal, run_usd: float | Decimal
    ) -> None:
        self._catalog = catalog
        self._daily = _microusd(daily_usd)
        self._run = _microusd(run_usd)

    def reserve(self, *, run_id: str, purpose: str, model: str, microusd: int) -> int:
        """Set aside the most that a request may cost; returns the reservation's id.

        Check and entry are one transaction that no other reservation can come between.
        Raises `BudgetExceeded` when either limit could be passed.
        """
        if microusd < 0:
            raise ValueError(f"a reservation of {microusd} micro-dollars is below zero")
        now = time.time()
        day = datetime.fromtimestamp(now, UTC).date().isoformat()
        with self._catalog.begin() as connection:
            self._queue(connection)
            left_today = self._daily - _sum(connection, ledger.c.day == day)
            left_in_run = self._run - _sum(connection, ledger.c.run_id == run_id)
            if microusd > min(left_today, left_in_run):
                raise BudgetExceeded(
                    f"{purpose}: a request to {model} may cost {_usd(microusd)}; left today "
                    f"{_usd(left_today)} of {_usd(self._daily)}, left in this run "
                    f"{_usd(left_in_run)} of {_usd(self._run)}. Raise `llm.budget.daily_usd` or "
                    "`llm.budget.run_usd` in platform.yaml, or run again after 00:00 UTC."
                )
            row = connection.execute(
                ledger.insert().returning(ledger.c.id),
                {
                    "at": now,
                    "day": day,
                    "run_id": run_id,
                    "purpose": purpose,
                    "model": model,
                    "reserved_microusd": microusd,
                    "status": "reserved",
                },
            )
            return int(row.scalar_one())

    def settle(
        self, reservation: int, *, input_tokens: int, output_tokens: int, microusd: int
    ) -> None:
        """Book what a request did cost, in tokens and micro-dollars."""
        self._close(
            reservation,
            status="settled",
            settled_microusd=microusd,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )

    def fail(self, reservation: int) -> None:
        """Release the reservation of a request that is known not to have been billed."""
        self._close(reservation, status="failed")

    def spent(self, run_id: str | None = None) -> int:
        """Micro-dollars spent or set aside: of today, or of one run."""
        today = datetime.now(UTC).date().isoformat()
        scope = ledger.c.day == today if run_id is None else ledger.c.run_id == run_id
        with self._catalog.read() as connection:
            return _sum(connection, scope)

    def _queue(self, connection: sa.Connection) -> None:
        """One reservation at a time; SQLite's transactions queue at their start by themselves."""
        if self._catalog.is_sqlite:
            return
        # The sums must see what was committed while this waited: not so in stricter isolation,
        # where the snapshot is taken before the lock is had.
        connection.execute(sa.text("set transaction isolation level read committed"))
        key = sa.func.hashtextextended("rag_platform:budget", 0)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))

    def _close(self, reservation: int, **values: object) -> None:
        with self._catalog.begin() as connection:
            row = connection.execute(
                sa.update(ledger)
                .where(ledger.c.id == reservation, ledger.c.status == "reserved")
                .values(**values)
                .returning(ledger.c.model, ledger.c.reserved_microusd)
            ).one_or_none()
        if row is None:
            raise ValueError(f"reservation {reservation} is not open")
        settled = values.get("settled_microusd")
        if isinstance(settled, int) and settled > row.reserved_microusd:
            logger.warning(
                "%s billed %s where at most %s was expected",
                row.model,
                _usd(settled),
                _usd(row.reserved_microusd),
            )


def _sum(connection: sa.Connection, scope: sa.ColumnElement[bool]) -> int:
    total = sa.select(sa.func.coalesce(sa.func.sum(_COUNTED), 0))
    return int(connection.scalar(total.where(scope, ledger.c.status != "failed")) or 0)


def _microusd(usd: float | Decimal) -> int:
    return int(Decimal(str(usd)) * MICRO)


def _usd(microusd: int) -> str:
    """Dollars with as many digits as the amount needs: $5.00, $0.000123."""
    text = f"{Decimal(microusd) / MICRO:.6f}".rstrip("0")
    whole, _, fraction = text.partition(".")
    return f"${whole}.{fraction:0<2}"
