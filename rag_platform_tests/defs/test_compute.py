"""Bulk work is offered to the cluster by the steps that have any, once a run and not in a retry."""

from collections.abc import Sequence
from typing import Any

import pytest

from rag_platform.compute import fill as filling
from rag_platform.compute.jobs import Job
from rag_platform.documents.parsed import ParseFigures
from rag_platform.indexing.embeddings import EmbedFigures
from rag_platform.platform import Platform
from rag_platform_tests.defs.location import INDEX, SOURCE, Location

DAYS = ["2026-06-01", "2026-06-02"]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Job, list[str]]]:
    """What the steps offered, to a cluster that says it did some of it."""
    seen: list[tuple[Job, list[str]]] = []

    def fill(parts: Platform, job: Job, windows: Sequence[str]) -> dict[str, Any]:
        seen.append((job, list(windows)))
        done = ParseFigures if job.stage == "parsed_docs" else EmbedFigures
        figures = done(**{"parsed" if done is ParseFigures else "embedded_chunks": 40})
        return {windows[0]: figures}

    monkeypatch.setattr(filling, "fill", fill)
    return seen


def test_steps_offer_their_windows_at_once(
    location: Location, offered: list[tuple[Job, list[str]]]
) -> None:
    location.write("a.md", "# One\n\nThe first text.\n")
    outcome = location.run(DAYS[0], DAYS[-1])
    assert outcome.success
    assert offered == [
        (Job("parsed_docs", SOURCE), DAYS),
        (Job("embeddings", SOURCE, INDEX), DAYS),
    ]
    # What the cluster did counts as the step's own.
    assert outcome.metadata("parsed_docs", DAYS[0])["parsed"] >= 40
    assert outcome.metadata("embeddings", DAYS[0], INDEX)["embedded chunks"] >= 40
    assert outcome.metadata("embeddings", DAYS[1], INDEX)["embedded chunks"] < 40


def test_a_retry_of_dead_letters_is_the_steps_own(
    location: Location, offered: list[tuple[Job, list[str]]]
) -> None:
    location.write("broken.pdf", "no PDF")
    config = {f"{SOURCE}__parsed_docs": {"config": {"retry_dead_letters": True}}}
    location.run(DAYS[0], stages=("raw_docs", "parsed_docs"), config=config)
    assert offered == []
