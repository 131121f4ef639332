"""Money booked is money charged, whatever the service does and whoever is killed."""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.errors import PlatformError
from rag_platform.llm import client as client_module
from rag_platform.llm.admission import Admission
from rag_platform.llm.gateway import Ask, Completion
from rag_platform.storage.catalog import Catalog
from rag_platform_tests.forks import FORKS
from rag_platform_tests.llm.gateways import Label, emptied, gateway, rows, write_prompt
from rag_platform_tests.servers.openai_api import (
    Fault,
    OpenAIServer,
    failing,
    quota_used_up,
    rate_limited,
)
from rag_platform_tests.servers.openai_chat import Body

# The service answers, and says what it charges.
EXACT = ["ok", "truncated", "refusal", "content_filter", "no_choices", "no_content"]
EXACT += ["wrong_schema", "invalid_json"]
# What was charged is not known: counted in full. The service charges for all but a web page.
UNKNOWN = ["reset", "malformed", "no_usage", "odd_usage", "gzip", "html"]
FREE = [rate_limited(), failing(500), failing(503), failing(400), failing(401), quota_used_up()]

FAULTS = st.lists(
    st.one_of(
        st.sampled_from([Fault(kind) for kind in EXACT]),
        st.sampled_from([Fault(kind) for kind in UNKNOWN]),
        st.sampled_from(FREE),
    ),
    max_size=8,
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    client_module._dialects.clear()
    monkeypatch.setattr(Admission, "cooling", lambda *_: 0.0)
    with stamina.set_testing(True, attempts=4), OpenAIServer() as running:
        yield running


def money(row: sa.Row[Any]) -> int:
    if row.status == "failed":
        return 0
    return int(row.reserved_microusd if row.settled_microusd is None else row.settled_microusd)


def charges(server: OpenAIServer) -> list[int]:
    """What each request was charged, in their order; at a micro-dollar a token."""
    charged = iter(server.charged)
    free = {"status", "html"}
    return [0 if request.fault in free else sum(next(charged)[1:]) for request in server.requests]


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(script=FAULTS, samples=st.integers(0, 2), logprobs=st.booleans(), hard=st.booleans())
def test_each_request_is_booked_at_its_charge_or_its_worst_case(
    catalog: Catalog,
    tmp_path: Path,
    server: OpenAIServer,
    script: list[Fault],
    samples: int,
    logprobs: bool,
    hard: bool,
) -> None:
    write_prompt(tmp_path / "prompts", samples=samples)
    server.requests.clear()
    server.chat.charged.clear()
    server.faults.clear()
    server.faults.extend(script)
    server.chat.logprob = (lambda token: -0.1) if logprobs else None
    emptied(catalog)
    ours = gateway(
        catalog, server.base_url, tmp_path / "prompts", complexity_threshold=0.0 if hard else 1.0
    )
    for number in range(3):
        before = len(rows(catalog))
        try:
            done = ours.complete("classify", {"text": f"a lost card {number}"}, Label)
        except PlatformError:
            continue
        mine = rows(catalog)[before:]
        assert done.attempts == len(mine)
        assert done.microusd == sum(map(money, mine))
        assert len({row.call_id for row in mine}) == 1
    booked = rows(catalog)
    assert len(booked) == len(server.requests)
    for row, request, charge in zip(booked, server.requests, charges(server), strict=True):
        assert row.model == request.body["model"]
        assert charge <= row.reserved_microusd
        if request.fault in EXACT:
            assert (row.status, money(row)) == ("settled", charge)
        elif request.fault == "status":
            assert (row.status, money(row)) == ("failed", 0)
        else:
            assert row.status in ("lost", "settled")
            assert money(row) == row.reserved_microusd


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(script=FAULTS)
def test_many_threads_book_what_is_charged(
    catalog: Catalog, tmp_path: Path, server: OpenAIServer, script: list[Fault]
) -> None:
    write_prompt(tmp_path / "prompts")
    server.requests.clear()
    server.chat.charged.clear()
    server.faults.clear()
    server.faults.extend(script)
    emptied(catalog)
    ours = gateway(catalog, server.base_url, tmp_path / "prompts", concurrency=6)
    asks = [Ask("classify", {"text": str(number)}, Label) for number in range(12)]
    answered = [one for one in ours.map(asks) if isinstance(one, Completion)]
    booked = rows(catalog)
    assert len(booked) == len(server.requests)
    total, charged = sum(map(money, booked)), sum(charges(server))
    unclear = [row for row in booked if money(row) == row.reserved_microusd]
    assert sum(request.fault in UNKNOWN for request in server.requests) == len(unclear)
    assert charged <= total <= charged + sum(map(money, unclear))
    assert sum(one.microusd for one in answered) <= total


def ask_all(url: str, base_url: str, prompts: Path, locks: Path, number: int, begins: Any) -> None:
    """One of the workers: asks all of its questions."""
    catalog = Catalog(url, lock_folder=locks)
    ours = gateway(catalog, base_url, prompts, concurrency=THREADS)
    begins.set()
    asks = [Ask("classify", {"text": f"{number} {n}"}, Label) for n in range(QUESTIONS)]
    for done in ours.map(asks):
        assert isinstance(done, Completion), done
    catalog.close()


WORKERS, THREADS, QUESTIONS = 2, 4, 60


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_workers_killed_at_any_instant(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    url = f"sqlite:///{tmp_path}/catalog.db"
    if database == "postgres":
        url = request.getfixturevalue("postgres_catalog")
    catalog = Catalog(url, lock_folder=tmp_path)
    write_prompt(tmp_path / "prompts")
    dice = random.Random(7)

    def answer(body: Body) -> Any:
        time.sleep(dice.uniform(0.0, 0.04))
        return {"label": "cards", "reason": body["messages"][1]["content"].splitlines()[1]}

    with OpenAIServer() as server:
        server.chat.answer = answer

        def start(number: int) -> Any:
            begins = FORKS.Event()
            places = (url, server.base_url, tmp_path / "prompts", tmp_path, number, begins)
            process = FORKS.Process(target=ask_all, args=places)
            process.start()
            assert begins.wait(60)
            return process

        kills = 0
        for number in range(WORKERS):
            for _ in range(3):
                target = len(server.charged) + dice.randint(1, 15)
                process = start(number)
                while len(server.charged) < target and process.is_alive():
                    time.sleep(0.002)
                time.sleep(dice.uniform(0, 0.03))
                process.kill()
                process.join()
                kills += process.exitcode == -signal.SIGKILL
        time.sleep(0.2)  # what a killed process left in flight is still charged
        open_rows = [row for row in rows(catalog) if row.status == "reserved"]
        settled = sum(money(row) for row in rows(catalog) if row.status == "settled")
        charged = sum(sum(charge[1:]) for charge in server.charged)
        assert 0 < len(open_rows) <= kills * THREADS
        assert settled <= charged <= settled + sum(map(money, open_rows))

        # Undisturbed, everything is answered, and nothing that was stored is paid again.
        paid = len(server.charged)
        for process in [start(number) for number in range(WORKERS)]:
            process.join(120)
            assert process.exitcode == 0
        assert paid < len(server.charged) <= WORKERS * QUESTIONS + kills * THREADS
        booked, charged = rows(catalog), sum(sum(charge[1:]) for charge in server.charged)
        assert {row.status for row in booked} == {"settled", "reserved", "cached"}
        settled = sum(money(row) for row in booked if row.status == "settled")
        assert settled <= charged <= sum(map(money, booked))
    catalog.close()
