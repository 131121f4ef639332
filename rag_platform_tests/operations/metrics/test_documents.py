"""Metrics of sources and documents, against rows written by hand."""

import time
import uuid
from pathlib import Path

import pytest

from rag_platform.operations.metrics import documents
from rag_platform.storage import schema
from rag_platform.storage.catalog import Catalog
from rag_platform_tests.operations.metrics.reading import parts, put, read, settings_of

DAY = 86_400.0


def _ids(count: int) -> list[str]:
    return [str(uuid.UUID(int=number)) for number in range(count)]


def test_documents_are_counted_by_state(shared: Catalog, tmp_path: Path) -> None:
    ids = _ids(6)
    rows = [{"doc_id": doc, "key": doc, "source": "notes"} for doc in ids]
    put(shared, schema.documents, *rows[:3], gone=False)
    put(shared, schema.documents, *rows[3:5], gone=True)
    put(shared, schema.documents, rows[5] | {"source": "removed"})
    put(shared, schema.dead_letters, rows[2])
    found = {"source": "notes", "action": "masked"}
    put(shared, schema.safety_findings, *({"doc_id": doc} for doc in ids[:2]), **found)
    put(shared, schema.safety_findings, {"doc_id": ids[3]}, source="wiki", action="none")
    near = {"source": "notes", "canonical": ids[0]}
    put(shared, schema.near_documents, *({"doc_id": doc} for doc in ids[:3]), **near)
    now = time.time()
    erasures = [{"requested_at": now - 50}, {"requested_at": now - 900, "completed_at": now}]
    put(shared, schema.erasures, *erasures, doc_id=ids[0])

    seen = read(shared, settings_of(tmp_path), documents.states)
    assert seen["documents"] == {
        ("notes", "live"): 2,
        ("notes", "dead"): 1,
        ("notes", "gone"): 2,
        ("removed", "live"): 1,
    }
    assert seen["safety_findings"] == {("notes", "masked"): 2, ("wiki", "none"): 1}
    assert seen["near_duplicates"] == {("notes",): 2}, "the first is itself"
    assert seen["erasures_open"] == {(): 1}
    assert seen["erasure_oldest_seconds"][()] == pytest.approx(50, abs=20)


def test_every_state_of_every_source_is_there(catalog: Catalog, tmp_path: Path) -> None:
    """An alert on a series that begins with its first case would never see it rise."""
    (part,) = parts(catalog, settings_of(tmp_path), states=documents.states).values()
    family = next(each for each in part.families if each.name == "rag_platform_documents")
    assert set(family.samples) == {
        (source, state) for source in ("notes", "wiki") for state in ("live", "dead", "gone")
    }


def test_changes_are_counted_by_outcome(shared: Catalog, tmp_path: Path) -> None:
    outcomes = ["inserted", "inserted", "updated", "dead_lettered", "departed", None]
    doc = _ids(1)[0]
    rows = [{"outcome": outcome, "doc_id": doc} for outcome in outcomes]
    put(shared, schema.changes, *rows, source="notes")
    waiting = {"outcome": "inserted", "deferred_by": "docs_v1", "doc_id": doc}
    put(shared, schema.changes, waiting, source="wiki")
    seen = read(shared, settings_of(tmp_path), documents.outcomes)
    assert seen["document_outcomes"] == {
        ("notes", "inserted"): 2,
        ("notes", "updated"): 1,
        ("notes", "dead_lettered"): 1,
        ("wiki", "deferred"): 1,
    }


def test_pages_and_their_age(shared: Catalog, tmp_path: Path) -> None:
    now = time.time()
    passes = [
        {"window": "2026-06-01", "pass_no": 1, "settled": True, "listed_at": now - 9 * DAY},
        {"window": "2026-06-02", "pass_no": 1, "settled": True, "listed_at": now - 8 * DAY},
        # The last pass of this page is under way.
        {"window": "2026-06-03", "pass_no": 1, "settled": True, "listed_at": now - 7 * DAY},
        {"window": "2026-06-03", "pass_no": 2, "settled": False, "listed_at": now - 100},
    ]
    put(shared, schema.passes, *passes, source="notes")
    newest = {"source": "notes", "doc_id": _ids(1)[0], "outcome": "moved"}
    put(
        shared, schema.changes, newest | {"window": "2026-06-03"}, newest | {"window": "2026-06-02"}
    )
    put(shared, schema.passes, {"window": "2026-06-01"}, source="removed", settled=True)
    seen = read(shared, settings_of(tmp_path), documents.pages)
    assert seen["pages"] == {
        ("notes", "settled"): 2,
        ("notes", "open"): 1,
        ("removed", "settled"): 1,
    }
    assert seen["page_age_seconds"] == {("notes",): pytest.approx(100, abs=20)}
    # The newest settled window ended with the 2nd of June: 1780444800 is the 3rd, 00:00 UTC.
    assert seen["source_freshness_seconds"] == {
        ("notes",): pytest.approx(now - 1_780_444_800, abs=20)
    }
    assert seen["newest_page_documents"] == {("notes", "moved"): 1}
    assert seen["dead_letter_limit_ratio"] == {("notes",): 0.2, ("wiki",): 0.2}
    assert seen["window_seconds"] == {("notes",): 86_400, ("wiki",): 86_400}


def test_a_window_of_another_cadence_has_its_end(shared: Catalog, tmp_path: Path) -> None:
    put(shared, schema.passes, {"window": "2026-06-02-13:00"}, source="notes", settled=True)
    seen = read(shared, settings_of(tmp_path), documents.pages)
    ended = 1_780_358_400 + 14 * 3600  # the 2nd of June, 14:00 UTC
    assert seen["source_freshness_seconds"] == {
        ("notes",): pytest.approx(time.time() - ended, abs=20)
    }


def test_letters_by_stage_and_reason(shared: Catalog, tmp_path: Path) -> None:
    ids = _ids(4)
    dead = [
        {"stage": "parsed_docs", "reason": "corrupt"},
        {"stage": "parsed_docs", "reason": "corrupt"},
        {"stage": "clean_docs", "reason": "pii"},
        {"stage": "raw_docs", "reason": "unreadable"},
    ]
    rows = [row | {"doc_id": doc} for row, doc in zip(dead, ids, strict=True)]
    put(shared, schema.dead_letters, *rows, source="notes")
    step = [
        {"item": "1", "reason": "no_summary"},
        {"item": "2", "reason": "Jane Doe of 12 High Street did not pay"},
    ]
    put(shared, schema.step_letters, *step, source="rides", stage="ride_summaries")
    seen = read(shared, settings_of(tmp_path), documents.letters)
    assert seen["dead_letters"] == {
        ("notes", "parsed_docs", "corrupt"): 2,
        ("notes", "clean_docs", "pii"): 1,
        ("notes", "raw_docs", "unreadable"): 1,
    }
    assert seen["validation_failures"] == {("notes", "corrupt"): 2, ("notes", "pii"): 1}
    # No text of a document becomes a label.
    assert seen["step_letters"] == {
        ("rides", "ride_summaries", "no_summary"): 1,
        ("rides", "ride_summaries", "other"): 1,
    }


def test_reasons_have_a_limit(catalog: Catalog, tmp_path: Path) -> None:
    rows = [{"item": str(number), "reason": f"reason_{number}"} for number in range(80)]
    put(catalog, schema.step_letters, *rows, source="notes", stage="enriched_docs")
    seen = read(catalog, settings_of(tmp_path), documents.letters)["step_letters"]
    assert len(seen) == 51
    assert sum(seen.values()) == 80
    assert seen["notes", "enriched_docs", "other"] == 30
