"""A source of a few files, and its stages up to the clean text, without an index."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rag_platform.documents.changelog import PassReport
from rag_platform.documents.clean import CleanFigures
from rag_platform.documents.dead_letters import DeadLetter, letters
from rag_platform.documents.parsed import ParseFigures
from rag_platform.documents.report import PageReport, report
from rag_platform.platform import Platform
from rag_platform.settings import Settings
from rag_platform_tests.catalogs import new_catalog
from rag_platform_tests.conformance.corpus import Folder
from rag_platform_tests.conformance.harness import SOURCE, CountedPlatform


class Docs:
    """A folder and a platform over it; `source` and `limits` as in the settings."""

    def __init__(
        self, root: Path, *, limits: dict[str, Any], catalog: str | None, **source: Any
    ) -> None:
        self.folder = Folder(root / "docs")
        self.home = root / "home"
        self._catalog = {"catalog": catalog or new_catalog(self.home / "catalog.db")}
        self._source = {"url": self.folder.root.as_uri(), "start": "2026-07-01", **source}
        self.platform = self.open(limits)

    def open(self, limits: dict[str, Any] | None = None) -> Platform:
        """A platform on the same state, with other limits perhaps."""
        settings = Settings.model_validate(
            {
                "home": self.home,
                "sources": {SOURCE: self._source},
                "indexes": {"docs_v1": {}},
                "live": "docs_v1",
                "limits": limits or {},
                **self._catalog,
            }
        )
        self.platform = CountedPlatform(settings, quick=True)
        return self.platform

    def ask(self, window: str, **how: bool) -> PassReport:
        """raw_docs."""
        return self.platform.raw(SOURCE).run(window, **how)

    def parse(self, window: str, *, retry: bool = False) -> ParseFigures:
        """parsed_docs."""
        return self.platform.parsed(SOURCE).run(window, retry=retry)

    def clean(self, window: str) -> CleanFigures:
        """clean_docs."""
        return self.platform.clean(SOURCE).run(window)

    def run(self, window: str, *, retry: bool = False, **how: bool) -> PassReport:
        """All three."""
        done = self.ask(window, **how)
        self.parse(window, retry=retry)
        self.clean(window)
        return done

    def page(self, window: str) -> PageReport:
        """The report of a page that was written."""
        found = report(self.platform.catalog, SOURCE, window)
        assert found is not None
        return found

    def outcomes(self, window: str) -> dict[str, int]:
        """Of the page's newest pass; they add up."""
        page = self.page(window)
        assert page.sums
        return page.outcomes

    def letters(self) -> dict[str, DeadLetter]:
        """The dead letters by key."""
        return {letter.key: letter for letter in letters(self.platform.catalog)}

    def raw_keys(self, window: str, pass_no: int) -> list[str]:
        """The keys whose bytes one pass fetched."""
        from rag_platform.documents.raw import raw_part

        part = raw_part(SOURCE, window, pass_no)
        if self.platform.pages.version(part) is None:
            return []
        return [key for batch in self.platform.pages.read(part) for key in batch["key"].to_pylist()]

    def clean_rows(self, window: str, pass_no: int = 1) -> dict[str, dict[str, Any]]:
        """The rows of a clean part by key."""
        part = self.platform.clean(SOURCE).part(window, pass_no)
        assert part is not None
        rows = [row for batch in self.platform.pages.read(part) for row in batch.to_pylist()]
        return {row["key"]: row for row in rows}

    def dated(self, key: str, when: str, content: str | None = None) -> None:
        """Write a file that was modified at an ISO time in UTC."""
        import os

        self.folder.write(key, content if content is not None else f"text of {key}")
        seconds = datetime.fromisoformat(f"{when}+00:00").timestamp()
        os.utime(self.folder.root / key, (seconds, seconds))


MakeDocs = Callable[..., Docs]


@pytest.fixture
def make_docs(tmp_path: Path) -> Iterator[MakeDocs]:
    """Makes sources, each in a folder of its own."""
    made: list[Docs] = []

    def make(
        *, limits: dict[str, Any] | None = None, catalog: str | None = None, **source: Any
    ) -> Docs:
        root = tmp_path / f"world{len(made)}"
        made.append(Docs(root, limits=limits or {}, catalog=catalog, **source))
        return made[-1]

    yield make
    for docs in made:
        docs.platform.close()


@pytest.fixture
def docs(make_docs: MakeDocs) -> Docs:
    """An empty folder, dated by when things are seen."""
    return make_docs()
