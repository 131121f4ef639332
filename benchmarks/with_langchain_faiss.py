"""LangChain: `index()` with a SQL record manager and FAISS, saved after each run.

Faster than Chroma, and less safe: the flat index lives in memory and is written whole at the end,
so a process killed before that leaves a record manager which knows chunks that no index holds.
"""

from pathlib import Path

import faiss
from contestant import Hit, Size, run
from langchain_community.docstore.in_memory import InMemoryDocstore
from langchain_community.vectorstores import FAISS
from with_langchain import LangChain, found_in


class LangChainFaiss(LangChain):
    """LangChain's indexing API on FAISS."""

    name = "LangChain, FAISS"
    packages = (
        "langchain-core",
        "langchain-classic",
        "langchain-community",
        "faiss-cpu",
        "wordllama",
    )
    storage = "FAISS in memory, saved at the end; SQLite"

    @property
    def vectors(self) -> Path:
        return self.state / "faiss"

    def sync(self, folder: Path) -> None:
        store = self._open()
        self.index(folder, store)
        store.save_local(str(self.vectors))

    def search(self, query: str, k: int) -> list[Hit]:
        return found_in(self._open(), query, k)

    def size(self) -> Size:
        store = self._open()
        ids = list(store.index_to_docstore_id.values())
        return Size(len({store.docstore.search(key).metadata["source"] for key in ids}), len(ids))

    def _open(self) -> FAISS:
        if self.vectors.is_dir():
            return FAISS.load_local(
                str(self.vectors), self.embeddings(), allow_dangerous_deserialization=True
            )
        index = faiss.IndexFlatIP(self.recipe.dimensions)
        return FAISS(self.embeddings(), index, InMemoryDocstore(), {})


if __name__ == "__main__":
    run(LangChainFaiss)
