"""Consoles over copies of a small platform, their visitors, and a browser."""

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rag_platform.platform import Platform
from rag_platform_tests.console.library import Place, library, tiny_models
from rag_platform_tests.console.visitor import Visitor, visit
from rag_platform_tests.training.conftest import mlflow_template  # noqa: F401

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from rag_platform.console.security import Guard

CopyOf = Callable[[Path], Place]


@pytest.fixture(scope="session")
def _copy_of(
    tmp_path_factory: pytest.TempPathFactory,
    mlflow_template: Path,  # noqa: F811
) -> CopyOf:
    """Copies the library to a new folder."""
    root = library(tmp_path_factory.getbasetemp(), mlflow_template)

    def copy(target: Path) -> Place:
        # The engine sets aside much more room than it uses.
        subprocess.run(["cp", "-a", "--sparse=always", root, target], check=True)
        place = Place(target)
        place.write()
        return place

    return copy


@pytest.fixture
def place(_copy_of: CopyOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A copy of the library, for one test that changes it."""
    made = _copy_of(tmp_path / "library")
    for name, value in made.variables().items():
        monkeypatch.setenv(name, value)
    with tiny_models(monkeypatch):
        yield made


@pytest.fixture
def platform(place: Place) -> Iterator[Platform]:
    """Opened over that copy."""
    opened = place.platform()
    yield opened
    opened.close()


@pytest.fixture
def visitor(platform: Platform) -> Visitor:
    """Somebody on the same machine, whom nobody asks to sign in: "ann"."""
    return visit(platform)


@pytest.fixture(scope="module")
def shared(_copy_of: CopyOf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A copy for all tests of a file that only look."""
    made = _copy_of(tmp_path_factory.mktemp("console") / "library")
    with pytest.MonkeyPatch.context() as patch, tiny_models(patch):
        for name, value in made.variables().items():
            patch.setenv(name, value)
        yield made


@pytest.fixture(scope="module")
def onlooker(shared: Place) -> Iterator[Visitor]:
    """A visitor who only looks, with `onlooker.platform` behind the console."""
    opened = shared.platform()
    made = visit(opened)
    yield made
    opened.close()


# Of the folder, and in tests that come first: its event loop bars others from this process.
@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    """The system's Chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (Debian: chromium)")
    from playwright.sync_api import sync_playwright

    from rag_platform_tests.ui.conftest import FLAGS

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@contextlib.contextmanager
def serving(app: "Guard") -> Iterator[str]:
    """The address at which a real server answers for the length of the block."""
    import uvicorn

    from rag_platform.listening import address_of, listen

    with listen("127.0.0.1", 0, variable="TOKEN") as listener:
        config = uvicorn.Config(app, log_config=None, proxy_headers=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://{address_of(listener)}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def served(visitor: Visitor) -> Iterator[str]:
    """The address of the console that `visitor` visits, for a browser."""
    with serving(visitor.app) as url:
        yield url


@contextlib.contextmanager
def _tab(browser: "Browser", url: str) -> "Iterator[Page]":
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(20_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
    yield page
    context.close()
    assert not problems


@pytest.fixture
def tab(browser: "Browser", served: str) -> "Iterator[Page]":
    """A tab of the browser at that address; nothing there may break the policy or fail."""
    with _tab(browser, served) as page:
        yield page


@pytest.fixture(scope="module")
def shown(onlooker: Visitor) -> Iterator[str]:
    """The address of the console that `onlooker` looks at."""
    with serving(onlooker.app) as url:
        yield url


@pytest.fixture
def view(browser: "Browser", shown: str) -> "Iterator[Page]":
    """As `tab`, for tests that only look: all of a file look at the same console."""
    with _tab(browser, shown) as page:
        yield page
