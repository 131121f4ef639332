"""What every vector store does alike."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_platform.storage.vectors.base import (
    CollectionMissing,
    Point,
    PointsRefused,
    RecipeMismatch,
    SparseVector,
)
from rag_platform.storage.vectors.edge import EdgeVectorStore
from rag_platform_tests.storage.vectors.conftest import DIMENSION, make_point, point_id

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")

RECIPE = {"dimension": DIMENSION, "fingerprint": "f" * 64}


def test_points_survive_closing(store):
    with store.open("docs_v1", **RECIPE) as collection:
        collection.upsert([make_point(1), make_point(2, doc_id="other")])
    with store.open_existing("docs_v1") as collection:
        assert collection.name == "docs_v1"
        assert (collection.dimension, collection.fingerprint) == (DIMENSION, "f" * 64)
        assert collection.count() == 2
        assert sorted(collection.ids()) == [(point_id(1), "doc"), (point_id(2), "other")]


def test_payload_comes_back_as_it_was(store):
    payload: dict[str, Any] = {
        "title": "Überblick — 概要 🚀",
        "heading": ["Erstes", "第二"],
        "key": "ordner/größe & 100%/../x\x00.md",
        "text": 'quote " backslash \\ newline \n',
        "page": None,
        "start": 0,
        "end": 2**40,
        "quality": 0.25,
        "nested": {"a": [1, True, "b"]},
    }
    with store.open("docs_v1", **RECIPE) as collection:
        collection.upsert([make_point(1, doc_id="d", **payload)])
        found = collection.present(["d"])
        hits = collection.nearest(np.ones(DIMENSION, dtype=np.float32), 1)
    assert found == {"d": {point_id(1): {"doc_id": "d", **payload}}}
    assert hits[0].payload == {"doc_id": "d", **payload}


def test_upsert_replaces_and_repeats_harmlessly(store):
    with store.open("docs_v1", **RECIPE) as collection:
        collection.upsert([make_point(1, text="old", title="gone")])
        for _ in range(2):
            collection.upsert([make_point(1, text="new", dense=(0.0, 3.0, 4.0, 0.0))])
        assert collection.count() == 1
        assert collection.present(["doc"]) == {
            "doc": {point_id(1): {"doc_id": "doc", "text": "new"}}
        }
        vectors = collection.vectors([point_id(1), point_id(9)])
    assert list(vectors) == [point_id(1)]
    assert vectors[point_id(1)].dtype == np.float32
    assert vectors[point_id(1)].tolist() == pytest.approx([0.0, 0.6, 0.8, 0.0])


def test_payloads_change_and_vectors_do_not(store):
    with store.open("docs_v1", **RECIPE) as collection:
        collection.upsert([make_point(n, dense=(0.0, 3.0, 4.0, 0.0), old=1) for n in (1, 2)])
        for _ in range(2):
            collection.set_payloads({point_id(1): {"doc_id": "doc", "topics": ["a", "b"]}})
        collection.set_payloads({})
        assert collection.present(["doc"])["doc"] == {
            point_id(1): {"doc_id": "doc", "topics": ["a", "b"]},
            point_id(2): {"doc_id": "doc", "old": 1},
        }
        assert collection.vectors([point_id(1)])[point_id(1)].tolist() == pytest.approx(
            [0.0, 0.6, 0.8, 0.0]
        )
    with store.open_existing("docs_v1") as collection:
        query = np.ones(DIMENSION, dtype=np.float32)
        for topic, found in (("b", [point_id(1)]), ("c", [])):
            hits = collection.nearest(query, 5, {"topics": [topic, "d"]})
            assert [hit.id for hit in hits] == found
        terms = SparseVector([1], [1.0])
        assert [hit.id for hit in collection.nearest_sparse(terms, 5, {"topics": "a"})] == [
            point_id(1)
        ]


def test_delete_takes_exactly_what_is_named(store):
    with store.open("docs_v1", **RECIPE) as collection:
        collection.upsert([make_point(n) for n in range(1, 6)])
        collection.delete([point_id(2), point_id(77), point_id(4)])
        collection.delete([point_id(2)])
        collection.delete([])
        assert sorted(collection.ids()) == [(point_id(n), "doc") for n in (1, 3, 5)]


def test_reading_goes_on_past_pages_and_batches(store):
    points = [make_point(n, doc_id=f"doc{n % 3}", text=f"text {n}") for n in range(1, 2501)]
    with store.open("docs_v1", **RECIPE) as collection:
        assert len(points) > 2 * collection.page_size
        collection.upsert(points)
        assert collection.count() == 2500
        assert sorted(collection.ids()) == [(p.id, p.payload["doc_id"]) for p in points]
        found = collection.present(["doc0", "doc2", "nowhere", "doc0"])
    assert {doc_id: len(held) for doc_id, held in found.items()} == {
        "doc0": 833,  # 3, 6, … 2499
        "doc2": 833,  # 2, 5, … 2498
        "nowhere": 0,
    }
    assert found["doc2"][point_id(2498)] == {"doc_id": "doc2", "text": "text 2498"}


def test_present_of_more_documents_than_a_batch(store):
    with store.open("docs_v1", **RECIPE) as collection:
        documents = [f"doc{n}" for n in range(collection.batch_size + 10)]
        collection.upsert([make_point(n + 1, doc_id=doc) for n, doc in enumerate(documents)])
        found = collection.present(documents)
    assert {doc: list(held) for doc, held in found.items()} == {
        doc: [point_id(n + 1)] for n, doc in enumerate(documents)
    }


def test_nearest_orders_by_cosine(store):
    with store.open("docs_v1", **RECIPE) as collection:
        collection.upsert(
            [
                make_point(1, dense=(5.0, 0.0, 0.0, 0.0)),
                make_point(2, dense=(1.0, 1.0, 0.0, 0.0)),
                make_point(3, dense=(0.0, 0.0, 2.0, 0.0)),
            ]
        )
        hits = collection.nearest(np.array([3, 0, 0, 0], dtype=np.float32), 2)
    assert [hit.id for hit in hits] == [point_id(1), point_id(2)]
    assert [hit.score for hit in hits] == pytest.approx([1.0, math.sqrt(0.5)], abs=1e-6)


def test_nearest_sparse_weighs_terms_by_rarity(store):
    with store.open("docs_v1", **RECIPE) as collection:
        common = [make_point(n, terms={7: 1.0}) for n in range(1, 9)]
        collection.upsert([*common, make_point(9, terms={7: 1.0, 8: 0.5})])
        collection.upsert([make_point(10, terms={50: 1.0})])
        rare = collection.nearest_sparse(SparseVector([8], [1.0]), 10)
        both = collection.nearest_sparse(SparseVector([7, 8], [1.0, 1.0]), 3)
        nothing = collection.nearest_sparse(SparseVector([], []), 10)
        unknown = collection.nearest_sparse(SparseVector([99], [1.0]), 10)
    # BM25's inverse document frequency for 10 points of which 1, and 9, hold the term.
    idf_rare = math.log((10 - 1 + 0.5) / (1 + 0.5) + 1)
    idf_common = math.log((10 - 9 + 0.5) / (9 + 0.5) + 1)
    assert [hit.id for hit in rare] == [point_id(9)]
    assert rare[0].score == pytest.approx(0.5 * idf_rare, rel=1e-4)
    assert both[0].id == point_id(9)
    assert both[0].score == pytest.approx(0.5 * idf_rare + idf_common, rel=1e-4)
    assert len(both) == 3
    assert nothing == unknown == []


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({}, [1, 2, 3, 4]),
        ({"source": "manuals"}, [1, 2]),
        ({"source": ["manuals", "support"]}, [1, 2, 3]),
        ({"source": ["manuals", "support"], "language": "de"}, [2, 3]),
        ({"key": "größe.md"}, [4]),
        ({"source": "manual"}, []),
        ({"source": []}, []),
        ({"absent": "x"}, []),
    ],
)
def test_filters(store, filters, numbers):
    with store.open("docs_v1", **RECIPE) as collection:
        collection.upsert(
            [
                make_point(1, source="manuals", language="en", key="a.md"),
                make_point(2, source="manuals", language="de", key="b.md"),
                make_point(3, source="support", language="de", key="c.md"),
                make_point(4, source="wiki", language="en", key="größe.md"),
            ]
        )
        dense = collection.nearest(np.ones(DIMENSION, dtype=np.float32), 10, filters)
        sparse = collection.nearest_sparse(SparseVector([1], [1.0]), 10, filters)
        most = list(collection.payloads(filters, most=1))
    expected = [point_id(number) for number in numbers]
    assert sorted(hit.id for hit in dense) == expected
    assert sorted(hit.id for hit in sparse) == expected
    assert len(most) == min(1, len(numbers))


def test_points_with_some_texts_are_left_out(store):
    with store.open("docs_v1", **RECIPE) as collection:
        texts = {1: "aa", 2: "bb", 3: "bb", 4: "cc"}
        collection.upsert([make_point(n, text_hash=t, topics=["x"]) for n, t in texts.items()])
        dense = np.ones(DIMENSION, dtype=np.float32)
        terms = SparseVector([1], [1.0])
        for without, left in ((["bb"], [1, 4]), (["aa", "bb"], [4]), ([], [1, 2, 3, 4])):
            for filters in (None, {"topics": "x"}):
                found = (
                    collection.nearest(dense, 10, filters, without=without),
                    collection.nearest_sparse(terms, 10, filters, without=without),
                )
                for hits in found:
                    assert sorted(hit.id for hit in hits) == [point_id(n) for n in left]
        first = collection.payloads({"text_hash": ["bb", "cc"]}, most=2)
        assert [payload["text_hash"] for payload in first] == ["bb", "bb"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (make_point(5, dense=(1.0, 0.0, 0.0)), r"shape \(3,\), expected \(4,\)"),
        (make_point(5, dense=(0.0, 0.0, 0.0, 0.0)), "no direction"),
        (make_point(5, dense=(math.nan, 0.0, 0.0, 1.0)), "no direction"),
        (make_point(5, dense=(math.inf, 0.0, 0.0, 1.0)), "no direction"),
        (make_point(5, terms={1: math.nan}), "not finite"),
        (Point(point_id(5), np.ones(4, dtype=np.float32), SparseVector([1], []), {}), "unequal"),
        (Point(point_id(5), np.ones(4, dtype=np.float32), SparseVector([], []), {}), "doc_id"),
    ],
)
def test_an_unfit_point_stops_the_call_before_anything_is_written(store, bad, said):
    with store.open("docs_v1", **RECIPE) as collection:
        good = [make_point(n) for n in range(10, 12 + collection.batch_size)]
        with pytest.raises(PointsRefused, match=said) as refused:
            collection.upsert([*good, bad])
        assert collection.count() == 0
    assert "docs_v1" in str(refused.value)
    assert point_id(5) in str(refused.value)


def test_a_query_of_the_wrong_dimension_is_refused(store):
    with (
        store.open("docs_v1", **RECIPE) as collection,
        pytest.raises(PointsRefused, match=r"shape \(3,\)"),
    ):
        collection.nearest(np.ones(3, dtype=np.float32), 1)


@pytest.mark.parametrize(
    "other",
    [
        {"dimension": DIMENSION, "fingerprint": "e" * 64},
        {"dimension": DIMENSION + 1, "fingerprint": "f" * 64},
    ],
)
def test_another_recipe_is_refused(store, other):
    with store.open("docs_v1", **RECIPE) as collection:
        collection.upsert([make_point(1)])
    with pytest.raises(RecipeMismatch, match="docs_v1"), store.open("docs_v1", **other):
        pytest.fail("opened")
    with store.open("docs_v1", **RECIPE) as collection:
        assert collection.count() == 1


def test_a_reader_makes_nothing(store):
    with pytest.raises(CollectionMissing, match="docs_v1"), store.open_existing("docs_v1"):
        pytest.fail("opened")
    assert store.names() == []


def test_collections_stand_apart_and_are_dropped_alone(store):
    for name in ("docs_v2", "docs_v1"):
        with store.open(name, **RECIPE) as collection:
            collection.upsert([make_point(1, text=name)])
    assert store.names() == ["docs_v1", "docs_v2"]
    store.drop("docs_v1")
    store.drop("docs_v1")
    assert store.names() == ["docs_v2"]
    with store.open_existing("docs_v2") as collection:
        assert collection.present(["doc"])["doc"][point_id(1)]["text"] == "docs_v2"
    with store.open("docs_v1", dimension=2, fingerprint="other") as collection:
        assert collection.count() == 0


def test_optimize_changes_no_point(store):
    with store.open("docs_v1", **RECIPE) as collection:
        collection.upsert([make_point(n) for n in range(1, 2001)])
        collection.delete([point_id(n) for n in range(1, 1500)])
        before = sorted(collection.ids())
        collection.optimize()
        assert sorted(collection.ids()) == before
        assert collection.count() == 501


def test_marks_are_counted_and_never_shown(store):
    with store.open("docs_v1", **RECIPE) as collection:
        collection.upsert([make_point(n, doc_id="one") for n in (1, 2)])
        collection.upsert([make_point(3, doc_id="two", mark="old"), make_point(4, doc_id="three")])
        assert collection.marks() == {"old": 1}
        collection.set_marks({"one": "first", "two": "second"})
        assert collection.marks() == {"first": 2, "second": 1}
        assert collection.present(["one"]) == {
            "one": {point_id(1): {"doc_id": "one"}, point_id(2): {"doc_id": "one"}}
        }
        assert list(collection.payloads({"doc_id": "two"})) == [{"doc_id": "two"}]
        hits = collection.nearest(np.ones(DIMENSION, dtype=np.float32), 4)
        assert [set(hit.payload) for hit in hits] == [{"doc_id"}] * 4
        assert list(collection.strays([])) == [(point_id(4), "three")]
        assert sorted(collection.strays(["first", "unknown"])) == [
            (point_id(1), "one"),
            (point_id(2), "one"),
            (point_id(4), "three"),
        ]
        # Writing a payload anew says that the document is another now.
        collection.set_payloads({point_id(1): {"doc_id": "one", "label": "x"}})
        collection.delete([point_id(3)])
        assert collection.marks() == {"first": 1}
    with store.open("docs_v1", **RECIPE) as collection:
        assert collection.marks() == {"first": 1}


def test_a_collection_dropped_while_it_is_open_is_missing(store):
    if isinstance(store, EdgeVectorStore):
        pytest.skip("its lock keeps it as long as it is open")
    with store.open("docs_v1", **RECIPE) as collection:
        collection.upsert([make_point(1)])
        store.drop("docs_v1")
        with pytest.raises(CollectionMissing):
            collection.nearest(np.ones(DIMENSION, dtype=np.float32), 1)
        with pytest.raises(CollectionMissing):
            collection.present(["doc"])


step = st.tuples(
    st.sampled_from(["upsert", "delete", "reopen"]),
    st.lists(st.integers(min_value=1, max_value=8), max_size=6),
    st.sampled_from(["a", "b", "c"]),
)


@pytest.mark.slow
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(step, max_size=6))
def test_any_sequence_leaves_what_a_dictionary_would(store, steps):
    store.drop("model")
    model: dict[str, str] = {}
    context = store.open("model", **RECIPE)
    collection = context.__enter__()
    for verb, numbers, doc_id in steps:
        if verb == "upsert":
            collection.upsert([make_point(n, doc_id=doc_id) for n in numbers])
            model |= {point_id(n): doc_id for n in numbers}
        elif verb == "delete":
            collection.delete([point_id(n) for n in numbers])
            model = {i: d for i, d in model.items() if i not in {point_id(n) for n in numbers}}
        else:
            context.__exit__(None, None, None)
            context = store.open("model", **RECIPE)
            collection = context.__enter__()
    try:
        assert dict(collection.ids()) == model
        assert collection.count() == len(model)
        found = collection.present(["a", "b", "c"])
        assert {i: d for d, held in found.items() for i in held} == model
    finally:
        context.__exit__(None, None, None)


def test_importing_the_stores_loads_no_engine():
    code = (
        "import sys, rag_platform.storage.vectors.edge, rag_platform.storage.vectors.server;"
        "print([m for m in ('qdrant_client', 'qdrant_edge', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
