"""Money booked is money charged, whatever the service does and whoever is killed."""

import random
import signal
import subprocess
import sys
import tempfile
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
from rag_platform_tests.llm.gateways import Label, gateway, rows, write_prompt
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


def fresh(root: Path) -> Catalog:
    folder = Path(tempfile.mkdtemp(dir=root))
    return Catalog(f"sqlite:///{folder}/catalog.db", lock_folder=folder)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(script=FAULTS, samples=st.integers(0, 2), logprobs=st.booleans(), hard=st.booleans())
def test_each_request_is_booked_at_its_charge_or_its_worst_case(
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
    catalog = fresh(tmp_path)
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
    catalog.close()


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(script=FAULTS)
def test_many_threads_book_what_is_charged(
    tmp_path: Path, server: OpenAIServer, script: list[Fault]
) -> None:
    write_prompt(tmp_path / "prompts")
    server.requests.clear()
    server.chat.charged.clear()
    server.faults.clear()
    server.faults.extend(script)
    catalog = fresh(tmp_path)
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
    catalog.close()


WORKER = """
import sys
from pathlib import Path
from rag_platform.llm.gateway import Ask, Completion
from rag_platform.storage.catalog import Catalog
from rag_platform_tests.llm.gateways import Label, gateway
url, base_url, prompts, locks, first = sys.argv[1:]
catalog = Catalog(url, lock_folder=Path(locks))
ours = gateway(catalog, base_url, Path(prompts), concurrency=4)
asks = [Ask("classify", {"text": f"{first} {number}"}, Label) for number in range(60)]
print("begins", flush=True)
for done in ours.map(asks):
    assert isinstance(done, Completion), done
print("done", flush=True)
"""

WORKERS, THREADS, QUESTIONS = 2, 4, 60


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_workers_killed_at_any_instant(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    url = f"sqlite:///{tmp_path}/catalog.db"
    if database == "postgres":
        url = request.getfixturevalue("postgres_database")
    catalog = Catalog(url, lock_folder=tmp_path)
    write_prompt(tmp_path / "prompts")
    dice = random.Random(7)

    def answer(body: Body) -> Any:
        time.sleep(dice.uniform(0.0, 0.04))
        return {"label": "cards", "reason": body["messages"][1]["content"].splitlines()[1]}

    with OpenAIServer() as server:
        server.chat.answer = answer

        def start(number: int) -> "subprocess.Popen[str]":
            places = [url, server.base_url, str(tmp_path / "prompts"), str(tmp_path), str(number)]
            command = [sys.executable, "-c", WORKER, *places]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout
            assert process.stdout.readline() == "begins\n"
            return process

        kills = 0
        for number in range(WORKERS):
            for _ in range(3):
                target = len(server.charged) + dice.randint(1, 15)
                process = start(number)
                while len(server.charged) < target and process.poll() is None:
                    time.sleep(0.002)
                time.sleep(dice.uniform(0, 0.03))
                process.send_signal(signal.SIGKILL)
                kills += process.wait() == -signal.SIGKILL
        time.sleep(0.2)  # what a killed process left in flight is still charged
        open_rows = [row for row in rows(catalog) if row.status == "reserved"]
        settled = sum(money(row) for row in rows(catalog) if row.status == "settled")
        charged = sum(sum(charge[1:]) for charge in server.charged)
        assert 0 < len(open_rows) <= kills * THREADS
        assert settled <= charged <= settled + sum(map(money, open_rows))

        # Undisturbed, everything is answered, and nothing that was stored is paid again.
        paid = len(server.charged)
        for process in [start(number) for number in range(WORKERS)]:
            said, _ = process.communicate(timeout=120)
            assert said == "done\n"
            assert process.returncode == 0
        assert paid < len(server.charged) <= WORKERS * QUESTIONS + kills * THREADS
        booked, charged = rows(catalog), sum(sum(charge[1:]) for charge in server.charged)
        assert {row.status for row in booked} == {"settled", "reserved", "cached"}
        settled = sum(money(row) for row in booked if row.status == "settled")
        assert settled <= charged <= sum(map(money, booked))
    catalog.close()
