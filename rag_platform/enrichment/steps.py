"""One step of the enrichment: a model's answer for every document of a page."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from rag_platform.documents.clean import CleanDocs
from rag_platform.documents.cleaning import title_of
from rag_platform.documents.page import passes_of, standing
from rag_platform.enrichment.asking import AskFigures, Asking, Outcome, Wanted
from rag_platform.enrichment.extractive import VERSION
from rag_platform.enrichment.fields import canonical
from rag_platform.enrichment.letters import StepLetters
from rag_platform.enrichment.progress import begin
from rag_platform.llm.completion import Ask
from rag_platform.llm.errors import ModelUnavailable
from rag_platform.llm.gateway import Gateway
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Claim, Memo
from rag_platform.storage.pages import PageStore, PartKey, Stretch
from rag_platform.storage.schema import changes

# Part of every step part's name; a change means that its columns changed.
STEPS_VERSION = "1"
# Of a batch of documents that is asked about at once: documents, and characters.
_BATCH_DOCUMENTS = 200
_BATCH_SIZE = 4_000_000
_WHOLE_GROUP = 1 << 31  # rows; more than a row group has
# How long a run waits for one that is asking: as long as a large backfill takes.
_PATIENCE_S = 86_400.0

Document = Mapping[str, Any]  # a row of a clean part
_Spans = tuple[tuple[PartKey, str | None], dict[Stretch, tuple[int, int]]]
_COLUMNS = ["seq", "doc_id", "key", "reason", "empty", "text", "text_hash", "title", "language"]


@dataclass(frozen=True, slots=True)
class Finished:
    """A step's value for a document; `dropped` counts what of the answer the text does not bear
    out."""

    value: dict[str, Any]
    dropped: int = 0


@dataclass(frozen=True)
class Recipe:
    """What a step asks, and what it makes of the answer.

    `variables` gets a document and the value of the step before it, None where there is none;
    `finish` gets the answer and the document. `version` stands for what both do: another one
    makes a page again, and asks anew only where the variables came out different.
    """

    stage: str
    prompt: str
    schema: type[BaseModel]
    version: str
    variables: Callable[[Document, Mapping[str, Any] | None], dict[str, str]]
    finish: Callable[[Mapping[str, Any], Document], Finished]


class Step:
    """A step of one source; `before` is the step whose values it uses."""

    def __init__(
        self,
        recipe: Recipe,
        clean: CleanDocs,
        before: "Step | None" = None,
        *,
        gateway: Callable[[], Gateway],
        catalog: Catalog,
        memo: Memo,
        pages: PageStore,
    ) -> None:
        self.stage = recipe.stage
        self.prompt = recipe.prompt
        self.source = clean.name
        self._recipe = recipe
        self._clean = clean
        self._before = before
        self._open_gateway = gateway
        self._catalog = catalog
        self._memo = memo
        self._pages = pages
        self._part_spans: _Spans | None = None

    @cached_property
    def _gateway(self) -> Gateway:
        return self._open_gateway()

    @cached_property
    def fingerprint(self) -> str:
        """What decides an answer: model, prompt, schema and parameters."""
        fingerprint = self._gateway.fingerprint(self._recipe.prompt, self._recipe.schema)
        return f"{fingerprint}/{VERSION}" if self._gateway.is_extractive else fingerprint

    @property
    def lock(self) -> str:
        """Held by who asks: two runs that miss the same answers must not both pay for them."""
        return f"enrichment-{self.source}-{self.stage}"

    def part(self, window: str, pass_no: int) -> PartKey | None:
        """Where the answers of one pass are kept; None before its inputs are."""
        inputs = [self._clean.part(window, pass_no)]
        if self._before:
            inputs.append(self._before.part(window, pass_no))
        versions = [self._pages.version(part) if part else None for part in inputs]
        if None in versions:
            return None
        basis = [STEPS_VERSION, self._recipe.version, self.fingerprint, *map(str, versions)]
        fingerprint = hashlib.sha256("\n".join(basis).encode()).hexdigest()
        return PartKey((self.source,), self.stage, window, pass_no, fingerprint)

    def run(
        self, window: str, *, retry: bool = False, filled: AskFigures | None = None
    ) -> AskFigures:
        """Ask about what the page has and the memo does not; `retry` also about what failed.

        Passes whose documents all have an answer, or failed, are reused. Documents over the
        budget, and those that the service did not answer in time, wait for a later run. `filled`
        is what `fill` did for the page before: it counts as done by this run.
        """
        figures = AskFigures() if filled is None else filled.as_asked_before()
        if self._before is None:
            begin(self._catalog, self.source, window)
        with self._catalog.exclusive(self.lock, timeout_s=_PATIENCE_S):
            for pass_no in self.passes(window):
                part = self._its_part(window, pass_no)
                if self._is_complete(part, retry=retry):
                    figures.reused_passes += 1
                else:
                    self._make(part, figures, retry=retry)
        return figures

    def stretches(self, windows: Sequence[str], rows: int) -> Iterator[Stretch]:
        """The documents of some windows' passes that `run` would look through, in stretches of at
        most `rows`."""
        for window in windows:
            if self._before is None:
                begin(self._catalog, self.source, window)
            for pass_no in self.passes(window):
                if not self._is_complete(self._its_part(window, pass_no), retry=False):
                    clean = self._clean.part(window, pass_no)
                    assert clean is not None
                    yield from self._pages.stretches(clean, rows)

    def fill(self, stretch: Stretch, claim: Claim) -> AskFigures:
        """Ask about a stretch of documents, so that the memo has the answers, and the dead letters
        what failed. What `claim` does not give back is asked by others. Raises `ModelUnavailable`
        where the service is down: it would be for the next stretch."""
        figures = AskFigures()
        asking = self._asking(stretch.window, figures, retry=False)
        for batch in self._batches(stretch.window, stretch.pass_no, only=stretch):
            asking.outcomes([self._wanted(*pair) for pair in batch], claim=claim)
        if asking.is_down:
            raise ModelUnavailable(f"{self.source}/{self.stage}: the model's service is down")
        return figures

    def _its_part(self, window: str, pass_no: int) -> PartKey:
        part = self.part(window, pass_no)
        if part is None:
            above = self._before.stage if self._before else "clean_docs"
            raise RuntimeError(f"{self.source} {window}: {above} must run before {self.stage}")
        return part

    def prefetch(
        self, windows: Sequence[str], answer: Callable[[Iterable[Ask[Any]]], object]
    ) -> None:
        """Before `run`: give `answer` the questions of several pages at once, so that it leaves
        what it can answer in the gateway's cache."""
        if self._before is None:
            for window in windows:
                begin(self._catalog, self.source, window)
        answer(ask for window in windows for ask in self._missing(window))

    def unasked(self, window: str) -> Iterator[Mapping[str, str]]:
        """The variables of each question that is still to be asked; where the step before it has
        no value yet, as far as the documents themselves tell."""
        seen: set[bytes] = set()
        for variables in itertools.chain(
            (ask.variables for ask in self._missing(window)), self._foreseen(window)
        ):
            key = hashlib.sha256(canonical(dict(variables))).digest()
            if key not in seen:
                seen.add(key)
                yield variables

    def _foreseen(self, window: str) -> Iterator[Mapping[str, str]]:
        for pass_no in self.passes(window):
            for document in self._without_before(window, pass_no):
                yield self._recipe.variables(document, None)

    def _without_before(self, window: str, pass_no: int) -> Iterator[Document]:
        """The documents that the step before has not come to, or that wait there."""
        part, clean = self.part(window, pass_no), self._clean.part(window, pass_no)
        if part is not None:
            if not self._is_complete(part, retry=False):
                for batch in self._batches(window, pass_no):
                    yield from (document for document, before in batch if _waits(before))
        elif clean is not None and self._pages.version(clean) is not None:
            yield from standing_rows(
                self._catalog, self._pages, clean, source=self.source, columns=_COLUMNS
            )

    def _missing(self, window: str) -> Iterator[Ask[Any]]:
        asking = self._asking(window, AskFigures(), retry=False)
        for pass_no in self.passes(window):
            part = self.part(window, pass_no)
            if part is not None and not self._is_complete(part, retry=False):
                for batch in self._batches(window, pass_no):
                    yield from asking.missing([self._wanted(*pair) for pair in batch])

    def passes(self, window: str) -> list[int]:
        """The passes of a page, oldest first."""
        with self._catalog.read() as connection:
            return passes_of(connection, self.source, window)

    def rows(self, window: str, *, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
        """What the step has of a page, pass by pass; passes that it never saw are left out."""
        for pass_no in self.passes(window):
            part = self.part(window, pass_no)
            if part is not None and self._pages.version(part) is not None:
                for batch in self._pages.read(part, columns=columns):
                    yield from batch.to_pylist()

    def _is_complete(self, part: PartKey, *, retry: bool) -> bool:
        if self._pages.version(part) is None:
            return False
        again = {"deferred", "failed"} if retry else {"deferred"}
        return all(
            again.isdisjoint(batch["status"].to_pylist())
            for batch in self._pages.read(part, columns=["status"])
        )

    def _make(self, part: PartKey, figures: AskFigures, *, retry: bool) -> None:
        asking = self._asking(part.window, figures, retry=retry)
        with self._pages.writer(part, step_schema()) as writer:
            for batch in self._batches(part.window, part.pass_no):
                outcomes = asking.outcomes([self._wanted(*pair) for pair in batch])
                for (document, _), outcome in zip(batch, outcomes, strict=True):
                    row = self._row(document, outcome)
                    writer.add(row, size=len(row["value"] or "") + 400)
        self._pages.retire(part)

    def _asking(self, window: str, figures: AskFigures, *, retry: bool) -> Asking:
        return Asking(
            self.stage,
            self.fingerprint,
            gateway=self._gateway,
            memo=self._memo,
            letters=StepLetters(self._catalog, self.source, self.stage),
            window=window,
            retry=retry,
            figures=figures,
        )

    def _batches(
        self, window: str, pass_no: int, *, only: Stretch | None = None
    ) -> Iterator[list[tuple[Document, Mapping[str, Any] | None]]]:
        """The standing documents of a pass, each with its row of the step before."""
        taken: list[tuple[Document, Mapping[str, Any] | None]] = []
        size = 0
        for document, before in self._documents(window, pass_no, only=only):
            taken.append((document, before))
            size += len(document["text"])
            if len(taken) >= _BATCH_DOCUMENTS or size >= _BATCH_SIZE:
                yield taken
                taken, size = [], 0
        if taken:
            yield taken

    def _documents(
        self, window: str, pass_no: int, *, only: Stretch | None
    ) -> Iterator[tuple[Document, Mapping[str, Any] | None]]:
        clean = self._clean.part(window, pass_no)
        assert clean is not None
        documents = standing_rows(
            self._catalog, self._pages, clean, source=self.source, columns=_COLUMNS, only=only
        )
        if self._before is None:
            yield from ((document, None) for document in documents)
            return
        before = self._before.part(window, pass_no)
        assert before is not None
        if only is not None:
            yield from self._with_earlier(before, list(documents))
            return
        earlier = (row for batch in self._pages.read(before) for row in batch.to_pylist())
        for document in documents:
            # A document stood when the step before saw it, if it stands now.
            yield document, next(row for row in earlier if row["seq"] == document["seq"])

    def _with_earlier(
        self, before: PartKey, documents: list[dict[str, Any]]
    ) -> Iterator[tuple[Document, Mapping[str, Any] | None]]:
        """Some documents, each with its row of the step before, without reading all of its part.

        Those that it has no row of, because another run replaced it meanwhile, are left out.
        """
        wanted = {document["seq"] for document in documents}
        rows: dict[int, Mapping[str, Any]] = {}
        for group, (first, last) in self._spans(before).items():
            if any(first <= number <= last for number in wanted):
                for batch in self._pages.read(before, only=group):
                    rows |= {row["seq"]: row for row in batch.to_pylist() if row["seq"] in wanted}
        yield from ((one, rows[one["seq"]]) for one in documents if one["seq"] in rows)

    def _spans(self, part: PartKey) -> dict[Stretch, tuple[int, int]]:
        """The least and the greatest number of a change in each row group of a part; looked up
        once for stretch after stretch of the same part."""
        version = (part, self._pages.version(part))
        if self._part_spans is None or self._part_spans[0] != version:
            spans = {}
            for group in self._pages.stretches(part, _WHOLE_GROUP):
                batches = self._pages.read(part, columns=["seq"], only=group)
                numbers = [seq for batch in batches for seq in batch["seq"].to_pylist()]
                spans[group] = (min(numbers), max(numbers))
            self._part_spans = (version, spans)
        return self._part_spans[1]

    def _wanted(self, document: Document, before: Mapping[str, Any] | None) -> Wanted:
        if before is not None and _waits(before):
            return Wanted(document["doc_id"], document["key"], None, before["reason"])
        value = json.loads(before["value"]) if before and before["value"] else None
        variables = self._recipe.variables(document, value)
        ask: Ask[Any] = Ask(self._recipe.prompt, variables, self._recipe.schema)
        return Wanted(document["doc_id"], document["key"], ask)

    def _row(self, document: Document, outcome: Outcome) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(step_schema().names)
        row |= {name: document[name] for name in ("seq", "doc_id", "key", "text_hash")}
        row |= {"status": outcome.status, "reason": outcome.reason}
        if outcome.answer is not None:
            answer = dict(outcome.answer)
            finished = self._recipe.finish(answer.pop("value"), document)
            value = json.dumps(finished.value, ensure_ascii=False, sort_keys=True)
            row |= answer | {"value": value, "dropped": finished.dropped}
        return row


def standing_rows(
    catalog: Catalog,
    pages: PageStore,
    clean: PartKey,
    *,
    source: str,
    columns: Sequence[str],
    only: Stretch | None = None,
) -> Iterator[dict[str, Any]]:
    """The rows of a clean part with a text, whose changes still stand, in the part's order."""
    statement = standing(source, clean.window, clean.pass_no)
    for batch in pages.read(clean, columns=list(columns), rows=_BATCH_DOCUMENTS, only=only):
        rows = [r for r in batch.to_pylist() if r["reason"] is None and not r["empty"]]
        numbers = [row["seq"] for row in rows]
        with catalog.read() as connection:
            found = connection.execute(statement.where(changes.c.seq.in_(numbers)))
            stands = {row.seq for row in found}
        yield from (row for row in rows if row["seq"] in stands)


def _waits(before: Mapping[str, Any] | None) -> bool:
    return before is not None and before["status"] == "deferred"


def own_title(document: Document) -> str:
    """The title that a document has of itself: "" where its file's name stands in for one.

    What a model is asked must not depend on an address: a document that was moved is not paid
    for again.
    """
    title = str(document["title"])
    return "" if title == title_of("", "", document["key"]) else title


def step_schema() -> Any:
    """The columns of a step's part: one row per document, `value` null unless `status` is ok.

    `reason` says why there is none. What an answer did cost stands in the ledger.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("seq", pa.int64()),
            ("doc_id", pa.string()),
            ("key", pa.string()),
            ("text_hash", pa.string()),
            ("status", pa.string()),
            ("reason", pa.string()),
            ("value", pa.string()),
            ("dropped", pa.int64()),
            ("model", pa.string()),
            ("prompt", pa.string()),
            ("tier", pa.string()),
            ("complexity", pa.float64()),
            ("confidence", pa.float64()),
            ("method", pa.string()),
        ]
    )
