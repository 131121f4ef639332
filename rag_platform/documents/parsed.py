"""parsed_docs: the text of every document that a page brought, or why there is none."""

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.page import GONE_KINDS, passes_of, standing, standing_by_key
from rag_platform.documents.parsing.formats import detect, fingerprint
from rag_platform.documents.parsing.ocr import can_read_more, engine_state, missing, text_rules
from rag_platform.documents.parsing.pool import ParserPool
from rag_platform.documents.parsing.result import (
    MAY_BE_PICTURES,
    Hints,
    Kind,
    Parsed,
    ParseFailure,
    ParseLimits,
    ParseRefused,
)
from rag_platform.documents.raw import raw_part
from rag_platform.settings_values import DEFAULT_TENANT
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.measures import PARSE_SECONDS, Measures
from rag_platform.storage.memo import Claim, Memo, memo_key
from rag_platform.storage.pages import PageStore, PartKey, PartWriter, Stretch
from rag_platform.storage.schema import changes, dead_letters

STAGE = "parsed_docs"
# A document that failed this often with the same bytes and the same parser is left alone.
MAX_ATTEMPTS = 2

# Parsing the others costs more than remembering the result.
_CHEAP = frozenset({Kind.MARKDOWN, Kind.TEXT})
# Metadata of a parsed document: OCR was used; or pages wait for it, or took too long.
_READ = "ocr_pages"
_UNREAD = ("needs_ocr", "ocr_timeouts")
_MEMO_BATCH = 100


# Called with a document's key, the pages done and the pages in all, about once a second.
Watch = Callable[[str, int, int], None]
_Keys = tuple[bytes, ...]


@dataclass(slots=True)
class ParseFigures:
    """What one run over a page did; counts of documents, `bytes` of their content."""

    parsed: int = 0
    remembered: int = 0
    failed: int = 0
    reused_passes: int = 0
    bytes: int = 0


