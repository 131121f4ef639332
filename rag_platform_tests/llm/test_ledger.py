"""What models have cost, held against a ledger that is kept by hand."""

import time
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.llm.budget import Attempt, Budget
from rag_platform.llm.ledger import GROUPS, costs, daily_by_model
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_models import ledger

NOTHING = {
    "total_usd": 0.0,
    "calls": 0,
    "attempts": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "cached_calls": 0,
    "unsettled_usd": 0.0,
    "abandoned_usd": 0.0,
    "saved_usd": 0.0,
}
MONDAY, TUESDAY = 1_767_614_400.0, 1_767_700_800.0  # noon of 2026-01-05 and 06, UTC


def attempt(model: str = "small", run: str = "r1", **more: Any) -> Attempt:
    return Attempt("https://service/v1", model, run, **{"purpose": "a", "tokens": 9, **more})


def cache(budget: Budget, **more: Any) -> None:
    values: dict[str, Any] = {"run_id": "r1", "purpose": "a", "model": "small", "prompt": "p@v001"}
    values |= {"endpoint": "e", "saved_microusd": 40, "input_tokens": 7, "output_tokens": 1}
    budget.cached(**(values | more))


@pytest.fixture
def week(shared: Catalog, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """Monday: a call that took two models, and an embedding. Tuesday: what went wrong."""
    budget = Budget(shared, daily_usd=1, run_usd=1)
    monkeypatch.setattr(time, "time", lambda: MONDAY)
    first = budget.reserve(attempt("large", microusd=500, call_id="c1", prompt="p@v001"))
    budget.fail(first, error="http_500")
    second = budget.reserve(attempt("small", microusd=100, call_id="c1", prompt="p@v001"))
    budget.settle(second, input_tokens=1000, output_tokens=20, microusd=60)
    embedding = budget.reserve(attempt("embedder", "r2", microusd=30, purpose="b"))
    budget.settle(embedding, input_tokens=500, output_tokens=0, microusd=5)
    monkeypatch.setattr(time, "time", lambda: TUESDAY)
    lost = budget.reserve(attempt("small", microusd=100, call_id="c2", prompt="p@v001"))
    budget.lost(lost, error="timeout")
    budget.reserve(attempt("large", "r3", microusd=700, call_id="c3", prompt="p@v002"))
    budget.withdraw(budget.reserve(attempt("large", "r3", microusd=900, call_id="c4")))
    cache(budget)
    cache(budget, run_id="r3", saved_microusd=2)
    return shared


def by(catalog: Catalog, group: Any, figure: str) -> dict[Any, Any]:
    return {row[group]: row[figure] for row in costs(catalog, by=group)["rows"]}


def test_the_totals(week: Catalog) -> None:
    found = costs(week)
    found.pop("rows")
    assert found == {
        "total_usd": 0.000865,  # 60 + 5 settled, 100 lost, 700 under way
        "calls": 4,  # c1, the embedding, c2, c3
        "attempts": 5,
        "input_tokens": 1500,
        "output_tokens": 20,
        "cached_calls": 2,
        "unsettled_usd": 0.0008,
        "abandoned_usd": 0.0,
        "saved_usd": 0.000042,
    }


def test_what_no_process_will_settle_is_said(
    week: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: TUESDAY + 301)
    found = costs(week)
    assert found["abandoned_usd"] == 0.0007
    assert found["unsettled_usd"] == 0.0008
    assert found["total_usd"] == 0.000865


def test_rows_by_each_group(week: Catalog) -> None:
    assert costs(week)["rows"] == [
        {
            "day": "2026-01-05",
            **NOTHING,
            "total_usd": 0.000065,
            "calls": 2,
            "attempts": 3,
            "input_tokens": 1500,
            "output_tokens": 20,
        },
        {
            "day": "2026-01-06",
            **NOTHING,
            "total_usd": 0.0008,
            "calls": 2,
            "attempts": 2,
            "cached_calls": 2,
            "unsettled_usd": 0.0008,
            "saved_usd": 0.000042,
        },
    ]
    money = by(week, "model", "total_usd")
    assert money == {"large": 0.0007, "small": 0.00016, "embedder": 0.000005}
    assert list(money) == ["large", "small", "embedder"], "dearest first"
    assert by(week, "model", "calls") == {"large": 2, "small": 2, "embedder": 1}
    assert by(week, "prompt", "attempts") == {"p@v001": 3, "p@v002": 1, None: 1}
    assert by(week, "asset", "total_usd") == {"a": 0.00086, "b": 0.000005}
    assert by(week, "run", "cached_calls") == {"r1": 1, "r2": 0, "r3": 1}


def test_since_a_day(week: Catalog) -> None:
    found = costs(week, by="model", since=date(2026, 1, 6))
    assert (found["total_usd"], found["calls"]) == (0.0008, 2)
    assert {row["model"] for row in found["rows"]} == {"small", "large"}
    assert costs(week, since=date(2026, 1, 7)) == {**NOTHING, "rows": []}
    assert daily_by_model(week, since=date(2026, 1, 5)) == {
        "2026-01-05": {"small": 0.00006, "embedder": 0.000005},
        "2026-01-06": {"large": 0.0007, "small": 0.0001},
    }


def test_until_a_day(week: Catalog) -> None:
    monday = date(2026, 1, 5)
    found = costs(week, by="model", until=monday)
    assert (found["total_usd"], found["calls"], found["cached_calls"]) == (0.000065, 2, 0)
    assert {row["model"] for row in found["rows"]} == {"large", "small", "embedder"}
    assert costs(week, since=date(2026, 1, 6), until=monday)["rows"] == []
    assert daily_by_model(week, since=monday, until=monday) == {
        "2026-01-05": {"small": 0.00006, "embedder": 0.000005}
    }


def test_an_empty_ledger(shared: Catalog) -> None:
    for group in GROUPS:
        assert costs(shared, by=group) == {**NOTHING, "rows": []}
    assert daily_by_model(shared, since=date(2026, 1, 1)) == {}


Entry = tuple[str, str, str | None, int, int, int]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["settled", "failed", "lost", "reserved", "cached", "withdrawn"]),
            st.sampled_from(["small", "large"]),
            st.sampled_from(["c1", "c2", None]),
            st.integers(0, 10**7),
            st.integers(0, 10**7),
            st.integers(0, 10**6),
        ),
        max_size=20,
    )
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sums_agree_with_a_ledger_kept_by_hand(catalog: Catalog, entries: list[Entry]) -> None:
    with catalog.begin() as connection:
        connection.execute(sa.delete(ledger))
    budget = Budget(catalog, daily_usd=10**6, run_usd=10**6)
    money = {"small": 0, "large": 0}
    unsettled = tokens = cached = saved = 0
    calls: set[str] = set()
    for number, (end, model, call_id, worst, price, count) in enumerate(entries):
        if end == "cached":
            cache(budget, model=model, saved_microusd=price, input_tokens=count)
            cached, saved = cached + 1, saved + price
            continue
        reservation = budget.reserve(attempt(model, microusd=worst, call_id=call_id))
        if end == "withdrawn":
            budget.withdraw(reservation)
            continue
        calls.add(call_id or f"its own: {number}")
        if end == "settled":
            budget.settle(reservation, input_tokens=count, output_tokens=0, microusd=price)
            money[model] += price
            tokens += count
        elif end == "failed":
            budget.fail(reservation, error="http_500")
        else:
            money[model] += worst
            unsettled += worst
            if end == "lost":
                budget.lost(reservation, error="reset")
    found = costs(catalog, by="model")
    # Exact to the micro-dollar, although shown in dollars.
    assert round(found["total_usd"] * 10**6) == sum(money.values())
    assert {row["model"]: round(row["total_usd"] * 10**6) for row in found["rows"]} == {
        model: total
        for model, total in money.items()
        if any(entry[1] == model and entry[0] != "withdrawn" for entry in entries)
    }
    assert round(found["unsettled_usd"] * 10**6) == unsettled
    assert round(found["saved_usd"] * 10**6) == saved
    assert (found["calls"], found["cached_calls"]) == (len(calls), cached)
    assert found["attempts"] == sum(entry[0] not in ("cached", "withdrawn") for entry in entries)
    assert (found["input_tokens"], found["output_tokens"]) == (tokens, 0)
