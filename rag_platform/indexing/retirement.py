"""The end of an index version: its storage is removed, its record stays.

First a row says that the version is retired: from then on nobody promotes it, goes back to it or
writes to it, though it may still stand in the settings. Then everything it keeps goes. A run that
was killed is continued by the next one.
"""

import time
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.retrieval.live import live_index
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import (
    changes,
    index_documents,
    index_pages,
    index_promotions,
    index_versions,
)
from rag_platform.storage.vectors.base import VectorStore

# Held by whoever decides what is live and what goes.
PROMOTIONS_LOCK = "index-promotions"


class InService(PlatformError):
    """An index version that is needed cannot be retired."""


class Retired(PlatformError):
    """An index version whose points are gone for good."""


class NoSuchVersion(PlatformError):
    """An index version that was never built."""


def retired(catalog: Catalog) -> set[str]:
    """The index versions that are retired, their storage perhaps not yet removed."""
    rows = index_promotions
    with catalog.read() as connection:
        found = sa.select(rows.c.index_name).where(rows.c.action == "retired")
        return set(connection.execute(found).scalars())


def in_service(catalog: Catalog, indexes: Iterable[str]) -> list[str]:
    """Those of the settings' index versions that are not retired, in their order."""
    gone = retired(catalog)
    return [name for name in indexes if name not in gone]


def refuse_retired(catalog: Catalog, index: str) -> None:
    """Raise `Retired` for an index version that is out of service."""
    if index in retired(catalog):
        raise Retired(
            f"index {index}: was retired, its points are gone. Take it out of platform.yaml; to "
            "have it again, give its recipe a new name and replay the sources into that: "
            "remembered embeddings cost nothing."
        )


class Retirement:
    """Retires versions that were replaced, once the time they are kept for is over."""

    def __init__(
        self,
        catalog: Catalog,
        vectors: VectorStore,
        objects: Any,
        *,
        default: str,
        challenger: str | None = None,
    ) -> None:
        """`objects` holds the chunk parts; `default` is live before the first promotion, and
        `challenger` is compared with what is live."""
        self._catalog = catalog
        self._vectors = vectors
        self._objects = objects
        self._default = default
        self._challenger = challenger

    def due(self, now: float | None = None) -> list[str]:
        """The versions whose time is over (UTC seconds since 1970), oldest first."""
        rows = index_versions
        statement = (
            sa.select(rows.c.name)
            .where(rows.c.keep_until <= (time.time() if now is None else now))
            .order_by(rows.c.keep_until)
        )
        needed = (live_index(self._catalog, self._default), self._challenger)
        gone = retired(self._catalog)
        with self._catalog.read() as connection:
            names = connection.execute(statement).scalars().all()
        return [name for name in names if name not in needed and name not in gone]

    def run(self, now: float | None = None) -> list[str]:
        """Retire what is due, and finish what a killed run began; returns the names."""
        with self._catalog.exclusive(PROMOTIONS_LOCK):
            # Under the lock: one that is promoted meanwhile is not due any more.
            for name in self.due(now):
                self._declare(name, actor="retention", reason="the time it was kept for is over")
        begun = sorted(retired(self._catalog) - self._removed())
        for name in begun:
            self._remove(name)
        return begun

    def retire(self, index: str, *, actor: str, reason: str) -> None:
        """Retire one version now, however long it was to be kept.

        Raises `InService` and `NoSuchVersion`.
        """
        rows = index_versions
        with self._catalog.read() as connection:
            known = connection.scalar(sa.select(rows.c.name).where(rows.c.name == index))
        if known is None:
            raise NoSuchVersion(
                f"index {index}: was never built. What there is: rag-platform indexes"
            )
        with self._catalog.exclusive(PROMOTIONS_LOCK):
            if index not in retired(self._catalog):
                self._refuse_needed(index)
                self._declare(index, actor=actor, reason=reason)
        if index not in self._removed():
            self._remove(index)

    def _refuse_needed(self, index: str) -> None:
        if index == live_index(self._catalog, self._default):
            raise InService(
                f"index {index}: is live, so it is not retired. Promote another first: "
                "rag-platform promote"
            )
        if index == self._challenger:
            raise InService(
                f"index {index}: is the challenger of search.experiment, so it is not retired. End "
                "the experiment in platform.yaml first."
            )

    def _declare(self, index: str, *, actor: str, reason: str) -> None:
        """From now on the version is out of service. The lock of promotions must be held."""
        live = live_index(self._catalog, self._default)
        row = {
            "at": time.time(),
            "action": "retired",
            "index_name": index,
            "live": live,
            "previous": live,
            "actor": actor,
            "reason": reason,
            "facts": {},
        }
        with self._catalog.begin() as connection:
            connection.execute(sa.insert(index_promotions), row)

    def _removed(self) -> set[str]:
        rows = index_versions
        with self._catalog.read() as connection:
            found = sa.select(rows.c.name).where(rows.c.retired_at.is_not(None))
            return set(connection.execute(found).scalars())

    def _remove(self, index: str) -> None:
        """Everything that the version keeps; its rows last, which tell what there is to remove.

        Under the lock of its writers: one that had begun has ended, and later ones find the version
        retired.
        """
        with self._catalog.exclusive(f"index-{index}"):
            self._vectors.drop(index)
            for source in self._sources(index):
                self._remove_parts(f"pages/{source}/{index}/")
            with self._catalog.begin() as connection:
                for table in (index_documents, index_pages):
                    connection.execute(sa.delete(table).where(table.c.index_name == index))
                connection.execute(
                    sa.update(changes)
                    .where(changes.c.deferred_by == index)
                    .values(deferred_by=None)
                )
                connection.execute(
                    sa.update(index_versions)
                    .where(index_versions.c.name == index)
                    .values(retired_at=time.time(), keep_until=None)
                )

    def _sources(self, index: str) -> list[str]:
        with self._catalog.read() as connection:
            found = sa.union(
                *(
                    sa.select(table.c.source).where(table.c.index_name == index)
                    for table in (index_documents, index_pages)
                )
            )
            return list(connection.execute(found).scalars())

    def _remove_parts(self, prefix: str) -> None:
        for batch in self._objects.list(prefix=prefix):
            self._objects.delete([meta["path"] for meta in batch])
