"""clean_docs: the text that may be indexed, and the outcome of every change of the page."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from rag_platform.documents.cleaning import CLEANING_VERSION, Unusable, clean, shown, title_of
from rag_platform.documents.page import passes_of
from rag_platform.documents.parsed import ParsedDocs
from rag_platform.documents.parsing.result import MAY_BE_PICTURES
from rag_platform.documents.safety.screen import NOTHING, Screen, as_columns
from rag_platform.documents.settlement import Settlement
from rag_platform.documents.sources.base import Source
from rag_platform.encoders.languages import detect
from rag_platform.settings_documents import SafetySettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.pages import PageStore, PartKey
from rag_platform.storage.schema import passes

STAGE = "clean_docs"
_SETTLED = ["seq", "doc_id", "reason", "detail", "text_hash", "empty"]
_SETTLED += ["kinds", "hidden", "injection", "action"]

# Gets the window, the pass, and its documents that have a text, in batches of dicts with doc_id,
# text_hash and text. Called again when it was interrupted.


class AfterSettle(Protocol):
    """What is to know the texts of a pass."""

    def due(self, window: str, pass_no: int) -> bool:
        """Whether it waits for a pass, settled or not."""

    def __call__(self, window: str, pass_no: int, batches: Iterator[list[dict[str, Any]]]) -> None:
        """Take a pass: its documents with a text, as dicts with doc_id, text_hash and text.

        Called again when it was interrupted.
        """


@dataclass(slots=True)
class CleanFigures:
    """What one run over a page did; counts of documents, `characters` of clean text.

    `masked` documents lost secrets or personal data, `quarantined` ones are dead for them, and
    those `to_review` speak to a model.
    """

    cleaned: int = 0
    failed: int = 0
    empty: int = 0
    masked: int = 0
    quarantined: int = 0
    to_review: int = 0
    hidden_characters: int = 0
    characters: int = 0
    reused_passes: int = 0


class CleanDocs:
    """The cleaning stage of one source.

    `after_settle` is called for each pass once its outcomes are known, before it counts as settled.
    """

    def __init__(
        self,
        source: Source,
        parsed: ParsedDocs,
        *,
        catalog: Catalog,
        pages: PageStore,
        safety: SafetySettings | None = None,
        after_settle: AfterSettle | None = None,
    ) -> None:
        self.name = parsed.source
        self._screen = Screen(safety or SafetySettings())
        self._after_settle = after_settle
        self._source = source
        self._parsed = parsed
        self._catalog = catalog
        self._pages = pages

    def part(self, window: str, pass_no: int) -> PartKey | None:
        """Where the clean documents of one pass are kept; None before it was parsed."""
        version = self._pages.version(self._parsed.part(window, pass_no))
        if version is None:
            return None
        basis = f"{CLEANING_VERSION}\n{self._screen.fingerprint}\n{version}".encode()
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
            after = self._after_settle
            late = after is not None and after.due(window, pass_no)
            if fresh or late or not self._is_settled(window, pass_no):
                settlement.settle(window, pass_no, self._pages.read(part, columns=_SETTLED))
                if after is not None:
                    after(window, pass_no, self._texts(part))
                settlement.close(window, pass_no)
        return figures

    def _texts(self, part: PartKey) -> Iterator[list[dict[str, Any]]]:
        columns = ["doc_id", "text_hash", "text", "empty"]
        for batch in self._pages.read(part, columns=columns):
            yield [row for row in batch.to_pylist() if row["text"] and not row.pop("empty")]

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
            printed = row["media_type"] in MAY_BE_PICTURES
            result = clean(row["text"], tuple(row["page_starts"]), printed=printed)
        except Unusable as unusable:
            figures.failed += 1
            return kept | _no_text(unusable.reason, unusable.detail)
        metadata = {shown(name): shown(said) for name, said in json.loads(row["metadata"]).items()}
        hidden = result.hidden + _number(metadata.get("hidden_characters", ""))
        language = detect(result.text, metadata.get("language", ""))
        screened = self._screen(
            result.text,
            title=title_of(row["title"], result.text, row["key"]),
            metadata=metadata,
            page_starts=result.page_starts,
            language=language,
        )
        found = as_columns(screened) | {"hidden": hidden}
        figures.hidden_characters += hidden
        if screened.reason is not None:
            figures.failed += 1
            figures.quarantined += 1
            return kept | _no_text(screened.reason, screened.detail) | found
        text = screened.text
        figures.cleaned += 1
        figures.empty += not text.strip()
        figures.masked += screened.text != result.text
        figures.to_review += screened.action == "review"
        figures.characters += len(text)
        return (
            kept
            | found
            | {
                "reason": None,
                "detail": None,
                "text": text,
                "text_hash": hashlib.sha256(text.encode()).hexdigest(),
                "empty": not text.strip(),
                "title": screened.title,
                "language": language,
                "metadata": json.dumps(screened.metadata, ensure_ascii=False, sort_keys=True),
                "page_starts": list(screened.page_starts),
                "quality": result.quality,
            }
        )


def _no_text(reason: str, detail: str) -> dict[str, Any]:
    empty = dict.fromkeys(("text", "text_hash", "title", "language", "page_starts", "quality"))
    rest = {"empty": False, "hidden": 0, "metadata": "{}"}
    return {"reason": reason, "detail": detail} | rest | NOTHING | empty


def _number(digits: str) -> int:
    """A count that a parser left in the metadata."""
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def clean_schema() -> Any:
    """The columns of a clean part: one row per document, `text` null when `reason` says why.

    `kinds` (a JSON object of counts), `hidden`, `injection` and `action` as in safety_findings.
    """
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
            ("kinds", pa.string()),
            ("hidden", pa.int64()),
            ("injection", pa.float32()),
            ("action", pa.string()),
        ]
    )
