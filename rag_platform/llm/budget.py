"""The budget: every paid request is reserved at its worst case before it is sent, then settled."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.llm.http_errors import one_line
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox
from rag_platform.storage.schema_models import ledger

logger = logging.getLogger(__name__)

MICRO = 1_000_000

# Told when this much of the day's limit is spent, in percent.
ALERTS = (50, 80, 100)

# What a request counts for: its price once known, its worst case until then or where it stays
# unknown, nothing where it is known not to have been billed, or sent.
COUNTED = sa.case(
    (ledger.c.status.in_(("failed", "withdrawn")), 0),
    else_=sa.func.coalesce(ledger.c.settled_microusd, ledger.c.reserved_microusd),
)

_IS_OPEN = ledger.c.status == "reserved"

# Sums are kept for so many days and runs, and read on by at most so many rows, in parts.
_SCOPES_KEPT = 64
_READ_ON = 20_000
_PART = 1_000


class BudgetExceeded(PlatformError):
    """A request could pass a limit, so it was not sent. `of_day`: the day's limit, not the run's.

    What was to be asked waits: another run, or another day, takes it.
    """

    def __init__(self, message: str, *, of_day: bool = False) -> None:
        super().__init__(message)
        self.of_day = of_day


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that is about to be sent.

    `endpoint` is the service's address without credentials, `purpose` the asset or command that
    asks; `tokens` is the most that the request may read and write, `microusd` the most that it may
    cost. `call_id` is shared by the attempts of one call, `prompt` is name@version (None for
    embeddings). By the end of its lease the request has ended, or its process has died.
    """

    endpoint: str
    model: str
    run_id: str
    purpose: str
    tokens: int
    microusd: int
    call_id: str | None = None
    prompt: str | None = None
    lease_s: float = 300.0

    def __post_init__(self) -> None:
        if self.microusd < 0 or self.tokens < 0:
            raise ValueError(
                f"a reservation of {self.microusd} micro-dollars and {self.tokens} tokens: "
                "neither may be below zero"
            )


@dataclass(frozen=True, slots=True)
class Today:
    """The budget of a day (UTC), in micro-dollars.

    `spent` is billed, or may have been; `reserved` is set aside for requests that are under way, or
    whose processes died, and counts until they are settled.
    """

    limit: int
    spent: int
    reserved: int

    @property
    def left(self) -> int:
        """What may still be set aside."""
        return max(0, self.limit - self.spent - self.reserved)


