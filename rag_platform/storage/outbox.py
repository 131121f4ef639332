"""Messages for people, written down with what they are about and delivered later."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import notifications


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `at` is when it was written, in UTC seconds since 1970."""

    id: int
    key: str
    at: float
    text: str


class Outbox:
    """The messages of all processes. The key of a message makes it one that is told once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def tell(self, key: str, text: str) -> bool:
        """Write a message; False when one with this key is there, delivered or not."""
        with self._catalog.begin() as connection:
            return self.tell_in(connection, key, text)

    def tell_in(self, connection: sa.Connection, key: str, text: str) -> bool:
        """`tell` within a transaction: the message stands or falls with what it is about."""
        insert = (sqlite if self._catalog.is_sqlite else postgresql).insert(notifications)
        written = connection.execute(
            insert.values(key=key, at=time.time(), text=text)
            .on_conflict_do_nothing(index_elements=["key"])
            .returning(notifications.c.id)
        )
        return written.scalar() is not None

    def pending(self, limit: int = 100) -> list[Message]:
        """Messages that were not delivered yet, oldest first, at most `limit`."""
        columns = (notifications.c[name] for name in ("id", "key", "at", "text"))
        with self._catalog.read() as connection:
            rows = connection.execute(
                sa.select(*columns)
                .where(notifications.c.sent_at.is_(None))
                .order_by(notifications.c.id)
                .limit(limit)
            )
            return [Message(*row) for row in rows]

    def sent(self, ids: Sequence[int]) -> None:
        """Note that these were delivered."""
        with self._catalog.begin() as connection:
            connection.execute(
                sa.update(notifications)
                .where(notifications.c.id.in_(ids), notifications.c.sent_at.is_(None))
                .values(sent_at=time.time())
            )
