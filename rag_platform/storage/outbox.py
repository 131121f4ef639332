"""Messages for people, written down with what they are about, and who was told what of them.

A message is one row of `notifications`; its key makes it one that is told once. Each channel that
carries messages has a row of `deliveries` for each message that it has tried: who wants to send
claims the row first, for the length of a lease, so no two processes send the same at a time, and
what a killed process held is free again when its lease is over.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_models import deliveries, notifications

_OPEN = ("sending", "waiting")
_DONE = ("sent", "given_up")
_MOST = 1000  # rows a statement: SQLite takes 32,766 values


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `at` is when it was written, in UTC seconds since 1970."""

    id: int
    key: str
    at: float
    text: str

    @property
    def subject(self) -> str:
        """The first line."""
        return self.text.partition("\n")[0].strip()

    @property
    def body(self) -> str:
        """What follows the first line; empty where there is one line only."""
        return self.text.partition("\n")[2].strip()


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
        insert = _insert(self._catalog, notifications)
        written = connection.execute(
            insert.values(key=key, at=time.time(), text=_storable(text))
            .on_conflict_do_nothing(index_elements=["key"])
            .returning(notifications.c.id)
        )
        return written.scalar() is not None

    def is_told(self, key: str) -> bool:
        """Whether there is a message with this key, delivered or not."""
        found = sa.select(sa.exists().where(notifications.c.key == key))
        with self._catalog.read() as connection:
            return bool(connection.scalar(found))

    def pending(self, limit: int = 100) -> list[Message]:
        """Messages that are still to be delivered on some channel, oldest first."""
        with self._catalog.read() as connection:
            rows = connection.execute(
                sa.select(*_MESSAGE)
                .where(notifications.c.sent_at.is_(None))
                .order_by(notifications.c.id)
                .limit(limit)
            )
            return [Message(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Claim:
    """Messages that one deliverer, and nobody else, may send on a channel for a while.

    `at` is when it was claimed and tells the claim from every other; `attempts` counts this one.
    """

    channel: str
    messages: Sequence[Message]
    attempts: int
    at: float


class Deliveries:
    """What was delivered where, for all processes. Leases are in seconds."""

    def __init__(
        self, catalog: Catalog, *, lease_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._catalog = catalog
        self._lease_s = lease_s
        self._clock = clock

    def due(self, channel: str) -> list[Message]:
        """Messages that may be sent on a channel now: the least tried first, then the oldest."""
        attempts = sa.func.coalesce(deliveries.c.attempts, 0)
        statement = (
            sa.select(*_MESSAGE)
            .outerjoin(deliveries, _of(channel))
            .where(
                notifications.c.sent_at.is_(None),
                sa.or_(deliveries.c.status.is_(None), _may_be_claimed(self._clock())),
            )
            .order_by(attempts, notifications.c.id)
            .limit(_MOST)
        )
        with self._catalog.read() as connection:
            return [Message(*row) for row in connection.execute(statement)]

    def claim(self, channel: str, messages: Sequence[Message]) -> Claim:
        """Claim messages; those that somebody else has claimed or sent meanwhile are left out."""
        now = self._clock()
        wanted = {message.id: message for message in sorted(messages, key=lambda each: each.id)}
        rows = [
            {
                "notification_id": number,
                "channel": channel,
                "status": "sending",
                "attempts": 1,
                "at": now,
                "next_at": now + self._lease_s,
            }
            for number in wanted
        ]
        insert = _insert(self._catalog, deliveries).values(rows)
        statement = insert.on_conflict_do_update(
            index_elements=["notification_id", "channel"],
            set_={
                "status": insert.excluded.status,
                "attempts": deliveries.c.attempts + 1,
                "at": insert.excluded.at,
                "next_at": insert.excluded.next_at,
            },
            where=_may_be_claimed(now),
        ).returning(deliveries.c.notification_id, deliveries.c.attempts)
        with self._catalog.begin() as connection:
            got = {row.notification_id: row.attempts for row in connection.execute(statement)}
        claimed = [message for number, message in wanted.items() if number in got]
        return Claim(channel, claimed, max(got.values(), default=0), now)

    def sent(self, claim: Claim) -> bool:
        """Note that all was sent; False when the lease was over and somebody else has claimed."""
        return self._settle(claim, claim.messages, status="sent", next_at=claim.at, error=None)

    def wait(self, claim: Claim, messages: Sequence[Message], *, until: float, error: str) -> bool:
        """Note that some of it was not sent, and when to try again; False likewise."""
        return self._settle(claim, messages, status="waiting", next_at=until, error=error)

    def give_up(self, claim: Claim, messages: Sequence[Message], *, error: str) -> bool:
        """Note that some of it is never to be sent there; False likewise."""
        return self._settle(claim, messages, status="given_up", next_at=claim.at, error=error)

    def _settle(
        self,
        claim: Claim,
        messages: Sequence[Message],
        *,
        status: str,
        next_at: float,
        error: str | None,
    ) -> bool:
        statement = (
            sa.update(deliveries)
            .where(
                deliveries.c.notification_id.in_([message.id for message in messages]),
                deliveries.c.channel == claim.channel,
                deliveries.c.status == "sending",
                deliveries.c.at == claim.at,
            )
            .values(status=status, at=self._clock(), next_at=next_at, error=error)
        )
        with self._catalog.begin() as connection:
            return connection.execute(statement).rowcount == len(messages)

    def rests_until(self, channel: str) -> float:
        """Until when a channel is left alone because something could not be sent there; or 0."""
        found = self._newest(deliveries.c.next_at, channel, deliveries.c.status == "waiting")
        return found if found > self._clock() else 0.0

    def last_attempt(self, channel: str) -> float:
        """When an attempt on a channel last ended, or began, in any process; or 0."""
        return self._newest(deliveries.c.at, channel, sa.true())

    def _newest(
        self, column: sa.Column[float], channel: str, which: sa.ColumnElement[bool]
    ) -> float:
        statement = sa.select(sa.func.max(column)).where(deliveries.c.channel == channel, which)
        with self._catalog.read() as connection:
            return connection.scalar(statement) or 0.0

    def finish(self, channels: Collection[str]) -> None:
        """Note as delivered what has been sent, or given up, on every one of the channels."""
        done = (
            sa.select(sa.func.count())
            .where(
                deliveries.c.notification_id == notifications.c.id,
                deliveries.c.channel.in_(channels),
                deliveries.c.status.in_(_DONE),
            )
            .scalar_subquery()
        )
        with self._catalog.begin() as connection:
            connection.execute(
                sa.update(notifications)
                .where(notifications.c.sent_at.is_(None), done == len(channels))
                .values(sent_at=self._clock())
            )

    def revive(self, *, since: float) -> int:
        """Have what was given up since a time be tried again; returns how many deliveries."""
        given_up = sa.and_(deliveries.c.status == "given_up", deliveries.c.at >= since)
        with self._catalog.begin() as connection:
            connection.execute(
                sa.update(notifications)
                .where(
                    notifications.c.id.in_(sa.select(deliveries.c.notification_id).where(given_up))
                )
                .values(sent_at=None)
            )
            revived = connection.execute(
                sa.update(deliveries).where(given_up).values(status="waiting", next_at=0.0)
            )
            return revived.rowcount


_MESSAGE = tuple(notifications.c[name] for name in ("id", "key", "at", "text"))


def _of(channel: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        deliveries.c.notification_id == notifications.c.id, deliveries.c.channel == channel
    )


def _may_be_claimed(now: float) -> sa.ColumnElement[bool]:
    """It waits for its next attempt, or who sent it died or lost the database meanwhile."""
    return sa.and_(deliveries.c.status.in_(_OPEN), deliveries.c.next_at <= now)


def _insert(catalog: Catalog, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if catalog.is_sqlite else postgresql.insert(table)


def _storable(text: str) -> str:
    """A text that every database and channel takes: no NUL, and nothing but whole characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
