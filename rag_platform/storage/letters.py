"""Dead letters of a pipeline by window and stage: what it could not use, why, since when."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import step_letters

# Of a window and stage; the others are counted only.
MAX_LETTERS = 1_000
_MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class Letter:
    """One item that a step could not use; `item` is `file#row`, or the id of what it is."""

    item: str
    reason: str
    detail: str


class WindowLetters:
    """The letters of one pipeline in the catalog: `source` is `rides`, or the name of a model."""

    def __init__(self, catalog: Catalog, source: str) -> None:
        self._catalog = catalog
        self._source = source

    def replace(
        self, stage: str, window: str, letters: Sequence[Letter], *, fingerprint: str
    ) -> None:
        """Make these the letters of a window and stage; one that stays counts a further attempt."""
        now = time.time()
        mine = sa.and_(
            step_letters.c.source == self._source,
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
                    "source": self._source,
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

    def of(self, stage: str, window: str) -> list[Letter]:
        """The letters of a window and stage by item."""
        statement = (
            sa.select(step_letters.c.item, step_letters.c.reason, step_letters.c.detail)
            .where(
                step_letters.c.source == self._source,
                step_letters.c.stage == stage,
                step_letters.c.window == window,
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
