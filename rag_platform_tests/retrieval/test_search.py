"""Search over a collection of plain numbers: one result per text, fused by rank."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from rag_platform.encoders.base import Embedder, SparseEncoder, Vectors
from rag_platform.retrieval.search import Searcher
from rag_platform.storage.vectors.base import Collection, Point, SparseVector, VectorStore
from rag_platform.storage.vectors.edge import EdgeVectorStore
from rag_platform.storage.vectors.server import ServerVectorStore

ANGLES = {"north": 0.0, "east": 90.0}  # what a query means, in degrees
TERMS = {"alpha": 1, "beta": 2}


pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")


class Compass(Embedder):
    """A query is a direction."""

    name = fingerprint = "compass"
    dimension, batch_size, paid = 2, 8, False

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return np.array([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Vectors:
        return direction(next((ANGLES[word] for word in text.split() if word in ANGLES), 45.0))


class Words(SparseEncoder):
    """A word is a dimension of weight 1."""

    fingerprint = "words"

    def passage(self, text: str) -> SparseVector:
        return self.query(text)

    def query(self, text: str) -> SparseVector:
        found = sorted({TERMS[word] for word in text.split() if word in TERMS})
        return SparseVector(found, [1.0] * len(found))


def direction(degrees: float) -> Vectors:
    angle = np.radians(degrees)
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


@pytest.fixture(params=["edge", "server"])
def collection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Collection]:
    store: VectorStore
    if request.param == "edge":
        store = EdgeVectorStore(tmp_path / "vectors", lock_timeout_s=5)
    else:
        from qdrant_client import QdrantClient

        store = ServerVectorStore("http://x:6333", client_factory=lambda: QdrantClient(":memory:"))
    with store.open("docs", dimension=2, fingerprint="f") as opened:
        yield opened


@pytest.fixture
def searcher(collection: Collection) -> Searcher:
    return Searcher(collection, embedder=Compass(), sparse=Words())


def point(text: str, degrees: float, key: str = "", **payload: object) -> Point:
    """A text in a direction, at an address."""
    key = key or f"{text}.md"
    fields = {
        "doc_id": f"doc of {key}",
        "text_hash": f"hash of {text}",
        "text": text,
        "source": "manuals",
        "uri": f"file:///{key}",
        "key": key,
        "title": f"title of {key}",
        "heading": "",
        "page": None,
        "start": 0,
        "end": len(text),
        "language": "en",
    }
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{key}{payload.get('start', 0)}{text}"))
    return Point(identity, direction(degrees), Words().passage(text), fields | payload)


def test_ranks_are_fused(collection: Collection, searcher: Searcher) -> None:
    collection.upsert(
        [point("plain north", 1), point("alpha far", 80), point("alpha near", 20), point("x", 85)]
    )
    found = searcher.search("north alpha", 4)
    scores = {result.text: result.score for result in found}
    # Dense ranks: plain 1, near 2, far 3, x 4. Sparse: near and far, equally, twice the weight.
    assert scores["plain north"] == pytest.approx(1 / 61, abs=1e-6)
    assert scores["x"] == pytest.approx(1 / 64, abs=1e-6)
    pairs = {(round(1 / 62 + 2 / a, 6), round(1 / 63 + 2 / b, 6)) for a, b in ((61, 62), (62, 61))}
    assert (scores["alpha near"], scores["alpha far"]) in pairs
    assert {result.text for result in found[:2]} == {"alpha near", "alpha far"}
    assert [result.text for result in found[2:]] == ["plain north", "x"]


def test_one_result_per_text_with_all_its_addresses(
    collection: Collection, searcher: Searcher
) -> None:
    collection.upsert(
        [
            point("alpha", 0, "c.md"),
            point("alpha", 0, "a.md", start=7),
            point("alpha", 0, "a.md", start=3),
            point("alpha", 0, "b.md"),
            point("beta", 90),
        ]
    )
    first, second = searcher.search("north alpha", 5)
    assert first.uris == ("file:///a.md", "file:///b.md", "file:///c.md")
    assert (first.uri, first.start, first.doc_id) == ("file:///a.md", 3, "doc of a.md")
    assert first.title == "title of a.md"
    # Copies do not add up: rank 1 in both legs, once.
    assert first.score == pytest.approx(3 / 61, abs=1e-6)
    assert second.text == "beta"
    shown = first.as_json()
    assert shown["uris"] == ["file:///a.md", "file:///b.md", "file:///c.md"]
    assert not {"start", "end"} & shown.keys()


def test_three_hundred_copies_leave_room_for_others(
    collection: Collection, searcher: Searcher
) -> None:
    copies = [point("alpha beta", 0, f"copy/{number}.md") for number in range(300)]
    others = [point(f"alpha {number}", 10 + number) for number in range(15)]
    collection.upsert([*copies, *others])
    found = searcher.search("north alpha beta", 10)
    assert len({result.text for result in found}) == 10
    copy = next(result for result in found if result.text == "alpha beta")
    assert len(copy.uris) == 300
    assert found == searcher.search("north alpha beta", 10)


def test_filters(collection: Collection, searcher: Searcher) -> None:
    collection.upsert(
        [
            point("alpha", 0, "a.md"),
            point("alpha", 0, "b.md", source="other"),
            point("beta", 10, "c.md", source="other", language="de"),
        ]
    )

    def uris(**filters: str | list[str]) -> list[tuple[str, ...]]:
        return [result.uris for result in searcher.search("north alpha", filters=filters)]

    # A text has the addresses that the filter lets through.
    assert uris(source="manuals") == [("file:///a.md",)]
    assert uris(source="other") == [("file:///b.md",), ("file:///c.md",)]
    assert uris(source=["other"], language="de") == [("file:///c.md",)]
    assert uris(key=["a.md", "c.md"]) == [("file:///a.md",), ("file:///c.md",)]
    assert uris(source="nowhere") == []
    assert uris(source=[]) == []


def test_equal_texts_come_in_a_set_order(collection: Collection, searcher: Searcher) -> None:
    collection.upsert([point(f"text {number}", 45) for number in range(6)])
    found = [result.text for result in searcher.search("somewhere", 6)]
    assert len(set(found)) == 6
    assert all([r.text for r in searcher.search("somewhere", 6)] == found for _ in range(5))


@pytest.mark.parametrize("query", ["", " \n\t "])
def test_a_query_without_words(collection: Collection, searcher: Searcher, query: str) -> None:
    collection.upsert([point("alpha", 0)])
    assert searcher.search(query) == []


def test_a_query_without_known_words_has_its_dense_leg(
    collection: Collection, searcher: Searcher
) -> None:
    collection.upsert([point("alpha", 0), point("beta", 90)])
    assert [result.text for result in searcher.search("east", 1)] == ["beta"]


def test_nothing_to_search_in(searcher: Searcher) -> None:
    assert searcher.search("north alpha") == []


def test_no_more_than_asked_for(collection: Collection, searcher: Searcher) -> None:
    collection.upsert([point(f"alpha {number}", number) for number in range(30)])
    assert [len(searcher.search("north alpha", k)) for k in (1, 7, 30, 100)] == [1, 7, 30, 30]
