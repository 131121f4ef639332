"""The pages of models: what serves, how it was measured, and what people decide there."""

from typing import Any

import pytest

from rag_platform.operations.audit import Audit
from rag_platform.platform import Platform
from rag_platform.training.drift.compare import DriftReport
from rag_platform.training.drift.log import DriftLog
from rag_platform.training.evaluation import Evaluation, Slice
from rag_platform.training.fairness import GroupRate, Impact
from rag_platform.training.gates import Verdict
from rag_platform.training.snapshots import Weeks
from rag_platform.training.stages import EVALUATION
from rag_platform.training.statistics import Comparison, Estimate
from rag_platform_tests.console.library import Place
from rag_platform_tests.console.test_indexes import cells
from rag_platform_tests.console.visitor import Visitor, said, text_of, visit
from rag_platform_tests.training.tiny import NAME

PAGE = f"/models/{NAME}"
GROUPS = [
    GroupRate("age", "up to 25", 40, 10, 0.25, 0.14, 0.4),
    GroupRate("age", "<i>older</i>", 60, 30, 0.5, 0.38, 0.62),
]


def evaluation(accuracy: float, *, passed: bool = True) -> Evaluation:
    """One against version 1, which is worse by 2 points; 0.8 is the bound."""
    low, high = accuracy - 0.02, accuracy + 0.02
    told = f"accuracy: {accuracy}"
    return Evaluation(
        units=160,
        held_back=40,
        metrics={"accuracy": Estimate(accuracy, low, high)},
        folds={"accuracy": [accuracy] * 3},
        holdout={"accuracy": 0.925},
        champion={"accuracy": 0.905},
        champion_version="1",
        comparison=Comparison("mcnemar", 40, -0.02, -0.05, 0.01, 0.9, 0.1),
        slices=[Slice("small", 30, {"accuracy": 0.8})],
        impacts=[Impact("age", 0.5, 0.3, 0.8, GROUPS, "age: ratio 0.5")],
        verdicts=[Verdict("accuracy", 0.8, accuracy, low, high, passed, told)],
        timings={},
    )


def evaluated(platform: Platform, week: str, found: Evaluation, *, version: str = "2") -> None:
    """Keep an evaluation as the stage does, with the run of a version."""
    known = platform.models.registry.registered(NAME, version)
    assert known is not None
    facts = {"run_id": known.run_id, "report": found.as_json(), "at": 1_780_000_000.0}
    Weeks(platform.objects).put(NAME, week, EVALUATION, facts)


def drifted(platform: Platform, week: str, *, told: str | None = None) -> None:
    report = DriftReport([], told is not None, told or "as before", 100)
    DriftLog(platform.catalog).record(NAME, "training", week, report)


# Looking


def test_each_model_in_a_row(visitor: Visitor, platform: Platform) -> None:
    drifted(platform, "2026-06-01", told="x drifted")
    [_, row] = cells(visitor.html("/models"), "What serves")
    assert (row[0], row[1], row[3]) == (NAME, "version 1", "1 of 1")
    assert (row[4], row[5]) == ("version 2, in shadow", "drifted 2026-06-01")
    platform.models.promotions.step(NAME, 25, actor="rollout", reason="well")
    [_, row] = cells(visitor.html("/models"), "What serves")
    assert row[4] == "version 2, 25 %"


def test_a_model_that_never_was_evaluated(onlooker: Visitor) -> None:
    page = onlooker.html(PAGE)
    assert "Tells whether a number is large." in said(page)
    assert "champion version 1 serves since" in said(page)
    assert "challenger version 2 is tried since" in said(page)
    assert "In shadow: 0 of 200 units answered." in said(page)
    assert "No week has been evaluated yet." in said(page)
    assert "No rows were looked at yet." in said(page)
    # In shadow it answers nobody: nothing to withdraw, and none served before version 1.
    assert not page.xpath("//form[contains(@action, 'rollback')]")
    links = {link.get("href") for link in page.iter("a")}
    assert "http://127.0.0.1:3000/assets/tiny_model/evaluation" in links
    assert not [link for link in links if "mlflow" in link or "/#/" in link]
    assert onlooker.get("/models/other").status_code == 404


def test_how_the_last_candidates_were_measured(visitor: Visitor, platform: Platform) -> None:
    evaluated(platform, "2026-06-01", evaluation(0.81))
    evaluated(platform, "2026-06-08", evaluation(0.93))
    page = visitor.html(PAGE)
    gates = cells(page, "The candidate of the week of 2026-06-08, version 2, on 160 units")
    assert gates[1] == ["accuracy", "yes", "0.93", "0.91 to 0.95", "0.8", "accuracy: 0.93"]
    held = cells(page, "40 rows that no version was fitted on, against version 1")
    assert held[1] == ["accuracy", "0.925", "0.905"]
    assert cells(page, "By slice")[1] == ["small", "30", "0.8"]
    assert cells(page, "Favourable answers by age")[1:] == [
        ["up to 25", "40", "25.0%", "14.0% to 40.0%"],
        ["<i>older</i>", "60", "50.0%", "38.0% to 62.0%"],
    ]
    [chart] = page.xpath("//figure[@class='chart']")
    assert [said(title) for title in chart.xpath(".//circle/title")] == [
        "2026-06-01, accuracy: 0.81",
        "2026-06-08, accuracy: 0.93",
    ]
    assert "bound: 0.8" in said(chart)
    assert chart.xpath(".//svg/line[@class='rule']")


def test_an_evaluation_of_another_release_is_left_out(visitor: Visitor, platform: Platform) -> None:
    evaluated(platform, "2026-06-01", evaluation(0.7, passed=False))
    Weeks(platform.objects).put(
        NAME, "2026-06-08", EVALUATION, {"run_id": "r", "report": {"old": 1}, "at": 1.0}
    )
    gates = cells(visitor.html(PAGE), "The candidate of the week of 2026-06-01")
    assert gates[1][1] == "NO"


