"""The evaluation asset: figures, pictures, checks."""

import base64
import copy
import json
from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest

from rag_platform.defs.indexes.evaluation import evaluation_key, evaluations
from rag_platform.defs.resources import platform_resource
from rag_platform_tests.defs.location import INDEX, SMALL_CHUNKS, Location

WINDOW = "2026-06-01"
TOPICS = ("tea", "bread", "trains", "glass", "bees", "salt", "maps", "clocks", "rain", "ink")
NEW = "docs_v2"


def golden(location: Location, **right: str) -> dict[str, Any]:
    """A question about each topic; `right` are other answers than the topic's document."""
    folder = location.home / "golden"
    folder.mkdir(exist_ok=True)
    queries = [{"_id": topic, "text": f"what is {topic}"} for topic in TOPICS]
    written = "".join(json.dumps(query) + "\n" for query in queries)
    (folder / "queries.jsonl").write_text(written, encoding="utf-8")
    rows = "".join(f"{topic}\t{right.get(topic, topic)}\t1\n" for topic in TOPICS)
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows, encoding="utf-8")
    return {"topics": {"url": str(folder)}}


def evaluate(location: Location, index: str) -> tuple[dict[str, Any], dict[str, tuple[bool, str]]]:
    """The metadata and the checks of one materialization."""
    resources = {"platform": platform_resource(location.settings)}
    defs = dg.Definitions(assets=evaluations(location.settings), resources=resources)
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[evaluation_key(index)], instance=location.instance
    )
    [event] = result.get_asset_materialization_events()
    told = {name: value.value for name, value in event.materialization.metadata.items()}
    checks = {
        check.check_name: (check.passed, check.description or "")
        for check in result.get_asset_check_evaluations()
    }
    return told, checks


def configure(location: Location, **right: str) -> None:
    """Two index versions."""
    indexes = {name: copy.deepcopy(SMALL_CHUNKS) for name in (INDEX, NEW)}
    location.configure(indexes=indexes, golden=golden(location, **right))


def write(location: Location, topics: Sequence[str]) -> None:
    """A document about each topic."""
    for topic in topics:
        location.write(f"{topic}.md", f"# About {topic}\n\nAll there is to say of {topic}.")


def test_an_index_is_measured_and_compared(location: Location) -> None:
    configure(location)
    write(location, TOPICS[:5])
    assert location.run(WINDOW).success
    write(location, TOPICS[5:])
    assert location.run("2026-06-02", indexes=[INDEX, NEW]).success
    told, checks = evaluate(location, INDEX)
    assert told["topics mrr@10"] == 1
    assert told["topics points"] == 10
    assert "| all | 10 | 1.000 |" in told["topics by slice"]
    image = told["topics plot"].removeprefix("![plot](data:image/png;base64,").rstrip(")")
    assert base64.b64decode(image).startswith(b"\x89PNG")
    assert set(checks.values()) == {(True, "")}
    # The first window has not reached the new version yet.
    told, checks = evaluate(location, NEW)
    assert told["topics mrr@10"] == pytest.approx(0.5)
    assert checks["golden_documents_are_there"] == (True, "")
    passed, why = checks["not_worse_than_live"]
    assert not passed
    assert "ndcg@10 0.500 against 1.000 of docs_v1" in why


def test_what_cannot_be_told_is_said(location: Location) -> None:
    configure(location, ink="nowhere")
    write(location, TOPICS)
    assert location.run(WINDOW, indexes=[NEW]).success
    _, checks = evaluate(location, NEW)
    assert [passed for passed, _ in checks.values()] == [False, False]
    assert "docs_v1 has not been evaluated" in checks["not_worse_than_live"][1]
    assert "(1, such as 'nowhere')" in checks["golden_documents_are_there"][1]


def test_assets_are_there_where_there_are_queries(location: Location) -> None:
    assert evaluations(location.settings) == []
    location.configure(golden=golden(location))
    [asset] = evaluations(location.settings)
    assert asset.key == dg.AssetKey([INDEX, "evaluation"])
    assert asset.dependency_keys == {dg.AssetKey(["manuals", INDEX, "vector_index"])}
