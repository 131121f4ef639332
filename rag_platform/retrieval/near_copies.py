"""One result for passages that say nearly the same in documents that are near copies."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rag_platform.encoders.shingles import Shingles, jaccard, shingles

# From which likeness two passages of near copies are one result.
NEAR = 0.9

Payloads = Sequence[dict[str, Any]]  # of the points that have one text; never empty


def near_groups(
    ordered: Iterable[str], payloads: Callable[[str], Payloads], k: int
) -> list[list[str]]:
    """The k best passages, each with those after it that are merged with it.

    `ordered` are hashes of texts, best first; `payloads` gives the points found of each. A passage
    is merged with a better one of a near copy of its document when their texts are alike: the best
    of them speaks for all. Merged passages may stand below the k best.
    """
    groups: list[list[str]] = []
    of_documents: dict[str, list[int]] = {}
    shown: dict[int, Shingles] = {}
    for text_hash in ordered:
        found = payloads(text_hash)
        documents = {payload["canonical"] for payload in found if payload.get("canonical")}
        near = sorted({place for name in documents for place in of_documents.get(name, ())})
        own = shingles(found[0]["text"]) if near else None
        place = next((n for n in near if own is not None and jaccard(own, shown[n]) >= NEAR), None)
        if place is not None:
            groups[place].append(text_hash)
            continue
        if len(groups) == k:
            continue
        for name in documents:
            of_documents.setdefault(name, []).append(len(groups))
            shown[len(groups)] = own if own is not None else shingles(found[0]["text"])
        groups.append([text_hash])
    return groups