class ParsedDocs:
    """The parsing stage of one source."""

    def __init__(
        self,
        source: str,
        *,
        catalog: Catalog,
        memo: Memo,
        pages: PageStore,
        limits: ParseLimits,
        tenant: str = DEFAULT_TENANT,
        pool: Callable[[ParseLimits], ParserPool] = ParserPool,
    ) -> None:
        self.source = source
        self.tenant = tenant
        self._catalog = catalog
        self._memo = memo
        self._pages = pages
        self._limits = limits
        self._pool = pool

    @property
    def fingerprint(self) -> str:
        """What the text depends on besides the bytes: parsers, their libraries, rules of OCR."""
        kinds = (fingerprint(kind) for kind in sorted(Kind))
        joined = "\n".join([*kinds, text_rules(self._limits.ocr)])
        return hashlib.sha256(joined.encode()).hexdigest()

    @property
    def attempt_fingerprint(self) -> str:
        """What a failure depends on besides the bytes: also the limits, and what OCR finds here."""
        limits = json.dumps(asdict(self._limits), sort_keys=True)
        engine = engine_state(self._limits.ocr)
        return hashlib.sha256(f"{self.fingerprint}{limits}{engine}".encode()).hexdigest()

    def part(self, window: str, pass_no: int) -> PartKey:
        """Where the parsed documents of one pass are kept."""
        return PartKey((self.source,), STAGE, window, pass_no, self.fingerprint)

    def run(
        self,
        window: str,
        *,
        retry: bool | Collection[str] = False,
        watch: Watch | None = None,
        filled: ParseFigures | None = None,
    ) -> ParseFigures:
        """Parse what the page brought. Passes parsed before are reused.

        With `retry`, failed documents are parsed again, all or those of these keys; without it
        only those whose parser or limits have changed since. Documents in quarantine are not.
        Documents with pages that wait for an OCR engine, or had too little time, are parsed again
        as soon as there is one, or more. `watch` is told of the pages of long documents. `filled`
        is what `fill` did for the page before: it counts as done by this run.
        """
        figures = ParseFigures()
        with self._catalog.read() as connection:
            numbers = passes_of(connection, self.source, window)
        with self._pool(self._limits) as pool:
            for pass_no in numbers:
                part = self.part(window, pass_no)
                again = self._to_retry(window, pass_no, retry=retry)
                if self._pages.version(part) is not None:
                    again |= self._unread(part)
                    if not again:
                        figures.reused_passes += 1
                        continue
                    self._parse_again(part, again, pool, figures, watch)
                else:
                    self._parse(part, pool, figures, watch, only=None, kept=iter(()))
        if filled is not None:
            figures.parsed += filled.parsed
            figures.remembered -= filled.parsed
        return figures

    def stretches(self, windows: Sequence[str], rows: int) -> Iterator[Stretch]:
        """The documents of some windows' passes that were never parsed, as they came, in
        stretches of at most `rows`; without those whose names are all of a cheap format."""
        for window in windows:
            with self._catalog.read() as connection:
                numbers = passes_of(connection, self.source, window)
            for pass_no in numbers:
                raw = raw_part(self.source, window, pass_no)
                parsed = self._pages.version(self.part(window, pass_no)) is not None
                if not parsed and self._pages.version(raw) is not None:
                    stretches = self._pages.stretches(raw, rows)
                    yield from (one for one in stretches if self._is_dear(raw, one))

    def _is_dear(self, raw: PartKey, stretch: Stretch) -> bool:
        return any(
            _kind(Hints(key, ""), b"") not in _CHEAP
            for batch in self._pages.read(raw, columns=["key"], only=stretch)
            for key in batch["key"].to_pylist()
        )

    @property
    def lock(self) -> str:
        """Held by who has others parse for it."""
        return f"parsing-{self.source}"

    def fill(self, stretch: Stretch, claim: Claim) -> ParseFigures:
        """Parse what of a stretch is dear to parse and not remembered, and remember it, with one
        parser. What `claim` does not give back others parse.

        What fails is left for `run`, which says why.
        """
        figures = ParseFigures()
        part = self.part(stretch.window, stretch.pass_no)
        work = _Work(self, part, figures, claim=claim)
        with ParserPool(self._limits, 1) as pool:
            for change, outcome in pool.parse_all(work.documents(stretch=stretch), timed=work.time):
                work.take(change, outcome)
            work.flush()
        return figures

    def _to_retry(self, window: str, pass_no: int, *, retry: bool | Collection[str]) -> set[str]:
        """Keys of this pass's dead letters that deserve another attempt."""
        attempt = self.attempt_fingerprint
        with self._catalog.read() as connection:
            rows = connection.execute(
                sa.select(dead_letters).where(
                    dead_letters.c.source == self.source,
                    dead_letters.c.window == window,
                    dead_letters.c.pass_no == pass_no,
                    dead_letters.c.sha256.is_not(None),
                )
            )
            return {
                row.key
                for row in rows
                if row.fingerprint != attempt
                or (row.attempts < MAX_ATTEMPTS and _is_wanted(retry, row.key))
            }

    def _unread(self, part: PartKey) -> set[str]:
        """Keys of documents with text and with pages that could be read now."""
        if missing(self._limits.ocr):
            return set()
        return {
            row["key"]
            for batch in self._pages.read(part, columns=["key", "media_type", "metadata"])
            for row in batch.to_pylist()
            if row["media_type"] in MAY_BE_PICTURES  # others may call their metadata as they like
            and can_read_more(json.loads(row["metadata"]), self._limits.ocr)
        }

    def _parse_again(
        self,
        part: PartKey,
        again: set[str],
        pool: ParserPool,
        figures: ParseFigures,
        watch: Watch | None,
    ) -> None:
        kept = (
            row
            for batch in self._pages.read(part)
            for row in batch.to_pylist()
            if row["key"] not in again
        )
        self._parse(part, pool, figures, watch, only=again, kept=kept)
        self._count_attempts(part, again)

    def _count_attempts(self, part: PartKey, again: set[str]) -> None:
        """Here, and not from the part: a failure that is the same as before leaves no trace there.

        The letters of what is parsed now are removed when the page is settled.
        """
        same = dead_letters.c.fingerprint == self.attempt_fingerprint
        with self._catalog.begin() as connection:
            connection.execute(
                sa.update(dead_letters)
                .where(
                    dead_letters.c.source == self.source,
                    dead_letters.c.window == part.window,
                    dead_letters.c.pass_no == part.pass_no,
                    dead_letters.c.key == sa.bindparam("_key"),
                )
                .values(
                    attempts=sa.case((same, dead_letters.c.attempts + 1), else_=1),
                    fingerprint=self.attempt_fingerprint,
                    last_at=time.time(),
                ),
                [{"_key": key} for key in sorted(again)],
            )

    def _parse(
        self,
        part: PartKey,
        pool: ParserPool,
        figures: ParseFigures,
        watch: Watch | None,
        *,
        only: set[str] | None,
        kept: Iterator[dict[str, Any]],
    ) -> None:
        with self._pages.writer(part, parsed_schema()) as writer:
            for row in kept:
                writer.add(row, size=len(row["text"] or "") + 200)
            work = _Work(self, part, figures, partial(_write_row, writer))
            documents = work.documents(only=only)
            for change, outcome in pool.parse_all(documents, _by_key(watch), timed=work.time):
                work.take(change, outcome)
            work.flush()
        self._pages.retire(part)


