"""embeddings: a vector for every chunk of a page, paid for once per text and embedder."""

import functools
import hashlib
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from rag_platform.encoders.base import Embedder, Vectors
from rag_platform.encoders.openai import EmbeddingServiceError
from rag_platform.encoders.validation import InvalidEmbedding, validate
from rag_platform.errors import PlatformError
from rag_platform.indexing.chunks import Chunks
from rag_platform.indexing.processes import in_order
from rag_platform.indexing.progress import note_figures, unapplied, unapplied_passes
from rag_platform.indexing.retirement import retired
from rag_platform.llm.budget import BudgetExceeded
from rag_platform.settings_values import DEFAULT_TENANT
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.measures import EMBED_SECONDS, EMBEDDED_TEXTS, Measures
from rag_platform.storage.memo import Claim, Memo, memo_key
from rag_platform.storage.pages import PageStore, PartKey, Stretch
from rag_platform.storage.schema import changes

logger = logging.getLogger(__name__)

# A batch of this many texts is embedded in shares of even size, so that every core has several.
_WORTH_SHARING = 1_000
_SHARES = 8
# How long a run waits for one that is embedding: as long as a large backfill takes.
_PATIENCE_S = 86_400.0

# Text, size and document of chunks by memo key.
_Wanted = dict[bytes, tuple[str, int, str]]
# The same of a batch of chunks, a column each.
_Columns = tuple[list[str], list[int], list[str]]
_COLUMNS = ("text", "tokens", "key")
# Documents that are named in an error.
_NAMED = 3


