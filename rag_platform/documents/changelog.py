"""The change log: what one asking of a source found, recorded in one transaction.

Everything is set-based SQL over the `listing` table, so that a source of a million objects
costs a join, not a million lookups. The source's lock must be held.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import (
    changes,
    dead_letters,
    documents,
    listing,
    passes,
    source_cursors,
)

_BATCH = 500


class SourceListingRefused(PlatformError):
    """The listing would delete more than is plausible; nothing was recorded."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one asking of the source found; `pass_no` is None when a page was replayed.

    `changes` counts the kinds inserted, updated, moved and deleted. `waiting` objects are dated
    into windows whose pages have not been written yet.
    """

    window: str
    pass_no: int | None
    objects: int
    listed: int
    changes: dict[str, int]
    waiting: int = 0


class ChangeLog:
    """The pages of one source."""

    def __init__(self, source: str, catalog: Catalog, *, max_deletion_share: float) -> None:
        self.name = source
        self._catalog = catalog
        self._max_deletion_share = max_deletion_share

    def written(self) -> set[str]:
        """The windows that have a page."""
        with self._catalog.read() as connection:
            rows = connection.execute(
                sa.select(passes.c.window).where(passes.c.source == self.name).distinct()
            )
            return set(rows.scalars())

    def next_pass(self, window: str) -> int:
        """The number that the next pass over a window will have."""
        with self._catalog.read() as connection:
            return self._next_pass(connection, window)

    def last_pass(self, window: str) -> Any:
        """The newest pass of a window as a row of `passes`, or None."""
        with self._catalog.read() as connection:
            return self._last_pass(connection, window)

    def close_empty(self, window: str) -> None:
        """Write a page without changes for a window that time has passed over."""
        with self._catalog.begin() as connection:
            self._insert_pass(
                connection, window, 1, objects=0, listed=0, unchanged=0, complete=False
            )

    def record(
        self,
        window: str,
        waiting: int,
        *,
        url: str,
        allow_deletions: bool,
        raw_fingerprint: str,
        complete: bool = True,
        since: str | None = None,
        cursor: str | None = None,
    ) -> PassReport:
        """Write the pass down, or raise `SourceListingRefused` and write nothing.

        A listing that is not `complete` holds what happened after the cursor `since`; in the same
        transaction `cursor` becomes the place where the next one goes on.
        """
        with self._catalog.begin() as connection:
            pass_no = self._next_pass(connection, window)
            objects = connection.execute(
                sa.select(sa.func.count()).where(listing.c.source == self.name, ~listing.c.gone)
            ).scalar_one()
            self._insert_changes(connection, window, pass_no, complete=complete)
            self._pair_moves(connection, window, pass_no)
            counts = self._count(connection, window, pass_no)
            gone = counts.get("deleted", 0)
            if not allow_deletions:
                # Without a complete listing, nothing listed says that nothing happened.
                shown = objects if complete else max(objects, 1)
                self._refuse_implausible(connection, shown, gone, url=url)
            listed = objects - waiting + gone
            counts.pop("departed", None)
            changed = sum(counts.values())
            last = self._last_pass(connection, window)
            if changed or last is None or last.settled:
                self._insert_pass(
                    connection,
                    window,
                    pass_no,
                    objects=objects,
                    listed=listed,
                    unchanged=listed - changed,
                    complete=complete,
                    since=since,
                    cursor=cursor,
                )
            if cursor is not None:
                self._advance(connection, window, pass_no, cursor)
            self._note_access(connection)
            self._note_touched(connection, window, pass_no)
            self._update_documents(connection, window, pass_no, raw_fingerprint)
            connection.execute(sa.delete(listing).where(listing.c.source == self.name))
        return PassReport(window, pass_no, objects, listed, counts, waiting)

    def _next_pass(self, connection: sa.Connection, window: str) -> int:
        last = self._last_pass(connection, window)
        return 1 if last is None else last.pass_no + 1

    def _last_pass(self, connection: sa.Connection, window: str) -> Any:
        return connection.execute(
            sa.select(passes)
            .where(passes.c.source == self.name, passes.c.window == window)
            .order_by(passes.c.pass_no.desc())
            .limit(1)
        ).first()

    def cursor(self) -> str | None:
        """Where the next increment of the source goes on; None before the first."""
        with self._catalog.read() as connection:
            found: str | None = connection.scalar(
                sa.select(source_cursors.c.cursor).where(source_cursors.c.source == self.name)
            )
        return found

    def _advance(self, connection: sa.Connection, window: str, pass_no: int, cursor: str) -> None:
        row = {
            "source": self.name,
            "cursor": cursor,
            "window": window,
            "pass_no": pass_no,
            "at": time.time(),
        }
        self._catalog.upsert(connection, source_cursors, [row])

    def _insert_changes(
        self, connection: sa.Connection, window: str, pass_no: int, *, complete: bool
    ) -> None:
        """One row per document that came, changed or went."""
        known = listing.outerjoin(
            documents,
            sa.and_(documents.c.source == listing.c.source, documents.c.key == listing.c.key),
        )
        is_new = sa.or_(documents.c.key.is_(None), documents.c.gone)
        page = (sa.literal(self.name), sa.literal(window), sa.literal(pass_no))
        came = (
            sa.select(
                *page,
                listing.c.doc_id,
                listing.c.key,
                sa.case((is_new, "inserted"), else_="updated"),
                listing.c.sha256,
                listing.c.size,
                listing.c.modified,
            )
            .select_from(known)
            .where(
                listing.c.source == self.name,
                listing.c.fetched,
                sa.or_(is_new, documents.c.sha256.is_distinct_from(listing.c.sha256)),
            )
            .order_by(listing.c.key)
        )
        of_key = (
            listing.c.source == documents.c.source,
            listing.c.key == documents.c.key,
        )
        is_gone = ~sa.exists().where(*of_key)
        if not complete:
            is_gone = sa.exists().where(*of_key, listing.c.gone)
        went = (
            sa.select(
                *page,
                documents.c.doc_id,
                documents.c.key,
                sa.literal("deleted"),
                documents.c.sha256,
                documents.c.size,
                documents.c.modified,
            )
            .where(
                documents.c.source == self.name,
                ~documents.c.gone,
                is_gone,
            )
            .order_by(documents.c.key)
        )
        names = ["source", "window", "pass_no", "doc_id", "key", "kind"]
        names += ["sha256", "size", "modified"]
        for statement in (came, went):
            connection.execute(sa.insert(changes).from_select(names, statement))

    def _of_pass(self, window: str, pass_no: int) -> sa.ColumnElement[bool]:
        return sa.and_(
            changes.c.source == self.name,
            changes.c.window == window,
            changes.c.pass_no == pass_no,
        )

    def _pair_moves(self, connection: sa.Connection, window: str, pass_no: int) -> None:
        """Documents that went and came with the same bytes have moved: pair them, in order."""
        of_pass = self._of_pass(window, pass_no)
        rows = sa.select(changes.c.seq, changes.c.key, changes.c.sha256).order_by(changes.c.seq)
        went: dict[str, deque[Any]] = {}
        for row in connection.execute(rows.where(of_pass, changes.c.kind == "deleted")):
            went.setdefault(row.sha256, deque()).append(row)
        if not went:
            return
        pairs = []
        for row in connection.execute(rows.where(of_pass, changes.c.kind == "inserted")):
            if row.sha256 is not None and went.get(row.sha256):
                old = went[row.sha256].popleft()
                pairs.append((row.seq, old.seq, old.key))
        if not pairs:
            return
        one = sa.update(changes).where(changes.c.seq == sa.bindparam("_seq"))
        connection.execute(
            one.values(kind="moved", moved_from=sa.bindparam("_from")),
            [{"_seq": came_seq, "_from": old_key} for came_seq, _, old_key in pairs],
        )
        connection.execute(
            one.values(kind="departed"), [{"_seq": went_seq} for _, went_seq, _ in pairs]
        )

    def _count(self, connection: sa.Connection, window: str, pass_no: int) -> dict[str, int]:
        rows = connection.execute(
            sa.select(changes.c.kind, sa.func.count().label("n"))
            .where(self._of_pass(window, pass_no))
            .group_by(changes.c.kind)
        )
        return {row.kind: row.n for row in rows}

    def _refuse_implausible(
        self, connection: sa.Connection, objects: int, gone: int, *, url: str
    ) -> None:
        known = connection.scalar(
            sa.select(sa.func.count()).where(documents.c.source == self.name, ~documents.c.gone)
        )
        found = implausible_loss(objects, gone, known=known or 0, share=self._max_deletion_share)
        if found is None:
            return
        raise SourceListingRefused(
            f"{self.name}: {found}; nothing deleted. Check {url}, or confirm with "
            "--allow-deletions (run config: allow_deletions: true)."
        )

    def _insert_pass(
        self,
        connection: sa.Connection,
        window: str,
        pass_no: int,
        *,
        objects: int,
        listed: int,
        unchanged: int,
        complete: bool = True,
        since: str | None = None,
        cursor: str | None = None,
    ) -> None:
        connection.execute(
            sa.insert(passes).values(
                source=self.name,
                window=window,
                pass_no=pass_no,
                listed_at=time.time(),
                objects=objects,
                listed=listed,
                unchanged=unchanged,
                settled=unchanged == listed,
                complete=complete,
                since=since,
                cursor=cursor,
            )
        )

    def _note_access(self, connection: sa.Connection) -> None:
        """Who may read a document may change without its bytes."""
        same = (listing.c.source == documents.c.source, listing.c.key == documents.c.key)
        told = sa.select(listing.c.acl).where(*same).scalar_subquery()
        connection.execute(
            sa.update(documents)
            .where(
                documents.c.source == self.name,
                ~documents.c.gone,
                sa.exists().where(*same, listing.c.acl.is_distinct_from(documents.c.acl)),
            )
            .values(acl=told)
        )

    def _note_touched(self, connection: sa.Connection, window: str, pass_no: int) -> None:
        """Objects whose bytes are as known: only what the store says of them is new."""
        touched = (
            sa.select(listing.c.doc_id, listing.c.etag, listing.c.modified, listing.c.size)
            .where(listing.c.source == self.name, listing.c.fetched)
            .where(
                # As a set: of a correlated subquery SQLite walks the whole pass for each row.
                listing.c.doc_id.not_in(
                    sa.select(changes.c.doc_id).where(self._of_pass(window, pass_no))
                )
            )
        )
        names = ("etag", "modified", "size")
        rows = [
            {"_id": row.doc_id, **{name: getattr(row, name) for name in names}}
            for row in connection.execute(touched)
        ]
        if rows:
            connection.execute(
                sa.update(documents)
                .where(documents.c.doc_id == sa.bindparam("_id"))
                .values({name: sa.bindparam(name) for name in names}),
                rows,
            )

    def _update_documents(
        self, connection: sa.Connection, window: str, pass_no: int, raw_fingerprint: str
    ) -> None:
        """Bring the documents, and the dead letters of the fetch, to what the pass found."""
        for batch in self._rows_of_pass(connection, window, pass_no):
            self._catalog.upsert(
                connection,
                documents,
                [_document(row) for row in batch],
                update=_DOCUMENT_FACTS,
            )
            failed = [row for row in batch if row.failure is not None]
            self._catalog.upsert(
                connection,
                dead_letters,
                [_dead_letter(row, raw_fingerprint) for row in failed],
            )
            connection.execute(
                sa.update(changes)
                .where(changes.c.seq.in_([row.seq for row in failed]))
                .values(outcome="dead_lettered")
            )
            connection.execute(
                sa.update(documents)
                .where(documents.c.doc_id.in_([row.doc_id for row in failed]))
                .values(text_hash=None)
            )
            gone = [row.doc_id for row in batch if row.kind in ("deleted", "departed")]
            connection.execute(sa.delete(dead_letters).where(dead_letters.c.doc_id.in_(gone)))

    def _rows_of_pass(
        self, connection: sa.Connection, window: str, pass_no: int
    ) -> Iterator[list[Any]]:
        """The pass's changes with what the listing said, in order, a batch at a time."""
        last = 0
        statement = (
            sa.select(changes, listing.c.etag, listing.c.failure, listing.c.detail, listing.c.acl)
            .outerjoin(
                listing,
                sa.and_(listing.c.source == changes.c.source, listing.c.key == changes.c.key),
            )
            .where(self._of_pass(window, pass_no))
            .order_by(changes.c.seq)
            .limit(_BATCH)
        )
        while batch := list(connection.execute(statement.where(changes.c.seq > last))):
            yield batch
            last = batch[-1].seq


