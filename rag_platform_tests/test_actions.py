"""What people change: done by the parts that own it, and on record whatever comes of it."""

from types import SimpleNamespace
from typing import Any

import pytest

from rag_platform.actions import Actions
from rag_platform.indexing.promotion import UnusableIndex
from rag_platform.indexing.retirement import InService
from rag_platform.operations.audit import Audit, Entry
from rag_platform.retrieval.live import live_index
from rag_platform.storage.catalog import Catalog
from rag_platform_tests.conformance.harness import in_memory_server
from rag_platform_tests.indexing.life import Life

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")


@pytest.fixture
def life(catalog: Catalog) -> Life:
    made = Life(catalog, in_memory_server())
    for name in ("v1", "v2", "v3"):
        made.build(name)
    return made


@pytest.fixture
def actions(life: Life) -> Actions:
    parts: Any = SimpleNamespace(
        catalog=life.catalog,
        promotions=life.promotions,
        retirement=life.retirement(),
        live=lambda: live_index(life.catalog, "v1"),
    )
    return Actions(parts, "ann", "console")


def newest(life: Life) -> Entry:
    return Audit(life.catalog).entries()[0]


def shown(entry: Entry) -> tuple[Any, ...]:
    return (entry.action, entry.subject, entry.reason, entry.outcome, entry.detail)


def test_a_promotion_and_the_way_back_are_on_record(life: Life, actions: Actions) -> None:
    row = actions.promote_index("v2", reason="better")
    assert (row.action, row.live, row.actor) == ("promoted", "v2", "ann")
    assert shown(newest(life)) == ("index.promote", "v2", "better", "done", None)
    assert (newest(life).actor, newest(life).via) == ("ann", "console")
    assert actions.roll_back_index(reason="worse after all").live == "v1"
    back = shown(newest(life))
    assert back == ("index.rollback", "v2", "worse after all", "done", "v1 answers")


def test_what_a_gate_refuses_is_on_record_and_changes_nothing(life: Life, actions: Actions) -> None:
    life.drifted.add("v2")
    row = actions.promote_index("v2", reason="better")
    assert row.action == "refused"
    action, subject, _, outcome, detail = shown(newest(life))
    assert (action, subject, outcome) == ("index.promote", "v2", "refused")
    assert detail == "; ".join(row.problems) != ""
    assert live_index(life.catalog, "v1") == "v1"


def test_what_is_impossible_is_on_record_and_raised(life: Life, actions: Actions) -> None:
    with pytest.raises(UnusableIndex) as unusable:
        actions.promote_index("v9", reason="better")
    assert shown(newest(life)) == (
        "index.promote",
        "v9",
        "better",
        "refused",
        " ".join(str(unusable.value).split()),
    )
    with pytest.raises(InService):
        actions.retire_index("v1", reason="old")
    assert shown(newest(life))[:4] == ("index.retire", "v1", "old", "refused")


def test_models_and_reviews_are_decided_by_their_owners(catalog: Catalog) -> None:
    """The arguments arrive; notes, which may quote a document, stay out of the log."""
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    class Owner:
        def __init__(self, answer: Any) -> None:
            self.answer = answer

        def __getattr__(self, name: str) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                calls.append((name, args, kwargs))
                return self.answer

            return call

    row = SimpleNamespace(version="3", champion="2")
    parts: Any = SimpleNamespace(
        catalog=catalog,
        models=SimpleNamespace(promotions=Owner(row)),
        reviews=Owner([7, 8]),
    )
    actions = Actions(parts, "ann", "cli")
    actions.promote_model("m", None, reason="r", seen="2")
    actions.roll_back_model("m", reason="r")
    assert actions.approve_review(7, note="quotes it") == [7, 8]
    assert actions.correct_review(7, label="loans", fields={"people": ["Ann"]}) == [7, 8]
    assert actions.reject_review(7) == [7, 8]
    assert calls == [
        ("promote", ("m", None), {"actor": "ann", "reason": "r", "seen": "2"}),
        ("rollback", ("m",), {"actor": "ann", "reason": "r", "seen": None}),
        ("approve", (7,), {"by": "ann", "note": "quotes it"}),
        (
            "correct",
            (7,),
            {"by": "ann", "label": "loans", "fields": {"people": ["Ann"]}, "note": None},
        ),
        ("reject", (7,), {"by": "ann", "note": None}),
    ]
    entries = Audit(catalog).entries()[::-1]
    assert [entry.detail for entry in entries[:2]] == ["version 3 serves", "version 2 serves"]
    assert [entry.facts for entry in entries[2:]] == [
        {"reviews": [7, 8]},
        {"reviews": [7, 8], "fields": ["people"]},
        {"reviews": [7, 8]},
    ]
    assert not any("quotes" in str(entry) for entry in entries)
