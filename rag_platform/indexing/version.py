"""An index version: a recipe (chunker, embedder, sparse encoder) under a name."""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.encoders.base import Embedder, SparseEncoder
from rag_platform.indexing.chunking.chunker import Chunker
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import index_versions
from rag_platform.storage.vectors.base import Collection, RecipeMismatch, refuse_other_recipe


@dataclass(frozen=True)
class IndexVersion:
    """A recipe with its name. The collection of the same name holds its points."""

    name: str
    chunker: Chunker
    embedder: Embedder
    sparse: SparseEncoder

    @property
    def fingerprint(self) -> str:
        """All that a point depends on besides the clean document; SHA-256, hexadecimal."""
        digest = hashlib.sha256()
        for part in (
            self.chunker.fingerprint,
            self.embedder.fingerprint,
            self.sparse.fingerprint,
        ):
            digest.update(f"{len(part)}:{part}".encode())
        return digest.hexdigest()

    @property
    def recipe(self) -> dict[str, str]:
        """The recipe for people."""
        return {
            "chunker": self.chunker.fingerprint,
            "embedder": self.embedder.fingerprint,
            "sparse": self.sparse.fingerprint,
        }

    def register(self, catalog: Catalog) -> None:
        """Write the recipe down at first use; raise `RecipeMismatch` if the name has another."""
        row: dict[str, Any] = {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "recipe": self.recipe,
            "created_at": time.time(),
        }
        with catalog.begin() as connection:
            catalog.upsert(connection, index_versions, [row], update=())
        self.refuse_changed(catalog)

    def refuse_changed(self, catalog: Catalog) -> None:
        """Raise `RecipeMismatch` if the name was written down with another recipe."""
        with catalog.read() as connection:
            known = connection.execute(
                sa.select(index_versions).where(index_versions.c.name == self.name)
            ).first()
        if known is not None and known.fingerprint != self.fingerprint:
            changed = [part for part in self.recipe if known.recipe.get(part) != self.recipe[part]]
            raise RecipeMismatch(
                f"index {self.name}: its {', '.join(changed)} changed since it was built "
                f"({known.recipe.get(changed[0]) if changed else known.fingerprint}). A changed "
                "recipe is a new version: leave this one as it was, add the new one under "
                "`indexes` with a name of its own, replay the source into it, then set `live`."
            )

    def refuse_other(self, collection: Collection) -> None:
        """Raise `RecipeMismatch` unless the collection was built by this recipe."""
        refuse_other_recipe(
            self.name,
            "the vector store",
            found=(collection.dimension, collection.fingerprint),
            wanted=(self.embedder.dimension, self.fingerprint),
        )