class PassageRefused(PlatformError):
    """A passage of a document has no vector, and will not have one as it is."""


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
        self._measures = Measures(catalog)
        self._memo = memo
        self._pages = pages

    @property
    def fingerprint(self) -> str:
        """What the vectors depend on besides the texts."""
        return self._embedder.fingerprint

    @property
    def lock(self) -> str:
        """Held by who embeds: two runs that miss the same texts must not both pay for them."""
        return f"embeddings-{_short(self.fingerprint)}"

    def run(self, window: str, *, filled: EmbedFigures | None = None) -> EmbedFigures:
        """Embed what the index needs of the page and the memo does not have.

        Every batch is durable before the next is sent. When the budget is spent nothing more is
        sent: the documents of the chunks left over wait for a later run. `filled` is what `fill`
        did for the page before: it counts as done by this run.
        """
        figures = EmbedFigures()
        index, source = self._chunks.index.name, self._chunks.source
        if index in retired(self._catalog):
            return figures
        with self._catalog.exclusive(self.lock, timeout_s=_PATIENCE_S):
            for pass_no in unapplied_passes(self._catalog, index, source, window):
                missing = self._missing(self._texts(window, pass_no), figures, claim=set)
                self._embed_all(missing, self._vectors_of, figures)
        if filled is not None:
            figures.embed_calls += filled.embed_calls
            figures.embedded_chunks += filled.embedded_chunks
            figures.embedded_tokens += filled.embedded_tokens
            figures.memo_hits -= filled.embedded_chunks
        note_figures(
            self._catalog,
            index,
            source,
            window,
            finished=False,
            figures=asdict(figures),
        )
        return figures

    def stretches(self, windows: Sequence[str], rows: int) -> Iterator[Stretch]:
        """What `run` would look through for some windows, in stretches of at most `rows` chunks."""
        index, source = self._chunks.index.name, self._chunks.source
        if index in retired(self._catalog):
            return
        for window in windows:
            for pass_no in unapplied_passes(self._catalog, index, source, window):
                yield from self._pages.stretches(self._part(window, pass_no), rows)

    def fill(self, stretch: Stretch, claim: Claim) -> EmbedFigures:
        """Embed what a stretch of chunks needs and the memo does not have, on one core.

        Of its keys those that `claim` gives back: what others hold is embedded there. Asked
        before the memo is, so that what another let go of is found there.
        """
        figures = EmbedFigures()
        texts = self._texts(stretch.window, stretch.pass_no, only=stretch)
        missing = self._missing(texts, figures, claim=claim)
        self._embed_all(missing, self._embedder.embed_passages, figures)
        return figures

    def _embed_all(
        self,
        wanted: Iterator[_Wanted],
        embed: Callable[[list[str]], Vectors],
        figures: EmbedFigures,
    ) -> None:
        missing: _Wanted = {}
        size = self._embedder.batch_size
        for some in wanted:
            figures.memo_hits += len(missing.keys() & some.keys())
            missing |= some
            # Only here, where all that was looked up in the memo is on the list.
            while len(missing) >= size:
                self._embed(dict(itertools.islice(missing.items(), size)), embed, figures)
                missing = dict(itertools.islice(missing.items(), size, None))
        self._embed(missing, embed, figures)

    def _vectors_of(self, texts: list[str]) -> Vectors:
        """One batch, on every core where there is enough of it for an embedder that uses one."""
        if not self._embedder.per_core or len(texts) < _WORTH_SHARING:
            return self._embedder.embed_passages(texts)
        size = -(-len(texts) // _SHARES)
        shares = [(start, texts[start : start + size]) for start in range(0, len(texts), size)]
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
        lacking = 0
        for _, keys in self._keys([window]):
            known = self._memo.known(keys)
            lacking += sum(key not in known for key in keys)
        return lacking

    def _keys(self, windows: Sequence[str]) -> Iterator[tuple[str, list[bytes]]]:
        """The memo keys of what an index does not hold yet, a batch of chunks at a time."""
        index, source = self._chunks.index.name, self._chunks.source
        for window in windows:
            for pass_no in unapplied_passes(self._catalog, index, source, window):
                for texts, *_ in self._texts(window, pass_no):
                    yield window, [self._key(text) for text in texts]

    def _key(self, text: str) -> bytes:
        return passage_key(self._embedder, text, self._chunks.tenant)

    def _missing(
        self,
        batches: Iterator[_Columns],
        figures: EmbedFigures,
        *,
        claim: Claim,
    ) -> Iterator[_Wanted]:
        """Of some texts those that have no vector yet and are claimed."""
        for texts, tokens, documents in batches:
            keys = [self._key(text) for text in texts]
            claimed = claim(keys)
            known = self._memo.known(claimed)
            wanted: _Wanted = {}
            passages = zip(texts, tokens, documents, strict=True)
            for key, passage in zip(keys, passages, strict=True):
                if key in known or key in wanted:
                    figures.memo_hits += 1
                elif key in claimed:
                    wanted[key] = passage
            yield wanted

    def _part(self, window: str, pass_no: int) -> PartKey:
        part = self._chunks.part(window, pass_no)
        if part is None:
            raise RuntimeError(f"{self._chunks.source} {window}: chunks must run first")
        return part

    def _texts(
        self, window: str, pass_no: int, *, only: Stretch | None = None
    ) -> Iterator[_Columns]:
        """Texts and sizes of a pass's chunks and the keys of their documents, those only that the
        index lacks: what a newer change has superseded since it was chunked is not paid for."""
        part = self._part(window, pass_no)
        lacking = unapplied(self._chunks.index.name, self._chunks.source)
        for batch in self._pages.read(part, columns=["seq", *_COLUMNS], only=only):
            rows = batch.to_pylist()
            numbers = {row["seq"] for row in rows}
            with self._catalog.read() as connection:
                found = connection.execute(lacking.where(changes.c.seq.in_(numbers)))
                wanted = {row.seq for row in found}
            rows = [row for row in rows if row["seq"] in wanted]
            text, tokens, key = ([row[name] for row in rows] for name in _COLUMNS)
            yield text, tokens, key

    def _embed(
        self,
        missing: _Wanted,
        embed: Callable[[list[str]], Vectors],
        figures: EmbedFigures,
    ) -> None:
        """One durable batch."""
        if not missing:
            return
        if figures.deferred_chunks:
            figures.deferred_chunks += len(missing)
            return
        texts = [text for text, *_ in missing.values()]
        began = time.perf_counter()
        try:
            vectors = embed(texts)
        except BudgetExceeded as error:
            logger.warning("embedding stopped, documents deferred: %s", error)
            figures.deferred_chunks += len(missing)
            return
        except (InvalidEmbedding, EmbeddingServiceError) as error:
            raise self._placed(error, list(missing.values())) from error
        seconds = time.perf_counter() - began
        validate(vectors, expected=len(texts), dimension=self._embedder.dimension)
        self._memo.put_many(
            {key: vector_bytes(vector) for key, vector in zip(missing, vectors, strict=True)}
        )
        labels = {"index": self._chunks.index.name, "model": self._embedder.name}
        self._measures.observe(EMBED_SECONDS, [seconds], **labels)
        self._measures.observe(EMBEDDED_TEXTS, [len(texts)], **labels)
        figures.embed_calls += 1
        figures.embedded_chunks += len(texts)
        figures.embedded_tokens += sum(tokens for _, tokens, _ in missing.values())

    def _placed(
        self, error: InvalidEmbedding | EmbeddingServiceError, passages: list[tuple[str, int, str]]
    ) -> PlatformError:
        """The error with the documents that it is about, where it is about some."""
        if isinstance(error, InvalidEmbedding):
            about = [passages[position] for position in error.positions]
        else:
            about = [max(passages, key=lambda passage: len(passage[0].encode()))]
            about = about if error.too_long else []
        if not about:
            return error
        keys = list(dict.fromkeys(repr(key) for _, _, key in about))
        named = ", ".join(keys[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")
        return PassageRefused(f"{self._chunks.source}, a passage of {named}: {error}")


def _short(fingerprint: str) -> str:
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:16]


def _embed(embedder: Embedder, share: tuple[int, list[str]]) -> Vectors:
    """The vectors of some of a batch's texts, the first of which stands at a position in it."""
    first, texts = share
    try:
        return embedder.embed_passages(texts)
    except InvalidEmbedding as error:
        positions = [first + position for position in error.positions]
        raise InvalidEmbedding(str(error), positions) from error
