"""Search: dense and BM25 legs fused by rank, one result per text with all its addresses."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rag_platform.encoders.base import Embedder, SparseEncoder
from rag_platform.storage.vectors.base import Collection, Hit

# Reciprocal rank fusion: Cormack, Clarke, Buettcher, SIGIR 2009, with their k.
RRF_K = 60
# On Cranfield, BM25 twice and wordllama once was the best of the weights tried.
DENSE_WEIGHT = 1.0
SPARSE_WEIGHT = 2.0

_MIN_DEPTH = 50
_MAX_DEPTH = 2_000


@dataclass(frozen=True, slots=True)
class Result:
    """A passage. `uris` are all addresses at which the text stands, `uri` the first of them."""

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

    def as_json(self) -> dict[str, Any]:
        """The stable JSON form: without the offsets into the clean text, which is not public."""
        fields = asdict(self) | {"uris": list(self.uris)}
        del fields["start"], fields["end"]
        return fields


class Searcher:
    """Searches one open collection."""

    def __init__(
        self, collection: Collection, *, embedder: Embedder, sparse: SparseEncoder
    ) -> None:
        self._collection = collection
        self._embedder = embedder
        self._sparse = sparse

    def search(
        self, query: str, k: int = 10, *, filters: Mapping[str, str | Sequence[str]] | None = None
    ) -> list[Result]:
        """The k best passages. An empty query finds nothing."""
        if not query.strip():
            return []
        wanted: dict[str, str | Sequence[str]] = dict(filters or {})
        dense = self._embedder.embed_query(query)
        sparse = self._sparse.query(query)
        legs = (
            (
                DENSE_WEIGHT,
                _leg(k, lambda n: self._collection.nearest(dense, n, wanted)),
            ),
            (
                SPARSE_WEIGHT,
                _leg(k, lambda n: self._collection.nearest_sparse(sparse, n, wanted)),
            ),
        )
        scores: dict[str, float] = {}
        hits: dict[str, list[Hit]] = {}
        for weight, groups in legs:
            for rank, (text_hash, group) in enumerate(groups.items(), start=1):
                scores[text_hash] = scores.get(text_hash, 0.0) + weight / (RRF_K + rank)
                hits.setdefault(text_hash, []).extend(group)
        # Equal scores in a set order, so that a search repeated gives the same answer.
        best = sorted(scores, key=lambda text_hash: (-scores[text_hash], text_hash))[:k]
        copies = self._copies(best, wanted)
        return [_result(scores[h], copies.get(h) or [hit.payload for hit in hits[h]]) for h in best]

    def _copies(
        self, text_hashes: list[str], filters: Mapping[str, str | Sequence[str]]
    ) -> dict[str, list[dict[str, Any]]]:
        """All points with these texts: a text may stand at more addresses than were ranked."""
        found: dict[str, list[dict[str, Any]]] = {}
        for payload in self._collection.payloads({**filters, "text_hash": text_hashes}):
            found.setdefault(payload["text_hash"], []).append(payload)
        return found


def _leg(k: int, fetch: Any) -> dict[str, list[Hit]]:
    """Hits by text, best first, deep enough to hold several times k different texts."""
    depth = max(_MIN_DEPTH, 5 * k)
    while True:
        hits: list[Hit] = fetch(depth)
        groups: dict[str, list[Hit]] = {}
        for hit in hits:
            groups.setdefault(hit.payload["text_hash"], []).append(hit)
        if len(hits) < depth or len(groups) >= max(2 * k, 20) or depth >= _MAX_DEPTH:
            return groups
        depth *= 4


def _result(score: float, payloads: list[dict[str, Any]]) -> Result:
    ordered = sorted(payloads, key=lambda payload: (payload["uri"], payload["start"]))
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
    )
