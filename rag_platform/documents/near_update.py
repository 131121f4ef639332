"""One transaction over the groups of near duplicates that some documents come into or leave."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from rag_platform.documents.near_groups import Components, unite_alike
from rag_platform.encoders.shingles import band_rows, bands, jaccard, packed, unpacked
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import documents, near_bands, near_documents, near_texts

_MOST_VALUES = 500  # of one statement
_MOST_SHINGLES = 5_000_000  # kept in memory
_LOADED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class _Member:
    """A document of a group, as it was or as it will be."""

    text_hash: str
    seq: int
    canonical: str = ""
    rule: str = ""


class Update:
    """One transaction over the groups that some documents come into or leave."""

    def __init__(
        self,
        connection: sa.Connection,
        catalog: Catalog,
        source: str,
        threshold: float,
        *,
        rule: str,
    ) -> None:
        self._connection = connection
        self._catalog = catalog
        self._source = source
        self._threshold = threshold
        self._rule = rule
        self._loaded: dict[str, np.ndarray] = {}
        self._size = 0

    def run(
        self,
        taken: Mapping[str, str],
        left: Collection[str],
        fresh: Mapping[str, np.ndarray],
    ) -> None:
        """Bring in `taken`, id to hash of text, let go of `left`, and write what changes by that.

        `fresh` has the shingles of texts that were never seen.
        """
        now = self._numbered(taken)
        own = set(taken.values())
        self._keep_texts(own, fresh)
        buckets = self._buckets(own)
        before = self._members([*taken, *left], own.union(*buckets))
        after = {doc: member for doc, member in before.items() if doc not in left} | now
        texts = {member.text_hash for member in after.values()}
        joined, torn = self._whole_groups(before, texts)
        buckets += self._buckets(torn - own)
        known = [bucket & texts for bucket in buckets]
        unite_alike(joined, known, torn | own, self._alike)
        self._write(before, after, joined)
        self._drop(set(left), {member.text_hash for member in before.values()} - texts)

    def _numbered(self, taken: Mapping[str, str]) -> dict[str, _Member]:
        rows = self._connection.execute(
            sa.select(documents.c.doc_id, documents.c.seq).where(
                documents.c.doc_id.in_(list(taken))
            )
        )
        return {row.doc_id: _Member(taken[row.doc_id], row.seq) for row in rows}

    def _keep_texts(self, texts: set[str], fresh: Mapping[str, np.ndarray]) -> None:
        """Shingles and bands of texts that have none as the rule cuts them."""
        first = band_rows(self._threshold) * 1000
        cut = self._connection.execute(
            sa.select(near_bands.c.text_hash).where(
                near_bands.c.source == self._source,
                near_bands.c.band == first,
                near_bands.c.text_hash.in_(list(texts)),
            )
        )
        missing = sorted(texts - set(cut.scalars()))
        self._load([text for text in missing if text not in fresh])
        found = {text: fresh[text] if text in fresh else self._loaded[text] for text in missing}
        source = {"source": self._source}
        self._catalog.upsert(
            self._connection,
            near_texts,
            [source | {"text_hash": t, "shingles": packed(found[t])} for t in found if t in fresh],
            update=(),
        )
        self._delete(near_bands, missing)
        values = [
            source | {"band": band, "value": value, "text_hash": text}
            for text in missing
            for band, value in bands(found[text], self._threshold).items()
        ]
        if values:
            self._connection.execute(sa.insert(near_bands), values)

    def _buckets(self, texts: set[str]) -> list[set[str]]:
        """The texts that share a band with one of these, band by band."""
        own, other = near_bands.alias("own"), near_bands.alias("other")
        buckets: dict[tuple[int, int], set[str]] = {}
        for some in _chunks(sorted(texts)):
            values = (
                sa.select(own.c.band, own.c.value)
                .where(own.c.source == self._source, own.c.text_hash.in_(some))
                .distinct()
                .subquery()
            )
            rows = self._connection.execute(
                sa.select(other.c.band, other.c.value, other.c.text_hash).join(
                    values,
                    sa.and_(
                        other.c.source == self._source,
                        other.c.band == values.c.band,
                        other.c.value == values.c.value,
                    ),
                )
            )
            for band, value, text in rows:
                buckets.setdefault((band, value), set()).add(text)
        return [bucket for bucket in buckets.values() if len(bucket) > 1]

    def _members(self, doc_ids: Sequence[str], texts: set[str]) -> dict[str, _Member]:
        """All documents of the groups that these documents, or documents with these texts, are
        in."""
        held = near_documents
        groups: set[str] = set()
        for column, values in ((held.c.doc_id, doc_ids), (held.c.text_hash, sorted(texts))):
            for some in _chunks(values):
                found = sa.select(held.c.canonical).where(
                    held.c.source == self._source, column.in_(some)
                )
                groups.update(self._connection.execute(found.distinct()).scalars())
        members = {}
        for some in _chunks(sorted(groups)):
            rows = self._connection.execute(
                sa.select(held, documents.c.seq)
                .outerjoin(documents, documents.c.doc_id == held.c.doc_id)
                .where(held.c.source == self._source, held.c.canonical.in_(some))
            )
            for row in rows:
                member = _Member(row.text_hash, row.seq or 0, row.canonical, row.rule)
                members[row.doc_id] = member
        return members

    def _whole_groups(
        self, before: Mapping[str, _Member], texts: set[str]
    ) -> tuple[Components, set[str]]:
        """Groups that lost no text hang together as before; the others are torn: their texts."""
        groups: dict[str, list[_Member]] = {}
        for member in before.values():
            groups.setdefault(member.canonical, []).append(member)
        joined, torn = Components(texts), set[str]()
        for members in groups.values():
            own = {member.text_hash for member in members}
            if own <= texts and all(member.rule == self._rule for member in members):
                joined.unite(own)
            else:
                torn |= own & texts
        return joined, torn

    def _alike(self, text: str, others: list[str]) -> Iterator[bool]:
        for start in range(0, len(others), _LOADED_AT_ONCE):
            some = others[start : start + _LOADED_AT_ONCE]
            self._load([text, *some])
            own = self._loaded[text]
            for other in some:
                yield self._likeness(own, self._loaded[other]) >= self._threshold

    def _likeness(self, a: np.ndarray, b: np.ndarray) -> float:
        """Exact where it may reach the threshold; else 0."""
        if min(len(a), len(b)) / max(len(a), len(b)) < self._threshold:
            return 0.0
        return jaccard(a, b)

    def _load(self, texts: Sequence[str]) -> None:
        missing = [text for text in dict.fromkeys(texts) if text not in self._loaded]
        if self._size > _MOST_SHINGLES:
            self._loaded, self._size, missing = {}, 0, list(dict.fromkeys(texts))
        for some in _chunks(missing):
            rows = self._connection.execute(
                sa.select(near_texts.c.text_hash, near_texts.c.shingles).where(
                    near_texts.c.source == self._source, near_texts.c.text_hash.in_(some)
                )
            )
            for row in rows:
                self._loaded[row.text_hash] = unpacked(row.shingles)
                self._size += len(self._loaded[row.text_hash])

    def _write(
        self, before: Mapping[str, _Member], after: Mapping[str, _Member], joined: Components
    ) -> None:
        """The documents whose text, canonical document or likeness with it is another."""
        holders: dict[str, list[str]] = {}
        for doc, member in after.items():
            holders.setdefault(member.text_hash, []).append(doc)
        rows = []
        for texts in joined.sets():
            group = [doc for text in texts for doc in holders[text]]
            canonical = min(group, key=lambda doc: (after[doc].seq, doc))
            text = after[canonical].text_hash
            held = before.get(canonical)
            stays = held is not None and held.text_hash == text
            for doc in group:
                member = _Member(after[doc].text_hash, after[doc].seq, canonical, self._rule)
                if not stays or before.get(doc) != member:
                    rows.append(self._row(doc, member, text))
        self._catalog.upsert(self._connection, near_documents, rows)

    def _row(self, doc: str, member: _Member, text: str) -> dict[str, Any]:
        likeness = 1.0
        if member.text_hash != text:
            self._load([text, member.text_hash])
            likeness = jaccard(self._loaded[text], self._loaded[member.text_hash])
        return {
            "doc_id": doc,
            "source": self._source,
            "text_hash": member.text_hash,
            "canonical": member.canonical,
            "similarity": likeness,
            "rule": self._rule,
        }

    def _drop(self, doc_ids: set[str], texts: set[str]) -> None:
        for some in _chunks(sorted(doc_ids)):
            self._connection.execute(
                sa.delete(near_documents).where(near_documents.c.doc_id.in_(some))
            )
        for table in (near_texts, near_bands):
            self._delete(table, sorted(texts))

    def _delete(self, table: sa.Table, texts: Sequence[str]) -> None:
        for some in _chunks(texts):
            self._connection.execute(
                sa.delete(table).where(table.c.source == self._source, table.c.text_hash.in_(some))
            )


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _MOST_VALUES):
        yield values[start : start + _MOST_VALUES]
