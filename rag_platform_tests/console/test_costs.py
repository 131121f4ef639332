"""The page of costs: sums by hand, the day's budget, and a table that no spreadsheet runs."""

import csv
import io
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from lxml import html
from starlette.requests import Request

from rag_platform.console.pages.costs import COLUMNS, GROUPS, as_csv, wanted
from rag_platform.llm.budget import Attempt
from rag_platform.platform import Platform
from rag_platform.storage.schema_models import ledger
from rag_platform_tests.console.test_indexes import cells
from rag_platform_tests.console.visitor import Visitor, said

TODAY = datetime.now(UTC).date()


def facts(page: "html.HtmlElement") -> dict[str, str]:
    """The figures above the table."""
    terms, values = page.xpath("//dl[@class='facts']/dt"), page.xpath("//dl[@class='facts']/dd")
    return {said(term): said(value) for term, value in zip(terms, values, strict=True)}


def test_the_budget_of_today_and_the_table(onlooker: Visitor) -> None:
    page = onlooker.html("/costs")
    shown = facts(page)
    limit = onlooker.platform.settings.llm.budget.daily_usd
    assert (shown["Spent"], shown["Reserved"]) == ("$0.25", "$0.10")
    assert shown["Left"] == f"${float(limit) - 0.35:.2f}"
    assert (shown["Cost"], shown["Of this unsettled"]) == ("$0.3500", "$0.1000")
    assert shown["Calls, requests sent"] == "2, 2"
    rows = cells(page, "By model, the dearest first")
    assert rows[1:] == [
        ["large", "0.2500", "0.0000", "0.0000", "1", "1", "0", "1,234", "56"],
        ["embedder", "0.1000", "0.1000", "0.0000", "1", "1", "0", "0", "0"],
    ]
    assert "belong to requests that were abandoned" in said(page)
    [chart] = page.xpath("//figure[@class='chart']")
    told = [said(title) for title in chart.xpath(".//rect/title")]
    assert told == [f"{TODAY}, large: $0.25", f"{TODAY}, embedder: $0.1"]


def test_by_asset_with_links_to_assets_alone(onlooker: Visitor) -> None:
    page = onlooker.html("/costs?by=asset")
    links = {said(link): link.get("href") for link in page.xpath("//td//a | //th//a")}
    assert links == {
        "notes/document_summary": "http://127.0.0.1:3000/assets/notes/document_summary"
    }
    assert ["v1/embeddings", "0.1000"] in [row[:2] for row in cells(page, "By asset")]
    assert "(embeddings)" in [
        row[0] for row in cells(onlooker.html("/costs?by=prompt"), "By prompt")
    ]


def test_days_without_costs(onlooker: Visitor) -> None:
    page = onlooker.html("/costs?from=2020-01-01&to=2020-01-31")
    assert "Nothing was paid for in these days." in said(page)
    assert facts(page)["Cost"] == "$0.0000"
    assert not page.xpath("//table")


def test_the_download_is_the_table(onlooker: Visitor) -> None:
    answer = onlooker.get(f"/costs.csv?by=model&from={TODAY}&to={TODAY}")
    assert answer.headers["content-type"].startswith("text/csv")
    assert f"costs_by_model_{TODAY}_{TODAY}.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["model"], float(row["total_usd"])) for row in rows] == [
        ("large", 0.25),
        ("embedder", 0.1),
    ]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@sum(a1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(name: str) -> None:
    figures = dict.fromkeys(COLUMNS, 0)
    [_, row] = list(
        csv.reader(io.StringIO(as_csv("model", [{"model": name, **figures}]), newline=""))
    )
    assert row[0] == f"'{name}"
    assert (
        as_csv("prompt", [{"prompt": None, **figures}]).splitlines()[1].startswith("(embeddings)")
    )


def asked(query: str, today: str = "2026-11-26") -> tuple[str, str, str, bool]:
    request = Request({"type": "http", "query_string": query.encode(), "headers": []})
    found = wanted(request, date.fromisoformat(today))
    assert len(found.days) == (found.last - found.first).days + 1
    return (str(found.first), str(found.last), found.by, found.told is not None)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ("2026-10-28", "2026-11-26", "model", False)),
        ("from=2026-11-01", ("2026-11-01", "2026-11-26", "model", False)),
        ("to=2026-11-10&by=day", ("2026-10-12", "2026-11-10", "day", False)),
        ("from=2026-11-10&to=2026-11-01", ("2026-11-01", "2026-11-10", "model", False)),
        ("from=2020-01-01", ("2025-11-26", "2026-11-26", "model", True)),
        ("from=yesterday&by=run", ("2026-10-28", "2026-11-26", "model", True)),
        ("to=0001-01-02", ("0001-01-01", "0001-01-02", "model", False)),
    ],
)
def test_the_days_that_are_asked_for(query: str, found: tuple[str, str, str, bool]) -> None:
    assert asked(query) == found


def test_many_rows_and_other_days(visitor: Visitor, platform: Platform) -> None:
    budget = platform.llm.budget
    for number in range(60):
        attempt = Attempt("e", f"<b>{number}</b>", "r", "a", 1, 100_000, prompt="p@v001")
        budget.settle(
            budget.reserve(attempt), input_tokens=1, output_tokens=1, microusd=1_000 - number
        )
    old = (TODAY - timedelta(days=40)).isoformat()
    with platform.catalog.begin() as connection:
        connection.execute(sa.update(ledger).where(ledger.c.model == "<b>59</b>").values(day=old))
    page = visitor.html("/costs?by=model")
    rows = cells(page, "By model")
    assert len(rows) == 51
    assert rows[2:4] == [
        ["embedder", "0.1000", "0.1000", "0.0000", "1", "1", "0", "0", "0"],
        ["<b>0</b>", "0.0010", "0.0000", "0.0000", "1", "1", "0", "1", "1"],
    ]
    assert "11 more are in the CSV." in said(page)
    everything = visitor.get(f"/costs.csv?by=model&from={old}&to={TODAY}").text
    assert len(everything.splitlines()) == 63
    assert cells(visitor.html(f"/costs?by=day&from={old}"), "By day")[1][0] == str(TODAY)


def test_a_row_for_each_of_what_is_bounded() -> None:
    assert GROUPS == ("day", "model", "prompt", "asset")
