"""Promotion: what is asked of a version, what makes it live, and the way back."""

import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.indexing.promotion import UnusableIndex
from rag_platform.indexing.retirement import Retired
from rag_platform.retrieval.live import live_index, with_live
from rag_platform.settings_indexes import PromotionSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import changes, documents, index_promotions, index_versions
from rag_platform.storage.schema_models import notifications
from rag_platform.storage.vectors.base import CollectionMissing
from rag_platform_tests.conformance.harness import in_memory_server
from rag_platform_tests.indexing.life import Life

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")

WHO: dict[str, Any] = {"actor": "ann", "reason": "better"}


@pytest.fixture
def life(catalog: Catalog) -> Life:
    """Three versions; the first is live by default."""
    made = Life(catalog, in_memory_server())
    for name in ("v1", "v2", "v3"):
        made.build(name)
    return made


def live(life: Life) -> str:
    return live_index(life.catalog, "v1")


def unheld_document(life: Life, *, deferred_by: str | None = None) -> None:
    """A document of the source that no index holds."""
    doc_id = "10000000-0000-0000-0000-000000000000"
    shared = {"source": "manuals", "doc_id": doc_id, "key": "k", "window": "w", "pass_no": 1}
    with life.catalog.begin() as connection:
        row = shared | {"kind": "inserted", "outcome": "inserted", "deferred_by": deferred_by}
        seq = connection.execute(sa.insert(changes).returning(changes.c.seq), row).scalar_one()
        connection.execute(
            sa.insert(documents), shared | {"seq": seq, "text_hash": "t", "gone": False}
        )


def test_the_default_is_live_until_something_is_promoted(life: Life) -> None:
    assert live(life) == "v1"
    before = time.time()
    row = life.promotions.promote("v2", **WHO)
    assert (row.action, row.index, row.live, row.previous) == ("promoted", "v2", "v2", "v1")
    assert (row.actor, row.reason, row.problems) == ("ann", "better", [])
    assert [verdict["gate"] for verdict in row.facts["verdicts"]] == ["built", "complete", "agrees"]
    assert live(life) == "v2"
    kept = life.kept_until()
    assert kept["v2"] is None
    assert kept["v3"] is None
    # Seven days, as the settings have it.
    assert kept["v1"] is not None
    assert 7 * 86_400 <= kept["v1"] - before < 7 * 86_400 + 60
    assert life.promotions.history() == [row]


def test_promoting_twice_is_promoting_once(life: Life) -> None:
    row = life.promotions.promote("v2", **WHO)
    assert life.promotions.promote("v2", actor="bob", reason="again") == row
    assert len(life.actions()) == 1


def test_what_a_promotion_and_a_rollback_would_do(life: Life) -> None:
    assert [verdict.passed for verdict in life.promotions.verdicts("v2")] == [True, True, True]
    life.drifted.add("v2")
    assert [v.gate for v in life.promotions.verdicts("v2") if not v.passed] == ["agrees"]
    assert life.actions() == []  # looking decides nothing
    with pytest.raises(UnusableIndex, match="not in the settings"):
        life.promotions.verdicts("v9")
    with pytest.raises(UnusableIndex, match="none to go back to"):
        life.promotions.before()
    life.promotions.promote("v3", **WHO)
    assert life.promotions.before() == "v1"


def test_the_newest_rows_page_by_page(life: Life) -> None:
    for name in ("v2", "v3", "v1"):
        life.promotions.promote(name, **WHO)
    newest = life.promotions.recent(2)
    assert [row.live for row in newest] == ["v1", "v3"]
    assert [row.live for row in life.promotions.recent(2, before=newest[-1].id)] == ["v2"]


def test_the_default_can_be_pinned(life: Life) -> None:
    assert life.promotions.promote("v1", **WHO).action == "promoted"
    assert live_index(life.catalog, "another") == "v1"
    with pytest.raises(UnusableIndex, match="none to go back to"):
        life.promotions.rollback(**WHO)


def test_what_is_not_whole_is_refused_and_on_record(life: Life) -> None:
    unheld_document(life)
    life.drifted.add("v2")
    row = life.promotions.promote("v2", **WHO)
    assert (row.action, row.index, row.live) == ("refused", "v2", "v1")
    assert len(row.problems) == 2
    assert "lacks 1 documents" in row.problems[0]
    assert "reconcile --repair" in row.problems[1]
    assert live(life) == "v1"
    assert life.kept_until() == {"v1": None, "v2": None, "v3": None}


def test_a_document_that_waits_for_the_budget_is_in_the_way(life: Life) -> None:
    unheld_document(life, deferred_by="v2")
    [complete] = [
        verdict
        for verdict in life.promotions.promote("v2", **WHO).facts["verdicts"]
        if verdict["gate"] == "complete"
    ]
    assert complete["figures"] == {"behind": 1, "begun": 0, "deferred": 1}


