"""The job that erases: as the verb does, and it fails where the verb does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from rag_platform.defs.operations.erasure import erase
from rag_platform.defs.resources import platform_resource
from rag_platform.erasure.receipts import receipts
from rag_platform.platform import Platform
from rag_platform.settings import load

WINDOW = "2026-07-01"


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """A source of two documents, one of which went."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("anna", "rest"):
        (folder / f"{name}.md").write_text(f"A text about {name}.\n", encoding="utf-8")
    config = tmp_path / "platform.yaml"
    source = {"url": folder.as_uri(), "start": WINDOW, "max_deletion_share": 0.9}
    tree = {"sources": {"manuals": source}, "indexes": {"docs_v1": {}}, "live": "docs_v1"}
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    monkeypatch.setenv("RAG_PLATFORM_CONFIG", str(config))
    monkeypatch.setenv("RAG_PLATFORM_HOME", str(tmp_path / "state"))
    opened = Platform(load())
    opened.raw("manuals").run(WINDOW)
    (folder / "anna.md").unlink()
    opened.raw("manuals").run(WINDOW)
    yield opened
    opened.close()


def run(platform: Platform, **config: Any) -> dg.ExecuteInProcessResult:
    wanted = {"source": "manuals", "reason": "asked for", **config}
    return erase.execute_in_process(
        run_config={"ops": {"erase_documents": {"config": wanted}}},
        resources={"platform": platform_resource(platform.settings)},
        raise_on_error=False,
    )


def test_the_job_erases_what_is_gone(platform: Platform) -> None:
    assert run(platform, gone=True, by="anna").success
    (done,) = receipts(platform.catalog)
    assert (done.requested_by, done.is_intact) == ("anna", True)
    assert run(platform).success  # nothing was left to do


def test_the_job_fails_for_a_document_in_its_source(platform: Platform) -> None:
    result = run(platform, keys=["rest.md"])
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    told = failure.step_failure_data.user_failure_data.description
    assert told.startswith("manuals: 'rest.md' is in the source and would come back")
    assert receipts(platform.catalog) == []
