import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.llm import budget as module
from rag_platform.llm.budget import Attempt, Budget, BudgetExceeded, Today
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox
from rag_platform.storage.schema_models import ledger
from rag_platform_tests.catalogs import Place
from rag_platform_tests.forks import FORKS

PROCESSES = 8
THREADS = 6


def reserve(budget: Budget, microusd: int, run_id: str = "run") -> int:
    return budget.reserve(Attempt("https://service/v1", "m", run_id, "test", 100, microusd))


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


def test_how_a_day_stands(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=1)
    assert budget.today() == Today(1000, 0, 0)
    budget.settle(reserve(budget, 600), input_tokens=1, output_tokens=1, microusd=100)
    budget.lost(reserve(budget, 200), error="timeout")  # may have been billed
    budget.fail(reserve(budget, 300), error="http_500")
    budget.withdraw(reserve(budget, 300))
    reserve(budget, 50, "another run")
    found = budget.today()
    assert (found.spent, found.reserved, found.left) == (300, 50, 650)
    budget.settle(reserve(budget, 600), input_tokens=1, output_tokens=1, microusd=900)
    assert budget.today().left == 0  # billed above its reservation


def test_a_failed_request_is_released(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=0.001)
    budget.fail(reserve(budget, 1000), error="http_500")
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
        budget.fail(number, error="oops")
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


def test_what_may_have_been_billed_keeps_its_worst_case(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=0.001)
    number = reserve(budget, 700)
    budget.lost(number, error="timeout")
    assert budget.spent() == 700
    with pytest.raises(BudgetExceeded):
        reserve(budget, 301)
    with pytest.raises(ValueError, match="not open"):
        budget.settle(number, input_tokens=1, output_tokens=0, microusd=1)
    (row,) = rows(shared)
    assert (row.status, row.settled_microusd, row.error) == ("lost", None, "timeout")


def test_a_settle_after_the_lease_counts_and_until_then_the_worst_case_does(
    shared: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=0.001)
    now = 1_767_225_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    number = reserve(budget, 700)
    assert rows(shared)[0].expires_at == now + 300
    monkeypatch.setattr(time, "time", lambda: now + 301)
    with pytest.raises(BudgetExceeded):
        reserve(budget, 301)
    budget.settle(number, input_tokens=5, output_tokens=2, microusd=10)
    reserve(budget, 990)
    assert budget.spent() == 1000


def test_a_request_that_was_never_sent_is_taken_back(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=0.001)
    budget.withdraw(reserve(budget, 1000))
    assert budget.spent() == 0
    reserve(budget, 1000)


def test_a_row_says_what_was_asked(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=1, run_usd=1)
    attempt = Attempt(
        "https://service/v1", "m", "run", "asset", 90, 8, call_id="c", prompt="p@v001", lease_s=5
    )
    budget.fail(budget.reserve(attempt), error="two\nlines " + "x" * 500)
    (row,) = rows(shared)
    assert (row.endpoint, row.model, row.run_id, row.purpose) == (
        "https://service/v1",
        "m",
        "run",
        "asset",
    )
    assert (row.call_id, row.prompt, row.reserved_tokens) == ("c", "p@v001", 90)
    assert row.expires_at - row.at == 5
    assert row.error.startswith("two lines xxx")
    assert len(row.error) == 300


def test_a_cached_answer_is_booked_without_money(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0, run_usd=0)
    budget.cached(
        run_id="run",
        purpose="asset",
        model="m",
        prompt="p@v001",
        endpoint="https://service/v1",
        saved_microusd=70,
        input_tokens=5,
        output_tokens=2,
    )
    (row,) = rows(shared)
    assert (row.status, row.saved_microusd, row.input_tokens) == ("cached", 70, 5)
    assert budget.spent() == budget.spent("run") == 0


def told(catalog: Catalog) -> list[tuple[str, str]]:
    return [(message.key, message.text) for message in Outbox(catalog).pending()]


def test_people_are_told_at_each_share_once(
    shared: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_767_225_599.0)  # 2025-12-31T23:59:59Z
    budget = Budget(shared, daily_usd=0.001, run_usd=1)

    def pay(microusd: int) -> None:
        taken = reserve(budget, microusd)
        budget.settle(taken, input_tokens=1, output_tokens=0, microusd=microusd)

    pay(499)
    open_one = reserve(budget, 300)  # set aside, but not spent
    budget.fail(reserve(budget, 100), error="http_500")
    assert told(shared) == []
    pay(1)
    assert [key for key, _ in told(shared)] == ["budget:2025-12-31:50"]
    assert (
        "50 % of the budget of 2025-12-31 (UTC) is spent: $0.0005 of $0.001" in told(shared)[0][1]
    )
    pay(100)
    assert len(told(shared)) == 1
    monkeypatch.setattr(time, "time", lambda: 1_767_225_601.0)  # the next day
    budget.lost(open_one, error="timeout")  # counts for the day that it was reserved on
    assert [key for key, _ in told(shared)] == ["budget:2025-12-31:50", "budget:2025-12-31:80"]
    pay(1000)
    assert [key for key, _ in told(shared)][2:] == [
        f"budget:2026-01-01:{percent}" for percent in (50, 80, 100)
    ]


