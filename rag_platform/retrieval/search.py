"""Search: a dense and a BM25 leg fused by their scores.

One result per text, and per near copies of it, with all its addresses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from rag_platform.encoders.base import Embedder, SparseEncoder
from rag_platform.encoders.languages import detect
from rag_platform.retrieval.fusion import dense_share, fuse
from rag_platform.retrieval.near_copies import near_groups
from rag_platform.storage.vectors.base import Collection, Hit

# The best texts of each leg whose scores count: always as many, so that the first results are the
# same whether ten are asked for or two hundred. What is found below them comes last, by its rank.
_POOL = 50
# Hits fetched of a leg at a time: where copies of a text take the room of others, more are fetched
# without the texts found, twice as many each time. A notice may stand in every document there is,
# and a contract's clauses in every contract.
_DEPTH = 100
_DEEPEST = 1_600
# Addresses shown of a text.
_MOST_ADDRESSES = 100

Filters = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Result:
    """A passage. `uris` are the addresses at which the text stands, a hundred of them at most, and
    `uri` is the first; `places` are the keys of the documents with the pages, in the same order.

    `score` is relative to the best that the query found, 0 to 1: it says nothing about how well
    that fits. `likeness` does: the cosine with the query, None where only words led here.
    """

    score: float
    text: str
    title: str
    source: str
    uri: str
    uris: tuple[str, ...]
    page: int | None
    heading: str
    doc_id: str
    start: int
    end: int
    places: tuple[tuple[str, int | None], ...]
    likeness: float | None

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form: without what is not public."""
        fields = asdict(self) | {"uris": list(self.uris)}
        for name in ("start", "end", "places", "likeness"):
            del fields[name]
        return fields


