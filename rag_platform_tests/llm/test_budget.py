import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.llm.budget import Budget, BudgetExceeded
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import ledger

PROCESSES = 4
THREADS = 12


@dataclass(frozen=True)
class Place:
    """A catalog that other processes can open too."""

    url: str
    locks: Path

    def open(self) -> Catalog:
        return Catalog(self.url, lock_folder=self.locks)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(f"sqlite:///{tmp_path}/catalog.db", tmp_path)
    return Place(request.getfixturevalue("postgres_database"), tmp_path)


@pytest.fixture
def shared(place: Place) -> Iterator[Catalog]:
    opened = place.open()
    yield opened
    opened.close()


def reserve(budget: Budget, microusd: int, run_id: str = "run") -> int:
    return budget.reserve(run_id=run_id, purpose="test", model="m", microusd=microusd)


def rows(catalog: Catalog) -> list[sa.Row[Any]]:
    with catalog.read() as connection:
        return list(connection.execute(sa.select(ledger).order_by(ledger.c.id)))


def test_reserve_then_settle_counts_the_price(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=0.001)
    first = reserve(budget, 600)
    assert budget.spent() == budget.spent("run") == 600
    budget.settle(first, input_tokens=11, output_tokens=3, microusd=100)
    assert budget.spent() == 100
    reserve(budget, 900)
    assert budget.spent() == 1000
    with pytest.raises(BudgetExceeded):
        reserve(budget, 1)
    assert [
        (row.status, row.reserved_microusd, row.settled_microusd, row.input_tokens)
        for row in rows(shared)
    ] == [("settled", 600, 100, 11), ("reserved", 900, None, None)]


def test_a_failed_request_is_released(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=0.001)
    budget.fail(reserve(budget, 1000))
    assert budget.spent() == 0
    reserve(budget, 1000)


def test_a_refusal_says_what_is_left_and_writes_nothing(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=5, run_usd=1)
    reserve(budget, 400_000, run_id="other")
    reserve(budget, 250_000)
    with pytest.raises(BudgetExceeded) as caught:
        reserve(budget, 750_001)
    message = str(caught.value)
    assert "$0.750001" in message
    assert "left today $4.35 of $5.00" in message
    assert "left in this run $0.75 of $1.00" in message
    assert "llm.budget" in message
    assert len(rows(shared)) == 2
    reserve(budget, 750_000)


def test_runs_share_the_day(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=0.0006)
    reserve(budget, 600, run_id="a")
    with pytest.raises(BudgetExceeded):
        reserve(budget, 1, run_id="a")
    reserve(budget, 400, run_id="b")
    with pytest.raises(BudgetExceeded):
        reserve(budget, 1, run_id="b")


def test_the_day_ends_at_midnight_utc_but_a_run_goes_on(
    shared: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=0.0015)
    before_midnight = 1_767_225_599.0  # 2025-12-31T23:59:59Z
    monkeypatch.setattr(time, "time", lambda: before_midnight)
    first = reserve(budget, 1000)
    monkeypatch.setattr(time, "time", lambda: before_midnight + 1)
    with pytest.raises(BudgetExceeded, match=r"left today \$0\.001 of"):
        reserve(budget, 501)
    reserve(budget, 500)
    budget.settle(first, input_tokens=1, output_tokens=0, microusd=1000)
    assert [row.day for row in rows(shared)] == ["2025-12-31", "2026-01-01"]


def test_free_requests_are_booked_when_nothing_is_left(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0, run_usd=0)
    budget.settle(reserve(budget, 0), input_tokens=5, output_tokens=0, microusd=0)
    with pytest.raises(BudgetExceeded):
        reserve(budget, 1)


def test_a_reservation_is_closed_once(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=1, run_usd=1)
    number = reserve(budget, 10)
    budget.settle(number, input_tokens=1, output_tokens=0, microusd=5)
    with pytest.raises(ValueError, match="not open"):
        budget.fail(number)
    with pytest.raises(ValueError, match="not open"):
        budget.settle(number, input_tokens=1, output_tokens=0, microusd=1)
    assert budget.spent() == 5
    with pytest.raises(ValueError, match="below zero"):
        reserve(budget, -1)