def test_a_refusal_by_the_day_is_told_once_and_one_by_the_run_is_not(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=0.0006)
    reserve(budget, 600, run_id="a")
    with pytest.raises(BudgetExceeded) as caught:
        reserve(budget, 1, run_id="a")
    assert not caught.value.of_day
    assert told(shared) == []
    for _ in range(2):
        with pytest.raises(BudgetExceeded) as caught:
            reserve(budget, 401, run_id="b")
        assert caught.value.of_day
    (message,) = told(shared)
    assert message[0].endswith(":100")
    assert "left today $0.0004 of $0.001" in message[1]


def test_alerts_are_told_once_by_many_at_a_time(shared: Catalog) -> None:
    """Each settles one of a hundred equal shares: whoever passes a share tells it, nobody else."""
    budgets = [Budget(shared, daily_usd=0.001, run_usd=1) for _ in range(THREADS)]
    taken = [reserve(budgets[0], 10) for _ in range(100)]

    def settle(number: int) -> None:
        for reservation in taken[number::THREADS]:
            budgets[number].settle(reservation, input_tokens=1, output_tokens=0, microusd=10)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(settle, range(THREADS)))
    texts = [text for _, text in told(shared)]
    assert len(texts) == 3
    for text, spent in zip(texts, ("$0.0005", "$0.0008", "$0.001"), strict=True):
        assert f"is spent: {spent} of $0.001" in text


