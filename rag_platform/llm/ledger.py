"""What models have cost: sums over the ledger, as an operator holds them against a bill."""

import time
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Literal, get_args

import sqlalchemy as sa

from rag_platform.llm.budget import COUNTED, MICRO
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_models import ledger

By = Literal["day", "model", "prompt", "asset", "run"]
GROUPS: tuple[By, ...] = get_args(By)

_COLUMNS: dict[By, sa.Column[Any]] = {
    "day": ledger.c.day,
    "model": ledger.c.model,
    "prompt": ledger.c.prompt,
    "asset": ledger.c.purpose,
    "run": ledger.c.run_id,
}

_IS_CACHED = ledger.c.status == "cached"
_IS_SENT = ~_IS_CACHED  # what was withdrawn is in no figure at all
_IS_UNSETTLED = ledger.c.status.in_(("reserved", "lost"))
# A row without a call is one of its own; the space keeps it apart from every call's id.
_CALL = sa.func.coalesce(ledger.c.call_id, sa.literal("row ") + sa.cast(ledger.c.id, sa.Text))


def costs(
    catalog: Catalog, *, by: By = "day", since: date | None = None, until: date | None = None
) -> dict[str, Any]:
    """What was spent, in all and by day, model, prompt, asset or run: the stable JSON form.

    `total_usd`: what was billed, and the worst case of what may yet be or may have been.
    `unsettled_usd`: the share of that which is such a worst case: requests under way, those that
    broke off, and those of processes that died. `abandoned_usd`: the share of that again whose
    lease is over, so no settling is to be expected. `calls`: questions put to a model, `attempts`:
    requests sent for them, failed ones included. `input_tokens`, `output_tokens`: as billed.
    `cached_calls`: questions answered without asking, in none of the other figures, and
    `saved_usd`: what their answers did cost before.

    A call whose attempts went to several models counts for each in `rows` and once in the totals.
    Days are those of the reservation, in UTC, from `since` to `until`; rows by day are in their
    order, others by what they cost, and a `prompt` of None stands for embeddings.
    """
    column = _COLUMNS[by]
    where = sa.and_(ledger.c.status != "withdrawn", _within(since, until))
    figures = _figures(time.time())
    with catalog.read() as connection:
        total = connection.execute(sa.select(*figures).where(where)).one()
        groups = connection.execute(
            sa.select(column.label("group"), *figures).where(where).group_by(column)
        ).all()
    rows = [{by: row.group, **_shown(row)} for row in groups]
    rows.sort(key=lambda row: row[by] or "")
    if by != "day":
        rows.sort(key=lambda row: row["total_usd"], reverse=True)
    return {**_shown(total), "rows": rows}


def daily_by_model(
    catalog: Catalog, *, since: date, until: date | None = None
) -> dict[str, dict[str, float]]:
    """US dollars by day and model, as `total_usd` counts them; days without any are left out."""
    keys = (ledger.c.day, ledger.c.model)
    money = sa.func.sum(COUNTED).label("microusd")
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(*keys, money).where(_within(since, until)).group_by(*keys).order_by(*keys)
        ).all()
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.microusd:
            found.setdefault(row.day, {})[row.model] = _dollars(row.microusd)
    return found


def notes(found: Mapping[str, Any]) -> Iterator[str]:
    """What a person who compares `costs` with a bill should know."""
    if found["abandoned_usd"]:
        yield (
            f"${found['abandoned_usd']:,.6f} of the unsettled belong to requests that were "
            "abandoned: their processes died, so whether they were billed only the bill says."
        )


def _within(since: date | None, until: date | None) -> sa.ColumnElement[bool]:
    """Both days included."""
    return sa.and_(
        ledger.c.day >= since.isoformat() if since else sa.true(),
        ledger.c.day <= until.isoformat() if until else sa.true(),
    )


def _figures(now: float) -> list[sa.ColumnElement[Any]]:
    is_abandoned = sa.and_(ledger.c.status == "reserved", ledger.c.expires_at < now)
    sums = {
        "total_usd": COUNTED,
        "unsettled_usd": sa.case((_IS_UNSETTLED, ledger.c.reserved_microusd), else_=0),
        "abandoned_usd": sa.case((is_abandoned, ledger.c.reserved_microusd), else_=0),
        "saved_usd": ledger.c.saved_microusd,
        "attempts": sa.case((_IS_SENT, 1), else_=0),
        "cached_calls": sa.case((_IS_CACHED, 1), else_=0),
        "input_tokens": sa.case((_IS_SENT, ledger.c.input_tokens), else_=0),
        "output_tokens": sa.case((_IS_SENT, ledger.c.output_tokens), else_=0),
    }
    calls = sa.func.count(sa.distinct(sa.case((_IS_SENT, _CALL))))
    return [
        calls.label("calls"),
        *(sa.func.coalesce(sa.func.sum(what), 0).label(name) for name, what in sums.items()),
    ]


def _shown(row: sa.Row[Any]) -> dict[str, Any]:
    money = ("total_usd", "unsettled_usd", "abandoned_usd", "saved_usd")
    counts = ("calls", "attempts", "input_tokens", "output_tokens", "cached_calls")
    found = row._mapping
    dollars = {name: _dollars(found[name]) for name in money}
    return {
        "total_usd": dollars.pop("total_usd"),
        **{name: int(found[name]) for name in counts},
        **dollars,
    }


def _dollars(microusd: int | Decimal) -> float:
    return round(int(microusd) / MICRO, 6)
