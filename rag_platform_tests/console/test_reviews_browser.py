"""Reviews, documents and dead letters in a browser."""

from typing import TYPE_CHECKING

import pytest

from rag_platform.documents.identity import document_id
from rag_platform.platform import Platform
from rag_platform_tests.console.library import HOSTILE_KEY, NOTES
from rag_platform_tests.ui.conftest import picture

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.ui, pytest.mark.slow]


def press(tab: "Page", key: str) -> int:
    """Press one key, which leads to a review; its number."""
    with tab.expect_navigation():
        tab.locator("main").press(key)
    return int(tab.locator("h1").inner_text().split(":")[0].split()[1])


def test_reviews_are_decided_by_one_key_each(tab: "Page", platform: Platform) -> None:
    tab.goto("/reviews")
    picture(tab, "console_reviews")
    first = press(tab, "j")
    picture(tab, "console_review")
    second = press(tab, "j")
    assert press(tab, "k") == first
    assert press(tab, "a") == second
    assert tab.locator(".said").inner_text() == f"Review {first}: approved."
    # Keys that are typed into a field decide nothing; Enter there sends nothing.
    tab.locator("#note").press_sequentially("arc")
    tab.locator("#note").press("Enter")
    assert platform.reviews.get(second).status == "open"
    tab.locator("main").press("c")
    right = "cards" if platform.reviews.get(second).label == "billing" else "billing"
    tab.locator("#label").select_option(right)
    picture(tab, "console_correct")
    with tab.expect_navigation():
        tab.get_by_role("button", name="Publish so").click()
    assert tab.locator(".said").inner_text() == f"Review {second}: corrected."
    assert (platform.reviews.get(second).decision or {})["label"] == right
    press(tab, "r")
    third = int(tab.locator(".said").inner_text().split()[1].rstrip(":"))
    assert tab.locator(".said").inner_text() == f"Review {third}: rejected."
    assert [platform.reviews.get(number).status for number in (first, second, third)] == [
        *("approved", "corrected", "rejected")
    ]


def test_documents_are_found_while_somebody_types(view: "Page") -> None:
    view.goto("/documents")
    picture(view, "console_documents")
    view.evaluate("window.stays = true")
    view.locator("main").press("/")
    view.keyboard.type("loans")
    view.wait_for_url("**q=loans**")
    assert view.locator("#found tbody tr").count() == 1
    assert view.evaluate("window.stays && document.activeElement.id") == "q"
    view.get_by_role("link", name="loans.md").click()
    view.wait_for_url(f"**/documents/{NOTES}/{document_id(NOTES, 'loans.md')}")
    picture(view, "console_document")
    view.goto(f"/documents/{NOTES}/{document_id(NOTES, HOSTILE_KEY)}")
    assert "<script>" in view.locator("pre.text").inner_text()


def test_dead_letters_in_a_browser(view: "Page") -> None:
    view.goto("/dead-letters")
    picture(view, "console_dead_letters")
    assert view.get_by_role("button", name="Retry").count() > 0