class Budget:
    """Limits per day (UTC) and per run over the ledger that all processes share.

    A reservation counts at its worst case until it is settled or failed, also when its lease is
    over, so a process that is killed between the two can never make the sum too small. People are
    told, once a day each, when 50, 80 and 100 % of the daily limit are spent.
    """

    def __init__(
        self, catalog: Catalog, *, daily_usd: float | Decimal, run_usd: float | Decimal
    ) -> None:
        self._catalog = catalog
        self._outbox = Outbox(catalog)
        self._daily = _microusd(daily_usd)
        self._run = _microusd(run_usd)
        # Both are touched in a `transaction` only, so by one thread at a time.
        self._spendings: dict[tuple[str, str], _Spending] = {}
        self._turn = 0

    def reserve(self, attempt: Attempt) -> int:
        """Set aside the most that a request may cost; returns the reservation's id.

        Check and entry are one transaction that no other reservation can come between.
        Raises `BudgetExceeded` when either limit could be passed.
        """
        with self.transaction() as connection:
            return self.reserve_in(connection, attempt)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction between which and its commit no other can change what is spent.

        A refusal by the day's limit that leaves it is told to people.
        """
        try:
            with self._catalog.begin() as connection:
                self._queue(connection)
                self._turn += 1
                yield connection
        except BudgetExceeded as refusal:
            if refusal.of_day:
                self._outbox.tell(_alert_key(_today(time.time()), 100), str(refusal))
            raise

    def check_in(self, connection: sa.Connection, attempt: Attempt) -> None:
        """Refuse what could pass a limit, in a `transaction`. Raises `BudgetExceeded`."""
        if attempt.microusd == 0:
            return
        day, run = self._spendings_of(connection, attempt)
        left_today = max(0, self._daily - day.closed - day.open)
        left_in_run = max(0, self._run - run.closed - run.open)
        if attempt.microusd > min(left_today, left_in_run):
            raise BudgetExceeded(
                f"{attempt.purpose}: a request to {attempt.model} may cost "
                f"{usd(attempt.microusd)}; left today {usd(left_today)} of {usd(self._daily)}, "
                f"left in this run {usd(left_in_run)} of {usd(self._run)}. Raise "
                "`llm.budget.daily_usd` or `llm.budget.run_usd` in platform.yaml, or run again "
                "after 00:00 UTC.",
                of_day=attempt.microusd > left_today,
            )

    def reserve_in(
        self, connection: sa.Connection, attempt: Attempt, *, at: float | None = None
    ) -> int:
        """`reserve` in a `transaction`; `at` is when the request is sent, if not now."""
        self.check_in(connection, attempt)
        now = time.time()
        row = connection.execute(
            ledger.insert().returning(ledger.c.id),
            {
                "at": now if at is None else at,
                "day": _today(now),
                "run_id": attempt.run_id,
                "purpose": attempt.purpose,
                "model": attempt.model,
                "reserved_microusd": attempt.microusd,
                "status": "reserved",
                "call_id": attempt.call_id,
                "endpoint": attempt.endpoint,
                "prompt": attempt.prompt,
                "reserved_tokens": attempt.tokens,
                "expires_at": (now if at is None else at) + attempt.lease_s,
            },
        )
        if attempt.microusd:
            for spending in self._spendings_of(connection, attempt):
                spending.open += attempt.microusd
        return int(row.scalar_one())

    def settle(
        self, reservation: int, *, input_tokens: int, output_tokens: int, microusd: int
    ) -> None:
        """Book what a request did cost, in tokens and micro-dollars; never too late."""
        self._close(
            reservation,
            microusd=microusd,
            status="settled",
            settled_microusd=microusd,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )

    def fail(self, reservation: int, *, error: str) -> None:
        """Release the money of a request that is known not to have been billed.

        `error` says why, in a word, without keys or content. It still counts as a request.
        """
        self._close(reservation, microusd=0, status="failed", error=one_line(error))

    def lost(self, reservation: int, *, error: str) -> None:
        """Close a request that may have been billed: it keeps its worst case for ever."""
        self._close(reservation, microusd=None, status="lost", error=one_line(error))

    def withdraw(self, reservation: int) -> None:
        """Take back a reservation whose request was never sent."""
        self._close(reservation, microusd=0, status="withdrawn", settled_microusd=0)

    def cached(
        self,
        *,
        run_id: str,
        purpose: str,
        model: str,
        prompt: str | None,
        endpoint: str,
        saved_microusd: int,
        input_tokens: int,
        output_tokens: int,
    ) -> None:
        """Book an answer that was there already, with what it did cost the first time."""
        now = time.time()
        row = {
            "at": now,
            "day": _today(now),
            "run_id": run_id,
            "purpose": purpose,
            "model": model,
            "prompt": prompt,
            "endpoint": endpoint,
            "reserved_microusd": 0,
            "settled_microusd": 0,
            "saved_microusd": saved_microusd,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "status": "cached",
        }
        with self._catalog.begin() as connection:
            connection.execute(ledger.insert(), row)

    def spent(self, run_id: str | None = None) -> int:
        """Micro-dollars spent or set aside: of today, or of one run."""
        scope = ledger.c.day == _today(time.time()) if run_id is None else ledger.c.run_id == run_id
        with self._catalog.read() as connection:
            total = sa.select(sa.func.coalesce(sa.func.sum(COUNTED), 0)).where(scope)
            return int(connection.scalar(total) or 0)

    def today(self) -> Today:
        """How the budget of today stands."""
        reserved = sa.func.sum(sa.case((_IS_OPEN, COUNTED), else_=0))
        sums = sa.select(sa.func.sum(COUNTED), reserved).where(ledger.c.day == _today(time.time()))
        with self._catalog.read() as connection:
            total, waiting = (int(value or 0) for value in connection.execute(sums).one())
        return Today(self._daily, total - waiting, waiting)

    def _queue(self, connection: sa.Connection) -> None:
        """One transaction at a time; SQLite's queue at their start by themselves."""
        if self._catalog.is_sqlite:
            return
        # The sums must see what was committed while this waited: not so in stricter isolation,
        # where the snapshot is taken before the lock is had.
        connection.execute(sa.text("set transaction isolation level read committed"))
        key = sa.func.hashtextextended("rag_platform:budget", 0)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))

    def _close(self, reservation: int, *, microusd: int | None, **values: object) -> None:
        """Close a reservation at `microusd`, or at its worst case where that is None."""
        with self.transaction() as connection:
            row = _open(connection, reservation)
            final = row.reserved_microusd if microusd is None else microusd
            if final:
                # Before the update: what is not committed yet never enters the kept sums.
                before = self._spending(connection, "day", row.day).closed
                self._alert(connection, row.day, before + final)
            connection.execute(sa.update(ledger).where(ledger.c.id == reservation).values(**values))
        if final > row.reserved_microusd:
            logger.warning(
                "%s billed %s where at most %s was expected",
                row.model,
                usd(final),
                usd(row.reserved_microusd),
            )

    def _alert(self, connection: sa.Connection, day: str, spent: int) -> None:
        for percent in ALERTS:
            if self._daily and spent * 100 >= percent * self._daily:
                text = (
                    f"{percent} % of the budget of {day} (UTC) is spent: {usd(spent)} of "
                    f"{usd(self._daily)}. `rag-platform costs --by asset` says on what; the limit "
                    "is `llm.budget.daily_usd`."
                )
                self._outbox.tell_in(connection, _alert_key(day, percent), text)

    def _spendings_of(
        self, connection: sa.Connection, attempt: Attempt
    ) -> tuple["_Spending", "_Spending"]:
        """Of today, and of the attempt's run."""
        return (
            self._spending(connection, "day", _today(time.time())),
            self._spending(connection, "run_id", attempt.run_id),
        )

    def _spending(self, connection: sa.Connection, column: str, value: str) -> "_Spending":
        """What a day or a run has come to, up to this `transaction`."""
        if len(self._spendings) > _SCOPES_KEPT:
            self._spendings.clear()
        spending = self._spendings.setdefault((column, value), _Spending(ledger.c[column], value))
        if spending.turn != self._turn:
            spending.read_on(connection)
            spending.turn = self._turn
        return spending


