"""The life of index versions in the UI: tables, retirement, promotion and the way back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from rag_platform.defs.indexes.lifecycle import lifecycle
from rag_platform.defs.resources import platform_resource
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform.storage.schema import index_documents

SIZES = {"docs_v1": 60, "docs_v2": 90}


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """Two built versions over an empty source; a replaced one is not kept at all."""
    config = tmp_path / "platform.yaml"
    (tmp_path / "source").mkdir()
    tree = {
        "sources": {"manuals": {"url": str(tmp_path / "source"), "start": "2026-06-01"}},
        "indexes": {
            name: {"chunker": {"max_tokens": size, "overlap": 0}} for name, size in SIZES.items()
        },
        "live": "docs_v1",
        "promotion": {"keep_days": 0.0},
    }
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(config))
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(tmp_path / "state"))
    opened = Platform(load())
    for name in SIZES:
        version = opened.version(name)
        version.register(opened.catalog)
        recipe: dict[str, Any] = {
            "dimension": version.embedder.dimension,
            "fingerprint": version.fingerprint,
        }
        with opened.vectors.open(name, **recipe):
            pass
    yield opened
    opened.close()


def defs(platform: Platform) -> dg.Definitions:
    resources = {"platform": platform_resource(platform.settings)}
    executor = dg.in_process_executor
    return dg.Definitions.merge(
        lifecycle(platform.settings), dg.Definitions(resources=resources, executor=executor)
    )


def looked_at(platform: Platform) -> tuple[dict[str, Any], dg.AssetCheckEvaluation]:
    """The asset's metadata, and its check."""
    job = defs(platform).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process()
    [event] = result.get_asset_materialization_events()
    [check] = result.get_asset_check_evaluations()
    return {name: value.value for name, value in event.materialization.metadata.items()}, check


def run(platform: Platform, job: str, op: str, **config: Any) -> dg.ExecuteInProcessResult:
    found = defs(platform).resolve_job_def(job)
    run_config = {"ops": {op: {"config": config}}}
    return found.execute_in_process(run_config=run_config, raise_on_error=False)


def test_promoted_and_back_by_jobs(platform: Platform) -> None:
    done = run(platform, "promote", "promote_index", index="docs_v2", reason="better", by="ann")
    assert done.success
    assert run(platform, "rollback", "rollback_index", reason="worse").success
    assert [(row.action, row.live, row.actor) for row in platform.promotions.history()] == [
        ("promoted", "docs_v2", "ann"),
        ("rolled_back", "docs_v1", "dagster"),
    ]
    platform.vectors.drop("docs_v2")
    done = run(platform, "promote", "promote_index", index="docs_v2", reason="better", force=True)
    assert not done.success
    [failed] = done.filter_events(lambda event: event.is_step_failure)
    assert "docs_v2: has no collection" in str(failed.step_failure_data.user_failure_data)


def test_tables_and_retirement(platform: Platform) -> None:
    found, check = looked_at(platform)
    assert found["live"] == "docs_v1"
    assert found["retired now"] == "none"
    assert "| live |" in found["versions"]
    assert check.passed
    platform.promotions.promote("docs_v2", actor="ann", reason="better")
    found, check = looked_at(platform)
    assert (found["live"], found["retired now"], check.passed) == ("docs_v2", "docs_v1", True)
    assert "| retired |" in found["versions"]
    assert "better" in found["history"]
    assert platform.vectors.names() == ["docs_v2"]
    assert looked_at(platform)[0]["retired now"] == "none"


def test_a_live_index_that_holds_nothing_is_told(platform: Platform) -> None:
    row: dict[str, Any] = {"index_name": "docs_v2"}
    row["doc_id"] = "10000000-0000-0000-0000-000000000000"
    row |= {"source": "manuals", "seq": 1, "claimed": 1, "window": "w", "pass_no": 1}
    with platform.catalog.begin() as connection:
        connection.execute(sa.insert(index_documents), row | {"chunks": 3, "digest": "d"})
    _, check = looked_at(platform)
    assert not check.passed
    assert check.description == (
        "docs_v1 answers and holds nothing; replay its sources, or promote another"
    )


def test_nothing_without_sources(platform: Platform) -> None:
    without = platform.settings.model_copy(update={"sources": {}})
    assert not list(lifecycle(without).assets or [])