def test_an_object_store_that_is_away_is_named(
    visitor: Visitor, platform: Platform, place: Place
) -> None:
    evaluated(platform, "2026-06-01", evaluation(0.81))
    (place.home / "storage").rename(place.home / "elsewhere")
    (place.home / "storage").write_text("no folder")
    answer = visitor.get(PAGE)
    assert answer.status_code == 503
    assert "The object store `storage`" in text_of(answer)
    assert visitor.get("/models").status_code == 200


def test_drift_and_history_page_by_page(
    visitor: Visitor, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rag_platform.console import web

    monkeypatch.setattr(web, "A_PAGE", 3)
    drifted(platform, "2026-06-01", told="<b>x</b> drifted")
    drifted(platform, "2026-06-08")
    page = visitor.html(PAGE)
    shown = [row[1:] for row in cells(page, "Rows against")[1:]]
    assert shown == [
        ["training", "2026-06-08", "as before", "as before"],
        ["training", "2026-06-01", "drifted", "<b>x</b> drifted"],
    ]
    rows = cells(page, "What happened")[1:]
    assert [row[1:4] for row in rows] == [
        ["challenger", "version 2", "1"],
        ["registered", "version 2", "1"],
        ["promoted", "version 1", "1"],
    ]
    [older] = page.xpath("//a[@rel='next']")
    rest = cells(visitor.html(older.get("href")), "What happened")[1:]
    assert [row[1:4] for row in rest] == [["registered", "version 1", "none"]]


def test_links_to_mlflow_where_a_server_shows_it(place: Place) -> None:
    place.write(console={"mlflow_url": "https://mlflow.test/ui/"})
    platform = place.platform()
    evaluated(platform, "2026-06-01", evaluation(0.9))
    page = visit(platform).html(PAGE)
    known = platform.models.registry.registered(NAME, "2")
    platform.close()
    assert known is not None
    links = {link.get("href") for link in page.iter("a")}
    assert {
        "https://mlflow.test/ui/#/models/tiny_model",
        "https://mlflow.test/ui/#/models/tiny_model/versions/1",
        f"https://mlflow.test/ui/#/runs/{known.run_id}",
    } <= links


def test_versions_side_by_side(visitor: Visitor, platform: Platform) -> None:
    for number, accuracy in (("1", 0.85), ("2", 0.93)):
        version = platform.models.registry.version(NAME, number)
        assert version is not None
        report = evaluation(accuracy).as_json()
        platform.models.registry.log_evaluation(version.run_id, {}, {}, report)
    page = visitor.html(f"{PAGE}/compare")
    assert said(page.find(".//h1")) == "tiny_model: versions 1 and 2"
    assert "version 2 is not significantly better than version 1" in said(page)
    assert cells(page, "Means")[1] == [
        "accuracy",
        "0.85 (0.83 to 0.87)",
        "0.93 (0.91 to 0.95)",
    ]
    assert visitor.get(f"{PAGE}/compare?a=1&b=99").status_code == 404


# Deciding


def test_the_challenger_is_promoted_and_rolled_back(visitor: Visitor, platform: Platform) -> None:
    page = visitor.html(PAGE)
    [form] = page.xpath("//form[contains(@action, 'promote')]")
    options = form.xpath(".//select[@name='version']/option")
    assert [said(option) for option in options] == ["2 (challenger)"]
    shown = form.xpath(".//input[@name='shown']/@value")[0]
    done = visitor.done(f"{PAGE}/promote", shown=shown, version="2", reason="agreed")
    assert "Version 2 serves." in said(done)
    assert "Version 1 serves again in place of version 2" in said(done)
    done = visitor.done(f"{PAGE}/rollback", shown="2", reason="worse")
    assert "Version 1 serves." in said(done)
    champion = platform.models.promotions.champion(NAME)
    assert champion is not None
    assert champion.number == "1"
    entries = Audit(platform.catalog).entries(limit=2)
    assert [(e.action, e.actor, e.via, e.reason, e.outcome) for e in entries] == [
        ("model.rollback", "ann", "console", "worse", "done"),
        ("model.promote", "ann", "console", "agreed", "done"),
    ]


def test_rolling_back_withdraws_a_challenger_that_answers(
    visitor: Visitor, platform: Platform
) -> None:
    platform.models.promotions.step(NAME, 25, actor="rollout", reason="well")
    page = visitor.html(PAGE)
    assert "Version 2 is tried no longer, and version 1 goes on serving." in said(page)
    assert "for 25 % of the units" in said(page)
    done = visitor.done(f"{PAGE}/rollback", shown="1, 2 25 %", reason="too slow")
    assert "Version 2 is tried no longer. Version 1 serves." in said(done)
    assert platform.models.promotions.rollout(NAME) is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"shown": "1, 2 0 %", "version": "2"}, "say why"),
        ({"shown": "1, 2 5 %", "version": "2", "reason": "so"}, "has changed since"),
        ({"shown": "1", "version": "2", "reason": "so"}, "has changed since"),
        ({"shown": "1, 2 0 %", "version": "7", "reason": "so"}, "no version '7'"),
        ({"shown": "1, 2 0 %", "version": "champion", "reason": "so"}, "no version 'champion'"),
    ],
)
def test_what_is_not_decided(
    visitor: Visitor, platform: Platform, fields: dict[str, Any], told: str
) -> None:
    answer = visitor.post(f"{PAGE}/promote", **fields)
    assert answer.status_code == 409
    assert told in text_of(answer)
    assert platform.models.promotions.rollout(NAME) is not None
