import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from rag_platform.llm.cache import AnswerCache, cache_key
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_models import llm_cache

KEY = cache_key(a=1)
VALUE = {"value": {"text": "ünï \u0000 日本"}, "microusd": 7, "confidence": None}


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_700_000_000.0
        monkeypatch.setattr("rag_platform.llm.cache.time.time", lambda: self.now)


def rows(catalog: Catalog) -> int:
    with catalog.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(llm_cache)) or 0


def test_an_answer_counts_until_it_expires(
    shared: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    cache = AnswerCache(shared)
    assert cache.get(KEY) is None
    cache.put(KEY, VALUE, hours=24)
    assert cache.get(KEY) == VALUE
    assert AnswerCache(shared).get(KEY) == VALUE
    assert cache.get(cache_key(a=2)) is None
    clock.now += 24 * 3600 - 1
    assert cache.get(KEY) == VALUE
    clock.now += 1
    assert cache.get(KEY) is None


def test_a_newer_answer_takes_the_place_of_an_older(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    cache = AnswerCache(catalog)
    cache.put(KEY, {"n": 1}, hours=1)
    clock.now += 3600
    cache.put(KEY, {"n": 2}, hours=1)
    clock.now += 1800
    assert cache.get(KEY) == {"n": 2}
    assert rows(catalog) == 1


def test_expired_answers_are_removed_once_an_hour(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    cache = AnswerCache(catalog)
    for number in range(3):
        cache.put(cache_key(n=number), {}, hours=0.5)
    clock.now += 1900
    cache.put(cache_key(n=3), {}, hours=0.5)
    assert rows(catalog) == 4
    clock.now += 1800
    cache.put(cache_key(n=4), {}, hours=0.5)
    assert rows(catalog) == 1


PARTS = st.dictionaries(
    st.sampled_from("abc"),
    st.none() | st.text(max_size=3) | st.lists(st.text(max_size=2)),
    min_size=1,
)


@given(PARTS, PARTS)
def test_keys_are_equal_only_for_equal_parts(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert (cache_key(**first) == cache_key(**second)) == (first == second)
    assert len(cache_key(**first)) == 32


def test_one_of_many_that_ask_the_same_does_the_work(catalog: Catalog) -> None:
    cache = AnswerCache(catalog)
    worked: list[bytes] = []
    start = threading.Barrier(8)

    def ask(number: int) -> object:
        key = cache_key(question=number % 2)
        start.wait()
        with cache.flight(key):
            if (known := cache.get(key)) is None:
                worked.append(key)
                time.sleep(0.05)
                cache.put(key, known := {"n": number % 2}, hours=1)
            return known

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [{"n": 0}, {"n": 1}] * 4
    assert len(worked) == 2
    assert not cache._flights


def test_a_flight_that_fails_lets_the_next_one_go(catalog: Catalog) -> None:
    cache = AnswerCache(catalog)
    with pytest.raises(RuntimeError), cache.flight(KEY):
        raise RuntimeError
    with cache.flight(KEY):
        pass
    assert not cache._flights
