"""What an index still needs: documents to apply, texts to embed, and what that costs.

Counted with the code that applies them, over pages that were cleaned; nothing is recorded.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.indexing.chunks import ChunkFigures, Chunks
from rag_platform.indexing.embeddings import passage_key
from rag_platform.indexing.progress import unapplied
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import Memo

logger = logging.getLogger(__name__)

_LOOKUP = 1_000


@dataclass(slots=True)
class SourceNeed:
    """What an index lacks of one source: from which window to which."""

    documents: int
    first: str
    last: str


@dataclass(slots=True)
class IndexNeed:
    """What an index lacks. `texts` are different texts without a vector, `tokens` theirs."""

    documents: int
    chunks: int
    texts: int
    tokens: int
    cost_usd: float
    sources: dict[str, SourceNeed]

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return asdict(self)


def index_need(
    chunks: Iterable[Chunks], *, catalog: Catalog, memo: Memo, price: Callable[[int], int]
) -> IndexNeed:
    """What is left to do for one index version; `chunks` is its chunking stage of each source.

    `price` gives micro-dollars for tokens. Keeps 8 bytes for each text that has no vector.
    Raises `RecipeMismatch` where the recipe is not the one that the index was built with.
    """
    need = IndexNeed(0, 0, 0, 0, 0.0, {})
    met: set[int] = set()
    for stage in chunks:
        stage.index.refuse_changed(catalog)
        left = _source_need(catalog, stage)
        if left is None:
            continue
        need.sources[stage.source] = left
        need.documents += left.documents
        for batch in _batches(_rows(catalog, stage)):
            need.chunks += len(batch)
            keys = [passage_key(stage.index.embedder, row["text"], stage.tenant) for row in batch]
            known = memo.known(keys)
            for key, row in zip(keys, batch, strict=True):
                short = int.from_bytes(key[:8], "big")
                if key not in known and short not in met:
                    met.add(short)
                    need.texts += 1
                    need.tokens += row["tokens"]
    need.cost_usd = price(need.tokens) / 1_000_000 if need.tokens else 0.0
    return need


def _source_need(catalog: Catalog, stage: Chunks) -> SourceNeed | None:
    left = unapplied(stage.index.name, stage.source).subquery()
    with catalog.read() as connection:
        row = connection.execute(
            sa.select(sa.func.count(), sa.func.min(left.c.window), sa.func.max(left.c.window))
        ).one()
    return SourceNeed(row[0], row[1], row[2]) if row[0] else None


def _rows(catalog: Catalog, stage: Chunks) -> Iterator[dict[str, Any]]:
    """The chunks of the documents that the index does not hold yet."""
    statement = unapplied(stage.index.name, stage.source)
    left = statement.subquery()
    with catalog.read() as connection:
        passes = connection.execute(
            sa.select(left.c.window, left.c.pass_no)
            .distinct()
            .order_by(left.c.window, left.c.pass_no)
        ).all()
    for window, pass_no in passes:
        with catalog.read() as connection:
            of_pass = sa.select(left.c.seq, left.c.kind).where(
                left.c.window == window, left.c.pass_no == pass_no
            )
            wanted = {row.seq: row.kind for row in connection.execute(of_pass)}
        if stage.part(window, pass_no) is None:
            if standing := sum(kind != "deleted" for kind in wanted.values()):
                logger.warning(
                    "%s %s: %d documents of %s are not priced: the rules by which they are parsed "
                    "or cleaned changed since. Replay the page into the live index first: "
                    "rag-platform replay %s --from %s --to %s --index NAME",
                    *(stage.source, window, standing, stage.index.name),
                    *(stage.source, window, window),
                )
            continue
        for row in stage.rows(window, pass_no, ChunkFigures()):
            if row["seq"] in wanted:
                yield row


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= _LOOKUP:
            yield batch
            batch = []
    if batch:
        yield batch
