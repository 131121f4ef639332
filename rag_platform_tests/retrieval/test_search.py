"""Search over a collection of plain numbers: one result per text, fused by score."""

import random
from collections import defaultdict as Weights
from collections.abc import Iterator

import numpy as np
import pytest

from rag_platform.retrieval import search
from rag_platform.retrieval.fusion import fuse
from rag_platform.retrieval.readers import Reader
from rag_platform.retrieval.search import Searcher
from rag_platform.storage.vectors.base import Collection, Hit, SparseVector, VectorStore
from rag_platform.storage.vectors.edge import EdgeVectorStore
from rag_platform.storage.vectors.server import ServerVectorStore
from rag_platform_tests.retrieval.compass import Compass, Words, point

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")


@pytest.fixture(scope="module", params=["edge", "server"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collection]:
    store: VectorStore
    if request.param == "edge":
        store = EdgeVectorStore(tmp_path_factory.mktemp("vectors"), lock_timeout_s=5)
    else:
        from qdrant_client import QdrantClient

        store = ServerVectorStore("http://x:6333", client_factory=lambda: QdrantClient(":memory:"))
    with store.open("docs", dimension=2, fingerprint="f") as collection:
        yield collection


@pytest.fixture
def collection(opened: Collection) -> Collection:
    """Empty; one for all tests, because making one takes seconds."""
    opened.delete([identity for identity, _ in opened.ids()])
    return opened


@pytest.fixture
def searcher(collection: Collection) -> Searcher:
    # By halves, whatever language words of a made-up one are taken for.
    return Searcher(
        collection, embedder=Compass(), sparse=Words(), weights=Weights(lambda: 0.5, en=0.5)
    )


def test_scores_are_fused(collection: Collection, searcher: Searcher) -> None:
    collection.upsert(
        [point("plain north", 0), point("alpha far", 80), point("alpha near", 60), point("x", 90)]
    )
    found = searcher.search("north alpha", 4)
    # Cosines with north: 1, .174, .5, 0; the words of both alphas weigh the same.
    expected = {
        "alpha near": 0.5 * 0.5 + 0.5,
        "alpha far": 0.5 * np.cos(np.radians(80)) + 0.5,
        "plain north": 0.5,
        "x": 0.0,
    }
    assert [result.text for result in found] == list(expected)
    assert [result.score for result in found] == pytest.approx([*expected.values()], abs=1e-5)
    likeness = [result.likeness for result in found]
    assert likeness == pytest.approx([0.5, np.cos(np.radians(80)), 1.0, 0.0], abs=1e-5)


@pytest.mark.parametrize(("share", "first"), [(0.9, "plain north"), (0.1, "alpha")])
def test_an_operator_weighs_by_language(collection: Collection, share: float, first: str) -> None:
    collection.upsert([point("plain north", 0), point("alpha", 90)])
    weighed = Searcher(collection, embedder=Compass(), sparse=Words(), weights={"de": share})
    assert weighed.search("north alpha", language="de")[0].text == first


def test_the_first_results_are_the_same_however_many_are_asked_for(
    collection: Collection, searcher: Searcher
) -> None:
    words = ["alpha", "beta", "alpha beta", "none"]
    points = [point(f"{words[n % 4]} {n}", n * 37 % 301 / 2) for n in range(300)]
    for number, each in enumerate(points):  # equal scores at the end of the pool would be a draw
        each.sparse.values[:] = [1 + number * 53 % 300 / 7 for _ in each.sparse.values]
    collection.upsert(points)
    long = [result.text for result in searcher.search("north alpha beta", 200)]
    assert len(set(long)) == 200
    for k in (1, 10, 50):
        assert [result.text for result in searcher.search("north alpha beta", k)] == long[:k]


def test_limits_hold_for_every_search(collection: Collection) -> None:
    collection.upsert(
        [
            point("alpha", 0, "a.md", tenant="one", acl=["*"]),
            point("alpha", 0, "b.md", tenant="two", acl=["*"]),
            point("beta", 5, "c.md", tenant="one", acl=["staff"]),
            point("none", 5, "d.md", tenant="one"),
        ]
    )
    limits = Reader("one").limits
    limited = Searcher(collection, embedder=Compass(), sparse=Words(), limits=limits)
    assert [result.uris for result in limited.search("north alpha")] == [("file:///a.md",)]
    assert limited.search("north alpha", filters={"key": "b.md"}) == []
    with pytest.raises(ValueError, match="tenant"):
        limited.search("north alpha", filters={"tenant": "two"})
    shown = limited.passage("hash of alpha")
    assert shown is not None
    assert shown.uris == ("file:///a.md",)
    assert limited.passage("hash of beta") is None


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
    # Copies do not add up: the best of both legs, once.
    assert first.score == 1.0
    assert first.places == (("a.md", None), ("b.md", None), ("c.md", None))
    assert second.text == "beta"
    shown = first.as_json()
    assert shown["uris"] == ["file:///a.md", "file:///b.md", "file:///c.md"]
    assert not {"start", "end", "places", "likeness"} & shown.keys()


def test_near_copies_are_one_result(collection: Collection, searcher: Searcher) -> None:
    words = " ".join(f"word{number}" for number in range(60))
    collection.upsert(
        [
            point(f"alpha {words}", 0, "z.md", canonical="group"),
            point(f"beta {words}", 5, "a.md", canonical="group"),
            point(f"beta {words}", 5, "b.md", canonical="group"),
            point("other words", 20, "c.md", canonical="group"),
        ]
    )
    first, second = searcher.search("north alpha", 5)
    assert first.text == f"alpha {words}"
    assert first.uris == ("file:///z.md", "file:///a.md", "file:///b.md")
    assert [key for key, _ in first.places] == ["z.md", "a.md", "b.md"]
    assert second.uris == ("file:///c.md",)


def test_three_hundred_copies_leave_room_for_others(
    collection: Collection, searcher: Searcher
) -> None:
    copies = [point("alpha beta", 0, f"copy/{number}.md") for number in range(300)]
    others = [point(f"alpha {number}", 10 + number) for number in range(15)]
    collection.upsert([*copies, *others])
    found = searcher.search("north alpha beta", 10)
    assert len({result.text for result in found}) == 10
    copy = next(result for result in found if result.text == "alpha beta")
    # A hundred addresses are shown, the same ones each time.
    assert len(copy.uris) == 100
    assert found == searcher.search("north alpha beta", 10)


def test_texts_that_stand_everywhere_do_not_hide_the_others(
    collection: Collection, searcher: Searcher
) -> None:
    notices = [
        point(f"alpha notice {text}", text, f"{text}/{number}.md")
        for text in range(4)
        for number in range(120)
    ]
    others = [point(f"alpha {number}", 10 + number) for number in range(15)]
    collection.upsert([*notices, *others])
    found = searcher.search("north alpha", 12)
    assert len({result.text for result in found}) == 12
    # The nearest come first, a notice once, with its own addresses.
    assert [result.text for result in found[:5]] == [
        *(f"alpha notice {text}" for text in range(4)),
        "alpha 0",
    ]
    assert [len(result.uris) for result in found[:5]] == [100, 100, 100, 100, 1]
    assert {uri.split("/")[3] for uri in found[2].uris} == {"2"}


def test_any_number_of_texts_that_stand_everywhere_leaves_room_for_all(
    collection: Collection, searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clauses of a hundred contracts. Against what is worked out here from all points; hits
    are fetched five at a time, at first, so that it takes many times."""
    monkeypatch.setattr(search, "_DEPTH", 5)
    monkeypatch.setattr(search, "_DEEPEST", 20)
    dice = random.Random(11)
    terms = ["alpha", "beta", "alpha beta", "none"]
    angles = {f"{dice.choice(terms)} {n}": 0.5 + n for n in range(70)}
    weights = {text: dice.uniform(1, 20) for text in angles}
    points = [
        point(text, angle, f"{text}/{copy}.md")
        for text, angle in angles.items()
        for copy in range(dice.choice([1, 2, 25]))
    ]
    for each in points:
        each.sparse.values[:] = [weights[each.payload["text"]]] * len(each.sparse.values)
    dice.shuffle(points)
    collection.upsert(points)

    cosines = {text: float(np.cos(np.radians(angle))) for text, angle in angles.items()}
    alike = {hit.payload["text"]: hit.score for hit in every_hit(collection, len(points))}
    best = fuse(best_of(cosines), best_of(alike), 0.5)
    ranks = [sorted(leg, key=lambda text: -leg[text]) for leg in (cosines, alike)]
    wanted = sorted(best, key=lambda text: (-best[text], min(_rank(r, text) for r in ranks)))
    for k in (1, 10, 40):
        found = searcher.search("north alpha beta", k)
        assert [result.text for result in found] == wanted[:k]
        assert [result.score for result in found] == pytest.approx(
            [best[text] for text in wanted[:k]], abs=1e-5
        )
    assert len(searcher.search("north alpha beta", 70)) == 70


def every_hit(collection: Collection, most: int) -> list[Hit]:
    """The keyword leg, copies and all, at once."""
    return collection.nearest_sparse(SparseVector([1, 2], [1.0, 1.0]), most)


def best_of(scores: dict[str, float]) -> dict[str, float]:
    """The fifty that count."""
    return dict(sorted(scores.items(), key=lambda item: -item[1])[:50])


def _rank(texts: list[str], text: str) -> int:
    return texts.index(text) if text in texts else len(texts)


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
