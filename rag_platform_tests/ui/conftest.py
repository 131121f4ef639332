"""The UI in a headless browser: webserver and daemon as processes, Chromium from the system."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rag_platform.settings import PROJECT_ROOT
from rag_platform_tests.servers.dagster_processes import Workplace, workplace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Chromium otherwise calls home at every start.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
IMAGES = PROJECT_ROOT / "docs" / "images"


# Of a module: its event loop, which goes on as long as it does, bars others from this process.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """The system's Chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (Debian: chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def days() -> list[str]:
    """The windows of the source: two weeks, the last of them still running."""
    today: date = datetime.now(UTC).date()
    return [(today - timedelta(days=13 - n)).isoformat() for n in range(14)]


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, days: list[str]
) -> "Iterator[tuple[Workplace, str]]":
    """A workplace with dated documents, and the address of its webserver."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("ui")
        place = workplace(folder, patch, automation=False, sources=_sources(folder, days[0]))
        for number, day in enumerate(days[:-1]):
            _write(place.source / day, number)
        with place.webserver() as url, place.daemon():
            patch.setenv("DAGSTER_WEBSERVER_URL", url)
            yield place, url


def _sources(folder: Path, start: str) -> dict[str, dict[str, object]]:
    source = {"url": str(folder / "source"), "start": start, "dated_by": "path"}
    return {"manuals": source | {"max_dead_letter_share": 0.5}}


def _write(folder: Path, number: int) -> None:
    """A day's documents: some of their own, a copy of a text, and now and then a broken one."""
    folder.mkdir()
    for page in range(4 + number % 3):
        paragraphs = [
            f"Step {step} of procedure {number}.{page}: open valve {step + page} and wait until "
            "the gauge shows a steady pressure before the next valve is opened."
            for step in range(1, 30)
        ]
        text = f"# Procedure {number}.{page}\n\n" + "\n\n".join(paragraphs)
        (folder / f"procedure-{page}.md").write_text(text, encoding="utf-8")
    (folder / "notice.md").write_text("# Notice\n\nWear gloves.\n", encoding="utf-8")
    if number % 3 == 0:
        (folder / "scan.pdf").write_text("not a PDF", encoding="utf-8")


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A new page of the size of our pictures."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    yield opened
    context.close()


@contextlib.contextmanager
def wide_page(page: "Page") -> "Iterator[Page]":
    """A page with room for the figures in the nodes of a graph of one row."""
    browser = page.context.browser
    assert browser is not None
    with browser.new_context(viewport={"width": 1900, "height": 560}) as context:
        opened = context.new_page()
        opened.set_default_timeout(60_000)
        yield opened


def picture(page: "Page", name: str) -> None:
    """Keep what the page shows in docs/images, where RAG_PLATFORM_SCREENSHOTS asks for it."""
    if os.environ.get("RAG_PLATFORM_SCREENSHOTS"):
        IMAGES.mkdir(exist_ok=True)
        page.mouse.move(5, 5)
        page.wait_for_timeout(1_500)
        page.screenshot(path=IMAGES / f"{name}.png")
