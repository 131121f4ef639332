"""A source that is enriched, from its sync to a filter of the search."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from rag_platform.storage.catalog import Catalog
from rag_platform.storage.schema import step_letters
from rag_platform_tests.test_cli import Place

WINDOW = "2026-01-05"
LABELS = {
    "cards": "credit and debit cards, lost or stolen cards",
    "loans": "mortgages, loans and interest rates",
}
CARDS = "# Cards\n\nDr. Jane Smith said: the card is lost. Lost debit cards are blocked."
LOANS = "# Loans\n\nA loan and a mortgage have interest rates. The mortgage lasts twenty years."


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[Place]:
    """Two documents about banking, everything published."""
    place = Place(tmp_path / "own")
    for path in place.docs.rglob("*.md"):
        path.unlink()
    place.put("cards.md", CARDS)
    place.put("loans.md", LOANS)
    place.settings["enrichment"] = {"sources": ["notes"], "labels": LABELS, "gate": 0.0}
    place.save()
    yield place
    sys.modules.pop("rag_platform.definitions", None)


@pytest.mark.slow
def test_from_a_sync_to_a_filter(bank: Place) -> None:
    nothing_yet = bank.json("plan")["enrichment"]["notes"]
    assert nothing_yet["questions"] == {"entities": 0, "summary": 0, "classification": 0}
    done = bank.json("sync", "notes", "--window", WINDOW)
    [run] = done["enrichment"]
    assert run["success"]
    assert run["page"]["statuses"] == {"published": 2}
    assert run["page"]["labels"] == {"cards": 1, "loans": 1}
    found = bank.json("search", "interest or a lost card", "--filter", "label=cards")["results"]
    assert [result["title"] for result in found] == ["Cards"]
    found = bank.json("search", "a lost card", "--filter", "people=Jane Smith")["results"]
    assert [result["title"] for result in found] == ["Cards"]
    # Nothing is new: nothing is enriched.
    assert bank.json("sync", "notes", "--window", WINDOW)["enrichment"] == []
    shown = bank.run("plan", "notes").stdout
    assert "notes: 0 entities, 0 summary, 0 classification to ask: at no cost" in shown


def test_what_a_step_could_not_do_stands_with_the_dead_letters(bank: Place) -> None:
    catalog = Catalog(f"sqlite:///{bank.home}/catalog.db", lock_folder=bank.home / "locks")
    letter = {
        "source": "notes",
        "item": "0000",
        "stage": "summary",
        "key": "cards.md",
        "window": WINDOW,
        "reason": "refused",
        "detail": "the model declined",
        "fingerprint": "f",
        "attempts": 2,
        "first_at": 0.0,
        "last_at": time.time(),
    }
    ride = letter | {"source": "rides", "item": "a.csv#7", "key": "a.csv#7", "stage": "raw_rides"}
    with catalog.begin() as connection:
        connection.execute(sa.insert(step_letters), [letter, ride])
    catalog.close()
    [found] = bank.json("dead-letters")
    assert (found["key"], found["stage"], found["reason"]) == ("cards.md", "summary", "refused")
    assert (found["attempts"], found["first_at"]) == (2, "1970-01-01T00:00:00+00:00")
    assert "cards.md (notes, 2026-01-05, summary)" in bank.run("dead-letters").stdout
    assert (
        "not in the settings"
        in bank.run("dead-letters", "list", "--source", "rides", code=1).stderr
    )
    bank.settings["rides"] = {"url": str(bank.root / "rides")}
    bank.save()
    [found] = bank.json("dead-letters", "list", "--source", "rides")
    assert (found["doc_id"], found["stage"]) == ("a.csv#7", "raw_rides")