def implausible_loss(objects: int, gone: int, *, known: int, share: float) -> str | None:
    """What makes a listing of so many objects, with so many gone, implausible; None if nothing."""
    if not known or (gone <= known * share and objects):
        return None
    if objects == 0:
        return f"0 objects listed, {known:,} known"
    return (
        f"{gone:,} of {known:,} known documents are not listed any more, over the ceiling of "
        f"{share:.0%}"
    )


_DOCUMENT_FACTS = (
    *("seq", "window", "pass_no", "gone", "etag"),
    *("size", "modified", "sha256", "acl"),
)


def _document(row: Any) -> dict[str, Any]:
    return {
        "source": row.source,
        "key": row.key,
        "doc_id": row.doc_id,
        "seq": row.seq,
        "window": row.window,
        "pass_no": row.pass_no,
        "gone": row.kind in ("deleted", "departed"),
        "etag": row.etag,
        "size": row.size,
        "modified": row.modified,
        "sha256": row.sha256,
        "empty": False,
        "acl": row.acl,
    }


def _dead_letter(row: Any, fingerprint: str) -> dict[str, Any]:
    now = time.time()
    return {
        "doc_id": row.doc_id,
        "source": row.source,
        "key": row.key,
        "window": row.window,
        "pass_no": row.pass_no,
        "seq": row.seq,
        "stage": "raw_docs",
        "reason": row.failure,
        "detail": row.detail,
        "sha256": None,
        "fingerprint": fingerprint,
        "attempts": 1,
        "first_at": now,
        "last_at": now,
    }
