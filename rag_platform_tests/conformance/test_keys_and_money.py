"""Invariants 21 and 23: nothing shares a memo key that must not; no budget is passed."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.encoders.openai import EmbeddingServiceError, OpenAIConnection
from rag_platform.platform import Platform
from rag_platform.storage.memo import memo_key
from rag_platform.storage.schema import memo
from rag_platform.storage.schema_models import ledger
from rag_platform_tests.conformance.conftest import Build
from rag_platform_tests.conformance.corpus import fill
from rag_platform_tests.conformance.harness import (
    HASHED,
    SMALL,
    SOURCE,
    V1,
    WINDOWS,
    World,
    settings_of,
)
from rag_platform_tests.servers.openai_api import KEY, OpenAIServer, failing
from rag_platform_tests.servers.openai_chat import tokens_of

FIRST, SECOND = WINDOWS[:2]
MODEL = "text-embedding-3-small"
# OpenAI's price of the model: 0.02 dollars for a million tokens.
DOLLARS_A_TOKEN = 0.02 / 1_000_000

_parts = st.tuples(st.text(max_size=8), st.text(max_size=8), st.binary(max_size=8))


@given(_parts, _parts)
def test_21_keys_are_injective(one: tuple[str, str, bytes], other: tuple[str, str, bytes]) -> None:
    assert (memo_key(*one) == memo_key(*other)) == (one == other)


@given(st.text(max_size=6), st.text(max_size=6), st.integers(0, 6))
def test_21_what_moves_between_the_parts_is_another_key(a: str, b: str, cut: int) -> None:
    joined = a + b
    keys = {
        memo_key(joined[:i], joined[i:j], joined[j:].encode())
        for i in range(len(joined) + 1)
        for j in range(i, len(joined) + 1)
    }
    assert len(keys) == (len(joined) + 1) * (len(joined) + 2) // 2


def test_21_a_query_is_no_passage(build: Build) -> None:
    world = build()
    fill(world.folder)
    world.sync(FIRST)
    query = "The north gate is painted green every spring."
    world.search(query)
    world.folder.write("green.txt", query)
    with world.counted() as texts:
        world.sync(SECOND)
    assert texts == [query]
    before = world.embedders["wordllama"].queries
    world.search(query)
    assert world.embedders["wordllama"].queries == before + 1


def test_21_two_models_share_no_vector(build: Build) -> None:
    world = build({V1: SMALL, "docs_v2": HASHED})
    fill(world.folder)
    world.sync(FIRST)
    with world.platform.catalog.read() as connection:
        kept = connection.scalar(
            sa.select(sa.func.count()).where(sa.func.length(memo.c.value).in_([1024, 128]))
        )
    assert kept == 2 * len(world.snapshot.texts(SMALL))
    world.check()


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


class Paid:
    """A world whose index is embedded by the scripted service, under a budget."""

    def __init__(
        self, root: Path, server: OpenAIServer, *, run_usd: float, daily_usd: float
    ) -> None:
        self.world = World(root)
        fill(self.world.folder)
        self.server = server
        recipe = {V1: ("recursive", 64, 0, MODEL)}
        self.settings = settings_of(
            root / "home",
            self.world.folder.root,
            recipe,
            llm={
                "base_url": server.base_url,
                "budget": {"run_usd": run_usd, "daily_usd": daily_usd},
            },
        )
        raw = self.settings.indexes[V1].embedder
        embedder = raw.model_copy(update={"dimensions": 16, "batch_size": 4})
        index = self.settings.indexes[V1].model_copy(update={"embedder": embedder})
        self.settings = self.settings.model_copy(update={"indexes": {V1: index}})

    def platform(self, run_id: str) -> Platform:
        return Platform(
            self.settings, run_id=run_id, openai=OpenAIConnection(self.server.base_url, KEY)
        )

    def run(self, run_id: str, window: str = FIRST) -> int:
        """One run of the chain; returns how many documents were deferred."""
        parts = self.platform(run_id)
        parts.raw(SOURCE).run(window)
        parts.parsed(SOURCE).run(window)
        parts.clean(SOURCE).run(window)
        parts.chunks(SOURCE, V1).run(window)
        parts.embeddings(SOURCE, V1).run(window)
        deferred = parts.vector_index(SOURCE, V1).run(window).deferred
        parts.close()
        return deferred

    def billed(self) -> float:
        """Dollars that the service has asked for, from its own log."""
        return DOLLARS_A_TOKEN * sum(tokens_of(text) for text in self.server.texts)

    def reserved(self) -> list[int]:
        """Micro-dollars counted by the ledger, by run."""
        with self.world.platform.catalog.read() as connection:
            rows = connection.execute(
                sa.select(
                    sa.func.sum(
                        sa.func.coalesce(ledger.c.settled_microusd, ledger.c.reserved_microusd)
                    )
                )
                .where(ledger.c.status != "failed")
                .group_by(ledger.c.run_id)
            )
            return [int(total) for total in rows.scalars()]


def test_23_the_run_budget_is_never_passed_and_later_runs_complete(
    tmp_path: Path, server: OpenAIServer
) -> None:
    paid = Paid(tmp_path, server, run_usd=0.000024, daily_usd=1.0)
    runs, left = 0, 1
    while left:
        before = paid.billed()
        left = paid.run(f"run-{runs}")
        runs += 1
        assert 0 < paid.billed() - before <= 0.000024, "a run must get on, within its budget"
        assert all(total <= 24 for total in paid.reserved())
        page = paid.world.page(FIRST)
        assert page.sums
        if runs == 1:
            assert page.outcomes["deferred"] == left
        assert ("docs_v1 does not hold the page" in paid.world.problems(FIRST)) == bool(left)
    assert runs > 2
    # Every text was paid for once, whatever the number of runs.
    assert len(server.texts) == len(set(server.texts)) == 35
    with paid.platform("look").vectors.open_existing(V1) as collection:
        assert collection.count() == 43
    assert paid.run("again") == 0
    assert len(server.texts) == 35


def test_23_the_daily_budget_is_shared_by_runs_that_overlap(
    tmp_path: Path, server: OpenAIServer
) -> None:
    paid = Paid(tmp_path, server, run_usd=1.0, daily_usd=0.00003)
    paid.run("first")
    assert paid.world.page(FIRST).outcomes["deferred"] > 0
    threads = [threading.Thread(target=paid.run, args=(f"run-{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(paid.reserved()) <= 30
    assert 0 < paid.billed() <= 0.00003
    assert paid.world.problems(FIRST) == ["deferred", "docs_v1 does not hold the page"]


def test_23_failed_and_repeated_requests_count(tmp_path: Path, server: OpenAIServer) -> None:
    paid = Paid(tmp_path, server, run_usd=0.0002, daily_usd=0.0002)
    server.refuse = lambda body: failing(500)
    with pytest.raises(EmbeddingServiceError):
        paid.run("down")
    server.refuse = None
    assert paid.run("up") == 0
    assert sum(paid.reserved()) <= 200
