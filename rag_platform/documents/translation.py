"""translated_docs: clean documents in one language, between clean_docs and chunks.

A document is translated piece by piece. The memo has every answer under the piece's own text, so
that an edit costs its paragraphs only, and a run that was killed goes on where it ended.
"""

import hashlib
import itertools
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, create_model

from rag_platform.documents import cleaning
from rag_platform.documents.clean import CleanDocs, clean_schema
from rag_platform.documents.cleaning import Unusable, quality, title_of
from rag_platform.documents.page import passes_of, standing
from rag_platform.documents.pieces import Piece, pieces
from rag_platform.encoders.languages import code, detect
from rag_platform.errors import PlatformError
from rag_platform.llm.completion import Ask, Completion
from rag_platform.llm.errors import ModelError, ServiceRefused
from rag_platform.llm.gateway import Gateway
from rag_platform.settings_documents import TranslationSettings
from rag_platform.settings_values import DEFAULT_TENANT
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo, memo_key
from rag_platform.storage.pages import PageStore, PartKey
from rag_platform.storage.schema import changes

logger = logging.getLogger(__name__)

STAGE = "translated_docs"
PROMPT = "document_translation"
# Part of every part's name; a change means that the same document would come out different.
TRANSLATION_VERSION = "1"

_ROWS = 100
# Answers that are kept in one transaction; those that are not kept yet may be lost by a kill.
_KEEP = 8
# How long a run waits for one that translates: as long as a large page takes.
_PATIENCE_S = 3_600.0
# In the metadata of a document: how many of its pieces are in its own language.
_LEFT = "untranslated_pieces"
# A translation is refused that is longer than the text by more than this.
_LONGER, _MORE = 6, 200

_HEADINGS = re.compile(r"^ {0,3}(#{1,6})[ \t]", re.MULTILINE)
_ROW = re.compile(r"^[ \t]*\|.*\S", re.MULTILINE)


