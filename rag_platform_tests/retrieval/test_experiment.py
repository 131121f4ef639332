"""The experiment: who is sent where, what is logged, and what the report says."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_platform.retrieval.experiment import (
    ArmReport,
    LiveSearch,
    NoSuchSearch,
    arm_of,
    forget_searches,
    note_choice,
    report,
)
from rag_platform.settings_indexes import ExperimentSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import index_promotions, search_log
from rag_platform.storage.vectors.base import CollectionMissing

RULES = ExperimentSettings(challenger="v2", share=20)
UNITS = [f"unit {number}" for number in range(2_000)]


class Indexes:
    """Indexes whose searches find documents by the name of the index; `missing` ones are gone."""

    def __init__(self, **documents: list[str]) -> None:
        self.documents = documents
        self.opened: list[str] = []

    @contextmanager
    def open(self, index: str) -> Iterator[Any]:
        self.opened.append(index)
        if index not in self.documents:
            raise CollectionMissing(f"no {index}")
        found = [SimpleNamespace(doc_id=doc_id) for doc_id in self.documents[index]]
        passages = {each.doc_id: each for each in found}
        yield SimpleNamespace(search=lambda query, k, **_: found[:k], passage=passages.get)


def rows(catalog: Catalog) -> list[Any]:
    with catalog.read() as connection:
        return list(connection.execute(sa.select(search_log).order_by(search_log.c.id)))


def live_search(
    catalog: Catalog, indexes: Indexes, rules: ExperimentSettings | None = RULES
) -> LiveSearch:
    return LiveSearch(indexes.open, catalog=catalog, default="v1", experiment=rules)


def unit_of(arm: str) -> str:
    return next(unit for unit in UNITS if arm_of(unit, RULES) == arm)


def test_the_split_has_its_share_and_stays() -> None:
    challenged = {unit for unit in UNITS if arm_of(unit, RULES) == "challenger"}
    # 400 expected, a standard deviation of 18.
    assert 320 < len(challenged) < 480
    more = ExperimentSettings(challenger="v2", share=50)
    assert challenged < {unit for unit in UNITS if arm_of(unit, more) == "challenger"}
    other = ExperimentSettings(challenger="v3", share=20)
    assert challenged != {unit for unit in UNITS if arm_of(unit, other) == "challenger"}


@settings(max_examples=50, deadline=None)
@given(unit=st.text(), share=st.integers(min_value=1, max_value=49))
def test_a_growing_share_takes_nobody_back(unit: str, share: int) -> None:
    smaller = arm_of(unit, ExperimentSettings(challenger="v2", share=share))
    larger = arm_of(unit, ExperimentSettings(challenger="v2", share=share + 1))
    assert (smaller, larger) != ("challenger", "live")


def test_searches_go_to_their_arm_and_are_logged_without_names(shared: Catalog) -> None:
    indexes = Indexes(v1=["a", "b", "a", "c"], v2=["b", "d"])
    searching = live_search(shared, indexes)
    first = searching.search("who may enter?", unit=unit_of("live"))
    second = searching.search("who  may enter? ", 1, unit=unit_of("challenger"))
    assert (first.index, first.arm, len(first.results)) == ("v1", "live", 4)
    assert (second.index, second.arm, len(second.results)) == ("v2", "challenger", 1)
    one, two = rows(shared)
    assert (one.id, two.id) == (first.search, second.search)
    assert (one.arm, one.index_name, one.results) == ("live", "v1", ["a", "b", "c"])
    assert (two.arm, two.index_name, two.results) == ("challenger", "v2", ["b"])
    assert one.query == two.query
    assert one.unit != two.unit
    assert one.took_ms > 0
    assert "enter" not in str(one) + str(two)
    assert "unit" not in str(one.unit) + str(two.unit)


def test_without_a_unit_or_an_experiment_nothing_is_logged(catalog: Catalog) -> None:
    indexes = Indexes(v1=["a"], v2=["b"])
    assert live_search(catalog, indexes).search("x").search is None
    found = live_search(catalog, indexes, None).search("x", unit=unit_of("challenger"))
    assert (found.index, found.arm, found.search) == ("v1", "live", None)
    assert rows(catalog) == []


def test_once_the_challenger_is_live_the_experiment_is_over(catalog: Catalog) -> None:
    row = {"at": 0.0, "action": "promoted", "index_name": "v2", "live": "v2", "previous": "v1"}
    with catalog.begin() as connection:
        row |= {"actor": "a", "reason": "r", "facts": {}}
        connection.execute(sa.insert(index_promotions), row)
    indexes = Indexes(v1=["a"], v2=["b"])
    for arm in ("live", "challenger"):
        assert live_search(catalog, indexes).search("x", unit=unit_of(arm)).index == "v2"
    assert rows(catalog) == []


def test_a_challenger_that_is_not_there_leaves_no_gap(
    catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    indexes = Indexes(v1=["a"])
    found = live_search(catalog, indexes).search("x", unit=unit_of("challenger"))
    assert (found.index, found.arm) == ("v1", "live")
    assert indexes.opened == ["v2", "v1"]
    assert "the live index answers" in caplog.text
    assert rows(catalog)[0].arm == "live"


def test_what_either_index_found_can_be_read(catalog: Catalog) -> None:
    searching = live_search(catalog, Indexes(v1=["a", "b"], v2=["b", "c"]))
    assert [bool(searching.passage(name)) for name in "abcd"] == [True, True, True, False]
    assert live_search(catalog, Indexes(v1=["a"])).passage("c") is None
    assert live_search(catalog, Indexes(v1=["a"], v2=["c"]), None).passage("c") is None


def test_a_log_that_fails_does_not_fail_the_search(
    catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    with catalog.begin() as connection:
        connection.execute(sa.text("drop table search_log"))
    found = live_search(catalog, Indexes(v1=["a"])).search("x", unit=unit_of("live"))
    assert (len(found.results), found.search) == (1, None)
    assert "was not logged" in caplog.text


def log(catalog: Catalog, arm: str, query: str, results: list[str], **more: Any) -> int:
    row = {
        "at": 100.0,
        "unit": "u",
        "query": query,
        "arm": arm,
        "index_name": "v1" if arm == "live" else "v2",
        "results": results,
        "took_ms": 10.0,
        "chosen": None,
    }
    with catalog.begin() as connection:
        added = connection.execute(sa.insert(search_log), row | more)
        assert added.inserted_primary_key is not None
        return int(added.inserted_primary_key[0])


def test_the_report(catalog: Catalog) -> None:
    log(catalog, "live", "before", ["a"], at=1.0)
    log(catalog, "challenger", "one", ["a", "b", "c", "d"], unit="u2", took_ms=30.0)
    first = log(catalog, "live", "one", ["a", "b"], took_ms=10.0)
    second = log(catalog, "live", "one", ["a", "x"], took_ms=20.0)
    log(catalog, "live", "two", [])
    log(catalog, "challenger", "two", [])
    log(catalog, "live", "three", ["a"], unit="u3")
    note_choice(catalog, first, 1)
    note_choice(catalog, second, 4)
    found = report(catalog, "v2")
    # The last of each arm counts: of a, b, c, d the live arm found a; and nobody found anything.
    assert found.queries == 2
    assert found.overlap == pytest.approx((1 / 4 + 1) / 2)
    challenger, live = found.arms
    assert challenger == ArmReport("challenger", "v2", 2, 2, 20.0, 29.0, 0, None)
    assert (live.searches, live.units, live.mean_ms) == (4, 2, 12.5)
    assert (live.chosen, live.mrr) == (2, (1 + 1 / 4) / 2)
    assert found.as_json()["arms"][0]["index_name"] == "v2"


def test_a_report_on_the_newest_searches(catalog: Catalog) -> None:
    log(catalog, "challenger", "one", ["a"])
    log(catalog, "live", "one", ["a"])
    log(catalog, "challenger", "two", ["a"])
    log(catalog, "live", "two", ["b"])
    found = report(catalog, "v2", most=2)
    assert (found.queries, found.overlap) == (1, 0.0)
    assert [arm.searches for arm in found.arms] == [1, 1]


def test_a_report_on_nothing(catalog: Catalog) -> None:
    log(catalog, "live", "one", ["a"])
    found = report(catalog, "v2")
    assert (found.arms, found.queries, found.overlap) == ((), 0, None)


def test_a_choice_of_no_search(catalog: Catalog) -> None:
    with pytest.raises(NoSuchSearch, match="search 7"):
        note_choice(catalog, 7, 1)
    with pytest.raises(ValueError, match="rank 0"):
        note_choice(catalog, log(catalog, "live", "one", []), 0)


def test_old_searches_are_forgotten(catalog: Catalog) -> None:
    log(catalog, "live", "one", [], at=1.0)
    kept = log(catalog, "live", "two", [], at=2.0)
    assert forget_searches(catalog, before=2.0) == 1
    assert [row.id for row in rows(catalog)] == [kept]
