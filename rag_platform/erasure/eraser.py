"""Erasing documents of one source for good, and proving it.

A request is written down first and completed last, so that a run that was killed is continued by
the next one. Before anything is removed it notes how much each place holds, and under which keys
the memo remembers the document: afterwards nobody could tell. When all is removed, every place is
looked through again by what counted it before.
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from rag_platform.erasure import points, remembered, rows
from rag_platform.erasure.parts import StoredParts, place_of
from rag_platform.erasure.receipts import Erasure, erasure_of, receipt, receipts
from rag_platform.erasure.subjects import Made, NoSuchDocument, NotErased, StillThere, Subject
from rag_platform.erasure.vacuum import KEPT_BY_SERVER, vacuum
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import changes, documents, erasures, passes
from rag_platform.storage.vectors.base import VectorStore

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Documents that are looked for at a time; their texts are held in memory.
_BATCH = 200
_SHOWN = 3
# The stages whose parts have a document's text, in a form that the memo may remember it by.
_TEXTS = ("parsed_docs", "clean_docs", "translated_docs", "chunks")


Ids = Sequence[str]  # of the documents that are erased


@dataclass(frozen=True)
class Neighbours:
    """The other documents of a tenant, what they share with those that are erased stays.

    `sources` are theirs. `waiting` gives the hashes of passages that are still to be applied to an
    index, `answers` the memo keys of what was answered about a clean row, `answered` those of them
    that other documents need; `regroup` takes documents out of the groups of near copies.
    """

    sources: Sequence[str]
    waiting: Callable[[Ids], Iterable[str]]
    answers: Callable[[Mapping[str, Any]], Iterable[bytes]]
    answered: Callable[[Ids], Iterable[bytes]]
    regroup: Callable[[Ids], None]


class Eraser:
    """Erases documents of one source."""

    def __init__(
        self,
        source: str,
        *,
        tenant: str,
        catalog: Catalog,
        vectors: VectorStore,
        parts: StoredParts,
        neighbours: Neighbours,
        selected: Callable[[str], bool],
    ) -> None:
        """`selected` says whether a key belongs to the source by its settings."""
        self._source = source
        self._tenant = tenant
        self._catalog = catalog
        self._vectors = vectors
        self._parts = parts
        self._neighbours = neighbours
        self._selected = selected

    def gone(self) -> list[str]:
        """The keys of the documents that are gone from the source and were not erased."""
        statement = (
            sa.select(documents.c.key)
            .where(documents.c.source == self._source, documents.c.gone)
            .order_by(documents.c.key)
        )
        with self._catalog.read() as connection:
            return list(connection.execute(statement).scalars())

    def request(self, keys: Sequence[str], *, by: str, reason: str, redact: bool = False) -> None:
        """Write down that documents are to be erased; `run` does it.

        What was moved is erased at its earlier addresses, too. With `redact` addresses go as well.
        Raises `NoSuchDocument`, and `StillThere` for one that is in the source and would come back;
        then nothing is written down.
        """
        with self._catalog.exclusive(f"source-{self._source}"):
            pending = {row.doc_id for row in self._open()}
            admitted = [self._admitted(key) for key in self._with_earlier(keys)]
            added = [
                {
                    "source": self._source,
                    "doc_id": subject.doc_id,
                    "requested_at": time.time(),
                    "requested_by": by,
                    "reason": reason,
                    "completed_at": None,
                    "receipt": {"key": subject.key, "redact": redact},
                }
                for subject in admitted
                if subject is not None and subject.doc_id not in pending
            ]
            with self._catalog.begin() as connection:
                if added:
                    connection.execute(sa.insert(erasures), added)

    def run(self) -> list[Erasure]:
        """Carry out what was requested, and what a killed run left; returns the receipts.

        Raises `NotErased` where something is found afterwards: a run that was under way may have
        brought it back, so running again helps.
        """
        with self._catalog.exclusive(f"source-{self._source}"):
            started = {row.id for row in self._open()}
            for batch in _batches([row for row in self._unsealed() if "found" not in row.receipt]):
                self._survey(batch)
            for batch in _batches(self._unsealed()):
                self._remove(batch)
            if started:
                self._prove()
        return [found for found in receipts(self._catalog, self._source) if found.id in started]

    # Requests

    def _open(self) -> Sequence[Any]:
        statement = (
            sa.select(erasures)
            .where(erasures.c.source == self._source, erasures.c.completed_at.is_(None))
            .order_by(erasures.c.id)
        )
        with self._catalog.read() as connection:
            return connection.execute(statement).all()

    def _unsealed(self) -> list[Any]:
        return [row for row in self._open() if "receipt" not in row.receipt]

    def _with_earlier(self, keys: Sequence[str]) -> list[str]:
        """Addresses, and those that the documents were moved from and that nothing stands at."""
        found = list(dict.fromkeys(keys))
        for key in found:  # which grows
            statement = (
                sa.select(changes.c.moved_from)
                .distinct()
                .join(
                    documents,
                    sa.and_(
                        documents.c.source == changes.c.source,
                        documents.c.key == changes.c.moved_from,
                    ),
                )
                .where(changes.c.source == self._source, changes.c.key == key, documents.c.gone)
            )
            with self._catalog.read() as connection:
                earlier = connection.execute(statement.order_by(changes.c.moved_from)).scalars()
                found += [each for each in earlier if each not in found]
        return found

    def _admitted(self, key: str) -> Subject | None:
        """The document, if it may be erased; None for one whose erasure was begun."""
        with self._catalog.read() as connection:
            row = connection.execute(
                sa.select(documents).where(
                    documents.c.source == self._source, documents.c.key == key
                )
            ).first()
        if row is None:
            if any(request.receipt.get("key") == key for request in self._open()):
                return None
            raise NoSuchDocument(
                f"{self._source}: no document {key!r} is known; nothing erased. Erased before: "
                "rag-platform receipts"
            )
        if not row.gone and self._selected(key):
            raise StillThere(
                f"{self._source}: {key!r} is in the source and would come back; nothing erased. "
                f"Remove it there and run rag-platform sync {self._source}, or add it to "
                f"sources.{self._source}.exclude."
            )
        return Subject(key, row.doc_id)

    def _keep(self, row: Any, **values: Any) -> None:
        with self._catalog.begin() as connection:
            connection.execute(sa.update(erasures).where(erasures.c.id == row.id).values(**values))

    # Before

    def _survey(self, batch: Sequence[Any]) -> None:
        """Note what each place has of some documents, before any of it goes."""
        keys, ids = [row.receipt["key"] for row in batch], [row.doc_id for row in batch]
        made = self._made(keys)
        hashes = set().union(*(one.text_hashes for one in made.values()))
        twins = self._twins(hashes, ids)
        memo = self._remembered(made, ids, twins.keys())
        asked = {}
        for row in batch:
            own = made[row.receipt["key"]].text_hashes
            heirs = {h: twins[h] for h in own & twins.keys() if twins[h].source == self._source}
            asked[row.id] = row.receipt | {
                "memo": sorted(key.hex() for key in memo[row.receipt["key"]]),
                "texts": sorted(own - heirs.keys()),
                "heirs": {h: [heirs[h].doc_id, heirs[h].key] for h in sorted(heirs)},
                "answered": [self._since(row.doc_id), time.time()],
            }
        found = self._counts([(row, asked[row.id]) for row in batch])
        for row in batch:
            self._keep(row, receipt=asked[row.id] | {"found": found[row.id]})

    def _remembered(
        self, made: Mapping[str, Made], ids: Ids, shared: Collection[str]
    ) -> dict[str, set[bytes]]:
        """The memo keys of documents, by address, without those that other documents need.

        `shared` are the hashes of clean texts that others have.
        """
        recipes = remembered.recipes(self._catalog)
        passages = {key: remembered.passages_of(one, recipes) for key, one in made.items()}
        kept = self._passages_kept(set().union(*passages.values()), ids)
        answered = set(self._neighbours.answered(ids))
        found = remembered.parse_keys(
            self._catalog, {key: _own_texts(one, shared) for key, one in made.items()}
        )
        for key, one in made.items():
            mine = (text for text in passages[key] if _hash(text) not in kept)
            found[key] |= remembered.passage_keys(mine, recipes, self._tenant)
            for row in one.clean:
                if row["text_hash"] not in shared:
                    found[key] |= set(self._neighbours.answers(row)) - answered
        return found

    def _twins(self, hashes: Collection[str], ids: Ids) -> dict[str, Any]:
        """The first other document of each clean text, by hash; one of this source if there is."""
        twins: dict[str, Any] = {}
        for batch in _batches(sorted(hashes)):
            statement = sa.select(documents).where(
                documents.c.source.in_(self._neighbours.sources),
                documents.c.text_hash.in_(batch),
                ~documents.c.gone,
                documents.c.doc_id.not_in(ids),
            )
            with self._catalog.read() as connection:
                found = connection.execute(statement.order_by(documents.c.seq)).all()
            for row in sorted(found, key=lambda row: row.source != self._source):
                twins.setdefault(row.text_hash, row)
        return twins

    def _made(self, keys: Sequence[str]) -> dict[str, Made]:
        made = {key: Made() for key in keys}
        for part, _ in list(self._parts.holding(keys)):
            if part.stage not in _TEXTS:
                continue
            for row in self._parts.rows(part, keys):
                one = made[row["key"]]
                if part.stage == "parsed_docs" and row["text"]:
                    one.parsed[row["seq"]] = row["text"]
                elif part.stage == "chunks":
                    one.passages.add(row["text"])
                elif part.stage != "parsed_docs":
                    one.clean.append(row)
        return made

    def _passages_kept(self, passages: set[str], ids: Sequence[str]) -> set[str]:
        """The hashes of passages that other documents have."""
        hashes = {_hash(text) for text in passages}
        if not hashes:
            return set()
        elsewhere = points.passages_elsewhere(
            self._vectors, hashes, tenant=self._tenant, without=ids
        )
        return {*elsewhere, *self._neighbours.waiting(ids)}

    def _since(self, doc_id: str) -> float:
        """When the document was first seen."""
        of_pass = (
            passes.c.source == changes.c.source,
            passes.c.window == changes.c.window,
            passes.c.pass_no == changes.c.pass_no,
        )
        statement = (
            sa.select(sa.func.min(passes.c.listed_at))
            .join(changes, sa.and_(*of_pass))
            .where(changes.c.doc_id == doc_id)
        )
        with self._catalog.read() as connection:
            return float(connection.scalar(statement) or 0.0)

    def _counts(self, batch: Sequence[tuple[Any, Mapping[str, Any]]]) -> dict[int, dict[str, int]]:
        """How much each place has of some documents, by request; the same before and after."""
        found: dict[int, Counter[str]] = {row.id: Counter() for row, _ in batch}
        ids = {asked["key"]: row.id for row, asked in batch}
        for row, asked in batch:
            subject = Subject(asked["key"], row.doc_id)
            texts, redact = asked["texts"], asked["redact"]
            found[row.id].update(
                rows.count(self._catalog, self._source, subject, texts, redact=redact)
            )
            keys = [bytes.fromhex(key) for key in asked["memo"]]
            found[row.id]["memo"] += remembered.known(self._catalog, keys)
            found[row.id]["llm_cache"] += remembered.cached(self._catalog, *asked["answered"])
        for name, counts in points.count(self._vectors, [row.doc_id for row, _ in batch]).items():
            for row, _ in batch:
                found[row.id][f"points {name}"] += counts[row.doc_id]
        for part, held in self._parts.holding(list(ids)):
            for key, number in held.items():
                found[ids[key]][f"pages {place_of(part)}"] += number
        return {one: dict(counter) for one, counter in found.items()}

    # Removing

    def _remove(self, batch: Sequence[Any]) -> None:
        self._neighbours.regroup([row.doc_id for row in batch])
        with self._catalog.begin() as connection:
            for row in batch:
                asked = row.receipt
                rows.remove(
                    connection,
                    self._source,
                    Subject(asked["key"], row.doc_id),
                    asked["texts"],
                    heirs={h: Subject(key, i) for h, (i, key) in asked["heirs"].items()},
                    redact=asked["redact"],
                )
        points.remove(self._catalog, self._vectors, [row.doc_id for row in batch])
        with self._catalog.begin() as connection:
            for row in batch:
                remembered.remove(connection, [bytes.fromhex(k) for k in row.receipt["memo"]])
                remembered.remove_cached(connection, *row.receipt["answered"])
        self._parts.remove([row.receipt["key"] for row in batch])
        logger.info("%s: %d documents removed from every place", self._source, len(batch))

    # After

    def _prove(self) -> None:
        """Look through every place again, and complete the requests of which nothing was found."""
        remarks = points.purge_all(self._catalog, self._vectors)
        remarks += [KEPT_BY_SERVER] if not self._catalog.is_sqlite else []
        problems: list[str] = []
        for batch in _batches(self._unsealed()):
            left = self._counts([(row, row.receipt) for row in batch])
            for row in batch:
                again = {place: count for place, count in left[row.id].items() if count}
                if again:
                    places = ", ".join(f"{count:,} in {place}" for place, count in again.items())
                    problems.append(f"{row.receipt['key']!r}: {places}")
                else:
                    self._seal(row, left[row.id], remarks)
        # Before anything is completed: requests name addresses that receipts may not.
        vacuum(self._catalog)
        for row in self._open():
            if "receipt" in row.receipt:
                self._keep(row, receipt=row.receipt["receipt"], completed_at=time.time())
        if problems:
            raise NotErased(
                f"{self._source}: found after erasing: {'; '.join(problems[:_SHOWN])}. A run that "
                "was under way may have brought it back: erase again."
            )

    def _seal(self, row: Any, left: Mapping[str, int], remarks: Sequence[str]) -> None:
        """From here on only the receipt is kept of the request."""
        asked = row.receipt
        written = receipt(
            erasure_of(row),
            asked["key"],
            redact=asked["redact"],
            at=time.time(),
            found=asked["found"],
            left={**dict.fromkeys(asked["found"], 0), **left},
            remarks=remarks,
        )
        self._keep(row, receipt={"receipt": written})


def _own_texts(made: Made, shared: Collection[str]) -> list[str]:
    """The texts as parsed that no other document has."""
    hashes = {row["seq"]: row["text_hash"] for row in made.clean}
    return [text for seq, text in made.parsed.items() if hashes.get(seq) not in shared]


def _hash(text: str) -> str:
    """As a point says of its passage."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
