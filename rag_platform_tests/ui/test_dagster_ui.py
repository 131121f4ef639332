"""What an operator does in the UI: look at the graph, materialize a window, launch a backfill."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from rag_platform.defs.operations.launch import (
    INDEX_STAGES,
    STAGES,
    keys_of,
    launch_backfill,
    webserver_serves,
)
from rag_platform.platform import Platform
from rag_platform_tests.servers.dagster_processes import Workplace, until
from rag_platform_tests.ui.conftest import picture, wide_page

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.ui, pytest.mark.slow]

GRAPH = "/locations/rag_platform/asset-groups/manuals/lineage"
KEYS = keys_of("manuals", ["docs_v1"], stages=STAGES + INDEX_STAGES)


def open_graph(page: "Page", url: str) -> "Locator":
    """The asset graph of the source; gives its nodes."""
    page.goto(url + GRAPH)
    nodes = page.locator(
        "text=/^(raw_docs|parsed_docs|clean_docs|chunks|embeddings|vector_index)$/"
    )
    nodes.nth(5).wait_for()
    return nodes


def materialize(page: "Page", windows: str, button: str) -> None:
    """Click through the dialog that launches runs of all stages."""
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    box = dialog.locator("input[type=text]").first
    box.fill(windows)
    box.press("Enter")
    dialog.get_by_role("button", name=button).click()
    dialog.wait_for(state="detached")


def indexed(place: Workplace) -> set[str]:
    """The windows that the index holds documents of."""
    platform = Platform(place.settings)
    try:
        with platform.vectors.open_existing("docs_v1") as collection:
            return {payload["key"].partition("/")[0] for payload in collection.payloads({})}
    finally:
        platform.close()


def test_the_graph_shows_the_six_stages(page: "Page", served: tuple[Workplace, str]) -> None:
    nodes = open_graph(page, served[1])
    names = [nodes.nth(number).inner_text() for number in range(nodes.count())]
    assert sorted(set(names)) == sorted(key.path[-1] for key in KEYS)


def test_a_window_is_materialized_by_clicking(
    page: "Page", served: tuple[Workplace, str], days: list[str]
) -> None:
    place, url = served
    open_graph(page, url)
    materialize(page, days[0], "Launch 1 run")
    with dg.DagsterInstance.get() as instance:
        [run] = until(instance.get_runs, seconds=60, log=place.home / "dagster-daemon.log")
        page.goto(f"{url}/runs/{run.run_id}")
        page.get_by_text("Success", exact=True).first.wait_for(timeout=180_000)
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.SUCCESS
    page.get_by_text("RUN_SUCCESS").first.wait_for()
    picture(page, "run")
    assert indexed(place) == {days[0]}

    page.goto(f"{url}/assets/manuals/clean_docs?view=partitions&partition={days[0]}")
    page.get_by_text("dead letter list").first.wait_for()
    bars = page.locator("tr", has=page.get_by_text("outcomes", exact=True)).first
    rows = bars.locator("tbody tr")
    rows.first.wait_for()  # Markdown is drawn later than the names
    shown = [rows.nth(number).inner_text().split("\t") for number in range(rows.count())]
    assert shown == [["inserted", "5", 24 * "█"], ["dead_lettered", "1", 4 * "█"]]


def test_a_backfill_is_launched_by_clicking_and_by_graphql(
    page: "Page", served: tuple[Workplace, str], days: list[str]
) -> None:
    place, url = served
    open_graph(page, url)
    materialize(page, f"[{days[1]}...{days[6]}]", "Launch")
    log = place.home / "dagster-daemon.log"
    with dg.DagsterInstance.get() as instance:
        [clicked] = until(instance.get_backfills, seconds=60, log=log)
        until(lambda: webserver_serves(KEYS), seconds=60, log=log)
        asked = launch_backfill(KEYS, days[7:13], title="six more days")
        assert asked != clicked.backfill_id
        finish(instance, clicked.backfill_id, log)
        assert finish(instance, asked, log).title == "six more days"
        assert indexed(place) == set(days[:13])
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": clicked.backfill_id}))
        assert len(runs) == 1  # six windows, and a run takes seven
    page.goto(f"{url}/runs/b/{clicked.backfill_id}")
    page.get_by_text("Completed").first.wait_for()
    picture(page, "backfill")
    page.goto(f"{url}/assets/manuals/clean_docs?view=partitions&partition={days[0]}")
    page.get_by_text("dead letter list").first.wait_for()
    picture(page, "clean_docs_metadata")
    with wide_page(page) as wide:
        open_graph(wide, url)
        wide.get_by_role("button", name="Hide navigation").click()
        wide.get_by_text("92% filled").nth(5).wait_for()  # 13 of 14 windows, every stage
        picture(wide, "asset_graph")


def finish(instance: dg.DagsterInstance, backfill_id: str, log: Path) -> Any:
    """The backfill once it has ended, well."""

    def ended() -> Any:
        found = instance.get_backfill(backfill_id)
        return found if found and found.status.value.startswith(("COMPLETED", "FAILED")) else None

    found = until(ended, seconds=240, log=log)
    assert found.status.value == "COMPLETED_SUCCESS"
    return found
