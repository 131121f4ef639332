"""embeddings: a vector for every chunk of a page, paid for once per text and embedder."""

import functools
import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from rag_platform.encoders.base import Embedder, Vectors
from rag_platform.encoders.validation import InvalidEmbedding, validate
from rag_platform.indexing.chunks import Chunks
from rag_platform.indexing.processes import in_order
from rag_platform.indexing.progress import note_figures, unapplied, unapplied_passes
from rag_platform.indexing.retirement import retired
from rag_platform.llm.budget import BudgetExceeded
from rag_platform.settings_values import DEFAULT_TENANT
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo, memo_key
from rag_platform.storage.pages import PageStore
from rag_platform.storage.schema import changes

logger = logging.getLogger(__name__)

# A batch of this many texts is embedded in shares of even size, so that every core has several.
_WORTH_SHARING = 1_000
_SHARES = 8
# How long a run waits for one that is embedding: as long as a large page takes.
_PATIENCE_S = 3_600.0


@dataclass(slots=True)
class EmbedFigures:
    """What one run over a page did. `embed_calls` counts batches sent to the embedder."""

    embed_calls: int = 0
    embedded_chunks: int = 0
    embedded_tokens: int = 0
    memo_hits: int = 0
    deferred_chunks: int = 0


def passage_key(embedder: Embedder, text: str, tenant: str = DEFAULT_TENANT) -> bytes:
    """The memo key of a passage's vector."""
    return memo_key("passage", embedder.fingerprint, text.encode(), tenant)


def vector_bytes(vector: Vectors) -> bytes:
    """A vector as the memo keeps it: little-endian float32."""
    return vector.astype("<f4").tobytes()


def vector_from(value: bytes) -> Vectors:
    """The vector that `vector_bytes` made; shape (dimension,)."""
    return np.frombuffer(value, dtype="<f4").astype(np.float32, copy=False)


