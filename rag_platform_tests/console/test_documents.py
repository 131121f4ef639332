"""The pages about documents: who sees which, and what they say of one."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from rag_platform.console.app import console
from rag_platform.documents.identity import document_id
from rag_platform.platform import Platform
from rag_platform.retrieval.readers import Reader
from rag_platform.storage.schema import documents
from rag_platform_tests.console.library import (
    HIDDEN,
    HOSTILE_KEY,
    NOTES,
    SCRIPT,
    WIKI,
    WINDOW,
    Place,
)
from rag_platform_tests.console.visitor import Visitor, said, visit


def address(key: str, source: str = NOTES) -> str:
    return f"/documents/{source}/{document_id(source, key)}"


def rows(page: Any) -> list[str]:
    """The first cell of each row of the first table."""
    return [said(cell) for cell in page.xpath("(//table)[1]/tbody/tr/td[1]")]


def table(page: Any, caption: str) -> list[dict[str, str]]:
    """The rows of a table by the beginning of its caption."""
    [found] = [one for one in page.iter("table") if said(one.find("caption")).startswith(caption)]
    head = [said(cell) for cell in found.xpath("./thead/tr/th")]
    return [
        dict(zip(head, [said(cell) for cell in row.xpath("./td")], strict=True))
        for row in found.xpath("./tbody/tr")
    ]


def facts(page: Any) -> dict[str, str]:
    """All lists of facts of a page."""
    return {said(term): said(term.getnext()) for term in page.xpath("//dl[@class='facts']/dt")}


def reader_of(platform: Platform, *groups: str) -> Visitor:
    """A visitor of a console that searches for some groups."""
    return Visitor(console(platform, Reader("default", groups)))


# Finding


def test_documents_are_found_by_source_state_and_address(onlooker: Visitor) -> None:
    everything = rows(onlooker.html("/documents"))
    assert {"tea.md", "copy/tea.md", HOSTILE_KEY, "steam.md", "gone.md"} < set(everything)
    assert "erased.md" not in everything
    assert rows(onlooker.html(f"/documents?source={WIKI}")) == ["steam.md"]
    found = rows(onlooker.html("/documents?q=%2FTEA.md"))
    assert found == ["copy/tea.md"]
    assert rows(onlooker.html("/documents?state=gone")) == ["gone.md"]
    dead = rows(onlooker.html("/documents?state=dead"))
    assert sorted(dead) == ["access.yaml", "broken.pdf", "late.pdf", "packed.zip"]
    for nothing in ("q=%25", "q=tea.mdx", "state=erased&source=wiki", "source=nobody"):
        assert "No document is like that." in onlooker.text(f"/documents?{nothing}")


def test_a_page_of_documents_goes_on_where_the_one_before_ended(
    onlooker: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows(onlooker.html("/documents"))
    monkeypatch.setattr("rag_platform.console.web.A_PAGE", 4)
    asked, seen = "/documents", []
    while asked:
        page = onlooker.html(asked)
        assert len(rows(page)) <= 4
        seen += rows(page)
        asked = next(iter(page.xpath("//a[text()='Older']/@href")), "")
    assert seen == whole


def test_what_is_for_others_is_not_there(onlooker: Visitor) -> None:
    board = reader_of(onlooker.platform, "board")
    assert HIDDEN in rows(board.html("/documents"))
    assert "sell the lighthouse" in board.text(address(HIDDEN))
    assert HIDDEN not in rows(onlooker.html("/documents"))
    answer = onlooker.get(address(HIDDEN))
    nowhere = onlooker.get(address("no such document"))
    assert (answer.status_code, nowhere.status_code) == (404, 404)
    assert said(onlooker.html(address(HIDDEN), 404).find(".//main")) == said(
        onlooker.html(address("no such document"), 404).find(".//main")
    )
    # A document of another source under this one's address is none, and an erased one neither.
    assert onlooker.get(address(HIDDEN).replace(NOTES, WIKI)).status_code == 404
    elsewhere = address("erased.md").replace(NOTES, WIKI)
    assert onlooker.get(elsewhere).status_code == 404
    assert onlooker.get(f"{elsewhere}/receipt.json").status_code == 404
    # Who could read what was erased is not known any more, and the source has rules.
    assert onlooker.get(address("erased.md")).status_code == 404
    assert rows(onlooker.html("/documents?state=erased")) == []


# One document


def test_the_life_of_a_document(onlooker: Visitor) -> None:
    page = onlooker.html(address("tea.md"))
    told = facts(page)
    assert told["State"] == "live"
    assert told["Versions"] == "2"
    assert told["For"] == "everybody"
    assert told["Status"].startswith("in_review")
    assert told["Confidence"].endswith("raw (extractive)")
    changes = table(page, "The newest first")
    assert [(row["What"], row["Outcome"], row["Pass"]) for row in changes] == [
        ("updated", "updated", "2"),
        ("inserted", "duplicate", "1"),
    ]
    assert {row["Window"] for row in changes} == {WINDOW}
    held = table(page, "What each index version holds")
    assert [(row["Index"], row["State"]) for row in held] == [
        ("v1 live", "current"),
        ("v2", "current"),
    ]
    assert "Ice is for summer." in said(page.find(".//pre"))
    assert page.xpath("//a[starts-with(@href, '/reviews/')]")
    [asset] = page.xpath("//a[text()='clean_docs']/@href")
    assert asset == (
        f"http://127.0.0.1:3000/assets/notes/clean_docs?view=partitions&partition={WINDOW}"
    )


def test_copies_near_copies_and_findings(onlooker: Visitor) -> None:
    assert "masked" in facts(onlooker.html(address("private.md")))["Safety"]
    near = onlooker.html(address("second.md"))
    assert facts(near)["Near copies"].startswith("first.md, which stands for the group")
    near = onlooker.html(address("first.md"))
    assert facts(near)["Near copies"].startswith("second.md, 9")
    assert "Same text" not in facts(near)
    assert "jane.doe@example.org" not in onlooker.get(address("private.md")).text


def test_a_dead_document_says_why_and_what_to_do(onlooker: Visitor) -> None:
    page = onlooker.html(address("packed.zip"))
    assert facts(page)["State"] == "dead unsupported"
    assert "What to do: exclude it in the source's `exclude`." in said(page)
    assert not page.xpath("//pre")


def test_a_deleted_document_keeps_its_changes(onlooker: Visitor) -> None:
    page = onlooker.html(address("gone.md"))
    assert facts(page)["State"] == "gone"
    assert [row["What"] for row in table(page, "The newest first")] == ["deleted", "inserted"]
    held = table(page, "What each index version holds")
    assert {(row["Chunks"], row["State"]) for row in held} == {("0", "current")}


def test_a_receipt_is_all_that_is_left_of_an_erased_document(place: Place) -> None:
    # Nothing is guarded here, so that its pages are for everybody.
    place.write()
    source = {"url": place.docs.as_uri(), "start": WINDOW, "dated_by": "seen"}
    wiki = {"url": (place.root / "wiki").as_uri(), "start": WINDOW}
    place.write(sources={NOTES: source, WIKI: wiki})
    platform = place.platform()
    with platform.catalog.begin() as connection:
        connection.execute(sa.update(documents).values(acl=None))
    visitor = reader_of(platform)
    assert rows(visitor.html("/documents?state=erased")) == ["erased.md"]
    page = visitor.html(address("erased.md"))
    told = facts(page)
    assert told["Asked"].endswith("by bob: asked for")
    assert told["Receipt"].startswith("intact number 1, SHA-256")
    assert "former tenant" not in said(page)
    changes = table(page, "The newest first")
    assert [(row["What"], row["Bytes"]) for row in changes] == [("deleted", ""), ("inserted", "")]
    answer = visitor.get(f"{address('erased.md')}/receipt.json")
    written = json.loads(answer.text)
    assert (written["key"], written["intact"]) == ("erased.md", True)
    assert answer.headers["content-disposition"] == 'attachment; filename="receipt-1.json"'
    assert visitor.get(f"{address('tea.md')}/receipt.json").status_code == 404
    platform.close()


def test_a_moved_document_leads_to_its_other_address(place: Place, platform: Platform) -> None:
    (place.docs / "loans.md").rename(place.docs / "moved.md")
    platform.raw(NOTES).run(WINDOW)
    visitor = visit(platform)
    waiting = visitor.html(address("moved.md"))
    assert facts(waiting)["State"] == "waiting"
    assert table(waiting, "The newest first")[0]["Outcome"] == "not settled yet"
    assert "Its text" not in said(waiting)
    assert not waiting.xpath("//pre")
    for stage in (platform.parsed, platform.clean):
        stage(NOTES).run(WINDOW)
    page = visitor.html(address("moved.md"))
    assert table(page, "The newest first")[0]["What"] == "moved from loans.md"
    assert page.xpath(f"//a[@href='{address('loans.md')}']")
    page = visitor.html(address("loans.md"))
    assert table(page, "The newest first")[0]["What"] == "departed to moved.md"
    (place.docs / "moved.md").rename(place.docs / "hidden" / "moved.md")
    platform.raw(NOTES).run(WINDOW)
    page = visitor.html(address("moved.md"))
    assert table(page, "The newest first")[0]["What"] == "departed"


# Texts


def passage_of(platform: Platform, key: str) -> dict[str, Any]:
    """The last chunk of a document."""
    part = platform.chunks(NOTES, "v1")
    found = [row for row in part.sample(WINDOW, 500) if row["key"] == key]
    return found[-1]


def test_a_passage_is_marked_where_search_found_it(onlooker: Visitor) -> None:
    chunk = passage_of(onlooker.platform, "first.md")
    start, end = chunk["start"], chunk["end"]
    page = onlooker.html(f"{address('first.md')}?start={start}&end={end}")
    [mark] = page.xpath("//mark[@class='passage']")
    assert mark.text == chunk["text"]
    assert mark.get("id") == f"passage-{start}-{end}"
    for nowhere in ("start=5&end=4", "start=5", "start=0&end=9999999", "start=-1&end=x"):
        assert not onlooker.html(f"{address('first.md')}?{nowhere}").xpath("//mark")


def test_a_long_text_is_shown_in_part(onlooker: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_platform.console.texts.WINDOW", 1_000)
    monkeypatch.setattr("rag_platform.console.texts._BEFORE", 100)
    whole, asked = "", address("first.md")
    while asked:
        page = onlooker.html(asked)
        whole += page.find(".//pre").text_content().removeprefix("\n")
        asked = next(iter(page.xpath("//a[text()='Later in the text']/@href")), "")
    assert whole.startswith("# Inspection")
    assert whole.rstrip().endswith(
        "open valve 39, and wait until the gauge shows a steady pressure."
    )
    page = onlooker.html(f"{address('first.md')}?start=2000&end=2100")
    assert len(page.find(".//pre").text_content().removeprefix("\n")) == 1_000
    assert page.xpath("//mark[@id='passage-2000-2100']")
    assert page.xpath("//a[text()='Earlier in the text']")


def test_hostile_documents_are_shown_as_text(onlooker: Visitor) -> None:
    page = onlooker.html(address(HOSTILE_KEY))
    assert SCRIPT in page.find(".//pre").text_content()
    assert {one.get("src") for one in page.iter("script")} <= {
        "/static/htmx.min.js",
        "/static/console.js",
    }
    assert not list(page.iter("img"))
    assert not page.xpath("//a[starts-with(@href, 'javascript:')]")
    assert HOSTILE_KEY in facts(page)["Address"]
    turned = onlooker.get(address("bidi.md")).text
    assert not {"\u202e", "\u2066"} & set(turned)


def test_settings_may_keep_texts_off_the_pages(place: Place) -> None:
    place.write(show_content=False)
    platform = place.platform()
    visitor = visit(platform)
    for key in ("tea.md", "loans.md"):
        page = visitor.html(f"{address(key)}?start=0&end=20")
        assert "show_content: false" in said(page)
        assert not page.xpath("//pre | //mark")
        assert "Summary" not in facts(page)
        assert said(page.find(".//h1")) == key
        assert "mortgage" not in said(page)
    platform.close()


# Dagster


def test_a_page_leads_to_the_run_that_wrote_it(place: Place, platform: Platform) -> None:
    import dagster as dg

    visitor = visit(platform)
    asked = f"/documents/{NOTES}/runs/clean_docs/{WINDOW}"
    asset = f"http://127.0.0.1:3000/assets/notes/clean_docs?view=partitions&partition={WINDOW}"
    assert visitor.get(asked).headers["location"] == asset
    assert not (place.home / "dagster").exists(), "looking makes nothing"
    home = place.home / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    assert visitor.get(asked).headers["location"] == asset
    key = dg.AssetKey([NOTES, "clean_docs"])
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="2026-07-02"))
        run = instance.create_run_for_job(_job(), run_id=None)
        event = dg.AssetMaterialization(key, partition=WINDOW)
        _materialize(instance, run, event)
    assert visitor.get(asked).headers["location"] == f"http://127.0.0.1:3000/runs/{run.run_id}"
    for nowhere in ("nobody/runs/clean_docs/2026-07-01", "notes/runs/clean_docs/yesterday"):
        assert visitor.get(f"/documents/{nowhere}").status_code in (404, 409)


def _job() -> Any:
    import dagster as dg

    @dg.job
    def nothing() -> None:
        """No step."""

    return nothing


def _materialize(instance: Any, run: Any, event: Any) -> None:
    """As a step of the run would tell."""
    from dagster._core.events import DagsterEvent, StepMaterializationData

    instance.report_dagster_event(
        DagsterEvent(
            event_type_value="ASSET_MATERIALIZATION",
            job_name=run.job_name,
            event_specific_data=StepMaterializationData(event),
        ),
        run_id=run.run_id,
    )
