"""Near duplicates of one source: documents whose texts are alike, in groups.

Alike are texts whose shingles have a Jaccard likeness of at least the threshold. A group is all
that hangs together by such pairs; its canonical document is the one with the lowest change number.
So groups depend on what stands in the source, never on the order in which it came. Pairs are found
by MinHash bands and verified exactly; what one pass brought is compared, never all with all.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from rag_platform.documents.near_update import Update
from rag_platform.documents.page import standing
from rag_platform.encoders.shingles import SHINGLES_VERSION, shingles
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import changes, documents, near_bands, near_documents, near_texts

_BATCH = 200


class NearDuplicates:
    """Keeps the groups of one source; a hook of CleanDocs. With no threshold it forgets them all.

    Each batch of documents is one transaction, and taking documents again changes nothing: it may
    be killed and called again.
    """

    def __init__(self, source: str, *, catalog: Catalog, threshold: float | None) -> None:
        self._source = source
        self._catalog = catalog
        self._threshold = threshold

    @property
    def rule(self) -> str:
        """What grouping depends on besides the texts."""
        return f"{SHINGLES_VERSION} {self._threshold}"

    def due(self, window: str, pass_no: int) -> bool:
        """Whether documents of a pass, or what is kept of the source, wait to be grouped."""
        held = near_documents
        waiting: sa.Select[Any] | sa.CompoundSelect[Any]
        if self._threshold is None:
            waiting = sa.select(held.c.doc_id).where(held.c.source == self._source)
        else:
            stands = standing(self._source, window, pass_no).subquery()
            known = sa.exists().where(
                held.c.doc_id == stands.c.doc_id, held.c.text_hash == documents.c.text_hash
            )
            waiting = (
                sa.select(stands.c.doc_id)
                .join(documents, documents.c.doc_id == stands.c.doc_id)
                .where(*has_text(), ~known)
                .union_all(self._of_other_rules())
            )
        with self._catalog.read() as connection:
            return connection.execute(waiting.limit(1)).first() is not None

    def __call__(
        self, window: str, pass_no: int, batches: Iterable[Sequence[Mapping[str, Any]]]
    ) -> None:
        """Group what a pass brought: rows of doc_id, text_hash and text. Raises `LockTimeout`."""
        with self._catalog.exclusive(f"near-{self._source}"):
            if self._threshold is None:
                self._clear(())
                return
            self._clear((sa.not_(near_documents.c.rule.startswith(f"{SHINGLES_VERSION} ")),))
            for left in self._left(window, pass_no):
                self._regroup({}, left)
            for rows in batches:
                for start in range(0, len(rows), _BATCH):
                    self._take(rows[start : start + _BATCH])
            for texts in self._to_move():
                self._regroup(texts, ())

    def forget(self, doc_ids: Sequence[str]) -> None:
        """Take documents out of their groups, with all that is kept of texts nobody else has."""
        with self._catalog.exclusive(f"near-{self._source}"):
            if self._threshold is None:
                self._clear(())
                return
            for start in range(0, len(doc_ids), _BATCH):
                self._regroup({}, doc_ids[start : start + _BATCH])

    def _clear(self, which: Sequence[sa.ColumnElement[bool]]) -> None:
        """Forget the source, if some of its documents are so."""
        held = near_documents
        of_source = held.c.source == self._source
        with self._catalog.begin() as connection:
            if connection.execute(
                sa.select(held.c.doc_id).where(of_source, *which).limit(1)
            ).first():
                for table in (near_documents, near_texts, near_bands):
                    connection.execute(sa.delete(table).where(table.c.source == self._source))

    def _of_other_rules(self) -> sa.Select[Any]:
        held = near_documents
        known = held.join(documents, documents.c.doc_id == held.c.doc_id)
        return (
            sa.select(held.c.doc_id)
            .select_from(known)
            .where(held.c.source == self._source, held.c.rule != self.rule)
        )

    def _to_move(self) -> Iterator[dict[str, str]]:
        """Documents grouped by another threshold, with their texts: their shingles are kept."""
        statement = self._of_other_rules().add_columns(near_documents.c.text_hash).limit(_BATCH)
        while True:
            with self._catalog.read() as connection:
                rows = connection.execute(statement).all()
            if not rows:
                return
            yield {row.doc_id: row.text_hash for row in rows}

    def _left(self, window: str, pass_no: int) -> Iterator[list[str]]:
        """Documents of a pass that are grouped by a text which they have no more, nor another."""
        of_pass = sa.select(changes.c.doc_id).where(
            changes.c.source == self._source,
            changes.c.window == window,
            changes.c.pass_no == pass_no,
        )
        statement = (
            sa.select(near_documents.c.doc_id)
            .join(documents, documents.c.doc_id == near_documents.c.doc_id)
            .where(near_documents.c.doc_id.in_(of_pass), sa.not_(sa.and_(*has_text())))
            .limit(_BATCH)
        )
        while True:
            with self._catalog.read() as connection:
                found = list(connection.execute(statement).scalars())
            if not found:
                return
            yield found

    def _take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        texts = {row["text_hash"]: row["text"] for row in rows}
        with self._catalog.read() as connection:
            known = connection.execute(
                sa.select(near_texts.c.text_hash).where(
                    near_texts.c.source == self._source, near_texts.c.text_hash.in_(list(texts))
                )
            )
            unknown = texts.keys() - set(known.scalars())
            stand = connection.execute(
                sa.select(documents.c.doc_id, documents.c.text_hash).where(
                    documents.c.doc_id.in_([row["doc_id"] for row in rows]), *has_text()
                )
            )
            now = {row.doc_id: row.text_hash for row in stand}
        # Those that have another text by now come with a later pass.
        taken = {
            row["doc_id"]: row["text_hash"]
            for row in rows
            if now.get(row["doc_id"]) == row["text_hash"]
        }
        fresh = {text: shingles(texts[text]) for text in sorted(unknown & set(taken.values()))}
        self._regroup(taken, (), fresh)

    def _regroup(
        self,
        taken: Mapping[str, str],
        left: Collection[str],
        fresh: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        assert self._threshold is not None
        with self._catalog.begin() as connection:
            update = Update(
                connection, self._catalog, self._source, self._threshold, rule=self.rule
            )
            update.run(taken, left, fresh or {})


def has_text() -> tuple[sa.ColumnElement[bool], ...]:
    """Documents that stand and have words."""
    return ~documents.c.gone, documents.c.text_hash.is_not(None), ~documents.c.empty
