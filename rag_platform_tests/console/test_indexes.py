"""The pages of index versions: what they show, and what people decide there."""

from typing import Any

import pytest
import sqlalchemy as sa
from lxml import html

from rag_platform.operations.audit import Audit
from rag_platform.platform import Platform
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import index_evaluations, search_log
from rag_platform_tests.console.library import Place
from rag_platform_tests.console.visitor import Visitor, said, text_of, visit


def cells(page: "html.HtmlElement", caption: str) -> list[list[str]]:
    """The rows of the table with this beginning of its caption, the head first."""
    [table] = [
        each for each in page.iter("table") if said(each.find("caption")).startswith(caption)
    ]
    return [[said(cell) for cell in row] for row in table.iter("tr")]


def better(platform: Platform, index: str, *, than: str, queries: int = 12) -> None:
    """Evaluations of `queries` queries in which one version is better by 0.2 on each."""
    for name, value in ((than, 0.5), (index, 0.7)):
        metrics = dict.fromkeys(("ndcg@10", "recall@10", "recall@100", "mrr@10"), value)
        with platform.catalog.begin() as connection:
            connection.execute(
                index_evaluations.insert().values(
                    index_name=name,
                    golden="questions",
                    at=1_780_000_000.0,
                    digest=platform.golden("questions").digest,
                    points=_points(platform, name),
                    metrics={"all": {"queries": queries, "means": metrics}},
                    scores={"queries": [str(n) for n in range(queries)]}
                    | {key: [value] * queries for key in metrics},
                )
            )


def _points(platform: Platform, index: str) -> int:
    with platform.vectors.open_existing(index) as collection:
        return collection.count()


# Looking


def test_all_versions_and_how_they_stand(onlooker: Visitor) -> None:
    page = onlooker.html("/indexes")
    head, live, other = cells(page, "Index versions")
    assert head[:5] == ["Index", "State", "Documents", "Chunks", "Behind"]
    assert head[5] == "ndcg@10 on questions"
    assert (live[:2], other[:2]) == (["v1", "live"], ["v2", "beside"])
    held = {row.name: row for row in _states(onlooker.platform)}
    assert live[2:5] == [f"{held['v1'].documents}", f"{held['v1'].chunks}", "0"]
    assert float(live[5]) == pytest.approx(_mean(onlooker.platform, "v1"), abs=0.0006)
    assert "Searches are answered by v1" in said(page)
    assert "There is none to go back to" in said(page)
    assert not page.xpath("//form[contains(@action, 'rollback')]")


def _states(platform: Platform) -> Any:
    from rag_platform.indexing.versions import versions_of

    return versions_of(platform.settings, platform.catalog)


def _mean(platform: Platform, index: str) -> float:
    from rag_platform.retrieval.evaluation import latest

    found = latest(platform.catalog, index, "questions")
    assert found is not None
    return sum(found.scores["ndcg@10"]) / 4


def test_one_version_with_its_slices_and_its_assets(onlooker: Visitor) -> None:
    page = onlooker.html("/indexes/v2")
    rows = cells(page, "questions by slice")
    assert rows[0] == ["Slice", "Queries", "ndcg@10", "recall@10", "recall@100", "mrr@10"]
    assert [row[:2] for row in rows[1:]] == [["all", "4"], ["long", "2"], ["short", "2"]]
    links = {said(link): link.get("href") for link in page.iter("a")}
    assert links["notes/v2/vector_index"] == "http://127.0.0.1:3000/assets/notes/v2/vector_index"
    assert links["v2/evaluation"] == "http://127.0.0.1:3000/assets/v2/evaluation"
    assert links["Promote: ask the gates first"] == "/indexes/v2/promote"
    assert "wordllama" in said(page)
    assert onlooker.get("/indexes/v9").status_code == 404
    assert "index '<script>': there is none" in onlooker.text("/indexes/%3Cscript%3E", 404)
    live = onlooker.html("/indexes/v1")
    assert not live.xpath("//a[contains(@href, 'promote')] | //form[contains(@action, 'retire')]")


def test_two_versions_compared(onlooker: Visitor) -> None:
    found = cells(onlooker.html("/indexes/v2/compare?with=v1&metric=mrr@10"), "mrr@10 on")
    assert found[1][0] == "questions"
    assert found[1][-2] == "too few queries to tell"
    assert onlooker.get("/indexes/v2/compare?metric=beauty").status_code == 404
    other = onlooker.html("/indexes/v2/compare?with=nobody")
    assert said(other.find(".//h1")) == "v2 against v1"


def test_what_is_not_evaluated_is_said(visitor: Visitor, platform: Platform) -> None:
    with platform.catalog.begin() as connection:
        connection.execute(sa.delete(index_evaluations))
    assert "not evaluated" in visitor.text("/indexes")
    assert "rag-platform evaluate --index v2" in visitor.text("/indexes/v2")
    assert "v2 has no evaluation" in visitor.text("/indexes/v2/compare?with=v1")


def test_a_clear_difference_and_its_interval(visitor: Visitor, platform: Platform) -> None:
    better(platform, "v2", than="v1")
    row = cells(visitor.html("/indexes/v2/compare?with=v1"), "ndcg@10 on")[1]
    assert row[:5] == ["questions", "12", "0.700", "0.500", "+0.200"]
    assert row[5].startswith("+0.200 to +0.200")
    slices = cells(visitor.html("/indexes/v2/compare?with=v1"), "ndcg@10 of questions")
    assert slices[1] == ["all", "12", "0.700", "0.500", "+0.200"]
    page = visitor.html("/indexes/v2")
    [chart] = page.xpath("//figure[@class='chart']")
    assert said(chart.find("figcaption")) == "ndcg@10 of the evaluations"
    assert len(chart.xpath(".//circle")) == 2