class _Work:
    """One pass on its way through the pool.

    `write` gets every change with its outcome. Without it there is no more to do than to remember:
    what is known already, or not worth remembering, is left out.
    """

    def __init__(
        self,
        stage: ParsedDocs,
        part: PartKey,
        figures: ParseFigures,
        write: Callable[[Any, Parsed | ParseFailure], None] | None = None,
        *,
        claim: Claim = set,
    ) -> None:
        self._stage = stage
        self._catalog = stage._catalog
        self._memo = stage._memo
        self._part = part
        self._write = write
        self._claim = claim
        self._figures = figures
        rules = stage._limits.ocr
        self._ocr = f"{text_rules(rules)} {engine_state(rules)}"
        self._fresh: dict[bytes, bytes] = {}
        self._keys: dict[int, _Keys] = {}
        self._measures = Measures(self._catalog)
        self._seconds: dict[Kind, list[float]] = {}

    def documents(
        self, *, only: set[str] | None = None, stretch: Stretch | None = None
    ) -> Iterator[tuple[Any, bytes, Hints]]:
        """The pass's documents that must be parsed, all or those of some keys or rows; what is
        remembered is written at once."""
        raw = raw_part(self._stage.source, self._part.window, self._part.pass_no)
        if self._stage._pages.version(raw) is None:  # nothing but deletions, or nothing readable
            return
        statement = standing(self._stage.source, self._part.window, self._part.pass_no)
        statement = statement.where(changes.c.kind.not_in(GONE_KINDS))
        for batch in self._stage._pages.read(raw, only=stretch):
            rows = [row for row in batch.to_pylist() if only is None or row["key"] in only]
            with self._catalog.read() as connection:
                keys = [row["key"] for row in rows]
                found = standing_by_key(connection, statement, self._stage.source, keys)
            wanted = [
                (found[row["key"]], row["content"], row.get("media_type") or "")
                for row in rows
                if row["key"] in found and found[row["key"]].sha256 == row["sha256"]
            ]
            yield from self._unremembered(wanted)

    def _unremembered(
        self, wanted: list[tuple[Any, bytes, str]]
    ) -> Iterator[tuple[Any, bytes, Hints]]:
        keys = {
            change.seq: found
            for change, content, media_type in wanted
            if (found := self._memo_keys(_kind(Hints(change.key, media_type), content), content))
        }
        claimed = self._claim([key for found in keys.values() for key in found])
        known = self._memo.get_many(claimed) if keys else {}
        for change, content, media_type in wanted:
            found = keys.get(change.seq, ())
            if self._write is None and not (found and found[0] in claimed):
                continue
            self._figures.bytes += len(content)
            value = next((known[key] for key in found if key in known), None)
            if value is not None:
                self._figures.remembered += 1
                if self._write is not None:
                    self._write(change, Parsed.thawed(value))
                continue
            self._keys[change.seq] = found
            yield change, content, Hints(change.key, media_type)

    def _memo_keys(self, kind: Kind | None, content: bytes) -> "_Keys":
        """Under which the text may be remembered: without OCR first, with it last.

        So other rules of OCR, or another engine, do not concern what had no pictures.
        """
        if kind is None or kind in _CHEAP:
            return ()
        basis = [fingerprint(kind)]
        if kind in MAY_BE_PICTURES:
            basis.append(f"{basis[0]} {self._ocr}")
        return tuple(memo_key("parse", text, content, self._stage.tenant) for text in basis)

    def take(self, change: Any, outcome: Parsed | ParseFailure) -> None:
        """Write one outcome of the pool, and remember it when it was dear and is whole."""
        keys = self._keys.pop(change.seq, ())
        if isinstance(outcome, ParseFailure):
            self._figures.failed += 1
        else:
            self._figures.parsed += 1
            if key := _memo_key(keys, outcome):
                self._fresh[key] = outcome.frozen()
                if len(self._fresh) >= _MEMO_BATCH:
                    self.flush()
        if self._write is not None:
            self._write(change, outcome)

    def time(self, kind: Kind, seconds: float) -> None:
        """Note how long a parser took."""
        self._seconds.setdefault(kind, []).append(seconds)

    def flush(self) -> None:
        """Make what was parsed durable, and how long it took."""
        if self._fresh:
            self._memo.put_many(self._fresh)
        self._fresh = {}
        for kind, seconds in self._seconds.items():
            labels = {"source": self._stage.source, "media_type": str(kind)}
            self._measures.observe(PARSE_SECONDS, seconds, **labels)
        self._seconds = {}


