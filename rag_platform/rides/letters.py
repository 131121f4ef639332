"""Dead letters of the rides: what a day could not use, why, and since when."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import step_letters

SOURCE = "rides"
# Of a day and stage; the others are counted only.
MAX_LETTERS = 1_000
_MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class Letter:
    """One item that a step could not use; `item` is `file#row`, or a ride's id."""

    item: str
    reason: str
    detail: str


class RideLetters:
    """The letters of the rides in the catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def replace(
        self, stage: str, day: date, letters: Sequence[Letter], *, fingerprint: str
    ) -> None:
        """Make these the letters of a day and stage; one that stays counts a further attempt."""
        window, now = day.isoformat(), time.time()
        mine = sa.and_(
            step_letters.c.source == SOURCE,
            step_letters.c.stage == stage,
            step_letters.c.window == window,
        )
        with self._catalog.begin() as connection:
            known = {
                row.item: row for row in connection.execute(sa.select(step_letters).where(mine))
            }
            connection.execute(sa.delete(step_letters).where(mine))
            rows = {}
            for letter in letters[:MAX_LETTERS]:
                item = shown(letter.item)
                before = known.get(item)
                rows[item] = {
                    "source": SOURCE,
                    "item": item,
                    "stage": stage,
                    "key": item,
                    "window": window,
                    "reason": letter.reason,
                    "detail": shown(letter.detail),
                    "fingerprint": fingerprint,
                    "attempts": before.attempts + 1 if before else 1,
                    "first_at": before.first_at if before else now,
                    "last_at": now,
                }
            self._catalog.upsert(connection, step_letters, list(rows.values()))

    def of(self, stage: str, day: date) -> list[Letter]:
        """The letters of a day and stage by item."""
        statement = (
            sa.select(step_letters.c.item, step_letters.c.reason, step_letters.c.detail)
            .where(
                step_letters.c.source == SOURCE,
                step_letters.c.stage == stage,
                step_letters.c.window == day.isoformat(),
            )
            .order_by(step_letters.c.item)
        )
        with self._catalog.read() as connection:
            return [Letter(*row) for row in connection.execute(statement)]


def shown(text: str, most: int = _MAX_TEXT) -> str:
    """Text from outside on one line of bounded length, without control or lone characters."""
    clean = text[: 4 * most].encode("utf-8", "replace").decode()
    clean = " ".join("".join(c if c.isprintable() else " " for c in clean).split())
    return clean if len(clean) <= most else clean[: most - 1] + "…"
