"""The console in a browser: hostile documents, keys alone, a phone, light and dark, no scripts."""

from typing import TYPE_CHECKING

import pytest

from rag_platform.console.access import Access
from rag_platform.console.app import console
from rag_platform.platform import Platform
from rag_platform_tests.console.conftest import serving
from rag_platform_tests.ui.conftest import picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.ui, pytest.mark.slow]

TOKEN = "a-token-of-many-letters"
PAGES = (
    *("/", "/?q=tea", "/sign-in", "/documents", "/reviews", "/reviews/1"),
    *("/indexes", "/indexes/v2", "/indexes/v2/compare", "/indexes/v2/promote"),
    *("/models", "/models/tiny_model", "/models/tiny_model/compare"),
    *("/costs", "/dead-letters", "/audit"),
)

# Of every text on the page whose contrast with what is behind it is under 4.5: text and contrast.
_FAINT = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(found) && found !== "transparent") return found;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.textContent.trim();
    if (!text || !element.getClientRects().length || element.closest("svg, [aria-busy]")) continue;
    const [one, other] = [light(getComputedStyle(element).color), light(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) faint.push([text.slice(0, 40), contrast.toFixed(2)]);
  }
  return faint;
}"""

# What somebody who cannot see the page would miss.
_UNNAMED = """() => {
  const bad = [];
  const named = (e) => e.labels?.length || e.getAttribute("aria-label") || e.textContent.trim();
  for (const e of document.querySelectorAll("input, select, textarea, button, a[href]"))
    if (e.type !== "hidden" && !named(e)) bad.push(e.outerHTML.slice(0, 120));
  for (const e of document.querySelectorAll("table"))
    if (!e.caption?.textContent.trim()) bad.push("a table without a caption");
  for (const e of document.querySelectorAll("svg"))
    if (!e.getAttribute("role") && !e.getAttribute("aria-hidden")) bad.push("a picture");
  if (document.querySelectorAll("h1").length !== 1) bad.push("not one h1");
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) bad.push("an id twice");
  return bad;
}"""


def test_hostile_documents_stay_texts(view: "Page") -> None:
    view.goto("/?q=who+patented+the+steam+engine")
    assert view.title().startswith("who patented")
    shown = view.locator(".results").inner_text()
    assert "<script>document.title='owned'</script>" in shown
    assert view.locator(".results img, .results script").count() == 0
    # The tab fails the test where a script of a document ran, or the policy had to stop one.
    view.goto("/?q=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E")
    assert view.locator("#q").input_value() == "<img src=x onerror=alert(1)>"


def test_search_by_keys_alone(view: "Page") -> None:
    view.goto("/")
    assert view.evaluate("document.activeElement.id") == "q"
    view.keyboard.type("how long is black tea steeped")
    view.keyboard.press("Enter")
    view.locator(".results").wait_for()
    picture(view, "console_search")
    # The first thing that the tab key reaches leads past the navigation.
    view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.textContent") == "Skip to content"
    view.keyboard.press("/")
    assert view.evaluate("document.activeElement.id") == "q"
    view.keyboard.type("1?")
    assert view.locator("#q").input_value() == "1?"  # typed over: it was selected
    view.locator("main").press("?")
    keys = view.locator("dialog[open]")
    assert keys.locator("dt").all_inner_texts()[:3] == ["?", "/", "1"]
    keys.get_by_role("checkbox").press("Space")
    view.keyboard.press("Escape")
    view.locator("dialog").wait_for(state="detached")
    address = view.url
    view.locator("main").press("1")
    assert view.url == address  # the keys are off, and stay so
    view.reload()
    view.locator("main").press("?")
    view.locator("dialog[open]").get_by_role("checkbox").press("Space")
    view.get_by_role("button", name="Close").press("Enter")
    with view.expect_navigation(url="**/documents/notes/**"):
        view.locator("main").press("1")
    assert "#passage-" in view.url


def test_a_citation_opens_its_passage_in_the_document(view: "Page") -> None:
    view.goto("/")
    view.fill("#q", "How long is black tea steeped?")
    view.get_by_role("button", name="Ask").click()
    view.locator(".answer").wait_for()
    picture(view, "console_answer")
    quote = view.locator("#citation-1 blockquote").inner_text()
    view.locator("#citation-1 > a").click()
    marked = view.locator("mark.passage")
    marked.wait_for()
    assert " ".join(marked.inner_text().split()) == quote
    top, height = marked.evaluate("e => [e.getBoundingClientRect().top, innerHeight]")
    assert 0 <= top < height


def test_a_filter_shows_at_once_what_it_leaves(view: "Page") -> None:
    view.goto("/?q=steam+engine")
    view.evaluate("window.stays = true")
    view.get_by_text("Filters").click()
    view.get_by_label("Source").select_option("wiki")
    view.wait_for_url("**source=wiki**")
    assert view.locator(".results > li").count() == 1
    assert view.evaluate("window.stays")
    assert "csrf" not in view.url


def test_pages_can_be_read_on_a_phone_in_light_and_dark(view: "Page") -> None:
    view.set_viewport_size({"width": 360, "height": 740})
    view.goto("/documents")
    inner = view.locator("main a[href^='/documents/notes/']").all()
    assert inner
    for path in (*PAGES, *(each.get_attribute("href") or "" for each in inner[:6])):
        view.goto(path)
        wide = view.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert (path, wide) == (path, 0)
        assert (path, view.evaluate(_UNNAMED)) == (path, [])
        view.emulate_media(color_scheme="light")
        assert (path, view.evaluate(_FAINT)) == (path, [])
        view.emulate_media(color_scheme="dark")
        assert (path, view.evaluate(_FAINT)) == (path, [])
        if path == "/?q=tea":
            picture(view, "console_phone")


def test_without_scripts(browser: "Browser", shown: str) -> None:
    with browser.new_context(base_url=shown, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/")
        page.fill("#q", "black tea")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert page.locator(".results > li").count() > 0
        assert "?q=black+tea" in page.url
        assert "csrf" not in page.url
        page.get_by_role("button", name="Ask").click()
        assert page.url.endswith("/ask")
        assert page.locator("h2").first.inner_text() == "Answer"


def test_signing_in(browser: "Browser", platform: Platform) -> None:
    access = Access(token=TOKEN)
    app = console(platform, platform.reader(), access=access)
    with serving(app) as url, browser.new_context(base_url=url) as context:
        page = context.new_page()
        page.goto("/audit")
        picture(page, "console_sign_in")
        page.fill("#name", "bob")
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        assert "The token is wrong." in page.get_by_role("alert").inner_text()
        assert page.locator("#name").input_value() == "bob"
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url("**/audit")
        assert page.locator(".who span").inner_text() == "bob"
        [cookie] = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
        assert page.evaluate("document.cookie") == ""
        # A page elsewhere that sends a form of its own changes nothing: who signed in stays so.
        page.goto(f"data:text/html,<form method=post action='{url}/sign-out'></form>")
        with page.expect_navigation():
            page.evaluate("document.forms[0].submit()")
        assert page.url == f"{url}/sign-out"
        page.goto("/audit")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/sign-in")
        page.goto("/audit")
        assert "/sign-in" in page.url
