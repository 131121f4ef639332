"""Asking a source: its listing in a table, and the bytes of what is new or looks changed."""

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.access import OPEN, Access, AccessRules, written
from rag_platform.documents.identity import document_id
from rag_platform.documents.sources.base import (
    Fetched,
    Known,
    ListedObject,
    NotTaken,
    Source,
    Unchanged,
)
from rag_platform.settings_values import DEFAULT_TENANT
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.pages import PageStore, PartKey
from rag_platform.storage.schema import documents, listing

_BATCH = 500
# Of reads at the same time: how many, and their bytes, unless a single one has more.
_IN_FLIGHT = 64
_BYTES_IN_FLIGHT = 64_000_000
_VANISHED = "vanished"
# Where a listing does not tell sizes.
_UNKNOWN_SIZE = 16_000_000
_LISTED = ("etag", "size", "modified", "fetched", "failure", "detail", "gone", "acl")


class Listing:
    """The listing under way of one source. The source's lock must be held."""

    def __init__(
        self,
        name: str,
        source: Source,
        *,
        max_bytes: int,
        catalog: Catalog,
        access: Access | None = None,
        tenant: str = DEFAULT_TENANT,
    ) -> None:
        """`access` says who may read a document where the source itself does not; None:
        everybody."""
        self._tenant = tenant
        self.name = name
        self.source = source
        self._access = access
        self._max_bytes = max_bytes
        self._catalog = catalog

    def ask(self, since: str | None = None, until: datetime | None = None) -> None:
        """Bring the listing into its table: all there is, or what happened after a cursor."""
        rules = self._access.rules(self.source) if self._access else OPEN
        with self._catalog.begin() as connection:
            connection.execute(sa.delete(listing).where(listing.c.source == self.name))
        # Two names that are not UTF-8 may be shown alike: the first stands for both. Of several
        # events of a key the last counts.
        update = () if self.source.complete else _LISTED
        for batch in self.source.batches(since, until):
            rows = [self._row(found, rules.of(found)) for found in batch]
            if not self.source.complete:
                rows = list({row["key"]: row for row in rows}.values())
            # A transaction each: a slow listing must not keep other writers waiting.
            with self._catalog.begin() as connection:
                self._catalog.upsert(connection, listing, rows, update=update)
        if not (self.source.complete or self.source.tells_readers):
            self._bring_readers(rules)

    def _bring_readers(self, rules: AccessRules) -> None:
        """What the listing does not tell of: the rules may not be those under which it came."""
        live = (documents.c.source == self.name, ~documents.c.gone)
        if not rules.rules:
            acl = written(rules.default)
            statement = sa.update(documents).values(acl=acl)
            with self._catalog.begin() as connection:
                connection.execute(statement.where(*live, documents.c.acl.is_distinct_from(acl)))
            return
        known = sa.select(documents.c.key, documents.c.acl).where(*live)
        last = ""
        while True:
            after = known.where(documents.c.key > last).order_by(documents.c.key).limit(_BATCH)
            with self._catalog.read() as connection:
                batch = list(connection.execute(after))
            if not batch:
                return
            last = batch[-1].key
            told = [(row, written(rules.of_key(row.key))) for row in batch]
            if changed := [{"_key": row.key, "_acl": acl} for row, acl in told if acl != row.acl]:
                statement = sa.update(documents).values(acl=sa.bindparam("_acl"))
                with self._catalog.begin() as connection:
                    connection.execute(
                        statement.where(*live, documents.c.key == sa.bindparam("_key")), changed
                    )

    def _row(self, found: ListedObject, acl: tuple[str, ...] | None) -> dict[str, Any]:
        return {
            "source": self.name,
            "key": found.key,
            "etag": found.etag,
            "size": found.size,
            "modified": found.modified,
            "fetched": False,
            "failure": found.failure,
            "detail": found.detail,
            "gone": found.gone,
            "acl": written(acl),
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
            sa.select(
                listing,
                documents.c.etag.label("known_etag"),
                documents.c.size.label("known_size"),
                documents.c.modified.label("known_modified"),
                documents.c.sha256.label("known_sha256"),
            )
            .outerjoin(
                documents,
                sa.and_(
                    documents.c.source == listing.c.source,
                    documents.c.key == listing.c.key,
                    ~documents.c.gone,
                ),
            )
            .where(
                listing.c.source == self.name,
                ~listing.c.gone,
                sa.or_(
                    documents.c.etag.is_distinct_from(listing.c.etag),
                    listing.c.etag.is_(None),
                    documents.c.size.is_distinct_from(listing.c.size),
                    documents.c.modified.is_distinct_from(listing.c.modified),
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
                    media_type = row.pop("_media_type")
                    writer.add(
                        {
                            "key": row["_key"],
                            "sha256": row["sha256"],
                            "content": content,
                            "media_type": media_type,
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
            weight = min(row.size or _UNKNOWN_SIZE, self._max_bytes)
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
            "doc_id": document_id(self.name, row.key, self._tenant),
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
            known = None
            if row.known_sha256 is not None:
                known = Known(row.known_etag, row.known_modified, row.known_sha256)
            fetched = self.source.fetch(row.key, known)
            if fetched is None:
                return noted | _failure(_VANISHED, ""), None
            if isinstance(fetched, Unchanged):
                return noted | _as_known(row, fetched), None
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
            self._let_go(connection, vanished)

    def _let_go(self, connection: sa.Connection, vanished: list[str]) -> None:
        """What was there when it was listed, and is not any more: not listed, or told to be gone
        where what is not listed is nothing new."""
        of_these = (listing.c.source == self.name, listing.c.key.in_(vanished))
        if self.source.complete:
            connection.execute(sa.delete(listing).where(*of_these))
        else:
            connection.execute(
                sa.update(listing)
                .where(*of_these)
                .values(gone=True, fetched=False, failure=None, doc_id=None)
            )


def raw_schema() -> Any:
    """The columns of a raw part: one row per object that could be read."""
    import pyarrow as pa

    return pa.schema(
        [
            ("key", pa.string()),
            ("sha256", pa.string()),
            ("content", pa.binary()),
            # Not in parts that were written before sources told it.
            ("media_type", pa.string()),
        ]
    )


def _facts(fetched: Fetched) -> dict[str, Any]:
    return {
        "etag": fetched.etag,
        "size": len(fetched.content),
        "modified": fetched.modified,
        "sha256": hashlib.sha256(fetched.content).hexdigest(),
        "_media_type": fetched.media_type,
    }


def _as_known(row: Any, unchanged: Unchanged) -> dict[str, Any]:
    return {
        "etag": unchanged.etag,
        "size": row.known_size,
        "modified": unchanged.modified,
        "sha256": row.known_sha256,
    }


def _failure(reason: str, detail: str) -> dict[str, Any]:
    return {"failure": reason, "detail": detail}