class _Spending:
    """Micro-dollars of the rows of one day or run: `closed` for good, and still `open`.

    A closed row never changes and no row goes, so only new rows and those that were open are
    looked at again: a day may have a million rows, and a batch a thousand open ones. What is not
    committed enters `open` alone, which is summed anew in each transaction.
    """

    def __init__(self, column: sa.Column[str], value: str) -> None:
        self._column = column
        self._value = value
        self._seen = 0
        self._open: dict[int, int] = {}  # micro-dollars by id
        self.turn = 0  # the transaction in which this was read last
        self.closed = 0
        self.open = 0

    def read_on(self, connection: sa.Connection) -> None:
        """Take in what was committed since the last time."""
        newest = connection.scalar(sa.select(sa.func.max(ledger.c.id))) or 0
        if newest - self._seen + len(self._open) <= _READ_ON:
            ids = [*self._open, *range(self._seen + 1, newest + 1)]
            for start in range(0, len(ids), _PART):
                self._read(ids[start : start + _PART], connection)
        else:
            self._read_all(connection)
        self._seen = newest
        self.open = sum(self._open.values())

    def _read(self, ids: list[int], connection: sa.Connection) -> None:
        columns = (ledger.c.id, COUNTED.label("counted"), _IS_OPEN.label("is_open"), self._column)
        is_news = sa.or_(~_IS_OPEN, ledger.c.id > self._seen)
        # By their ids, so that no database is tempted to look through a whole day.
        for row in connection.execute(sa.select(*columns).where(ledger.c.id.in_(ids), is_news)):
            self._open.pop(row.id, None)
            if row[-1] == self._value and row.is_open:
                self._open[row.id] = row.counted
            elif row[-1] == self._value:
                self.closed += row.counted

    def _read_all(self, connection: sa.Connection) -> None:
        scope = self._column == self._value
        total = sa.func.coalesce(sa.func.sum(COUNTED), 0)
        self.closed = int(connection.scalar(sa.select(total).where(scope, ~_IS_OPEN)) or 0)
        rows = connection.execute(sa.select(ledger.c.id, COUNTED).where(scope, _IS_OPEN))
        self._open = {row[0]: row[1] for row in rows}


def _open(connection: sa.Connection, reservation: int) -> sa.Row[Any, Any, Any]:
    """Day, model and worst case of a reservation that is still to be closed."""
    row = connection.execute(
        sa.select(ledger.c.day, ledger.c.model, ledger.c.reserved_microusd).where(
            ledger.c.id == reservation, ledger.c.status == "reserved"
        )
    ).one_or_none()
    if row is None:
        raise ValueError(f"reservation {reservation} is not open")
    return row


def _today(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def _alert_key(day: str, percent: int) -> str:
    return f"budget:{day}:{percent}"


def _microusd(dollars: float | Decimal) -> int:
    return int(Decimal(str(dollars)) * MICRO)


def usd(microusd: int) -> str:
    """Dollars with as many digits as the amount needs: $5.00, $0.000123."""
    text = f"{Decimal(microusd) / MICRO:.6f}".rstrip("0")
    whole, _, fraction = text.partition(".")
    return f"${whole}.{fraction:0<2}"