class TranslationWaits(PlatformError):
    """Some of a page could not be translated yet; what was is kept."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


@dataclass(slots=True)
class TranslationFigures:
    """What one run over a page did.

    Of documents: `translated` and `as_they_are`. Of the `pieces` of those translated: `asked` of a
    model now, and `left` in their language, because no model gave a usable answer.
    """

    translated: int = 0
    as_they_are: int = 0
    pieces: int = 0
    asked: int = 0
    left: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    microusd: int = 0
    reused_passes: int = 0


class Translated:
    """The translating stage of one source; its parts have the columns of clean_docs."""

    def __init__(
        self,
        clean: CleanDocs,
        rules: TranslationSettings,
        *,
        gateway: Callable[[], Gateway],
        catalog: Catalog,
        memo: Memo,
        pages: PageStore,
        tenant: str = DEFAULT_TENANT,
    ) -> None:
        self.name = clean.name
        self._clean = clean
        self._to = code(rules.to) or rules.to
        self._languages = frozenset(map(code, rules.languages))
        self._open_gateway = gateway
        self._catalog = catalog
        self._memo = memo
        self._pages = pages
        self._tenant = tenant

    @cached_property
    def _gateway(self) -> Gateway:
        return self._open_gateway()

    @cached_property
    def _fingerprint(self) -> str:
        """What decides a translation. Not the model: a text that was translated stays so when
        another model is configured, or none; a new version of the prompt makes all anew."""
        prompt = self._gateway.choice(PROMPT)
        return f"{TRANSLATION_VERSION}/{prompt.prompt}/{prompt.prompt_sha256}/{self._to}"

    def part(self, window: str, pass_no: int) -> PartKey | None:
        """Where the documents of one pass are kept; None before it was cleaned."""
        clean = self._clean.part(window, pass_no)
        version = self._pages.version(clean) if clean else None
        if version is None:
            return None
        basis = [self._fingerprint, ",".join(sorted(self._languages)), version]
        fingerprint = hashlib.sha256("\n".join(basis).encode()).hexdigest()
        return PartKey((self.name,), STAGE, window, pass_no, fingerprint)

    def run(self, window: str) -> TranslationFigures:
        """Translate what is in another language; passes translated before are reused.

        Raises `TranslationWaits` where the budget or the service ends before the page does: what
        was translated is kept, and the part of the last run stands.
        """
        figures = TranslationFigures()
        # Two runs that miss the same answers must not both pay for them.
        with self._catalog.exclusive(f"translated-{self.name}", timeout_s=_PATIENCE_S):
            for pass_no, clean, part in self._parts(window):
                if self._pages.version(part) is not None:
                    figures.reused_passes += 1
                    continue
                self._ask(clean, figures)
                with self._pages.writer(part, clean_schema()) as writer:
                    for row in self._translated(clean, figures):
                        writer.add(row, size=len(row["text"] or "") + 300)
                self._pages.retire(part)
                logger.info("%s %s, pass %d: translated", self.name, window, pass_no)
        return figures

    def unasked(self, window: str) -> Iterator[str]:
        """The pieces that `run` would ask a model about, each once; of passes that were cleaned."""
        seen: set[bytes] = set()
        with self._catalog.read() as connection:
            numbers = passes_of(connection, self.name, window)
        for pass_no in numbers:
            clean, part = self._clean.part(window, pass_no), self.part(window, pass_no)
            if clean is not None and part is not None and self._pages.version(part) is None:
                for missing in self._missing(clean):
                    new = missing.keys() - seen
                    yield from (missing[key].variables["text"] for key in new)
                    seen |= new

    def memo_keys(self, row: Mapping[str, Any]) -> list[bytes]:
        """Under which keys the memo has the translation of a clean row: none where it has none."""
        plan = self._plan(row)
        return [self._key(plan, piece) for piece in plan.prose] if plan else []

    def untranslated(self, windows: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        """Window, key and number of pieces of each document that is in part as it was."""
        for window in windows:
            for _, _, part in self._parts(window):
                if self._pages.version(part) is not None:
                    for batch in self._pages.read(part, columns=["key", "metadata"]):
                        for row in batch.to_pylist():
                            if left := json.loads(row["metadata"]).get(_LEFT):
                                yield window, row["key"], left

    def _parts(self, window: str) -> Iterator[tuple[int, PartKey, PartKey]]:
        """The passes of a page, each with its clean part and its own."""
        with self._catalog.read() as connection:
            numbers = passes_of(connection, self.name, window)
        for pass_no in numbers:
            clean, part = self._clean.part(window, pass_no), self.part(window, pass_no)
            if clean is None or part is None:
                raise RuntimeError(
                    f"{self.name} {window}: clean_docs must run before translated_docs"
                )
            yield pass_no, clean, part

    # Asking

    def _ask(self, clean: PartKey, figures: TranslationFigures) -> None:
        """Bring every missing piece of a pass into the memo, or raise what is in the way."""
        waiting: PlatformError | None = None
        left = 0
        for missing in self._missing(clean):
            if missing and self._gateway.is_extractive:
                waiting = ServiceRefused("no model can be asked without a key: set OPENAI_API_KEY.")
            if waiting is None:
                answered, waiting = self._answer(missing, figures)
                left -= answered
            left += len(missing)
        if waiting is not None:
            raise TranslationWaits(
                f"{self.name} {clean.window}: {left:,} pieces are still to be translated; what is "
                f"translated is kept. {waiting}",
                transient=waiting.transient,
            )

    def _missing(self, clean: PartKey) -> Iterator[dict[bytes, Ask[Any]]]:
        """The questions about some documents of a pass that the memo has no answer to."""
        for batch in self._batches(clean):
            asks: dict[bytes, Ask[Any]] = {}
            for plan in batch:
                asks |= {
                    self._key(plan, piece): self._question(plan, piece) for piece in plan.prose
                }
            known = self._memo.known(asks)
            yield {key: ask for key, ask in asks.items() if key not in known}

    def _question(self, plan: "_Plan", piece: str) -> Ask[Any]:
        variables = {"text": piece, "language": plan.language, "to": self._to}
        return Ask(PROMPT, variables, translation_schema(piece))

    def _key(self, plan: "_Plan", piece: str) -> bytes:
        content = f"{plan.language}\n{piece}".encode()
        return memo_key(STAGE, self._fingerprint, content, self._tenant)

    def _answer(
        self, missing: Mapping[bytes, Ask[Any]], figures: TranslationFigures
    ) -> tuple[int, PlatformError | None]:
        """Ask, and keep the answers a few at a time; how many are kept, and what ended it early."""
        waiting: PlatformError | None = None
        unkept: dict[bytes, bytes] = {}
        kept = 0

        def until_refused() -> Iterator[Ask[Any]]:
            for ask in missing.values():
                if waiting is not None:
                    return
                yield ask

        try:
            results = self._gateway.map(until_refused())
            for key, result in zip(missing, results, strict=False):
                if isinstance(result, PlatformError) and not _is_final(result):
                    waiting = waiting or result
                    continue
                unkept[key] = _kept(result)
                if not isinstance(result, PlatformError):
                    _count(figures, result)
                if len(unkept) >= _KEEP:
                    self._memo.put_many(unkept)
                    kept += len(unkept)
                    unkept = {}
        finally:
            if unkept:
                self._memo.put_many(unkept)
        return kept + len(unkept), waiting

    # Documents

    def _batches(self, clean: PartKey) -> Iterator[list["_Plan"]]:
        """What is to be translated of the standing documents of a pass."""
        for rows, stands in self._rows(clean):
            plans = (self._plan(row) for row in rows if row["seq"] in stands)
            yield [plan for plan in plans if plan is not None]

    def _rows(self, clean: PartKey) -> Iterator[tuple[list[dict[str, Any]], set[int]]]:
        """The rows of a clean part, and the numbers of those changes that stand."""
        statement = standing(self.name, clean.window, clean.pass_no)
        for batch in self._pages.read(clean, rows=_ROWS):
            rows = batch.to_pylist()
            numbers = [row["seq"] for row in rows]
            with self._catalog.read() as connection:
                found = connection.execute(statement.where(changes.c.seq.in_(numbers)))
                stands = {row.seq for row in found}
            yield rows, stands

    def _plan(self, row: Mapping[str, Any]) -> "_Plan | None":
        """The pieces of a document; None where it stays as it is."""
        language = code(row["language"] or "")
        wanted = language in self._languages if self._languages else bool(language)
        if row["reason"] is not None or row["empty"] or not wanted or language == self._to:
            return None
        # A file's name that stands in for a title is no text.
        has_title = row["title"] != title_of("", "", row["key"])
        title = Piece(row["title"], has_title and any(map(str.isalpha, row["title"])))
        starts = row["page_starts"] or [0]
        ends = [*starts[1:], len(row["text"])]
        texts = [row["text"][start:end] for start, end in zip(starts, ends, strict=True)]
        return _Plan(language, title, [pieces(text) for text in texts])

    def _translated(self, clean: PartKey, figures: TranslationFigures) -> Iterator[dict[str, Any]]:
        """The rows of a pass's part: translated, or as they are."""
        for rows, stands in self._rows(clean):
            plans = {row["seq"]: self._plan(row) for row in rows if row["seq"] in stands}
            keys = [
                self._key(plan, piece) for plan in plans.values() if plan for piece in plan.prose
            ]
            memo = self._memo.get_many(keys)
            figures.pieces += len(keys)
            for row in rows:
                plan = plans.get(row["seq"])
                if plan is None:
                    figures.as_they_are += 1
                    yield row
                    continue
                figures.translated += 1
                answers = {piece: json.loads(memo[self._key(plan, piece)]) for piece in plan.prose}
                left = sum(answer["text"] is None for answer in answers.values())
                figures.left += left
                texts = {piece: a["text"] for piece, a in answers.items() if a["text"] is not None}
                yield row | self._row(row, plan, texts, left)

    def _row(
        self, row: Mapping[str, Any], plan: "_Plan", texts: Mapping[str, str], left: int
    ) -> dict[str, Any]:
        """The columns in which a translated document differs."""
        pages = ["".join(_filled(piece, texts) for piece in page) for page in plan.pages]
        text = "".join(pages)
        starts = [0, *itertools.accumulate(map(len, pages[:-1]))]
        metadata = json.loads(row["metadata"]) | {"original_language": plan.language}
        metadata.pop(_LEFT, None)  # of the document's own
        if left:
            metadata[_LEFT] = str(left)
        return {
            "text": text,
            "text_hash": hashlib.sha256(text.encode()).hexdigest(),
            "title": title_of(_filled(plan.title, texts), text, row["key"]),
            "language": detect(text, self._to),
            "page_starts": starts if row["page_starts"] else [],
            "metadata": json.dumps(metadata, ensure_ascii=False, sort_keys=True),
            "quality": quality(text),
        }


