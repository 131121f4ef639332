"""Catalogs that several processes of a test open."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag_platform.storage.catalog import Catalog


@dataclass(frozen=True)
class Place:
    """Where a catalog is."""

    url: str
    locks: Path

    def open(self) -> "Catalog":
        """The catalog; who opens it closes it."""
        from rag_platform.storage.catalog import Catalog

        return Catalog(self.url, lock_folder=self.locks)
