import pathlib
"""What an operator does in the UI: look at the graph, materialize a window, launch a backfill."""

from pathlib import Path
from typing import TYPE_CHECKING

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
from rag_platform_tests.ui.conftest import picture

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
    page.wait_for_timeout(3000); page.screenshot(path="/tmp/m1.png"); pathlib.Path("/tmp/m1.html").write_text(page.content())
    page.get_by_text("Show Markdown").first.click()
    page.wait_for_timeout(2000); page.screenshot(path="/tmp/m2.png"); pathlib.Path("/tmp/m2.html").write_text(page.content())
    picture(page, "clean_docs_metadata")