def test_the_experiment(place: Place) -> None:
    place.write(search={"experiment": {"challenger": "v2", "share": 10}})
    platform = place.platform()
    log = {"unit": "u", "query": "q", "took_ms": 5.0, "at": 4e9, "results": ["a"]}
    rows = [
        {**log, "arm": "live", "index_name": "v1", "chosen": 2},
        {**log, "arm": "challenger", "index_name": "v2", "chosen": None},
    ]
    with platform.catalog.begin() as connection:
        connection.execute(sa.insert(search_log), rows[::-1])
    page = visit(platform).html("/indexes")
    platform.close()
    assert cells(page, "Arms")[1:] == [
        ["challenger", "v2", "1", "1", "5.0", "5.0", "0", ""],
        ["live", "v1", "1", "1", "5.0", "5.0", "1", "0.500"],
    ]
    assert "v2 answers 10 % of those who search" in said(page)
    assert "Of 1 queries asked of both, 100% of documents agree" in said(page)


# Deciding


def test_promoted_and_rolled_back(visitor: Visitor, platform: Platform) -> None:
    better(platform, "v2", than="v1")
    page = visitor.html("/indexes/v2/promote")
    gates = {row[0]: row[1] for row in cells(page, "What the gates say")[1:]}
    assert gates == dict.fromkeys(["built", "complete", "agrees", "not worse on questions"], "yes")
    done = visitor.done("/indexes/v2/promote", live="v1", reason="better by 0.2")
    assert "v2 answers." in said(done)
    assert platform.live() == "v2"
    assert "A rollback" not in said(done)
    assert "Roll back to v1" in said(done)
    history = cells(done, "What happened")
    assert history[1][1:] == ["promoted", "v2", "v2", "ann", "better by 0.2"]
    done = visitor.done("/indexes/rollback", live="v2", reason="worse after all")
    assert "v1 answers again." in said(done)
    assert platform.live() == "v1"
    entries = Audit(platform.catalog).entries(limit=2)
    assert [(e.action, e.actor, e.via, e.outcome) for e in entries] == [
        ("index.rollback", "ann", "console", "done"),
        ("index.promote", "ann", "console", "done"),
    ]


def test_what_would_be_refused_is_said_first(visitor: Visitor, platform: Platform) -> None:
    """Four queries are too few to tell."""
    page = visitor.html("/indexes/v2/promote")
    assert "A promotion would be refused: " in said(page)
    assert "4 queries are too few to tell" in said(page)
    [form] = page.xpath("//main//form[@method='post']")
    assert said(form.find(".//button")) == "Promote v2 by force"
    assert form.xpath(".//input[@name='force' and @type='checkbox' and @required]")
    refused = visitor.done("/indexes/v2/promote", live="v1", reason="trying")
    assert "v2: refused, v1 goes on answering." in said(refused)
    assert platform.live() == "v1"
    forced = visitor.done("/indexes/v2/promote", live="v1", reason="known", force="yes")
    assert "By force: " in said(forced)
    assert "promoted by force" in said(forced)
    assert platform.live() == "v2"
    entry = Audit(platform.catalog).entries(limit=1)[0]
    assert entry.facts["force"] is True


def test_decisions_about_what_has_changed_are_refused(visitor: Visitor, platform: Platform) -> None:
    platform.promotions.promote("v2", actor="bob", reason="first", force=True)
    for path in ("/indexes/v1/promote", "/indexes/rollback"):
        answer = visitor.post(path, live="v1", reason="mine")
        assert answer.status_code == 409
        assert "v2 answers by now, not v1" in text_of(answer)
    answer = visitor.post("/indexes/rollback", live="v2", reason="  ")
    assert (answer.status_code, platform.live()) == (409, "v2")
    assert "say why" in text_of(answer)
    assert visitor.get("/indexes/v2/promote").status_code == 409


@pytest.mark.parametrize("path", ["/indexes/v1/promote", "/indexes/rollback"])
def test_who_waits_for_another_decision_is_overtaken_by_it(
    visitor: Visitor, platform: Platform, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The page was right when its form came, and no longer when its turn came."""
    exclusive = Catalog.exclusive

    def after_bob(self: Catalog, name: str, **how: Any) -> Any:
        monkeypatch.undo()
        platform.promotions.promote("v2", actor="bob", reason="first", force=True)
        return exclusive(self, name, **how)

    csrf = visitor.csrf()
    monkeypatch.setattr(Catalog, "exclusive", after_bob)
    answer = visitor.send(path, {"csrf": csrf, "live": "v1", "reason": "mine"})
    assert (answer.status_code, platform.live()) == (409, "v2")
    assert "v2 answers by now, not v1" in text_of(answer)
    [entry] = Audit(platform.catalog).entries()
    assert (entry.actor, entry.outcome) == ("ann", "refused")


def test_retired_only_by_who_is_sure(visitor: Visitor, platform: Platform) -> None:
    answer = visitor.post("/indexes/v2/retire", reason="old")
    assert (answer.status_code, platform.vectors.names()) == (409, ["v1", "v2"])
    done = visitor.done("/indexes/v2/retire", reason="old", sure="yes")
    assert "v2 is retired" in said(done)
    assert platform.vectors.names() == ["v1"]
    assert cells(done, "Index versions")[2][1] == "retired"
    answer = visitor.post("/indexes/v1/retire", reason="old", sure="yes")
    assert "is live" in text_of(answer)
