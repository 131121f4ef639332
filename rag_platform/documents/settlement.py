"""Settling a pass: every change gets exactly one outcome, every failure its dead letter."""

import json
import time
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from rag_platform.documents.page import GONE_KINDS, standing
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import changes, dead_letters, documents, passes, safety_findings

# The outcomes that add up to what a pass listed, in the order people read them.
OUTCOMES = (
    "inserted",
    "updated",
    "moved",
    "unchanged",
    "deleted",
    "duplicate",
    "superseded",
    "dead_lettered",
    "deferred",
)

_BATCH = 500
# What cleaning refuses; the rest is refused by the parsers.
_REFUSED_HERE = ("garbled", "secrets", "pii")


class Settlement:
    """Writes outcomes and dead letters of one source.

    `fingerprint` stands for parser and limits: a dead letter of another fingerprint has been
    given a new chance.
    """

    def __init__(self, source: str, catalog: Catalog, *, fingerprint: str) -> None:
        self._source = source
        self._catalog = catalog
        self._fingerprint = fingerprint

    def settle(self, window: str, pass_no: int, rows: "Iterable[Any]") -> None:
        """Settle a pass from its clean rows: seq, doc_id, reason, detail, text_hash, empty, and
        what was found: kinds, hidden, injection, action.

        Safe to repeat; `close` ends it.
        """
        statement = standing(self._source, window, pass_no)
        for batch in rows:
            found = batch.to_pylist()
            for start in range(0, len(found), _BATCH):
                self._settle_batch(statement, found[start : start + _BATCH])
        self._settle_rest(window, pass_no)

    def _settle_batch(self, statement: sa.Select[Any], rows: list[dict[str, Any]]) -> None:
        with self._catalog.begin() as connection:
            numbers = [row["seq"] for row in rows]
            stands = {
                change.seq: change
                for change in connection.execute(statement.where(changes.c.seq.in_(numbers)))
            }
            current = [row for row in rows if row["seq"] in stands]
            if not current:
                return
            self._keep_texts(connection, current)
            self._keep_findings(connection, current, stands)
            same = [
                row["seq"]
                for row in current
                if row["text_hash"] is not None
                and stands[row["seq"]].kind == "updated"
                and stands[row["seq"]].text_hash == row["text_hash"]
            ]
            self._set_outcome(connection, same, "unchanged")
            failed = [row for row in current if row["reason"] is not None]
            self._keep_letters(connection, failed, stands)
            connection.execute(
                sa.update(changes)
                .where(changes.c.seq.in_([row["seq"] for row in failed]))
                .values(outcome="dead_lettered")
            )
            healed = [row for row in current if row["reason"] is None]
            self._remove_letters(connection, healed)

    def _keep_texts(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
        connection.execute(
            sa.update(documents)
            .where(documents.c.doc_id == sa.bindparam("_id"))
            .values(text_hash=sa.bindparam("_hash"), empty=sa.bindparam("_empty")),
            [
                {
                    "_id": row["doc_id"],
                    "_hash": row["text_hash"],
                    "_empty": row["empty"],
                }
                for row in rows
            ],
        )

    def _keep_findings(
        self, connection: sa.Connection, rows: list[dict[str, Any]], stands: dict[int, Any]
    ) -> None:
        found = [
            {
                "doc_id": row["doc_id"],
                "source": self._source,
                "window": stands[row["seq"]].window,
                "seq": row["seq"],
                "action": row["action"],
                "injection": row["injection"],
                "hidden": row["hidden"],
                "kinds": json.loads(row["kinds"]),
            }
            for row in rows
            if row["kinds"] != "{}" or row["hidden"] or row["injection"]
        ]
        connection.execute(
            sa.delete(safety_findings).where(
                safety_findings.c.doc_id.in_([row["doc_id"] for row in rows])
            )
        )
        if found:
            connection.execute(sa.insert(safety_findings), found)

    def _set_outcome(self, connection: sa.Connection, numbers: list[int], outcome: str) -> None:
        connection.execute(
            sa.update(changes)
            .where(changes.c.seq.in_(numbers), changes.c.outcome.is_(None))
            .values(outcome=outcome)
        )

    def _keep_letters(
        self,
        connection: sa.Connection,
        failed: list[dict[str, Any]],
        stands: dict[int, Any],
    ) -> None:
        known = {
            letter.doc_id: letter
            for letter in connection.execute(
                sa.select(dead_letters).where(
                    dead_letters.c.doc_id.in_([row["doc_id"] for row in failed])
                )
            )
        }
        letters = []
        for row in failed:
            before = known.get(row["doc_id"])
            change = stands[row["seq"]]
            repeated = (
                before is not None
                and before.sha256 == change.sha256
                and before.fingerprint == self._fingerprint
            )
            letters.append(self._letter(row, change, before if repeated else None))
        self._catalog.upsert(connection, dead_letters, letters)

    def _letter(self, row: dict[str, Any], change: Any, before: Any) -> dict[str, Any]:
        now = time.time()
        return {
            "doc_id": row["doc_id"],
            "source": self._source,
            "key": change.key,
            "window": change.window,
            "pass_no": change.pass_no,
            "seq": change.seq,
            "stage": "clean_docs" if row["reason"] in _REFUSED_HERE else "parsed_docs",
            "reason": row["reason"],
            "detail": row["detail"],
            "sha256": change.sha256,
            "fingerprint": self._fingerprint,
            # Further attempts are counted where they are made.
            "attempts": 1 if before is None else before.attempts,
            "first_at": now if before is None else before.first_at,
            "last_at": now,
        }

    def _remove_letters(self, connection: sa.Connection, healed: list[dict[str, Any]]) -> None:
        """Documents that have a text again: no dead letter, and an outcome to be found anew."""
        connection.execute(
            sa.delete(dead_letters).where(
                dead_letters.c.doc_id.in_([row["doc_id"] for row in healed])
            )
        )
        connection.execute(
            sa.update(changes)
            .where(
                changes.c.seq.in_([row["seq"] for row in healed]),
                changes.c.outcome == "dead_lettered",
            )
            .values(outcome=None)
        )

    def _settle_rest(self, window: str, pass_no: int) -> None:
        """Outcomes that need the whole pass: superseded, duplicate, and what the kind says."""
        of_pass = self._of_pass(window, pass_no)
        own = documents.alias("own")
        other = documents.alias("other")
        stands = sa.exists().where(own.c.doc_id == changes.c.doc_id, own.c.seq == changes.c.seq)
        copied = sa.exists().where(
            own.c.doc_id == changes.c.doc_id,
            other.c.source == own.c.source,
            other.c.text_hash == own.c.text_hash,
            other.c.seq < own.c.seq,
            ~other.c.gone,
            ~own.c.empty,
        )
        known = sa.exists().where(own.c.doc_id == changes.c.doc_id, own.c.text_hash.is_not(None))
        steps: tuple[tuple[sa.ColumnElement[bool], Any], ...] = (
            (changes.c.kind.in_(("deleted", "departed")), changes.c.kind),
            (~stands, "superseded"),
            (sa.and_(changes.c.kind != "moved", copied), "duplicate"),
            (known, changes.c.kind),
        )
        with self._catalog.begin() as connection:
            for condition, outcome in steps:
                connection.execute(
                    sa.update(changes)
                    .where(of_pass, changes.c.outcome.is_(None), condition)
                    .values(outcome=outcome)
                )
            gone = sa.select(documents.c.doc_id).where(
                documents.c.gone,
                documents.c.doc_id.in_(
                    sa.select(changes.c.doc_id).where(of_pass, changes.c.kind.in_(GONE_KINDS))
                ),
            )
            connection.execute(sa.delete(safety_findings).where(safety_findings.c.doc_id.in_(gone)))

    def close(self, window: str, pass_no: int) -> None:
        """Say that a pass is settled, if each of its changes has an outcome."""
        of_pass = self._of_pass(window, pass_no)
        with self._catalog.begin() as connection:
            open_ = connection.scalar(
                sa.select(sa.func.count()).where(of_pass, changes.c.outcome.is_(None))
            )
            connection.execute(
                sa.update(passes)
                .where(
                    passes.c.source == self._source,
                    passes.c.window == window,
                    passes.c.pass_no == pass_no,
                )
                .values(settled=open_ == 0)
            )

    def _of_pass(self, window: str, pass_no: int) -> sa.ColumnElement[bool]:
        return sa.and_(
            changes.c.source == self._source,
            changes.c.window == window,
            changes.c.pass_no == pass_no,
        )