class Embeddings:
    """The embedding stage of one source for one index version."""

    def __init__(self, chunks: Chunks, *, catalog: Catalog, memo: Memo, pages: PageStore) -> None:
        self._chunks = chunks
        self._embedder = chunks.index.embedder
        self._catalog = catalog
        self._memo = memo
        self._pages = pages

    def run(self, window: str) -> EmbedFigures:
        """Embed what the index needs of the page and the memo does not have.

        Every batch is durable before the next is sent. When the budget is spent nothing more is
        sent: the documents of the chunks left over wait for a later run.
        """
        figures = EmbedFigures()
        index, source = self._chunks.index.name, self._chunks.source
        if index in retired(self._catalog):
            return figures
        # Two runs that miss the same texts must not both pay for them.
        lock = f"embeddings-{_short(self._embedder.fingerprint)}"
        with self._catalog.exclusive(lock, timeout_s=_PATIENCE_S):
            for pass_no in unapplied_passes(self._catalog, index, source, window):
                self._embed_pass(window, pass_no, figures)
        note_figures(
            self._catalog,
            index,
            source,
            window,
            finished=False,
            figures=asdict(figures),
        )
        return figures

    def _embed_pass(self, window: str, pass_no: int, figures: EmbedFigures) -> None:
        missing: dict[bytes, tuple[str, int]] = {}
        size = self._embedder.batch_size
        for wanted in self._wanted(window, pass_no, figures):
            figures.memo_hits += len(missing.keys() & wanted.keys())
            missing |= wanted
            # Only here, where all that was looked up in the memo is on the list.
            while len(missing) >= size:
                self._embed(dict(itertools.islice(missing.items(), size)), figures)
                missing = dict(itertools.islice(missing.items(), size, None))
        self._embed(missing, figures)

    def _vectors_of(self, texts: list[str]) -> Vectors:
        """One batch, by a local embedder on every core where there is enough of it."""
        if self._embedder.paid or len(texts) < _WORTH_SHARING:
            return self._embedder.embed_passages(texts)
        size = -(-len(texts) // _SHARES)
        shares = [texts[start : start + size] for start in range(0, len(texts), size)]
        return np.concatenate(list(in_order(functools.partial(_embed, self._embedder), shares)))

    def invalid(self, windows: Sequence[str]) -> list[str]:
        """Vectors in the memo that must not reach an index, of chunks of some windows."""
        problems = []
        for window, keys in self._keys(windows):
            values = list(self._memo.get_many(keys).values())
            try:
                vectors = [vector_from(value) for value in values]
                validate(
                    np.array(vectors).reshape(len(values), -1),
                    expected=len(values),
                    dimension=self._embedder.dimension,
                ) if values else None
            except (InvalidEmbedding, ValueError) as error:
                problems.append(f"{window}: {error}")
        return problems

    def without_vector(self, window: str) -> int:
        """How many chunks of a window have no vector yet."""
        return sum(len(keys) - len(self._memo.known(keys)) for _, keys in self._keys([window]))

    def _keys(self, windows: Sequence[str]) -> Iterator[tuple[str, list[bytes]]]:
        """The memo keys of what an index does not hold yet, a batch of chunks at a time."""
        index, source = self._chunks.index.name, self._chunks.source
        for window in windows:
            for pass_no in unapplied_passes(self._catalog, index, source, window):
                for texts, _ in self._texts(window, pass_no):
                    yield window, [self._key(text) for text in texts]

    def _key(self, text: str) -> bytes:
        return passage_key(self._embedder, text, self._chunks.tenant)

    def _wanted(
        self, window: str, pass_no: int, figures: EmbedFigures
    ) -> Iterator[dict[bytes, tuple[str, int]]]:
        """Text and size of the chunks of a pass that have no vector yet, by memo key."""
        for texts, tokens in self._texts(window, pass_no):
            keys = [self._key(text) for text in texts]
            known = self._memo.known(keys)
            wanted: dict[bytes, tuple[str, int]] = {}
            for key, text, count in zip(keys, texts, tokens, strict=True):
                if key in known or key in wanted:
                    figures.memo_hits += 1
                else:
                    wanted[key] = (text, count)
            yield wanted

    def _texts(self, window: str, pass_no: int) -> Iterator[tuple[list[str], list[int]]]:
        """Texts and sizes of a pass's chunks, those only of documents that the index lacks: what
        a newer change has superseded since it was chunked is not paid for."""
        part = self._chunks.part(window, pass_no)
        if part is None:
            raise RuntimeError(f"{self._chunks.source} {window}: chunks must run first")
        lacking = unapplied(self._chunks.index.name, self._chunks.source)
        for batch in self._pages.read(part, columns=["seq", "text", "tokens"]):
            rows = batch.to_pylist()
            numbers = {row["seq"] for row in rows}
            with self._catalog.read() as connection:
                found = connection.execute(lacking.where(changes.c.seq.in_(numbers)))
                wanted = {row.seq for row in found}
            rows = [row for row in rows if row["seq"] in wanted]
            yield [row["text"] for row in rows], [row["tokens"] for row in rows]

    def _embed(self, missing: dict[bytes, tuple[str, int]], figures: EmbedFigures) -> None:
        if not missing:
            return
        if figures.deferred_chunks:
            figures.deferred_chunks += len(missing)
            return
        texts = [text for text, _ in missing.values()]
        try:
            vectors = self._vectors_of(texts)
        except BudgetExceeded as error:
            logger.warning("embedding stopped, documents deferred: %s", error)
            figures.deferred_chunks += len(missing)
            return
        validate(vectors, expected=len(texts), dimension=self._embedder.dimension)
        self._memo.put_many(
            {key: vector_bytes(vector) for key, vector in zip(missing, vectors, strict=True)}
        )
        figures.embed_calls += 1
        figures.embedded_chunks += len(texts)
        figures.embedded_tokens += sum(tokens for _, tokens in missing.values())


def _short(fingerprint: str) -> str:
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:16]


def _embed(embedder: Embedder, texts: list[str]) -> Vectors:
    return embedder.embed_passages(texts)
