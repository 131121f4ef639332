"""Pages of reports that are delivered as PDF files beside the questions about them."""

import re
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rag_platform.documents.parsing.pool import ParserPool
from rag_platform.documents.parsing.result import Hints, Parsed, ParseLimits
from rag_platform.training.rows import DataFile

# A line of running text is as long as the page is wide; one that is shorter, or ends as a row of
# figures or a sentence does, ends its paragraph.
_FULL_LINE: Final = 80
_ENDS: Final = re.compile(r"[.:;!?%)\]0-9\u2014\u2013-]$")
_LONGEST_PART: Final = 2_000

# Parts of a page: their ids, such as p54.7, and texts.
Page = list[tuple[str, str]]


class NoPages(ValueError):
    """A report has no pages to read: a reason code and why in words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Filings:
    """The PDF files of a delivery by their names without `.pdf`; use as a context manager.

    Each is parsed when it is first asked for, in a process of its own that can be killed.
    """

    def __init__(self, files: Sequence[DataFile]) -> None:
        self._files = {_stem(file): file for file in files if file.name.lower().endswith(".pdf")}
        self._pages: dict[str, list[str] | NoPages] = {}
        self._limits = ParseLimits()
        self._pool = ParserPool(self._limits, workers=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.close()

    def text(self, document: str, wanted: Sequence[int], *, most: int) -> list[tuple[str, str]]:
        """The parts of the wanted pages, numbered from 0, and of those beside them.

        Neighbours for which `most` characters leave no room are left out. Raises `NoPages`.
        """
        pages = self._read(document)
        near = {page + step: abs(step) for step in (1, -1, 0) for page in wanted}
        near |= dict.fromkeys(wanted, 0)
        kept: dict[int, Page] = {}
        for number in sorted(near, key=lambda page: (near[page], page)):
            if not 0 <= number < len(pages):
                continue
            page = _parts(number, pages[number])
            size = sum(len(name) + len(text) + 5 for name, text in page)
            if size <= most or not kept:
                kept[number] = page
                most -= size
        if not any(kept.get(number) for number in wanted):
            raise NoPages("no_page", f"{len(pages)} pages, and no text on those with the evidence")
        return [part for number in sorted(kept) for part in kept[number]]

    def _read(self, document: str) -> list[str]:
        if document not in self._pages:
            self._pages[document] = self._parsed(document)
        found = self._pages[document]
        if isinstance(found, NoPages):
            raise found
        return found

    def _parsed(self, document: str) -> list[str] | NoPages:
        file = self._files.get(document)
        if file is None:
            return NoPages("no_pdf", f"no file {document[:80]!r}.pdf beside the questions")
        if file.path.stat().st_size > self._limits.max_bytes:
            return NoPages("too_large", f"over {self._limits.max_bytes:,} bytes")
        one = (document, file.path.read_bytes, Hints(name=file.name))
        ((_, outcome),) = self._pool.parse_all([one])
        if not isinstance(outcome, Parsed):
            return NoPages(f"pdf_{outcome.reason}", outcome.detail)
        ends = [*outcome.page_starts[1:], len(outcome.text)]
        return [
            outcome.text[start:end] for start, end in zip(outcome.page_starts, ends, strict=True)
        ]


def _stem(file: DataFile) -> str:
    return file.name.rpartition("/")[2][: -len(".pdf")]


def _parts(number: int, text: str) -> Page:
    """The paragraphs and rows of a page; pages and parts count from 1."""
    found: list[str] = []
    is_open = False
    for line in filter(None, map(str.strip, text.split("\n"))):
        if is_open and len(found[-1]) + len(line) < _LONGEST_PART:
            found[-1] = f"{found[-1]} {line}"
        else:
            found.append(line)
        is_open = len(line) >= _FULL_LINE and _ENDS.search(line) is None
    return [(f"p{number + 1}.{place}", part) for place, part in enumerate(found, start=1)]
