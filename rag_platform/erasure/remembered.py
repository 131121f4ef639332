"""What the memo and the gateway's cache have of documents.

The memo names nothing: its keys are digests. They are worked out from the stored pages while these
have the documents; what parsing left is recognised by its text, whatever parser left it.
"""

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping

import sqlalchemy as sa

from rag_platform.encoders.wordllama import WordLlamaEmbedder
from rag_platform.erasure.subjects import Made
from rag_platform.indexing.chunking.chunker import CHUNKER_VERSION, Chunker
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.memo import memo_key
from rag_platform.storage.schema import index_versions, memo
from rag_platform.storage.schema_models import llm_cache

_BATCH = 500
# Lines that hardly two documents share by chance, and how much of a text they must make up.
_LONG_LINE = 24
_SHARE = 0.3


def recipes(catalog: Catalog) -> list[dict[str, str]]:
    """The recipes of all index versions that ever were."""
    with catalog.read() as connection:
        return list(connection.execute(sa.select(index_versions.c.recipe)).scalars())


def passages_of(made: Made, recipes: Iterable[Mapping[str, str]]) -> set[str]:
    """The passages of a document by every recipe that can still be followed, and as stored."""
    found = set(made.passages)
    for written in {recipe["chunker"] for recipe in recipes}:
        if chunker := _chunker(written):
            for row in made.clean:
                if row["text"]:
                    chunks = chunker.chunk(row["text"], row["page_starts"] or (), key=row["key"])
                    found.update(chunk.text for chunk in chunks)
    return found


def passage_keys(
    passages: Iterable[str], recipes: Iterable[Mapping[str, str]], tenant: str
) -> set[bytes]:
    """The memo keys of the passages' vectors, by every embedder that ever was."""
    embedders = {recipe["embedder"] for recipe in recipes}
    return {
        memo_key("passage", embedder, text.encode(), tenant)
        for text in passages
        for embedder in embedders
    }


def parse_keys(catalog: Catalog, texts: Mapping[str, Collection[str]]) -> dict[str, set[bytes]]:
    """The memo keys of what was parsed of documents; `texts` and the result are by name."""
    exact = {text: name for name, some in texts.items() for text in some}
    owners = {line: name for name, some in texts.items() for text in some for line in _lines(text)}
    found: dict[str, set[bytes]] = {name: set() for name in texts}
    for key, text in _parsed(catalog):
        name = exact.get(text)
        if name is None and (lines := _lines(text)):
            known = [owners[line] for line in lines if line in owners]
            name = known[0] if len(known) >= _SHARE * len(lines) else None
        if name is not None:
            found[name].add(key)
    return found


def known(catalog: Catalog, keys: Collection[bytes]) -> int:
    """How many of the keys the memo has."""
    with catalog.read() as connection:
        return sum(
            int(connection.scalar(sa.select(sa.func.count()).where(memo.c.key.in_(some))) or 0)
            for some in _batches(keys)
        )


def remove(connection: sa.Connection, keys: Collection[bytes]) -> None:
    """Remove entries of the memo."""
    for some in _batches(keys):
        connection.execute(sa.delete(memo).where(memo.c.key.in_(some)))


def cached(catalog: Catalog, since: float, until: float) -> int:
    """How many answers the gateway's cache has of a time (UTC seconds since 1970)."""
    wanted = sa.select(sa.func.count()).where(llm_cache.c.created_at.between(since, until))
    with catalog.read() as connection:
        return int(connection.scalar(wanted) or 0)


def remove_cached(connection: sa.Connection, since: float, until: float) -> None:
    """Remove what was answered in a time. No row says which documents a question held; what was
    answered about documents stands in the memo, and the rest is kept for hours only."""
    of_then = llm_cache.c.created_at.between(since, until)
    connection.execute(sa.delete(llm_cache).where(of_then))


def _chunker(written: str) -> Chunker | None:
    """A chunker from its fingerprint; None for one of another version."""
    head, _, rules = written.partition(":[[")
    name, version, strategy, size, overlap, *_ = head.split(":")
    if (name, version) != ("chunker", str(CHUNKER_VERSION)):
        return None
    pairs = [tuple(pair) for pair in json.loads("[[" + rules)] if rules else []
    is_semantic = "semantic" in (strategy, *(other for _, other in pairs))
    return Chunker(
        strategy,  # type: ignore[arg-type]
        int(size),
        overlap=int(overlap),
        embedder=WordLlamaEmbedder() if is_semantic else None,
        rules=pairs,
    )


def _parsed(catalog: Catalog) -> Iterator[tuple[bytes, str]]:
    """Key and text of every result of a parser in the memo."""
    rows = (
        sa.select(memo.c.key, memo.c.value)
        .where(
            sa.func.substr(memo.c.value, 1, 2, type_=sa.LargeBinary) == b"\x78\x01"
        )  # how zlib begins
        .order_by(memo.c.key)
        .limit(_BATCH)
    )
    last = b""
    while True:
        with catalog.read() as connection:
            batch = connection.execute(rows.where(memo.c.key > last)).all()
        if not batch:
            return
        last = bytes(batch[-1].key)
        for row in batch:
            if (text := _text(bytes(row.value))) is not None:
                yield bytes(row.key), text


def _text(value: bytes) -> str | None:
    try:
        parsed = json.loads(zlib.decompress(value))
    except (zlib.error, ValueError):
        return None  # a vector that begins like this
    return parsed["text"] if isinstance(parsed, dict) and "page_starts" in parsed else None


def _lines(text: str) -> set[str]:
    lines = (line.strip() for line in text.split("\n"))
    return {line for line in lines if len(line) >= _LONG_LINE}


def _batches(keys: Collection[bytes]) -> Iterator[list[bytes]]:
    ordered = sorted(keys)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]
