"""Metrics of enrichment and reviews, against rows written by hand."""

import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from rag_platform.operations.metrics import enrichment
from rag_platform.operations.metrics.families import Family
from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import enrichments, reviews
from rag_platform_tests.operations.metrics.reading import parts, put, read, settings_of


def _rows(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"doc_id": str(uuid.UUID(int=n)), **row} for n, row in enumerate(rows)]


def test_statuses_and_coverage(shared: Catalog, tmp_path: Path) -> None:
    statuses = ["published"] * 3 + ["in_review", "failed", "deferred"]
    put(shared, enrichments, *_rows(*({"status": s} for s in statuses)), source="notes")
    put(shared, enrichments, *_rows({"status": "deferred"}), source="wiki")
    seen = read(shared, settings_of(tmp_path), enrichment.statuses)
    assert seen["enrichment_documents"] == {
        ("notes", "published"): 3,
        ("notes", "in_review"): 1,
        ("notes", "failed"): 1,
        ("notes", "deferred"): 1,
        ("wiki", "deferred"): 1,
    }
    # What waits says nothing yet: 3 of 5, and nothing of wiki.
    assert seen["gate_coverage_ratio"] == {("notes",): 0.6}


def test_confidence_and_quality_are_distributed(shared: Catalog, tmp_path: Path) -> None:
    rows = _rows(
        {"confidence": 0.05, "fields": {"quality": 0.9}},
        {"confidence": 0.1, "fields": {"quality": 0.91}},
        {"confidence": 0.97, "fields": {"quality": None}},
        {"confidence": 1.0, "fields": {}},
        {"confidence": None, "fields": {"quality": 0}},
    )
    put(shared, enrichments, *rows, source="notes")
    (part,) = parts(shared, settings_of(tmp_path), scores=enrichment.scores).values()
    confidence, quality = part.families
    assert (confidence.kind, quality.kind) == ("gaugehistogram",) * 2, "they fall"
    assert _counts(confidence) == {"0.1": 2, "0.9": 2, "0.95": 2, "1.0": 4, "+Inf": 4}
    assert confidence.buckets["notes",].total == pytest.approx(2.12)
    assert _counts(quality) == {"0.1": 1, "0.9": 2, "0.95": 3, "1.0": 3, "+Inf": 3}
    assert quality.buckets["notes",].total == pytest.approx(1.81)


def _counts(family: Family) -> dict[str, int]:
    shown = ("0.1", "0.9", "0.95", "1.0", "+Inf")
    return {bound: n for bound, n in family.buckets["notes",].counts if bound in shown}


def test_the_review_queue(shared: Catalog, tmp_path: Path) -> None:
    now = time.time()
    rows = _rows(
        {"status": "open", "opened_at": now - 500, "due_at": now - 5},
        {"status": "open", "opened_at": now - 200, "due_at": now + 500},
        {"status": "corrected", "opened_at": now - 9_000, "due_at": now - 8_000},
    )
    put(shared, reviews, *rows, source="notes")
    seen = read(shared, settings_of(tmp_path), enrichment.review_queue)
    assert seen["reviews"] == {("notes", "open"): 2, ("notes", "corrected"): 1}
    assert seen["reviews_overdue"] == {("notes",): 1}
    assert seen["review_oldest_seconds"] == {("notes",): pytest.approx(500, abs=20)}


def test_an_empty_queue_is_shown_as_such(catalog: Catalog, tmp_path: Path) -> None:
    (part,) = parts(catalog, settings_of(tmp_path), queue=enrichment.review_queue).values()
    overdue = next(each for each in part.families if each.name.endswith("reviews_overdue"))
    assert overdue.samples == {("notes",): 0}, "of the sources that are enriched"