def test_force_is_on_record_and_makes_no_gap(life: Life) -> None:
    life.drifted.add("v2")
    row = life.promotions.promote("v2", force=True, **WHO)
    assert (row.action, row.facts["forced"], len(row.problems)) == ("promoted", True, 1)
    assert live(life) == "v2"
    life.vectors.drop("v3")
    row = life.promotions.promote("v3", force=True, **WHO)
    assert (row.action, row.problems) == ("refused", ["has no collection"])
    assert live(life) == "v2"
    assert life.vectors.names() == ["v1", "v2"]


def test_unknown_and_retired_versions_are_no_candidates(life: Life) -> None:
    with pytest.raises(UnusableIndex, match=r"v4: not in the settings; there are: v1, v2, v3"):
        life.promotions.promote("v4", **WHO)
    life.retirement().retire("v3", **WHO)
    with pytest.raises(Retired, match="v3"):
        life.promotions.promote("v3", force=True, **WHO)


GOOD, SAME, BAD = [0.6, 0.7] * 10, [0.5, 0.6] * 10, [0.4, 0.5] * 10


@pytest.mark.parametrize(
    ("scores", "passes"),
    # Worse by 0.005 for each query is within the margin of 0.01, by 0.1 is not.
    [(GOOD, True), (SAME, True), ([s - 0.005 for s in SAME], True), (BAD, False)],
)
def test_not_worse_than_what_is_live(life: Life, scores: list[float], passes: bool) -> None:
    life.golden = ["g"]
    life.evaluate("v1", SAME)
    life.evaluate("v2", scores)
    row = life.promotions.promote("v2", **WHO)
    assert row.action == ("promoted" if passes else "refused")
    figures = row.facts["verdicts"][-1]["figures"]
    assert figures["difference"] == pytest.approx(sum(scores) / 20 - 0.55)
    assert figures["live"] == pytest.approx(0.55)


def test_a_difference_that_chance_may_have_made_counts_by_its_lower_end(life: Life) -> None:
    life.golden = ["g"]
    life.evaluate("v1", [0.5] * 20)
    # Better in the mean, and may well be worse by more than the margin.
    life.evaluate("v2", [0.0, 1.0] * 9 + [1.0, 1.0])
    row = life.promotions.promote("v2", **WHO)
    assert row.action == "refused"
    assert "may be worse by more than 0.01" in row.problems[0]


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(
    ("mine", "problem"),
    [
        (None, "v2 has no evaluation"),
        ({"digest": "other"}, "different queries"),
        ({"points": 6}, "v2 has 3 points and had 6"),
    ],
)
def test_an_evaluation_that_says_nothing(
    life: Life, required: bool, mine: dict[str, Any] | None, problem: str
) -> None:
    life.golden = ["g"]
    life.rules = PromotionSettings(require_evaluation=required)
    life.evaluate("v1", SAME)
    if mine is not None:
        life.evaluate("v2", SAME, **mine)
    row = life.promotions.promote("v2", **WHO)
    assert row.action == ("refused" if required else "promoted")
    assert problem in row.facts["verdicts"][-1]["told"]


def test_queries_that_were_changed_since_tell_nothing(life: Life) -> None:
    life.golden = ["g"]
    for name in ("v1", "v2"):
        life.evaluate(name, SAME)
    life.digest = "of the queries as they are now"
    row = life.promotions.promote("v2", **WHO)
    assert row.action == "refused"
    assert "v2 was evaluated on different queries" in row.problems[0]


def test_no_difference_is_within_any_margin(life: Life) -> None:
    life.golden = ["g"]
    life.rules = PromotionSettings(margin=0.0)
    for name in ("v1", "v2"):
        life.evaluate(name, SAME)
    assert life.promotions.promote("v2", **WHO).problems == []


def test_too_few_queries_tell_nothing(life: Life) -> None:
    life.golden = ["g"]
    for name in ("v1", "v2"):
        life.evaluate(name, [0.5] * 9)
    assert "too few to tell" in life.promotions.promote("v2", **WHO).problems[0]


def test_every_set_of_queries_counts(life: Life) -> None:
    life.golden = ["g", "h"]
    for golden in life.golden:
        life.evaluate("v1", SAME, golden=golden)
    life.evaluate("v2", GOOD, golden="g")
    life.evaluate("v2", BAD, golden="h")
    row = life.promotions.promote("v2", **WHO)
    passed = {verdict["gate"]: verdict["passed"] for verdict in row.facts["verdicts"]}
    assert passed["not_worse_on_g"] is True
    assert passed["not_worse_on_h"] is False
    assert row.action == "refused"


