"""Asking a source: its listing in a table, and the bytes of what is new or looks changed."""

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.identity import document_id
from rag_platform.documents.sources import Fetched, ListedObject, NotTaken, Source
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.pages import PageStore, PartKey
from rag_platform.storage.schema import documents, listing

_BATCH = 500
# Of reads at the same time: how many, and their bytes, unless a single one has more.
_IN_FLIGHT = 64
_BYTES_IN_FLIGHT = 64_000_000
_VANISHED = "vanished"


class Listing:
    """The listing under way of one source. The source's lock must be held."""

    def __init__(
        self,
        name: str,
        source: Source,
        *,
        max_bytes: int,
        catalog: Catalog,
    ) -> None:
        self.name = name
        self.source = source
        self._max_bytes = max_bytes
        self._catalog = catalog

    def ask(self) -> None:
        """Bring the listing into its table."""
        with self._catalog.begin() as connection:
            connection.execute(sa.delete(listing).where(listing.c.source == self.name))
        for batch in self.source.batches():
            rows = [self._row(found) for found in batch]
            # A transaction each: a slow listing must not keep other writers waiting.
            with self._catalog.begin() as connection:
                # Two names that are not UTF-8 may be shown alike: the first stands for both.
                self._catalog.upsert(connection, listing, rows, update=())

    def _row(self, found: ListedObject) -> dict[str, Any]:
        return {
            "source": self.name,
            "key": found.key,
            "etag": found.etag,
            "size": found.size,
            "modified": found.modified,
            "fetched": False,
            "failure": found.failure,
            "detail": found.detail,
        }

    def fetch(self, is_due: Callable[[Any], bool], *, pages: PageStore, part: PartKey) -> int:
        """Write the bytes of candidates into the part; returns how many were not due.

        A candidate is new, or differs from what is known in etag, size or time. Nothing is
        written when there is none.
        """
        waiting = 0

        def due() -> Iterator[Any]:
            nonlocal waiting
            for row in self._candidates():
                if is_due(row):
                    yield row
                else:
                    waiting += 1

        rows = due()
        first = next(rows, None)
        if first is not None:
            self._fetch(itertools.chain([first], rows), pages=pages, part=part)
        return waiting

    def _candidates(self) -> Iterator[Any]:
        statement = (
            sa.select(listing)
            .where(
                listing.c.source == self.name,
                ~sa.exists().where(
                    documents.c.source == listing.c.source,
                    documents.c.key == listing.c.key,
                    ~documents.c.gone,
                    documents.c.etag == listing.c.etag,
                    documents.c.size == listing.c.size,
                    documents.c.modified == listing.c.modified,
                ),
            )
            .order_by(listing.c.key)
            .limit(_BATCH)
        )
        last = ""
        while True:
            with self._catalog.read() as connection:
                batch = list(connection.execute(statement.where(listing.c.key > last)))
            if not batch:
                return
            yield from batch
            last = batch[-1].key

    def _fetch(self, due: Iterable[Any], *, pages: PageStore, part: PartKey) -> None:
        """Read the objects, a few at a time in flight, and note what was read of each."""
        taken: list[dict[str, Any]] = []
        with (
            ThreadPoolExecutor(self.source.fetch_threads) as executor,
            pages.writer(part, raw_schema()) as writer,
        ):
            for row, content in self._in_order(executor, due):
                taken.append(row)
                if content is not None:
                    writer.add(
                        {
                            "key": row["_key"],
                            "sha256": row["sha256"],
                            "content": content,
                        },
                        size=len(content),
                    )
                if len(taken) >= _BATCH:
                    self._note(taken)
                    taken = []
        self._note(taken)

    def _in_order(
        self, executor: ThreadPoolExecutor, due: Iterable[Any]
    ) -> Iterator[tuple[dict[str, Any], bytes | None]]:
        """What was read, in the order of the rows, with a bounded number and size in flight."""
        pending: deque[tuple[int, Future[Any]]] = deque()
        size = 0
        for row in due:
            weight = min(row.size, self._max_bytes)
            while pending and (len(pending) >= _IN_FLIGHT or size + weight > _BYTES_IN_FLIGHT):
                done, future = pending.popleft()
                size -= done
                yield future.result()
            pending.append((weight, executor.submit(self._take, row)))
            size += weight
        while pending:
            yield pending.popleft()[1].result()

    def _take(self, row: Any) -> tuple[dict[str, Any], bytes | None]:
        """Read one object. Its etag, size and time are those of the bytes that were read."""
        noted = {
            "_source": self.name,
            "_key": row.key,
            "fetched": True,
            "doc_id": document_id(self.name, row.key),
            "etag": row.etag,
            "size": row.size,
            "modified": row.modified,
            "sha256": None,
            "failure": row.failure,
            "detail": row.detail,
        }
        if row.failure is not None:
            return noted, None
        try:
            self._check_size(row.size)
            fetched = self.source.fetch(row.key)
            if fetched is None:
                return noted | _failure(_VANISHED, ""), None
            self._check_size(len(fetched.content))  # it may have grown since
        except NotTaken as error:
            refused = noted | _failure(error.reason, error.detail)
            # A right that is given changes nothing that a listing shows: ask again each time.
            return refused | ({"etag": None} if error.reason == "unreadable" else {}), None
        return noted | _facts(fetched), fetched.content

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise NotTaken(
                "too_large",
                f"{size:,} bytes, the limit is {self._max_bytes:,}; raise limits.max_bytes or "
                "exclude it",
            )

    def _note(self, taken: list[dict[str, Any]]) -> None:
        if not taken:
            return
        names = (
            "fetched",
            "doc_id",
            "etag",
            "size",
            "modified",
            "sha256",
            "failure",
            "detail",
        )
        same = (
            listing.c.source == sa.bindparam("_source"),
            listing.c.key == sa.bindparam("_key"),
        )
        with self._catalog.begin() as connection:
            connection.execute(
                sa.update(listing).where(*same).values({n: sa.bindparam(n) for n in names}),
                taken,
            )
            vanished = [row["_key"] for row in taken if row["failure"] == _VANISHED]
            connection.execute(
                sa.delete(listing).where(listing.c.source == self.name, listing.c.key.in_(vanished))
            )


def raw_schema() -> Any:
    """The columns of a raw part: one row per object that could be read."""
    import pyarrow as pa

    return pa.schema([("key", pa.string()), ("sha256", pa.string()), ("content", pa.binary())])


def _facts(fetched: Fetched) -> dict[str, Any]:
    return {
        "etag": fetched.etag,
        "size": len(fetched.content),
        "modified": fetched.modified,
        "sha256": hashlib.sha256(fetched.content).hexdigest(),
    }


def _failure(reason: str, detail: str) -> dict[str, Any]:
    return {"failure": reason, "detail": detail}
