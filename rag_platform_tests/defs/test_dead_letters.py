"""The dead letters in the UI."""

from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from rag_platform.defs.operations.dead_letters import letters_definitions
from rag_platform.defs.resources import platform_resource
from rag_platform.platform import Platform
from rag_platform.settings import load
from rag_platform.storage.schema import dead_letters


def test_the_asset_shows_what_is_dead_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "platform.yaml"
    config.write_text(yaml.safe_dump({"automation": False}), encoding="utf-8")
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(config))
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(tmp_path / "state"))
    settings = load()
    platform = Platform(settings)
    row = {
        "doc_id": "00000000-0000-4000-8000-000000000000",
        "source": "manuals",
        "key": "a|b.pdf",
        "window": "2026-07-01",
        "pass_no": 1,
        "seq": 1,
        "stage": "parsed_docs",
        "reason": "encrypted",
        "detail": "[click](http://evil)",
        "fingerprint": "f",
        "attempts": 2,
        "first_at": 1_782_900_000.0,
        "last_at": 1_782_900_000.0,
    }
    with platform.catalog.begin() as connection:
        connection.execute(sa.insert(dead_letters).values(row))
    platform.close()
    defs = dg.Definitions.merge(
        letters_definitions(), dg.Definitions(resources={"platform": platform_resource(settings)})
    )
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process()
    [event] = result.get_asset_materialization_events()
    found = event.materialization.metadata
    assert event.asset_key == dg.AssetKey(["dead_letters"])
    assert found["dead letters"].value == 1
    assert found["oldest"].value == "2026-07-01 10:00"
    shown = "manuals", "parsed&#95;docs", "encrypted", "1", "2026-07-01 10:00"
    advice = "store it without a password"
    assert str(found["by reason"].value).splitlines()[2] == f"| {' | '.join(shown)} | {advice} |"
    newest = str(found["newest"].value)
    assert "a&#124;b.pdf" in newest
    assert "[click]" not in newest
    assert newest.count("\n") == 2
