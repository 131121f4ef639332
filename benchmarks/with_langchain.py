"""LangChain: `index()` with a SQL record manager and Chroma.

Cleanup is `full`, the mode that also forgets documents which left the folder.
"""

import os
from pathlib import Path

os.environ["ANONYMIZED_TELEMETRY"] = "False"  # read by chromadb when it is imported

from contestant import EMBED_BATCH, PATTERN, Contestant, Embedder, Hit, Size, run
from langchain_chroma import Chroma
from langchain_classic.indexes import SQLRecordManager
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import index
from langchain_core.vectorstores import VectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter

COLLECTION = "docs"
INDEX_BATCH = 1024  # rows per round: docs_opentelemetry took 38 CPU s, 49 with the default of 100


class CountedEmbeddings(Embeddings):
    """The shared embedder behind LangChain's interface."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of passages, in batches."""
        batches = range(0, len(texts), EMBED_BATCH)
        vectors = [self._embedder.embed(texts[at : at + EMBED_BATCH]) for at in batches]
        return [row for batch in vectors for row in batch.tolist()]

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        vector: list[float] = self._embedder.embed_query(text).tolist()
        return vector


class LangChain(Contestant):
    """LangChain's indexing API on Chroma."""

    name = "LangChain"
    packages = ("langchain-core", "langchain-classic", "langchain-chroma", "chromadb", "wordllama")
    storage = "Chroma and SQLite, durable"

    @property
    def vectors(self) -> Path:
        return self.state / "chroma"

    def sync(self, folder: Path) -> None:
        self.index(folder, Chroma(COLLECTION, self.embeddings(), str(self.vectors)))

    def search(self, query: str, k: int) -> list[Hit]:
        store = Chroma(COLLECTION, self.embeddings(), str(self.vectors))
        return found_in(store, query, k)

    def size(self) -> Size:
        store = Chroma(COLLECTION, self.embeddings(), str(self.vectors))
        rows = store.get(include=["metadatas"])["metadatas"]
        return Size(len({row["source"] for row in rows}), len(rows))

    def embeddings(self) -> CountedEmbeddings:
        """The shared embedder for LangChain."""
        return CountedEmbeddings(self.embedder)

    def index(self, folder: Path, store: VectorStore) -> None:
        """Read, split, and let LangChain find out what is new."""
        records = SQLRecordManager(COLLECTION, db_url=f"sqlite:///{self.state / 'records.db'}")
        records.create_schema()
        splitter = RecursiveCharacterTextSplitter(
            chunk_size=self.recipe.chunk_bytes,
            chunk_overlap=self.recipe.overlap_bytes,
            length_function=lambda text: len(text.encode()),
        )
        documents = [
            Document(
                path.read_text(encoding="utf-8"),
                metadata={"source": path.relative_to(folder).as_posix()},
            )
            for path in sorted(folder.rglob(PATTERN))
        ]
        index(
            splitter.split_documents(documents),
            records,
            store,
            batch_size=INDEX_BATCH,
            cleanup="full",
            source_id_key="source",
            key_encoder="sha256",
        )


def found_in(store: VectorStore, query: str, k: int) -> list[Hit]:
    """The k nearest passages of a LangChain vector store."""
    found = store.similarity_search(query, k=k)
    return [Hit(document.metadata["source"], document.page_content) for document in found]


if __name__ == "__main__":
    run(LangChain)
