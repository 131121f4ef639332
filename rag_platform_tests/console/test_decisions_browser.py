"""Decisions about indexes and models in a browser, by keys alone."""

from typing import TYPE_CHECKING

import pytest

from rag_platform.platform import Platform
from rag_platform_tests.console.test_indexes import better
from rag_platform_tests.console.test_models import PAGE, evaluated, evaluation
from rag_platform_tests.ui.conftest import picture

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.ui, pytest.mark.slow]


def test_an_index_is_promoted_and_rolled_back_by_keys(tab: "Page", platform: Platform) -> None:
    better(platform, "v2", than="v1")
    tab.goto("/indexes/v2")
    with tab.expect_navigation(url="**/indexes/v2/promote"):
        tab.locator("main").press("p")
    picture(tab, "console_promote")
    assert tab.evaluate("document.activeElement.name") == "reason"
    tab.keyboard.type("better by 0.2")
    with tab.expect_navigation(url="**/indexes"):
        tab.keyboard.press("Enter")
    assert tab.locator(".said").inner_text() == "v2 answers."
    assert platform.live() == "v2"
    tab.get_by_label("Reason").fill("a complaint")
    with tab.expect_navigation(url="**/indexes"):
        tab.keyboard.press("Enter")
    assert platform.live() == "v1"


def test_a_model_with_its_chart_on_a_phone(tab: "Page", platform: Platform) -> None:
    for week, accuracy in (("2026-06-01", 0.81), ("2026-06-08", 0.93)):
        evaluated(platform, week, evaluation(accuracy))
    tab.goto(PAGE)
    picture(tab, "console_model")
    tab.set_viewport_size({"width": 360, "height": 740})
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
    drawing = tab.get_by_role("img", name="accuracy of the candidates by week").bounding_box()
    assert drawing is not None
    assert 300 < drawing["width"] <= 360
    # What is drawn has a colour, though no style may stand in the page.
    colours = tab.locator("figure.chart circle").evaluate_all(
        "all => all.map(e => getComputedStyle(e).fill)"
    )
    assert colours == ["rgb(0, 114, 178)"] * 2
