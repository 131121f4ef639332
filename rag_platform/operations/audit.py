"""The audit log: who changed what, when and why, whatever they used."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from rag_platform.errors import PlatformError
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema_operations import audit_log

Via = Literal["cli", "console"]
_LONGEST = 2_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log. `outcome` is done, refused or failed; None: under way, or killed."""

    id: int
    at: float
    actor: str
    via: str
    action: str
    subject: str
    reason: str | None
    facts: dict[str, Any]
    outcome: str | None
    detail: str | None
    ended_at: float | None

    def as_json(self) -> dict[str, Any]:
        """For `--json`; times are UTC seconds since 1970."""
        return asdict(self)


@dataclass(slots=True)
class Ending:
    """How an action ends; the block of `audited` sets it where it is not plainly done."""

    outcome: Literal["done", "refused", "failed"] = "done"
    detail: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def refuse(self, why: str) -> None:
        """Nothing was changed, and why."""
        self.outcome, self.detail = "refused", why


class Audit:
    """Writes and reads the log. Rows are never removed by the platform."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @contextlib.contextmanager
    def audited(
        self,
        action: str,
        subject: str,
        *,
        actor: str,
        via: Via,
        reason: str | None = None,
        **facts: Any,
    ) -> Iterator[Ending]:
        """Log what the block does: its beginning before it, its outcome after it.

        An error of ours counts as refused, any other as failed; both are raised on. What it says is
        the detail, unless the block has said that it was refused, and why.
        """
        started = {"at": time.time(), "actor": actor, "via": via, "action": action}
        with self._catalog.begin() as connection:
            number = connection.execute(
                sa.insert(audit_log)
                .values(**started, subject=subject, reason=reason, facts=facts)
                .returning(audit_log.c.id)
            ).scalar_one()
        ending = Ending(facts=dict(facts))
        try:
            yield ending
        except PlatformError as error:
            if ending.outcome != "refused":
                ending.refuse(" ".join(str(error).split()))
            raise
        except BaseException as error:
            ending.outcome, ending.detail = "failed", type(error).__name__
            raise
        finally:
            detail = ending.detail and ending.detail[:_LONGEST]
            with self._catalog.begin() as connection:
                connection.execute(
                    sa.update(audit_log)
                    .where(audit_log.c.id == number)
                    .values(
                        outcome=ending.outcome,
                        detail=detail,
                        facts=ending.facts,
                        ended_at=time.time(),
                    )
                )

    def entries(
        self, *, limit: int = 100, before: int | None = None, action: str | None = None
    ) -> list[Entry]:
        """The newest first; `before` an id, `action` a whole name or its first part."""
        wanted = sa.select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(audit_log.c.id < before)
        if action is not None:
            wanted = wanted.where(
                sa.or_(
                    audit_log.c.action == action,
                    audit_log.c.action.startswith(f"{action}.", autoescape=True),
                )
            )
        with self._catalog.read() as connection:
            return [Entry(**row._mapping) for row in connection.execute(wanted)]
