"""clean_docs: the text that may be indexed, and the outcome of every change of the page."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.cleaning import CLEANING_VERSION, Unusable, clean, title_of
from rag_platform.documents.page import passes_of
from rag_platform.documents.parsed import ParsedDocs
from rag_platform.documents.settlement import Settlement
from rag_platform.documents.sources import Source
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.pages import PageStore, PartKey
from rag_platform.storage.schema import passes

STAGE = "clean_docs"


@dataclass(slots=True)
class CleanFigures:
    """What one run over a page did; counts of documents, `characters` of clean text."""

    cleaned: int = 0
    failed: int = 0
    empty: int = 0
    hidden_characters: int = 0
    characters: int = 0
    reused_passes: int = 0


class CleanDocs:
    """The cleaning stage of one source."""

    def __init__(
        self, source: Source, parsed: ParsedDocs, *, catalog: Catalog, pages: PageStore
    ) -> None:
        self.name = parsed.source
        self._source = source
        self._parsed = parsed
        self._catalog = catalog
        self._pages = pages

    def part(self, window: str, pass_no: int) -> PartKey | None:
        """Where the clean documents of one pass are kept; None before it was parsed."""
        version = self._pages.version(self._parsed.part(window, pass_no))
        if version is None:
            return None
        basis = f"{CLEANING_VERSION}\n{version}".encode()
        return PartKey((self.name,), STAGE, window, pass_no, hashlib.sha256(basis).hexdigest())

    def run(self, window: str) -> CleanFigures:
        """Clean what was parsed and settle the outcome of every change of the page."""
        figures = CleanFigures()
        settlement = Settlement(
            self.name, self._catalog, fingerprint=self._parsed.attempt_fingerprint
        )
        with self._catalog.read() as connection:
            numbers = passes_of(connection, self.name, window)
        for pass_no in numbers:
            part = self.part(window, pass_no)
            if part is None:
                raise RuntimeError(f"{self.name} {window}: parsed_docs must run before clean_docs")
            fresh = self._pages.version(part) is None
            if fresh:
                self._clean(part, figures)
            else:
                figures.reused_passes += 1
            if fresh or not self._is_settled(window, pass_no):
                columns = ["seq", "doc_id", "reason", "detail", "text_hash", "empty"]
                rows = self._pages.read(part, columns=columns)
                settlement.settle(window, pass_no, rows)
        return figures

    def schema_problems(self, windows: Sequence[str]) -> list[str]:
        """What is wrong with the clean parts of some windows; empty when they fit."""
        import pyarrow.compute as pc

        problems: list[str] = []
        for window, part in self._parts(windows):
            columns = ["seq", "doc_id", "key", "uri", "reason", "text", "text_hash", "title"]
            for batch in self._pages.read(part, columns=columns):
                problems += [
                    f"{window}: {batch[name].null_count} rows without {name}"
                    for name in ("seq", "doc_id", "key", "uri")
                    if batch[name].null_count
                ]
                dead = pc.is_valid(batch["reason"])
                for name in ("text", "text_hash", "title"):
                    wrong = pc.sum(pc.equal(pc.is_valid(batch[name]), dead)).as_py()
                    if wrong:
                        problems.append(f"{window}: {wrong} rows with {name} against their reason")
        return problems

    def _parts(self, windows: Sequence[str]) -> Iterator[tuple[str, PartKey]]:
        for window in windows:
            with self._catalog.read() as connection:
                numbers = passes_of(connection, self.name, window)
            for pass_no in numbers:
                part = self.part(window, pass_no)
                if part is not None:
                    yield window, part

    def _is_settled(self, window: str, pass_no: int) -> bool:
        with self._catalog.read() as connection:
            return bool(
                connection.scalar(
                    sa.select(passes.c.settled).where(
                        passes.c.source == self.name,
                        passes.c.window == window,
                        passes.c.pass_no == pass_no,
                    )
                )
            )

    def _clean(self, part: PartKey, figures: CleanFigures) -> None:
        parsed = self._parsed.part(part.window, part.pass_no)
        with self._pages.writer(part, clean_schema()) as writer:
            for batch in self._pages.read(parsed):
                for row in batch.to_pylist():
                    cleaned = self._clean_row(row, figures)
                    writer.add(cleaned, size=len(cleaned["text"] or "") + 300)
        self._pages.retire(part)

    def _clean_row(self, row: dict[str, Any], figures: CleanFigures) -> dict[str, Any]:
        kept = {name: row[name] for name in ("seq", "doc_id", "key", "media_type", "metadata")}
        kept["uri"] = self._source.uri(row["key"])
        if row["reason"] is not None:
            figures.failed += 1
            return kept | _no_text(row["reason"], row["detail"])
        try:
            result = clean(row["text"], tuple(row["page_starts"]))
        except Unusable as unusable:
            figures.failed += 1
            return kept | _no_text(unusable.reason, unusable.detail)
        figures.cleaned += 1
        figures.empty += not result.text.strip()
        figures.hidden_characters += result.hidden
        figures.characters += len(result.text)
        metadata = json.loads(row["metadata"])
        return kept | {
            "reason": None,
            "detail": None,
            "text": result.text,
            "text_hash": hashlib.sha256(result.text.encode()).hexdigest(),
            "empty": not result.text.strip(),
            "title": title_of(row["title"], result.text, row["key"]),
            "language": metadata.get("language", "")[:16].lower(),
            "page_starts": list(result.page_starts),
            "quality": result.quality,
        }


def _no_text(reason: str, detail: str) -> dict[str, Any]:
    empty = dict.fromkeys(("text", "text_hash", "title", "language", "page_starts", "quality"))
    return {"reason": reason, "detail": detail, "empty": False} | empty


def clean_schema() -> Any:
    """The columns of a clean part: one row per document, `text` null when `reason` says why."""
    import pyarrow as pa

    return pa.schema(
        [
            ("seq", pa.int64()),
            ("doc_id", pa.string()),
            ("key", pa.string()),
            ("uri", pa.string()),
            ("reason", pa.string()),
            ("detail", pa.string()),
            ("text", pa.string()),
            ("text_hash", pa.string()),
            ("empty", pa.bool_()),
            ("title", pa.string()),
            ("language", pa.string()),
            ("media_type", pa.string()),
            ("page_starts", pa.list_(pa.int32())),
            ("metadata", pa.string()),
            ("quality", pa.float32()),
        ]
    )