class Searcher:
    """Searches one open collection.

    `weights` are the operator's shares of the dense leg by language. `limits` are filters that
    hold for every search and cannot be widened.
    """

    def __init__(
        self,
        collection: Collection,
        *,
        embedder: Embedder,
        sparse: SparseEncoder,
        weights: Mapping[str, float] | None = None,
        limits: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._collection = collection
        self._embedder = embedder
        self._sparse = sparse
        self._weights = dict(weights or {})
        self._limits = dict(limits or {})

    @property
    def index(self) -> str:
        """The index version that is searched."""
        return self._collection.name

    def points(self) -> int:
        """How many points it has."""
        return self._collection.count()

    def search(
        self, query: str, k: int = 10, *, filters: Filters | None = None, language: str = ""
    ) -> list[Result]:
        """The k best passages. An empty query finds nothing.

        `language` is the query's, as an ISO 639-1 code; it is detected where it is not given.
        Raises `ValueError` for a filter on what the limits are about.
        """
        if not query.strip():
            return []
        wanted = self._limited(filters or {})
        language = language or detect(query)
        vector = self._embedder.embed_query(query)
        terms = self._sparse.query(query, language=language)
        nearest, alike = self._collection.nearest, self._collection.nearest_sparse
        dense = _leg(k, lambda n, found: nearest(vector, n, wanted, without=found))
        sparse = _leg(k, lambda n, found: alike(terms, n, wanted, without=found))
        share = dense_share(self._embedder.name, language, self._weights)
        scores = fuse(_pool(dense), _pool(sparse), share)

        def hits(text_hash: str) -> list[dict[str, Any]]:
            legs = (leg.get(text_hash, ()) for leg in (dense, sparse))
            return [hit.payload for leg in legs for hit in leg]

        best = near_groups(_ordered(scores, dense, sparse), hits, k)
        copies = self._copies([text_hash for group in best for text_hash in group], wanted)
        return [
            _result(
                scores.get(text_hash, 0.0),
                copies.get(text_hash) or hits(text_hash),
                near=[payload for other in near for payload in copies.get(other) or hits(other)],
                likeness=dense[text_hash][0].score if text_hash in dense else None,
            )
            for text_hash, *near in best
        ]

    def passage(self, text_hash: str) -> Result | None:
        """The passage with this text and its addresses; None where the limits show none."""
        payloads = self._copies([text_hash], self._limited({})).get(text_hash)
        return _result(1.0, payloads, likeness=None) if payloads else None

    def _limited(self, filters: Filters) -> dict[str, str | Sequence[str]]:
        if refused := sorted(filters.keys() & self._limits.keys()):
            raise ValueError(f"no filter may be set on {', '.join(refused)}")
        return {**filters, **self._limits}

    def _copies(self, text_hashes: list[str], filters: Filters) -> dict[str, list[dict[str, Any]]]:
        """All points with these texts: a text may stand at more addresses than were ranked. Of one
        that stands at very many, the first by their ids."""
        most = max(_MOST_ADDRESSES, 4 * len(text_hashes))
        found = self._standing(text_hashes, filters, most)
        if sum(map(len, found.values())) < most:
            return found
        return {
            text_hash: points
            for each in text_hashes
            for text_hash, points in self._standing([each], filters, _MOST_ADDRESSES).items()
        }

    def _standing(
        self, text_hashes: list[str], filters: Filters, most: int
    ) -> dict[str, list[dict[str, Any]]]:
        """The first points with these texts, by text."""
        found: dict[str, list[dict[str, Any]]] = {}
        wanted = {**filters, "text_hash": text_hashes}
        for payload in self._collection.payloads(wanted, most=most):
            found.setdefault(payload["text_hash"], []).append(payload)
        return found


Leg = Mapping[str, list[Hit]]  # hits by text, best first


def _leg(k: int, fetch: Callable[[int, Sequence[str]], list[Hit]]) -> Leg:
    """The hits of a leg, deep enough to hold the pool and k different texts; of a text no more
    than its addresses that are shown."""
    needed, depth = max(_POOL, k), max(_DEPTH, 2 * k)
    groups: dict[str, list[Hit]] = {}
    while True:
        hits = fetch(depth, list(groups))
        for hit in hits:
            group = groups.setdefault(hit.payload["text_hash"], [])
            if len(group) < _MOST_ADDRESSES:
                group.append(hit)
        # Each time at least one text is new, so that this ends.
        if len(hits) < depth or len(groups) >= needed:
            return groups
        depth = max(depth, min(2 * depth, _DEEPEST))


def _pool(leg: Leg) -> dict[str, float]:
    """The scores that count of a leg."""
    return {text_hash: hits[0].score for text_hash, hits in islice(leg.items(), _POOL)}


def _ordered(scores: Mapping[str, float], *legs: Leg) -> list[str]:
    """All texts found, best first, equal ones in a set order: a search repeated is the same."""
    ranks: dict[str, int] = {}
    for leg in legs:
        for rank, text_hash in enumerate(leg):
            ranks[text_hash] = min(rank, ranks.get(text_hash, rank))
    return sorted(ranks, key=lambda h: (-scores.get(h, 0.0), ranks[h], h))


def _result(
    score: float,
    payloads: Sequence[dict[str, Any]],
    *,
    near: Sequence[dict[str, Any]] = (),
    likeness: float | None,
) -> Result:
    """The passage at its own addresses, then at those of the near copies merged with it."""
    ordered = [*sorted(payloads, key=_place), *sorted(near, key=_place)]
    first = ordered[0]
    return Result(
        score=round(score, 6),
        text=first["text"],
        title=first["title"],
        source=first["source"],
        uri=first["uri"],
        uris=tuple(dict.fromkeys(payload["uri"] for payload in ordered)),
        page=first["page"],
        heading=first["heading"],
        doc_id=first["doc_id"],
        start=first["start"],
        end=first["end"],
        places=tuple(dict.fromkeys((payload["key"], payload["page"]) for payload in ordered)),
        likeness=likeness,
    )


def _place(payload: dict[str, Any]) -> tuple[str, int]:
    return payload["uri"], payload["start"]