def _write_row(writer: PartWriter, change: Any, outcome: Parsed | ParseFailure) -> None:
    """A document's row of the parsed part."""
    row: dict[str, Any] = {"seq": change.seq, "doc_id": change.doc_id, "key": change.key}
    if isinstance(outcome, ParseFailure):
        row |= {"reason": str(outcome.reason), "detail": outcome.detail}
        row |= dict.fromkeys(("text", "title", "media_type", "page_starts", "metadata"))
    else:
        row |= dict.fromkeys(("reason", "detail"))
        row |= {
            "text": outcome.text,
            "title": outcome.title,
            "media_type": outcome.media_type,
            "page_starts": list(outcome.page_starts),
            "metadata": json.dumps(outcome.metadata, ensure_ascii=False, sort_keys=True),
        }
    writer.add(row, size=len(row["text"] or "") + 200)


def _is_wanted(retry: bool | Collection[str], key: str) -> bool:
    return retry if isinstance(retry, bool) else key in retry


def parsed_schema() -> Any:
    """The columns of a parsed part: one row per document, `text` null when `reason` says why."""
    import pyarrow as pa

    return pa.schema(
        [
            ("seq", pa.int64()),
            ("doc_id", pa.string()),
            ("key", pa.string()),
            ("reason", pa.string()),
            ("detail", pa.string()),
            ("text", pa.string()),
            ("title", pa.string()),
            ("media_type", pa.string()),
            ("page_starts", pa.list_(pa.int32())),
            ("metadata", pa.string()),
        ]
    )


def _memo_key(keys: _Keys, outcome: Parsed) -> bytes | None:
    """Of the keys of a document the one to remember it under; None when it is not whole."""
    if outcome.media_type not in MAY_BE_PICTURES:
        return keys[0] if keys else None
    if any(name in outcome.metadata for name in _UNREAD):
        return None
    return keys[-1 if _READ in outcome.metadata else 0] if keys else None


def _by_key(watch: Watch | None) -> Callable[[Any, int, int], None] | None:
    if watch is None:
        return None
    return lambda change, page, pages: watch(change.key, page, pages)


def _kind(hints: Hints, content: bytes) -> Kind | None:
    try:
        return detect(content, hints)
    except ParseRefused:
        return None  # the pool says the same, and why