@dataclass(frozen=True, slots=True)
class _Plan:
    """A document that is to be translated, page by page."""

    language: str
    title: Piece
    pages: list[list[Piece]]

    @property
    def prose(self) -> list[str]:
        """The different texts that a model is asked about."""
        all_ = [self.title, *(piece for page in self.pages for piece in page)]
        return list(dict.fromkeys(piece.text.strip() for piece in all_ if piece.is_prose))


def _filled(piece: Piece, texts: Mapping[str, str]) -> str:
    """A piece in the other language, with the space around it; as it is where there is none."""
    bare = piece.text.strip()
    if not piece.is_prose or bare not in texts:
        return piece.text
    head, _, tail = piece.text.partition(bare)
    return head + texts[bare] + tail


def translation_schema(piece: str) -> type[BaseModel]:
    """The form of the answer about a piece: text with the piece's headings and table rows."""

    def usable(text: str) -> str:
        try:
            text = cleaning.clean(text).text.strip()
        except Unusable as unusable:
            raise ValueError(unusable.detail) from None
        if not text:
            raise ValueError("the translation is empty")
        if len(text) > _LONGER * len(piece) + _MORE:
            raise ValueError("the translation is much longer than the text")
        if _HEADINGS.findall(text) != _HEADINGS.findall(piece):
            raise ValueError("the translation must have the headings of the text")
        if len(_ROW.findall(text)) != len(_ROW.findall(piece)):
            raise ValueError("the translation must have the table rows of the text")
        return text

    return create_model(
        "Translation",
        __config__=ConfigDict(extra="forbid"),
        text=(Annotated[str, AfterValidator(usable)], ...),
    )


def _is_final(error: PlatformError) -> bool:
    """Whether a model had its say about a piece, and will say no other thing."""
    refused = isinstance(error, ModelError) and not isinstance(error, ServiceRefused)
    return refused and not error.transient


def _kept(result: Completion[Any] | PlatformError) -> bytes:
    """An answer as the memo keeps it; `text` is None where there is none to be had."""
    if isinstance(result, PlatformError):
        logger.warning("a piece stays in its language: %s", result)
        answer = {"text": None, "why": type(result).__name__}
    else:
        answer = {"text": result.value.text, "model": result.model}
    return json.dumps(answer, ensure_ascii=False).encode()


def _count(figures: TranslationFigures, result: Completion[Any]) -> None:
    figures.asked += 1
    figures.input_tokens += result.input_tokens
    figures.output_tokens += result.output_tokens
    figures.microusd += 0 if result.cached else result.microusd
