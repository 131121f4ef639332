"""chunks: the passages of a page's documents, for one index version."""

import functools
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_platform.documents.identity import point_id
from rag_platform.documents.page import CleanStage, passes_of, standing
from rag_platform.documents.windows import utc
from rag_platform.indexing.chunking.chunker import Chunker
from rag_platform.indexing.processes import in_order
from rag_platform.indexing.progress import note_figures
from rag_platform.indexing.retirement import retired
from rag_platform.indexing.version import IndexVersion
from rag_platform.settings_values import DEFAULT_TENANT
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.pages import PageStore, PartKey
from rag_platform.storage.schema import changes

STAGE = "chunks"
# Part of every chunk part's name; a change means that its columns changed.
CHUNKS_VERSION = "1"
# Of a batch of documents that is cut at once: characters, and what a document costs besides.
_BATCH_SIZE = 250_000
_DOCUMENT_SIZE = 1_000


@dataclass(slots=True)
class ChunkFigures:
    """What one run over a page did; `sizes` counts chunks by size in tokens, in steps of 50."""

    documents: int = 0
    chunks: int = 0
    tokens: int = 0
    largest: int = 0
    reused_passes: int = 0
    sizes: Counter[int] = field(default_factory=Counter)


class Chunks:
    """The chunking stage of one source for one index version."""

    def __init__(
        self,
        index: IndexVersion,
        clean: CleanStage,
        *,
        catalog: Catalog,
        pages: PageStore,
        tenant: str = DEFAULT_TENANT,
    ) -> None:
        self.tenant = tenant
        self.index = index
        self.source = clean.name
        self._clean = clean
        self._catalog = catalog
        self._pages = pages

    def part(self, window: str, pass_no: int) -> PartKey | None:
        """Where the chunks of one pass are kept; None before it was cleaned."""
        clean = self._clean.part(window, pass_no)
        version = self._pages.version(clean) if clean else None
        if version is None:
            return None
        basis = f"{CHUNKS_VERSION}\n{self.index.chunker.fingerprint}\n{version}".encode()
        fingerprint = hashlib.sha256(basis).hexdigest()
        return PartKey((self.source, self.index.name), STAGE, window, pass_no, fingerprint)

    def stored(self, window: str, pass_no: int) -> PartKey | None:
        """The chunks of a pass as they were last made, by whatever steps before; None without."""
        key = PartKey((self.source, self.index.name), STAGE, window, pass_no, "")
        return self._pages.newest(key)

    def run(self, window: str) -> ChunkFigures:
        """Cut the page's documents into chunks. Passes chunked before are reused; for an index
        that was retired nothing is done."""
        figures = ChunkFigures()
        if self.index.name in retired(self._catalog):
            return figures
        self.index.register(self._catalog)
        note_figures(
            self._catalog,
            self.index.name,
            self.source,
            window,
            finished=False,
            figures={},
        )
        with self._catalog.read() as connection:
            numbers = passes_of(connection, self.source, window)
        for pass_no in numbers:
            part = self.part(window, pass_no)
            if part is None:
                raise RuntimeError(f"{self.source} {window}: the stage before chunks must run")
            if self._pages.version(part) is not None:
                figures.reused_passes += 1
                continue
            with self._pages.writer(part, chunk_schema()) as writer:
                for row in self.rows(window, pass_no, figures):
                    writer.add(row, size=len(row["text"]) + 400)
            self._pages.retire(part)
        return figures

    def rows(self, window: str, pass_no: int, figures: ChunkFigures) -> Iterator[dict[str, Any]]:
        """The chunks of a pass's standing documents, the rows of its part."""
        cut = functools.partial(_chunk_all, self.index.chunker)
        for chunked in in_order(cut, self._batches(window, pass_no, figures)):
            for row in chunked:
                figures.chunks += 1
                figures.tokens += row["tokens"]
                figures.largest = max(figures.largest, row["tokens"])
                figures.sizes[row["tokens"] // 50 * 50] += 1
                yield row

    def _batches(
        self, window: str, pass_no: int, figures: ChunkFigures
    ) -> Iterator[list[dict[str, Any]]]:
        """The documents to be cut, in batches of about the same work."""
        clean = self._clean.part(window, pass_no)
        assert clean is not None
        columns = ["seq", "doc_id", "reason", "empty", "text", "page_starts"]
        columns += ["key", "uri", "title", "language"]
        taken: list[dict[str, Any]] = []
        size = 0
        for batch in self._pages.read(clean, columns=columns, rows=500):
            documents = [row for row in batch.to_pylist() if row["reason"] is None]
            times = self._standing(window, pass_no, [row["seq"] for row in documents])
            for row in documents:
                if row["seq"] not in times or row["empty"]:
                    continue
                figures.documents += 1
                # As text: the vector engines do not give every float back to its last digit.
                modified = utc(times[row["seq"]]).strftime("%Y-%m-%dT%H:%M:%SZ")
                taken.append(row | {"modified": modified})
                size += len(row["text"]) + _DOCUMENT_SIZE
                if size >= _BATCH_SIZE:
                    yield taken
                    taken, size = [], 0
        if taken:
            yield taken

    def parts(self, window: str) -> Iterator[PartKey]:
        """The chunk parts of a window that have been written."""
        with self._catalog.read() as connection:
            numbers = passes_of(connection, self.source, window)
        for pass_no in numbers:
            part = self.part(window, pass_no)
            if part is not None and self._pages.version(part) is not None:
                yield part

    def sample(self, window: str, size: int) -> list[dict[str, Any]]:
        """The first chunks of a window, as rows of its parts."""
        for part in self.parts(window):
            for batch in self._pages.read(part, rows=size):
                rows: list[dict[str, Any]] = batch.to_pylist()
                return rows[:size]
        return []

    def size_problems(self, windows: Sequence[str], *, max_tokens: int) -> list[str]:
        """What is wrong with the chunks of some windows; empty when they fit the recipe."""
        import pyarrow.compute as pc

        problems = []
        columns = ["text", "tokens", "start", "end"]
        for window in windows:
            for part in self.parts(window):
                for batch in self._pages.read(part, columns=columns):
                    length = pc.subtract(batch["end"], batch["start"])
                    wrong = {
                        f"larger than {max_tokens} tokens": pc.greater(batch["tokens"], max_tokens),
                        "empty": pc.equal(pc.utf8_trim_whitespace(batch["text"]), ""),
                        "off their place": pc.not_equal(length, pc.utf8_length(batch["text"])),
                    }
                    for what, mask in wrong.items():
                        if count := pc.sum(mask).as_py():
                            problems.append(f"{window}: {count} chunks {what}")
        return problems

    def _standing(self, window: str, pass_no: int, numbers: list[int]) -> dict[int, float]:
        """The modification times of those changes that still stand, by change."""
        statement = standing(self.source, window, pass_no).where(changes.c.seq.in_(numbers))
        with self._catalog.read() as connection:
            return {row.seq: row.modified for row in connection.execute(statement)}


def _chunk_all(chunker: Chunker, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of some documents' chunks."""
    return [row for document in documents for row in _chunk(chunker, document)]


def _chunk(chunker: Chunker, document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = ("seq", "doc_id", "key", "uri", "title", "language", "modified")
    shared = {name: document[name] for name in names}
    occurrences: Counter[str] = Counter()
    for chunk in chunker.chunk(
        document["text"], tuple(document["page_starts"]), key=document["key"]
    ):
        text_hash = hashlib.sha256(chunk.text.encode()).hexdigest()[:32]
        occurrence = occurrences[text_hash]
        occurrences[text_hash] += 1
        yield shared | {
            "point_id": point_id(document["doc_id"], text_hash, occurrence),
            "text_hash": text_hash,
            "text": chunk.text,
            "tokens": chunk.tokens,
            "start": chunk.start,
            "end": chunk.end,
            "page": chunk.page,
            "heading": chunk.heading,
        }


def chunk_schema() -> Any:
    """The columns of a chunk part: one row per chunk, with what its payload needs."""
    import pyarrow as pa

    return pa.schema(
        [
            ("seq", pa.int64()),
            ("doc_id", pa.string()),
            ("point_id", pa.string()),
            ("text_hash", pa.string()),
            ("text", pa.string()),
            ("tokens", pa.int32()),
            ("start", pa.int32()),
            ("end", pa.int32()),
            ("page", pa.int32()),
            ("heading", pa.string()),
            ("key", pa.string()),
            ("uri", pa.string()),
            ("title", pa.string()),
            ("language", pa.string()),
            ("modified", pa.string()),
        ]
    )


def payload_of(row: dict[str, Any], source: str) -> dict[str, Any]:
    """What a point carries, from its row in a chunk part."""
    names = (
        "doc_id",
        "text_hash",
        "text",
        "start",
        "end",
        "page",
        "heading",
        "key",
        "uri",
        "title",
        "language",
        "modified",
    )
    return {"source": source} | {name: row[name] for name in names}