def test_the_way_back_goes_step_by_step(life: Life) -> None:
    with pytest.raises(UnusableIndex, match="none to go back to"):
        life.promotions.rollback(**WHO)
    life.promotions.promote("v2", **WHO)
    life.promotions.promote("v3", **WHO)
    life.drifted |= {"v1", "v2"}  # no gate is in the way back
    row = life.promotions.rollback(actor="ann", reason="first")
    assert (row.action, row.live, row.previous) == ("rolled_back", "v2", "v3")
    assert (row.facts["behind"], row.facts["points"]) == ({"manuals": 0}, 3)
    assert life.promotions.rollback(actor="ann", reason="first") == row
    assert life.promotions.rollback(actor="ann", reason="second").live == "v1"
    assert live(life) == "v1"
    with pytest.raises(UnusableIndex, match="none to go back to"):
        life.promotions.rollback(actor="ann", reason="third")
    kept = life.kept_until()
    assert kept["v1"] is None
    assert kept["v2"] is not None
    assert kept["v3"] is not None


def test_forth_back_and_forth_again(life: Life) -> None:
    life.promotions.promote("v2", **WHO)
    life.promotions.promote("v1", **WHO)
    assert life.promotions.rollback(**WHO).live == "v2"
    life.promotions.promote("v3", **WHO)
    assert life.promotions.rollback(actor="ann", reason="worse").live == "v2"
    assert life.kept_until()["v2"] is None


def test_no_way_back_to_what_is_gone(life: Life) -> None:
    life.promotions.promote("v2", **WHO)
    life.promotions.promote("v3", **WHO)
    life.retirement().retire("v2", **WHO)
    # The one before is still there.
    assert life.promotions.rollback(actor="ann", reason="first").live == "v1"
    life.promotions.promote("v3", **WHO)
    life.vectors.drop("v1")
    with pytest.raises(UnusableIndex, match=r"v1: has no collection\. Restore it"):
        life.promotions.rollback(actor="ann", reason="second")
    assert live(life) == "v3"


def test_people_are_told(life: Life) -> None:
    life.promotions.promote("v2", **WHO)
    life.drifted.add("v3")
    life.promotions.promote("v3", **WHO)
    life.promotions.rollback(**WHO)
    with life.catalog.read() as connection:
        texts = connection.execute(sa.select(notifications.c.text)).scalars().all()
    assert [text.splitlines()[0] for text in texts] == [
        "index v2 answers instead of v1",
        "index v3 was not promoted, v2 goes on answering",
        "index v1 answers again, instead of v2",
    ]
    assert texts[1].splitlines()[2].startswith("- 1 documents")


def test_only_one_decides_at_a_time(shared: Catalog) -> None:
    """On either database: two processes that promote leave a history without a break."""
    life = Life(shared, in_memory_server())
    for name in ("v1", "v2", "v3"):
        life.build(name)

    def promote(name: str) -> None:
        for number in range(3):
            life.promotions.promote(name, actor=name, reason=str(number))

    threads = [threading.Thread(target=promote, args=(name,)) for name in ("v2", "v3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = life.promotions.history()
    assert {row.live for row in rows} == {"v2", "v3"}
    assert [row.previous for row in rows] == ["v1", *(row.live for row in rows[:-1])]
    with shared.read() as connection:
        kept = dict(
            connection.execute(sa.select(index_versions.c.name, index_versions.c.keep_until)).all()
        )
    assert [name for name, until in kept.items() if until is None] == [rows[-1].live]


def test_a_reader_follows_what_is_live() -> None:
    names = iter(["v1", "v2", "v3", "v3"])
    asked = []

    def use(name: str) -> str:
        asked.append(name)
        if name != "v3":
            raise CollectionMissing(name)
        return f"from {name}"

    assert with_live(lambda: next(names), use) == "from v3"
    assert asked == ["v1", "v2", "v3"]


def test_a_reader_does_not_wait_for_what_never_comes() -> None:
    def use(name: str) -> None:
        raise CollectionMissing(f"no {name}")

    with pytest.raises(CollectionMissing, match="no v1"):
        with_live(lambda: "v1", use)


def test_only_promotions_say_what_is_live(life: Life) -> None:
    life.promotions.promote("v2", **WHO)
    for action in ("refused", "retired"):
        row = {"at": 0.0, "action": action, "index_name": "v3", "live": "v3", "previous": "v3"}
        with life.catalog.begin() as connection:
            connection.execute(
                sa.insert(index_promotions), row | {"actor": "a", "reason": "r", "facts": {}}
            )
    assert live(life) == "v2"