def test_a_bill_over_the_reservation_is_booked_in_full(
    shared: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    budget = Budget(shared, daily_usd=1, run_usd=1)
    budget.settle(reserve(budget, 10), input_tokens=9, output_tokens=0, microusd=30)
    assert budget.spent() == 30
    assert "billed $0.00003 where at most $0.00001 was expected" in caplog.text


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.integers(0, 700),
            st.sampled_from(["keep", "settle", "fail"]),
            st.integers(0, 100),
        ),
        max_size=25,
    )
)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_sums_agree_with_a_plain_model(
    catalog: Catalog, steps: list[tuple[str, int, str, int]]
) -> None:
    with catalog.begin() as connection:
        connection.execute(sa.delete(ledger))
    budget = Budget(catalog, daily_usd=0.002, run_usd=0.0012)
    spent = {"a": 0, "b": 0}
    for run_id, microusd, end, share in steps:
        fits = microusd + spent[run_id] <= 1200 and microusd + spent["a"] + spent["b"] <= 2000
        if not fits:
            with pytest.raises(BudgetExceeded):
                reserve(budget, microusd, run_id=run_id)
            continue
        number = reserve(budget, microusd, run_id=run_id)
        if end == "settle":
            price = microusd * share // 100
            budget.settle(number, input_tokens=1, output_tokens=0, microusd=price)
            spent[run_id] += price
        elif end == "fail":
            budget.fail(number)
        else:
            spent[run_id] += microusd
    assert {run: budget.spent(run) for run in spent} == spent
    assert budget.spent() == sum(spent.values())


def test_threads_take_exactly_what_fits(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=1)  # 1,000 micro-dollars

    def greedy(number: int) -> int:
        taken = 0
        while True:
            try:
                reserve(budget, 7, run_id=f"run-{number}")
            except BudgetExceeded:
                return taken
            taken += 1

    with ThreadPoolExecutor(THREADS) as pool:
        taken = sum(pool.map(greedy, range(THREADS)))
    assert taken == 142  # 142 * 7 = 994, 143 * 7 = 1001
    assert budget.spent() == 994


def spend_all(place: Place, seed: int) -> None:
    """Many threads that reserve, and settle or fail at random, until nothing is left for them."""
    catalog = place.open()
    budget = Budget(catalog, daily_usd=0.02, run_usd=0.008)

    def worker(number: int) -> None:
        dice = random.Random(seed * 1000 + number)
        refused = 0
        while refused < 3:
            try:
                taken = reserve(budget, dice.randint(50, 400), run_id=f"run-{number % 3}")
            except BudgetExceeded:
                refused += 1
                continue
            if dice.random() < 0.3:
                budget.fail(taken)
            elif dice.random() < 0.5:
                budget.settle(taken, input_tokens=1, output_tokens=0, microusd=dice.randint(10, 50))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(worker, range(THREADS)))
    catalog.close()


@pytest.mark.slow
def test_48_workers_in_processes_never_pass_a_limit(place: Place, shared: Catalog) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=spend_all, args=(place, n)) for n in range(PROCESSES)]
    for worker in workers:
        worker.start()
    counted = sa.func.coalesce(ledger.c.settled_microusd, ledger.c.reserved_microusd)
    per_run = sa.select(ledger.c.run_id, sa.func.sum(counted)).where(ledger.c.status != "failed")
    highest = 0
    while any(worker.is_alive() for worker in workers):
        with shared.read() as connection:
            sums = {
                run: int(total) for run, total in connection.execute(per_run.group_by("run_id"))
            }
        assert sum(sums.values()) <= 20_000
        assert all(total <= 8_000 for total in sums.values()), sums
        highest = max(highest, sum(sums.values()))
        time.sleep(0.02)
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    # Who was refused last needed at most 400 more: the limits were really reached.
    assert 20_000 - 400 < highest <= 20_000


def reserve_and_die(place: Place) -> None:
    budget = Budget(place.open(), daily_usd=0.001, run_usd=0.001)
    reserve(budget, 700)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_leaves_its_worst_case(place: Place, shared: Catalog) -> None:
    process = multiprocessing.get_context("spawn").Process(target=reserve_and_die, args=(place,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    budget = Budget(shared, daily_usd=0.001, run_usd=0.001)
    assert budget.spent() == 700
    with pytest.raises(BudgetExceeded):
        reserve(budget, 301)
    reserve(budget, 300)


def reserve_under_lock_and_die(place: Place) -> None:
    """Killed inside the transaction: the lock must not stay behind."""
    catalog = place.open()
    budget = Budget(catalog, daily_usd=0.001, run_usd=0.001)

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(catalog.engine, "commit", die)
    reserve(budget, 700)


def test_a_process_killed_while_it_holds_the_queue_blocks_nobody(
    place: Place, shared: Catalog
) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=reserve_under_lock_and_die, args=(place,)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    budget = Budget(shared, daily_usd=0.001, run_usd=0.001)
    done = threading.Event()

    def take() -> None:
        reserve(budget, 1000)
        done.set()

    threading.Thread(target=take, daemon=True).start()
    assert done.wait(10)
    assert budget.spent() == 1000
