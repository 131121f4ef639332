"""The one door before a request to a service: its rate limits, its pauses, and the budget."""

import contextlib
import queue
import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.llm.budget import Attempt, Budget
from rag_platform.llm.http_errors import one_line
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.measures import (
    LLM_REQUEST_SECONDS,
    RATE_LIMIT_WAIT_SECONDS,
    Measures,
)
from rag_platform.storage.schema_models import ledger, llm_cooldowns

# A request that was let through may take a moment to be sent: this share of the window is added
# to it, so that no window as the service sees it holds more than the limit.
_MARGIN = 1 / 60

# Who has waited longer books further ahead, by this share of the wait: a large request, for which
# room must gather, is not overtaken for ever by small ones. More would leave room unused, since
# what is booked ahead counts with more tokens than it will have.
_AHEAD = 0.25

# A service that asks for more is asked again after this: one odd header stops nothing for days.
_LONGEST_PAUSE_S = 3600.0

# What took no longer was not waited for: looking for room takes some time, too.
_WORTH_TELLING_S = 0.1

_FAILURES = 3
_FIRST_COOLDOWN_S = 30.0
_LONGEST_COOLDOWN_S = 300.0

# The tokens of a request: as billed, none where it failed, the most possible until that is known.
_TOKENS = sa.case(
    (ledger.c.status == "failed", 0),
    (ledger.c.status == "settled", ledger.c.input_tokens + ledger.c.output_tokens),
    else_=sa.func.coalesce(ledger.c.reserved_tokens, 0),
)


class RateLimitTimeout(PlatformError):
    """The service's rate limits, or a pause it asked for, leave no room in the time there is."""

    transient = True


@dataclass(frozen=True, slots=True)
class _Slot:
    """When a request may be sent; `reservation` is None where that is too far off to book."""

    at: float
    reservation: int | None
    paused: bool


