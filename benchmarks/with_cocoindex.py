"""CocoIndex: its engine's own store for the bookkeeping, LanceDB for the vectors.

Passages are memoized like in CocoIndex's examples: per file, and per text within a file.
"""

import asyncio
import os

os.environ["COCOINDEX_DISABLE_USAGE_TRACKING"] = "1"  # read when cocoindex is imported

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cocoindex as coco
import lancedb
import numpy as np
from cocoindex.connectors import lancedb as lance_target
from cocoindex.connectors import localfs
from cocoindex.ops.text import RecursiveSplitter
from cocoindex.resources.chunk import Chunk
from cocoindex.resources.file import FileLike, PatternFilePathMatcher
from cocoindex.resources.id import IdGenerator
from cocoindex.resources.schema import VectorSchema, VectorSchemaProvider
from contestant import EMBED_BATCH, PATTERN, Contestant, Embedder, Hit, Recipe, Size, run
from numpy.typing import NDArray

TABLE = "passages"
Vector = NDArray[np.float32]


class CountedEmbedder(VectorSchemaProvider):
    """The shared embedder, batched and memoized as CocoIndex does for its own embedders."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @coco.fn.as_async(batching=True, max_batch_size=EMBED_BATCH)
    def _embed(self, texts: list[str]) -> list[Vector]:
        return list(self._embedder.embed(texts))

    @coco.fn(memo=True, version=1, logic_tracking="self")
    async def embed(self, text: str) -> Vector:
        """The vector of one passage; calls at the same time become one batch."""
        vector: Vector = await self._embed(text)
        return vector

    async def __coco_vector_schema__(self) -> VectorSchema:
        return VectorSchema(dtype=np.dtype(np.float32), size=self._embedder.dimensions)

    def __coco_memo_key__(self) -> object:
        return ("wordllama", self._embedder.dimensions)


FOLDER = coco.ContextKey[Path]("folder")
DATABASE = coco.ContextKey[lance_target.LanceAsyncConnection]("database")
EMBEDDER = coco.ContextKey[CountedEmbedder]("embedder", detect_change=True)
SPLITTER = RecursiveSplitter()


@dataclass
class Passage:
    """A row of the table of vectors."""

    id: int
    path: str
    text: str
    embedding: Annotated[Vector, EMBEDDER]


@coco.fn
async def store_chunk(
    chunk: Chunk, path: str, ids: IdGenerator, table: lance_target.TableTarget[Passage]
) -> None:
    """Declare one passage."""
    table.declare_row(
        row=Passage(
            id=await ids.next_id(chunk.text),
            path=path,
            text=chunk.text,
            embedding=await coco.use_context(EMBEDDER).embed(chunk.text),
        )
    )


@coco.fn(memo=True)
async def store_file(
    file: FileLike, recipe: Recipe, table: lance_target.TableTarget[Passage]
) -> None:
    """Declare the passages of one file."""
    chunks = SPLITTER.split(
        await file.read_text(),
        recipe.chunk_bytes,
        chunk_overlap=recipe.overlap_bytes,
        language="markdown",
    )
    path = file.file_path.path.as_posix()
    await coco.map(store_chunk, chunks, path, IdGenerator(), table)


@coco.fn
async def store_folder(recipe: Recipe) -> None:
    """Declare the passages of all files."""
    table = await lance_target.mount_table_target(
        DATABASE, TABLE, await lance_target.TableSchema.from_class(Passage, primary_key=["id"])
    )
    files = localfs.walk_dir(
        FOLDER,
        recursive=True,
        path_matcher=PatternFilePathMatcher(included_patterns=[f"**/{PATTERN}"]),
    )
    await coco.mount_each(store_file, files.items(), recipe, table)


class CocoIndex(Contestant):
    """CocoIndex on LanceDB."""

    name = "CocoIndex"
    packages = ("cocoindex", "lancedb", "wordllama")
    storage = "LMDB and LanceDB, durable"

    @property
    def vectors(self) -> Path:
        return self.state / "lancedb"

    def sync(self, folder: Path) -> None:
        environment = coco.Environment(coco.Settings.from_env(db_path=self.state / "cocoindex.db"))
        connecting = lance_target.connect_async(str(self.vectors))
        connection = asyncio.run_coroutine_threadsafe(connecting, environment.event_loop).result()
        environment.context_provider.provide(FOLDER, folder)
        environment.context_provider.provide(DATABASE, connection)
        environment.context_provider.provide(EMBEDDER, CountedEmbedder(self.embedder))
        app = coco.App(
            coco.AppConfig(name="benchmark", environment=environment),
            store_folder,
            recipe=self.recipe,
        )
        app.update_blocking()

    def search(self, query: str, k: int) -> list[Hit]:
        vector = self.embedder.embed_query(query)
        rows = self._table().search(vector).select(["path", "text"]).limit(k).to_list()
        return [Hit(row["path"], row["text"]) for row in rows]

    def size(self) -> Size:
        paths = self._table().to_arrow().column("path")
        return Size(len(paths.unique()), len(paths))

    def _table(self) -> lancedb.table.Table:
        return lancedb.connect(str(self.vectors)).open_table(TABLE)


if __name__ == "__main__":
    run(CocoIndex)
