"""New catalogs without the cost of their migration, and catalogs that several processes open."""

import functools
import tempfile
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


def new_catalog(file: Path) -> str:
    """The URL of a catalog on SQLite in `file`; a new one is a copy of one that was migrated."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_migrated())
    return f"sqlite:///{file}"


@functools.cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(f"sqlite:///{folder}/catalog.db", Path(folder))
        place.open().close()
        return Path(folder, "catalog.db").read_bytes()