class Admission:
    """Lets requests through so that no minute has more requests or tokens than the service takes.

    The limits count over all models, threads and processes that share the catalog, by the times in
    its ledger. Processes on several machines need clocks that agree to within half a second.
    `window_s` is what the service calls a minute.
    """

    def __init__(
        self,
        catalog: Catalog,
        budget: Budget,
        *,
        requests_per_minute: int,
        tokens_per_minute: int,
        window_s: float = 60.0,
    ) -> None:
        self.budget = budget
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self._catalog = catalog
        self._measures = Measures(catalog)
        # Told with the request that was waited for: between its turn and its sending nothing is
        # written, which would take time that the limits do not know of.
        self._waits: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
        self._margin = window_s * _MARGIN
        self._window = window_s + self._margin
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def admit(self, attempt: Attempt, *, timeout_s: float) -> int:
        """Wait until the request may be sent, and reserve its money; returns the reservation.

        Send it at once. A request of more tokens than a minute allows goes alone. Raises
        `BudgetExceeded`, and `RateLimitTimeout` where there is no room within `timeout_s`.
        """
        begun = time.monotonic()
        deadline = begun + timeout_s
        # One thread of a process looks for room at a time; the others would only get in its way.
        turn = self._turns[attempt.endpoint]
        if not turn.acquire(timeout=max(0.0, timeout_s)):
            raise self._no_room(attempt, timeout_s)
        try:
            reservation = self._wait(attempt, deadline)
        finally:
            turn.release()
        waited = time.monotonic() - begun
        if waited > _WORTH_TELLING_S:
            self._waits.put((attempt.model, waited))
        if reservation is None:
            self._tell_waits()
            raise self._no_room(attempt, timeout_s)
        return reservation

    def timed(self, model: str, outcome: str, seconds: float) -> None:
        """Measure a request that was let through: `outcome` is a word, `answered` or why not."""
        # Of the many statuses that a service may invent, what they are about.
        kind = f"{outcome[:6]}xx" if outcome.startswith("http_") else outcome
        self._measures.observe(LLM_REQUEST_SECONDS, [seconds], model=model, outcome=kind)
        self._tell_waits()

    def _tell_waits(self) -> None:
        waits: dict[str, list[float]] = {}
        with contextlib.suppress(queue.Empty):
            while True:
                model, seconds = self._waits.get_nowait()
                waits.setdefault(model, []).append(seconds)
        for model, seconds_of in waits.items():
            self._measures.observe(RATE_LIMIT_WAIT_SECONDS, seconds_of, model=model)

    def _wait(self, attempt: Attempt, deadline: float) -> int | None:
        """The reservation, at the time when its request may be sent; None when time is up."""
        begun = time.monotonic()
        held = None
        try:
            while (left := deadline - time.monotonic()) > 0 or held is None:
                waited = time.monotonic() - begun
                ahead = min(self._margin + _AHEAD * waited, self._window, max(0.0, left))
                slot = self._book(attempt, held, ahead=ahead)
                delay = slot.at - time.time()
                if slot.reservation is not None:
                    held = slot.reservation
                    time.sleep(max(0.0, delay))
                    # Kept from running meanwhile, it would be sent when it no longer counts.
                    is_late = time.time() - slot.at > self._margin / 2
                    if not is_late and (delay <= 0 or not self._paused(attempt.endpoint)):
                        return held
                elif left <= 0 or (slot.paused and delay > left):
                    break
                else:
                    # Not until then: an answer that used fewer tokens than feared makes room.
                    nap = min(delay - ahead, self._margin) * random.uniform(1.0, 1.1)
                    time.sleep(max(0.0, min(nap, left)))
        except BaseException:
            self._withdraw(held)
            raise
        self._withdraw(held)
        return None

    def _book(self, attempt: Attempt, held: int | None, *, ahead: float) -> _Slot:
        """Find the first moment with room; book it if it is no more than `ahead` seconds away."""
        with self.budget.transaction() as connection:
            now = time.time()
            until = _cooldown(connection, attempt.endpoint, "").until
            at = self._first_room(connection, attempt, held, not_before=max(now, until))
            if at - now > ahead:
                if held is None:  # to wait for room makes no sense without the money
                    self.budget.check_in(connection, attempt)
                return _Slot(at, None, paused=until > now)
            if held is None:
                held = self.budget.reserve_in(connection, attempt, at=at)
            else:
                moved = {"at": at, "expires_at": at + attempt.lease_s}
                connection.execute(sa.update(ledger).where(ledger.c.id == held).values(**moved))
            return _Slot(at, held, paused=until > now)

    def _first_room(
        self, connection: sa.Connection, attempt: Attempt, held: int | None, *, not_before: float
    ) -> float:
        """The first moment, after all that are booked, whose window has room for the request."""
        sent = sa.and_(
            ledger.c.endpoint == attempt.endpoint,
            ledger.c.at > not_before - self._window,
            # Booked further ahead than anybody may: by a clock that was wrong.
            ledger.c.at <= not_before + self._window,
            ledger.c.status.not_in(("cached", "withdrawn")),
            ledger.c.id != (held or 0),
        )
        sums = [
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(_TOKENS), 0),
            sa.func.max(ledger.c.at),
        ]
        requests, tokens, last = connection.execute(sa.select(*sums).where(sent)).one()
        tokens = int(tokens)
        at = max(not_before, last or 0.0)
        if at == not_before and self._fits(attempt, requests, tokens):
            return at
        # The oldest leave the window one by one until there is room.
        rows = sa.select(ledger.c.at, _TOKENS.label("tokens")).where(sent).order_by(ledger.c.at)
        for row in connection.execute(rows):
            leaves_at = row.at + self._window
            if leaves_at > at:
                if self._fits(attempt, requests, tokens):
                    break
                at = leaves_at
            requests, tokens = requests - 1, tokens - row.tokens
        return at

    def _fits(self, attempt: Attempt, requests: int, tokens: int) -> bool:
        return requests == 0 or (
            requests < self.requests_per_minute
            and tokens + attempt.tokens <= self.tokens_per_minute
        )

    def _paused(self, endpoint: str) -> bool:
        return self.cooling(endpoint, "") > 0

    def _withdraw(self, held: int | None) -> None:
        if held is not None:
            self.budget.withdraw(held)

    def _no_room(self, attempt: Attempt, timeout_s: float) -> RateLimitTimeout:
        left = self.cooling(attempt.endpoint, "")
        why = (
            f"it asked for a pause of {left:.0f} s more"
            if left
            else f"its {self.requests_per_minute:,} requests and {self.tokens_per_minute:,} tokens "
            "a minute are taken"
        )
        return RateLimitTimeout(
            f"{attempt.purpose}: {attempt.model} at {attempt.endpoint} was not asked within "
            f"{timeout_s:.0f} s: {why}. Run again later, or raise `llm.limits` in platform.yaml if "
            "the service takes more."
        )

    # Pauses that a service asks for, and models that keep failing

    def pause(self, endpoint: str, *, seconds: float, reason: str) -> None:
        """Leave a service alone for so long, in all processes; a pause never gets shorter.

        At most an hour.
        """
        until = time.time() + min(max(0.0, seconds), _LONGEST_PAUSE_S)
        with self.budget.transaction() as connection:
            if until > _cooldown(connection, endpoint, "").until:
                self._write(connection, _Cooldown(endpoint, "", 0, until, reason))

    def cooling(self, endpoint: str, model: str) -> float:
        """Seconds for which a model that keeps failing is still left alone; 0 if it is not."""
        with self._catalog.read() as connection:
            return max(0.0, _cooldown(connection, endpoint, model).until - time.time())

    def failed(self, endpoint: str, model: str, *, reason: str) -> None:
        """Count a failure; from the third in a row on the model is left alone for a while.

        For 30 s first, then twice as long after each failure, up to 300 s. What was asked before
        a cool-down began and fails during it does not count.
        """
        with self.budget.transaction() as connection:
            now = time.time()
            known = _cooldown(connection, endpoint, model)
            if known.until > now:
                return
            failures = known.failures + 1
            doublings = min(failures - _FAILURES, 10)
            wait = min(_FIRST_COOLDOWN_S * 2**doublings, _LONGEST_COOLDOWN_S)
            until = now + wait if doublings >= 0 else 0.0
            self._write(connection, _Cooldown(endpoint, model, failures, until, reason))

    def worked(self, endpoint: str, model: str) -> None:
        """Forget the failures of a model that has answered; one look where there are none."""
        with self._catalog.read() as connection:
            if not _cooldown(connection, endpoint, model).failures:
                return
        with self.budget.transaction() as connection:
            connection.execute(sa.delete(llm_cooldowns).where(_row_of(endpoint, model)))

    def _write(self, connection: sa.Connection, cooldown: "_Cooldown") -> None:
        row = cooldown._asdict() | {"reason": one_line(cooldown.reason)}
        self._catalog.upsert(connection, llm_cooldowns, [row])


class _Cooldown(NamedTuple):
    """Until when a service (`model` empty) or a model of it is left alone, and why."""

    endpoint: str
    model: str
    failures: int = 0
    until: float = 0.0
    reason: str = ""


def _cooldown(connection: sa.Connection, endpoint: str, model: str) -> _Cooldown:
    row = connection.execute(sa.select(llm_cooldowns).where(_row_of(endpoint, model))).one_or_none()
    known = _Cooldown(**row._mapping) if row else _Cooldown(endpoint, model)
    longest = _LONGEST_COOLDOWN_S if model else _LONGEST_PAUSE_S
    # Further ahead than anything is paused: by a clock that was wrong.
    return known if known.until <= time.time() + longest else known._replace(until=0.0)


def _row_of(endpoint: str, model: str) -> sa.ColumnElement[bool]:
    return sa.and_(llm_cooldowns.c.endpoint == endpoint, llm_cooldowns.c.model == model)
