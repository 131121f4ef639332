"""LlamaIndex: IngestionPipeline with a document store, upserts and deletes, and Chroma.

The pipeline hands over all passages of a run at once and Chroma takes 5,461, so they are added in
slices here; with LlamaIndex's LanceDB connector deletes fail (it quotes ids as column names). The
pipeline's cache is off: its key covers all passages of a run at once, so it never hits on an
incremental run and would only be written out as JSON.
"""

import os

os.environ["ANONYMIZED_TELEMETRY"] = "False"  # read by chromadb when it is imported

import logging
from pathlib import Path
from typing import Any

import chromadb
from contestant import EMBED_BATCH, Contestant, Embedder, Hit, Size, run
from llama_index.core import Document, SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.vector_stores.chroma import ChromaVectorStore

COLLECTION = "docs"
CHROMA_BATCH = 5000


class CountedEmbedding(BaseEmbedding):
    """The shared embedder behind LlamaIndex's interface."""

    _embedder: Embedder = PrivateAttr()

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(model_name="wordllama", embed_batch_size=EMBED_BATCH)
        self._embedder = embedder

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._embedder.embed(texts).tolist()
        return vectors

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self._embedder.embed_query(query).tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


class SlicedChroma(ChromaVectorStore):
    """Chroma, given no more at once than it takes."""

    def add(self, nodes: list[BaseNode], **add_kwargs: Any) -> list[str]:
        """Add passages; returns their ids."""
        slices = range(0, len(nodes), CHROMA_BATCH)
        added = [super(SlicedChroma, self).add(nodes[at : at + CHROMA_BATCH]) for at in slices]
        return [key for keys in added for key in keys]


class LlamaIndex(Contestant):
    """LlamaIndex's ingestion pipeline on Chroma."""

    name = "LlamaIndex"
    packages = ("llama-index-core", "llama-index-vector-stores-chroma", "chromadb", "wordllama")
    storage = "Chroma durable; document store saved as JSON at the end"

    @property
    def vectors(self) -> Path:
        return self.state / "chroma"

    def sync(self, folder: Path) -> None:
        docstore_file = self.state / "docstore.json"
        docstore = (
            SimpleDocumentStore.from_persist_path(str(docstore_file))
            if docstore_file.exists()
            else SimpleDocumentStore()
        )
        splitter = SentenceSplitter(
            chunk_size=self.recipe.chunk_bytes,
            chunk_overlap=self.recipe.overlap_bytes,
            tokenizer=lambda text: list(text.encode()),
        )
        pipeline = IngestionPipeline(
            transformations=[splitter, CountedEmbedding(self.embedder)],
            vector_store=self._store(),
            docstore=docstore,
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
            disable_cache=True,
        )
        pipeline.run(documents=documents_of(folder))
        docstore.persist(str(docstore_file))

    def search(self, query: str, k: int) -> list[Hit]:
        index = VectorStoreIndex.from_vector_store(
            self._store(), embed_model=CountedEmbedding(self.embedder)
        )
        found = index.as_retriever(similarity_top_k=k).retrieve(query)
        return [Hit(hit.node.metadata["source"], hit.node.get_content()) for hit in found]

    def size(self) -> Size:
        rows = self._collection().get(include=["metadatas"])["metadatas"] or []
        return Size(len({row["source"] for row in rows}), len(rows))

    def _store(self) -> SlicedChroma:
        return SlicedChroma(chroma_collection=self._collection())

    def _collection(self) -> chromadb.Collection:
        return chromadb.PersistentClient(str(self.vectors)).get_or_create_collection(COLLECTION)


def documents_of(folder: Path) -> list[Document]:
    """The Markdown files by LlamaIndex's own reader, its metadata kept out of the vectors."""
    logging.getLogger("llama_index.core.readers.file.base").setLevel(logging.ERROR)
    reader = SimpleDirectoryReader(
        str(folder), recursive=True, required_exts=[".md"], filename_as_id=True
    )
    documents: list[Document] = reader.load_data()
    for document in documents:
        path = Path(document.metadata["file_path"])
        document.metadata["source"] = path.relative_to(folder).as_posix()
        document.excluded_embed_metadata_keys = list(document.metadata)
        document.excluded_llm_metadata_keys = list(document.metadata)
    return documents


if __name__ == "__main__":
    run(LlamaIndex)
