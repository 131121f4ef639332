"""What models were asked and paid: sums over the ledger, which outlives every process.

What counts up is what has ended. What is under way, and what may change its state, is in gauges of
its own: a counter that falls would look like one that began anew.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import sqlalchemy as sa

from rag_platform.llm.budget import MICRO
from rag_platform.operations.metrics.families import Family, Names, counter, gauge
from rag_platform.operations.metrics.snapshot import Snapshot
from rag_platform.settings import Settings
from rag_platform.storage.schema_models import ledger, llm_batches, llm_cooldowns

_ENDED = ("settled", "failed", "lost")
_IS_ENDED = ledger.c.status.in_(_ENDED)
_HAS_FAILED = ledger.c.status.in_(("failed", "lost"))
_PURPOSES = 200  # an asset for each source and step
RATE_LIMITED = "rate_limited"
_BATCHES = ("preparing", "sent", "ended", "abandoned")


class Today(Protocol):
    """The budget of a day, in micro-dollars."""

    @property
    def limit(self) -> int: ...

    @property
    def spent(self) -> int: ...

    @property
    def reserved(self) -> int: ...

    @property
    def left(self) -> int: ...


def requests(seen: Snapshot) -> Iterator[Family]:
    """Requests, tokens and money, in one pass over the ledger."""
    models, prompts = _models(seen.settings), Names()
    sent = counter(
        "llm_requests_total",
        "Requests sent to a model that have ended; a lost one may have been billed.",
        *("model", "status"),
    )
    failures = counter(
        "llm_failed_requests_total", "Requests that failed or were lost.", "model", "error"
    )
    in_flight = gauge(
        "llm_requests_in_flight",
        "Requests that are under way, or whose process died before they were booked.",
        "model",
    )
    tokens = counter("llm_tokens_total", "Tokens as billed.", "model", "direction")
    cost = counter(
        "llm_cost_usd_total",
        "US dollars billed, by model, asset or command that asked, and prompt.",
        *("model", "purpose", "prompt"),
    )
    unsettled = gauge(
        "llm_unsettled_usd",
        "Worst case of requests that are under way, or may have been billed.",
        "model",
    )
    hits = counter("llm_cache_hits_total", "Questions answered from the cache.", "model", "prompt")
    saved = counter(
        "llm_saved_usd_total", "What answers from the cache did cost before.", "model", "prompt"
    )
    purposes, errors = Names(most=_PURPOSES), Names()
    # A counter that begins with the first failure has not grown by it: nobody would be told.
    for model in _asked(seen.settings):
        failures.add(0, model, RATE_LIMITED)
        for status in _ENDED:
            sent.add(0, model, status)
    for row in seen.rows(_ledger()):
        model, prompt = models(row.model), prompts(row.prompt)
        if row.status == "cached":
            hits.add(row.n, model, prompt)
            saved.add(int(row.saved) / MICRO, model, prompt)
        elif row.status == "reserved":
            in_flight.add(row.n, model)
        elif row.status in _ENDED:
            sent.add(row.n, model, row.status)
            tokens.add(int(row.read), model, "input").add(int(row.written), model, "output")
            if row.settled:
                cost.add(int(row.settled) / MICRO, model, purposes(row.purpose), prompt)
        if row.status in ("failed", "lost"):
            failures.add(row.n, model, errors(row.error))
        if row.status in ("reserved", "lost"):
            unsettled.add(int(row.reserved) / MICRO, model)
    yield from (sent, failures, in_flight, tokens, cost, unsettled, hits, saved)


def _ledger() -> sa.Select[tuple[object, ...]]:
    """What of the ledger there is by all labels; names in the order in which they came."""
    by = [ledger.c[name] for name in ("status", "model", "purpose", "prompt", "error")]
    sums = {
        "settled": ledger.c.settled_microusd,
        "reserved": ledger.c.reserved_microusd,
        "read": ledger.c.input_tokens,
        "written": ledger.c.output_tokens,
        "saved": ledger.c.saved_microusd,
    }
    found = [sa.func.coalesce(sa.func.sum(what), 0).label(name) for name, what in sums.items()]
    return (
        sa.select(*by, sa.func.count().label("n"), *found)
        .where(ledger.c.status != "withdrawn")
        .group_by(*by)
        .order_by(sa.func.min(ledger.c.id))
    )


def retries(seen: Snapshot) -> Iterator[Family]:
    """What failures led to: attempts of the same call, with the same model or another."""
    models = _models(seen.settings)
    again = counter("llm_retries_total", "Requests after one that failed.", "model")
    fallbacks = counter(
        "llm_fallbacks_total", "Calls that came to a model after another had failed.", "model"
    )
    has_failed = sa.select(ledger.c.call_id).where(_HAS_FAILED, ledger.c.call_id.is_not(None))
    first = sa.func.min(ledger.c.id)
    turns = (
        sa.select(
            ledger.c.model,
            first.label("first"),
            sa.func.count().label("n"),
            sa.func.sum(sa.case((_HAS_FAILED, 1), else_=0)).label("failed"),
            sa.func.row_number().over(partition_by=ledger.c.call_id, order_by=first).label("turn"),
        )
        .where(_IS_ENDED, ledger.c.call_id.in_(has_failed))
        .group_by(ledger.c.call_id, ledger.c.model)
        .subquery()
    )
    # The last failure of those that never got an answer was not followed by a retry.
    repeated = sa.case((turns.c.failed < turns.c.n, turns.c.failed), else_=turns.c.n - 1)
    by_model = (
        sa.select(
            turns.c.model,
            sa.func.sum(repeated).label("again"),
            sa.func.sum(sa.case((turns.c.turn > 1, 1), else_=0)).label("others"),
        )
        .group_by(turns.c.model)
        .order_by(sa.func.min(turns.c.first))
    )
    for row in seen.rows(by_model):
        again.add(int(row.again), models(row.model))
        fallbacks.add(int(row.others), models(row.model))
    yield from (again, fallbacks)


def services(seen: Snapshot) -> Iterator[Family]:
    """Services that are left alone, and batches at a Batch API."""
    models = _models(seen.settings)
    cooling = gauge(
        "llm_cooldown_seconds",
        "Seconds for which a model, or `all` of a service, is still left alone.",
        "model",
    )
    waits: dict[str, float] = {}
    for row in seen.rows(sa.select(llm_cooldowns.c.model, llm_cooldowns.c.until)):
        name = models(row.model) if row.model else "all"
        waits[name] = max(waits.get(name, 0.0), row.until - seen.now)
    for name, left in waits.items():
        cooling.add(max(0.0, left), name)
    batches = gauge("llm_batches", "Batches at a service's Batch API.", "status")
    for status in _BATCHES:
        batches.add(0, status)
    by = llm_batches.c.status
    for row in seen.rows(sa.select(by, sa.func.count().label("n")).group_by(by)):
        batches.add(row.n, row.status)
    yield from (cooling, batches)


def budget(today: Callable[[], Today]) -> Iterator[Family]:
    """The budget of today (UTC)."""
    found = today()
    told = {
        "limit": (found.limit, "Most that may be spent in a day."),
        "spent": (found.spent, "Billed today, or may have been."),
        "reserved": (found.reserved, "Set aside today for requests that are not booked yet."),
        "left": (found.left, "What may still be set aside today."),
    }
    for name, (microusd, help) in told.items():
        yield gauge(f"budget_{name}_usd", f"US dollars. {help}", "scope").add(
            microusd / MICRO, "day"
        )


def _models(settings: Settings) -> Names:
    return Names(_asked(settings))


def _asked(settings: Settings) -> list[str]:
    """The models of services in the settings, each once."""
    embedders = (index.embedder for index in settings.indexes.values())
    paid = [embedder.model for embedder in embedders if not embedder.is_local]
    return list(dict.fromkeys([*settings.llm.tiers.values(), *paid]))
