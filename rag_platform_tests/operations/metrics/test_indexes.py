"""Metrics of index versions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_platform.operations.metrics import indexes
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import index_evaluations, index_promotions
from rag_platform_tests.operations.metrics.reading import put, read, samples, settings_of


@dataclass(frozen=True)
class Version:
    """What the catalog has of a version."""

    name: str
    state: str
    documents: int = 3
    chunks: int = 9
    behind: int = 1


VERSIONS = [Version("v1", "live"), Version("v2", "beside", 2, 8, 0), Version("v0", "retired")]


def test_what_the_versions_hold() -> None:
    seen = samples(indexes.versions(VERSIONS))
    assert seen["chunks"] == {("v1",): 9, ("v2",): 8}
    assert seen["index_documents"] == {("v1",): 3, ("v2",): 2}
    assert seen["index_behind_documents"] == {("v1",): 1}
    assert seen["index_info"] == {
        ("v1", "live", "true"): 1,
        ("v2", "beside", "false"): 1,
        ("v0", "retired", "false"): 1,
    }
    assert samples(indexes.points({"v1": 7}))["index_points"] == {("v1",): 7}


def test_the_newest_evaluation_counts(shared: Catalog, tmp_path: Path) -> None:
    def measured(ndcg: float) -> dict[str, Any]:
        part = {"queries": 9, "means": {"ndcg@10": ndcg, "mrr": 0.25}}
        return {"all": part, "german": part}

    rows: list[dict[str, Any]] = [
        {"index_name": "v1", "golden": "faq", "at": 10.0, "metrics": measured(0.5)},
        {"index_name": "v1", "golden": "faq", "at": 20.0, "metrics": measured(0.75)},
        {"index_name": "v1", "golden": "laws", "at": 15.0, "metrics": measured(0.125)},
        {"index_name": "gone", "golden": "faq", "at": 15.0, "metrics": measured(0.125)},
        {"index_name": "v1", "golden": "gone", "at": 15.0, "metrics": measured(0.125)},
    ]
    put(shared, index_evaluations, *rows)
    promoted: list[dict[str, Any]] = [
        {"at": 100.0, "action": "promoted"},
        {"at": 200.0, "action": "rolled_back"},
        {"at": 300.0, "action": "refused"},
    ]
    put(shared, index_promotions, *promoted)
    rules = {"url": tmp_path.as_uri(), "source": "notes"}
    golden = {"faq": rules, "laws": rules}
    settings = settings_of(tmp_path, indexes={"v1": {}}, live="v1", golden=golden)
    seen = read(shared, settings, indexes.quality)
    assert seen["index_evaluation"] == {
        ("v1", "faq", "ndcg@10"): 0.75,
        ("v1", "faq", "mrr"): 0.25,
        ("v1", "laws", "ndcg@10"): 0.125,
        ("v1", "laws", "mrr"): 0.25,
    }
    assert seen["index_evaluation_timestamp_seconds"] == {("v1", "faq"): 20, ("v1", "laws"): 15}
    assert seen["index_last_promotion_timestamp_seconds"] == {(): 200}
