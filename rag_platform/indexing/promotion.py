"""Which index version is live, and was: rows that are added and never changed.

One INSERT makes another version live: there is no moment without one, and none with two. The
version that was replaced is kept, and kept current, for a set time.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa

from rag_platform.errors import Overtaken, PlatformError
from rag_platform.indexing.gate import Gate, Verdict
from rag_platform.indexing.retirement import PROMOTIONS_LOCK, refuse_retired, retired
from rag_platform.retrieval.live import CROWNING, live_index
from rag_platform.settings_indexes import PromotionSettings
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.outbox import Outbox
from rag_platform.storage.schema import index_promotions, index_versions

Action = Literal["promoted", "rolled_back", "refused"]
_DAY_S = 86_400


class UnusableIndex(PlatformError):
    """An index version that cannot answer, now or any more."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """One thing that happened to an index version; `live` answers afterwards, `previous` before.

    `action` is promoted, rolled_back, refused or retired. `at` is in UTC seconds since 1970.
    """

    id: int
    at: float
    action: str
    index: str
    live: str
    previous: str | None
    actor: str
    reason: str
    facts: Mapping[str, Any]

    @property
    def problems(self) -> list[str]:
        """What the gates that did not pass say."""
        return [
            verdict["told"] for verdict in self.facts.get("verdicts", ()) if not verdict["passed"]
        ]

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return asdict(self)


class Promotions:
    """Decides which of the settings' index versions is live."""

    def __init__(
        self,
        catalog: Catalog,
        gate: Gate,
        outbox: Outbox,
        *,
        indexes: Sequence[str],
        default: str,
        rules: PromotionSettings,
    ) -> None:
        """`indexes` are those of the settings; `default` is live before the first promotion."""
        self._catalog = catalog
        self._gate = gate
        self._outbox = outbox
        self._indexes = indexes
        self._default = default
        self._rules = rules

    def live(self) -> str:
        """The index that answers now."""
        return live_index(self._catalog, self._default)

    def history(self) -> list[Promotion]:
        """What happened, oldest first."""
        with self._catalog.read() as connection:
            rows = connection.execute(sa.select(index_promotions).order_by(index_promotions.c.id))
            return [Promotion(*row) for row in rows]

    def recent(self, limit: int, *, before: int | None = None) -> list[Promotion]:
        """What happened, the newest first; `before` an id."""
        rows = index_promotions
        wanted = sa.select(rows).order_by(rows.c.id.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(rows.c.id < before)
        with self._catalog.read() as connection:
            return [Promotion(*row) for row in connection.execute(wanted)]

    def verdicts(self, index: str) -> list[Verdict]:
        """What the gates would say to a promotion now. Raises `UnusableIndex` and `Retired`."""
        self._check(index)
        return self._gate.verdicts(index, self.live())

    def promote(
        self,
        index: str,
        *,
        actor: str,
        reason: str,
        force: bool = False,
        seen: str | None = None,
    ) -> Promotion:
        """Let an index answer in place of the live one; nothing if it was made live already.

        `seen` is what answered when this was decided: where another one does by now, nothing is
        done, and `Overtaken` is raised.

        Where a gate does not pass, the row says `refused`, and what was live stays so, unless
        forced. Without a collection an index is refused in any case. Raises `UnusableIndex` and
        `Retired`.
        """
        with self._catalog.exclusive(PROMOTIONS_LOCK):
            self._check_seen(seen)
            self._check(index)
            live, newest = self.live(), self._newest()
            if newest is not None and newest.live == index:
                return newest
            verdicts = self._gate.verdicts(index, live)
            failed = [verdict.gate for verdict in verdicts if not verdict.passed]
            facts = {"verdicts": [asdict(verdict) for verdict in verdicts], "forced": force}
            if failed and (not force or "built" in failed):
                return self._record("refused", index, live, live, actor, reason, facts)
            return self._record("promoted", index, index, live, actor, reason, facts)

    def rollback(self, *, actor: str, reason: str, seen: str | None = None) -> Promotion:
        """Let the version answer that answered before the live one. Without gates: it did already.

        `seen` as for `promote`. The same reason twice is one rollback. Raises `UnusableIndex` where
        there is none to go back to, or it cannot answer.
        """
        with self._catalog.exclusive(PROMOTIONS_LOCK):
            self._check_seen(seen)
            newest = self._newest()
            if newest is not None and (newest.action, newest.actor, newest.reason) == (
                "rolled_back",
                actor,
                reason,
            ):
                return newest
            live, index = self.live(), self.before()
            self._check(index)
            built = self._gate.built(index)
            if not built.passed:
                raise UnusableIndex(
                    f"index {index}: {built.told}. Restore it: rag-platform reconcile --repair "
                    f"--index {index}"
                )
            facts = {"behind": self._gate.behind(index), **built.figures}
            return self._record("rolled_back", index, index, live, actor, reason, facts)

    def _newest(self) -> Promotion | None:
        """How what is live became it; None while it is the default."""
        rows = (row for row in reversed(self.history()) if row.action in CROWNING)
        return next(rows, None)

    def before(self) -> str:
        """The version that answered before the live one and was not rolled back from.

        Raises `UnusableIndex` where there is none that is still kept.
        """
        served: list[str] = []
        for row in (row for row in self.history() if row.action in CROWNING):
            served = served or [str(row.previous)]
            if row.action == "rolled_back":
                served = served[: _last(served, row.live) + 1]
            elif served[-1] != row.live:
                served.append(row.live)
        served = served or [self._default]
        gone = retired(self._catalog)
        kept = [name for name in served[:-1] if name not in gone and name != served[-1]]
        if not kept:
            raise UnusableIndex(
                f"index {served[-1]}: there is none to go back to: none answered before it that is "
                "still kept. Promote another: rag-platform promote"
            )
        return kept[-1]

    def _check_seen(self, seen: str | None) -> None:
        live = self.live()
        if seen not in (None, live):
            raise Overtaken(
                f"Nothing was done: {live} answers by now, not {str(seen)[:80]} as was shown. Look "
                "again and decide again."
            )

    def _check(self, index: str) -> None:
        if index not in self._indexes:
            raise UnusableIndex(
                f"index {index}: not in the settings; there are: {', '.join(self._indexes)}."
            )
        refuse_retired(self._catalog, index)

    def _record(
        self,
        action: Action,
        index: str,
        live: str,
        previous: str,
        actor: str,
        reason: str,
        facts: Mapping[str, Any],
    ) -> Promotion:
        """The row, the time until which the replaced version is kept, and the message."""
        now = time.time()
        row = {
            "at": now,
            "action": action,
            "index_name": index,
            "live": live,
            "previous": previous,
            "actor": actor,
            "reason": reason,
            "facts": dict(facts),
        }
        keep: dict[str, float | None] = {live: None}
        if previous != live:
            keep[previous] = now + self._rules.keep_days * _DAY_S
        with self._catalog.begin() as connection:
            added = connection.execute(
                sa.insert(index_promotions).returning(index_promotions.c.id), row
            ).scalar_one()
            for name, until in keep.items():
                connection.execute(
                    sa.update(index_versions)
                    .where(index_versions.c.name == name)
                    .values(keep_until=until)
                )
            done = Promotion(int(added), now, action, index, live, previous, actor, reason, facts)
            self._outbox.tell_in(connection, f"indexes/{done.id}", _told(done))
        return done


def _last(names: Sequence[str], name: str) -> int:
    """Where a name stands, the last time."""
    return len(names) - 1 - list(reversed(names)).index(name)


def _told(row: Promotion) -> str:
    what = {
        "promoted": f"index {row.live} answers instead of {row.previous}",
        "rolled_back": f"index {row.live} answers again, instead of {row.previous}",
        "refused": f"index {row.index} was not promoted, {row.live} goes on answering",
    }[row.action]
    return "\n".join([what, f"By {row.actor}: {row.reason}", *(f"- {p}" for p in row.problems)])
