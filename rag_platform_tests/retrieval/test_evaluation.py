"""Evaluation of a small index whose rankings are known."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from rag_platform.retrieval import evaluation as module
from rag_platform.retrieval.evaluation import evaluate, latest, missing_documents, record
from rag_platform.retrieval.golden import Golden, GoldenQuery, golden_of
from rag_platform.retrieval.search import Searcher
from rag_platform.storage.schema import documents, index_evaluations
from rag_platform.storage.vectors.edge import EdgeVectorStore
from rag_platform_tests.retrieval.compass import Compass, Words, point

if TYPE_CHECKING:
    from rag_platform.storage.catalog import Catalog


@pytest.fixture
def searcher(tmp_path: Path) -> Iterator[Searcher]:
    """Documents a, b, c and d at 0, 10, 20 and 30 degrees from north; b in three passages."""
    points = [
        point("at a", 0, "a.md"),
        point("at b", 10, "b.md"),
        point("b again", 11, "b.md", start=20),
        point("b once more", 12, "b.md", start=40),
        point("at c", 20, "c.md"),
        point("copied", 30, "d.md"),
        point("copied", 30, "e.md"),
        point("foreign", 0, "f.md", source="other"),
    ]
    with EdgeVectorStore(tmp_path, lock_timeout_s=5).open(
        "docs_v1", dimension=2, fingerprint="f"
    ) as collection:
        collection.upsert(points)
        yield Searcher(collection, embedder=Compass(), sparse=Words())


def golden(*queries: GoldenQuery) -> Golden:
    return golden_of("small", "manuals", list(queries))


def test_rankings_of_documents_are_measured(searcher: Searcher) -> None:
    found = evaluate(
        searcher,
        golden(
            GoldenQuery("1", "north", "near", {"a": 1}),
            GoldenQuery("2", "north", "near", {"c": 1, "nowhere": 1}),
            GoldenQuery("3", "north", "", {"e.md": 2}),
            GoldenQuery("4", "north", "", {"d": 1, "e.md": 1}),
        ),
    )
    assert (found.index, found.golden, found.points) == ("docs_v1", "small", 8)
    assert found.queries == ["1", "2", "3", "4"]
    # a is first, c third behind b, whose passages count once; d and e, one passage, are fourth and
    # fifth where both are asked for, else the fourth is the one that is.
    assert found.scores["mrr@10"] == pytest.approx([1, 1 / 3, 1 / 4, 1 / 4], abs=1e-6)
    assert found.scores["recall@10"] == [1, 0.5, 1, 1]
    best = 1 + 1 / math.log2(3)
    expected = [1, 1 / 2 / best, 1 / math.log2(5), (1 / math.log2(5) + 1 / math.log2(6)) / best]
    assert found.scores["ndcg@10"] == pytest.approx(expected, abs=1e-6)
    assert {name: part.queries for name, part in found.slices.items()} == {"all": 4, "near": 2}
    assert found.mean("mrr@10") == pytest.approx((1 + 1 / 3 + 1 / 4 + 1 / 4) / 4, abs=1e-6)
    assert found.slices["near"].means["mrr@10"] == pytest.approx(2 / 3, abs=1e-6)


def test_what_was_measured_is_kept(
    searcher: Searcher, shared: "Catalog", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT", 3)
    assert latest(shared, "docs_v1", "small") is None
    first = evaluate(searcher, golden(GoldenQuery("1", "north", "x", {"a": 1})))
    record(shared, replace(first, index="docs_v2"))
    for number in range(5):
        record(shared, replace(first, at=float(number)))
    assert latest(shared, "docs_v1", "small") == replace(first, at=4.0)
    assert latest(shared, "docs_v2", "small") == replace(first, index="docs_v2")
    assert latest(shared, "docs_v1", "large") is None
    with shared.read() as connection:
        rows = connection.execute(
            sa.select(index_evaluations.c.index_name, index_evaluations.c.at).order_by("id")
        ).all()
    assert [row.at for row in rows if row.index_name == "docs_v1"] == [2.0, 3.0, 4.0]
    assert "scores" not in first.as_json()


def test_documents_that_are_not_there_are_named(shared: "Catalog") -> None:
    rows = [("manuals", "a.md", False), ("manuals", "b.md", True), ("other", "c.md", False)]
    with shared.begin() as connection:
        for number, (source, key, gone) in enumerate(rows):
            connection.execute(
                documents.insert().values(
                    source=source,
                    key=key,
                    doc_id=f"00000000-0000-0000-0000-00000000000{number}",
                    seq=number,
                    window="2026-06-01",
                    pass_no=1,
                    gone=gone,
                )
            )
    wanted = golden(GoldenQuery("1", "north", "", {"a": 1, "b": 1, "c": 1}))
    assert missing_documents(shared, wanted) == ["b", "c"]