Step = tuple[int, str, int, str, int]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["a", "b"]),
            st.integers(0, 700),
            st.sampled_from(["keep", "settle", "fail", "lose", "withdraw", "settle an old one"]),
            st.integers(0, 110),
        ),
        max_size=40,
    ),
    st.sampled_from([0, 3, 20_000]),
    st.sampled_from([1, 1_000]),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_sums_agree_with_a_plain_model(
    catalog: Catalog, steps: list[Step], read_on: int, part: int
) -> None:
    """Three processes take turns; what they keep in mind of the sums is never out of date."""
    with catalog.begin() as connection:
        connection.execute(sa.delete(ledger))
    budgets = [Budget(catalog, daily_usd=0.002, run_usd=0.0012) for _ in range(3)]
    spent = {"a": 0, "b": 0}
    kept: list[tuple[int, str, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_READ_ON", read_on)
        patch.setattr(module, "_PART", part)
        for process, run_id, microusd, end, share in steps:
            budget = budgets[process]
            fits = microusd == 0 or (
                microusd + spent[run_id] <= 1200 and microusd + spent["a"] + spent["b"] <= 2000
            )
            if not fits:
                with pytest.raises(BudgetExceeded):
                    reserve(budget, microusd, run_id=run_id)
                continue
            number = reserve(budget, microusd, run_id=run_id)
            spent[run_id] += microusd
            kept.append((number, run_id, microusd))
            if end == "keep":
                continue
            number, run_id, microusd = kept.pop(0 if end == "settle an old one" else -1)
            if end.startswith("settle"):
                price = microusd * share // 100
                budget.settle(number, input_tokens=1, output_tokens=0, microusd=price)
                spent[run_id] += price - microusd
            elif end == "fail":
                budget.fail(number, error="http_500")
                spent[run_id] -= microusd
            elif end == "lose":
                budget.lost(number, error="timeout")
            else:
                budget.withdraw(number)
                spent[run_id] -= microusd
        assert {run: budgets[0].spent(run) for run in spent} == spent
        assert budgets[0].spent() == sum(spent.values())


def test_a_day_with_many_rows_is_not_read_again(shared: Catalog) -> None:
    """What a reservation reads grows with what is new, not with the ledger."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    old = {"at": 0.0, "day": day, "run_id": "run", "purpose": "p", "model": "m"}
    old |= {"reserved_microusd": 9, "settled_microusd": 5, "status": "settled"}
    with shared.begin() as connection:
        connection.execute(ledger.insert(), [old] * 20_000)
    budget = Budget(shared, daily_usd=0.2, run_usd=0.2)
    assert budget.spent() == 100_000
    batch = Attempt("https://service/v1", "m", "run", "test", 100, 1)
    with budget.transaction() as connection:
        for _ in range(2_000):
            budget.reserve_in(connection, batch)
    for _ in range(2):
        budget.settle(reserve(budget, 100), input_tokens=1, output_tokens=0, microusd=1)
    read: list[str] = []
    sa.event.listen(
        shared.engine, "before_cursor_execute", lambda *args: read.append(args[2].lower())
    )
    reserve(budget, 97_998)
    with pytest.raises(BudgetExceeded):
        reserve(budget, 1)
    selects = [statement for statement in read if "from ledger" in statement]
    assert selects
    for statement in selects:
        assert "ledger.id in" in statement or "max(ledger.id)" in statement, statement


def test_many_reservations_of_one_transaction_count_at_once(shared: Catalog) -> None:
    budget = Budget(shared, daily_usd=0.001, run_usd=0.001)
    attempt = Attempt("https://service/v1", "m", "run", "test", 100, 300)
    with budget.transaction() as connection:
        for _ in range(3):
            budget.reserve_in(connection, attempt)
        with pytest.raises(BudgetExceeded, match=r"left today \$0\.0001 of"):
            budget.reserve_in(connection, attempt)
    assert budget.spent() == 900

    def break_off() -> None:
        with budget.transaction() as connection:
            budget.reserve_in(connection, replace(attempt, microusd=100))
            raise ConnectionError

    with pytest.raises(ConnectionError):
        break_off()
    reserve(budget, 100)  # what was rolled back is there again
    with pytest.raises(BudgetExceeded):
        reserve(budget, 1)


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


def take(budget: Budget, dice: random.Random, run_id: str) -> dict[int, int]:
    """A reservation, or now and then those of a batch, as many as there is room for: their sums."""
    if dice.random() < 0.9:
        most = dice.randint(50, 400)
        return {reserve(budget, most, run_id=run_id): most}
    taken: dict[int, int] = {}
    with budget.transaction() as connection, suppress(BudgetExceeded):
        for _ in range(20):
            part = Attempt("https://service/v1", "m", run_id, "test", 100, dice.randint(5, 20))
            taken[budget.reserve_in(connection, part)] = part.microusd
    return taken


def spend_all(place: Place, seed: int, all_here: Any) -> None:
    """Many threads that reserve, and settle or fail at random, until nothing is left for them."""
    catalog = place.open()
    budget = Budget(catalog, daily_usd=0.05, run_usd=0.02)
    all_here.wait(60)

    def worker(number: int) -> None:
        dice = random.Random(seed * 1000 + number)
        refused = 0
        while refused < 3:
            try:
                taken = take(budget, dice, f"run-{number % 3}")
            except BudgetExceeded:
                refused += 1
                continue
            for one, most in taken.items():
                end = dice.random()
                if end < 0.3:
                    budget.fail(one, error="http_500")
                elif end < 0.6:
                    price = dice.randint(1, most)
                    budget.settle(one, input_tokens=1, output_tokens=0, microusd=price)
                elif end < 0.7:
                    budget.lost(one, error="timeout")

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(worker, range(THREADS)))
    catalog.close()


@pytest.mark.slow
def test_48_workers_never_pass_a_limit_even_when_some_are_killed(
    place: Place, shared: Catalog
) -> None:
    all_here = FORKS.Barrier(PROCESSES + 1)
    workers = [FORKS.Process(target=spend_all, args=(place, n, all_here)) for n in range(PROCESSES)]
    for worker in workers:
        worker.start()
    all_here.wait(60)
    counted = sa.func.coalesce(ledger.c.settled_microusd, ledger.c.reserved_microusd)
    per_run = sa.select(ledger.c.run_id, sa.func.sum(counted)).where(ledger.c.status != "failed")
    doomed = workers[:2]
    while any(worker.is_alive() for worker in workers):
        with shared.read() as connection:
            sums = {
                run: int(total) for run, total in connection.execute(per_run.group_by("run_id"))
            }
        assert sum(sums.values()) <= 50_000
        assert all(total <= 20_000 for total in sums.values()), sums
        if sum(sums.values()) > 15_000:
            while doomed:
                os.kill(doomed.pop().pid or 0, signal.SIGKILL)
        time.sleep(0.02)
    killed = -signal.SIGKILL
    assert [worker.exitcode for worker in workers] == [killed] * 2 + [0] * (PROCESSES - 2)
    # What the killed had set aside still counts, and what is left can be had to the last one.
    budget = Budget(shared, daily_usd=0.05, run_usd=0.05)
    plain = sum(
        row.reserved_microusd if row.settled_microusd is None else row.settled_microusd
        for row in rows(shared)
        if row.status != "failed"
    )
    assert budget.spent() == plain
    # Who was refused last needed at most 400 more: the limit was really reached.
    assert 50_000 - 400 <= plain <= 50_000
    with pytest.raises(BudgetExceeded):
        reserve(budget, 50_001 - plain, run_id="new")
    reserve(budget, 50_000 - plain, run_id="new")


def reserve_and_die(place: Place) -> None:
    budget = Budget(place.open(), daily_usd=0.001, run_usd=0.001)
    reserve(budget, 700)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_leaves_its_worst_case(place: Place, shared: Catalog) -> None:
    process = FORKS.Process(target=reserve_and_die, args=(place,))
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
    process = FORKS.Process(target=reserve_under_lock_and_die, args=(place,))
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
