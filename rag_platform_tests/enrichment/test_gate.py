"""The gate: every way to a status, in its order."""

from types import SimpleNamespace
from typing import Any

import pytest

from rag_platform.enrichment.fields import PUBLISHED
from rag_platform.enrichment.gate import Proposal, Verdict, decide, decided, lowered
from rag_platform.settings_pipelines import EnrichmentSettings

FIELDS = {"title": "T", "characters": 9, "label": "loans", "summary": "S"}
APPROVED = SimpleNamespace(
    id=7, status="approved", decided_by="ann", fields=FIELDS | {"label": "cards"}, decision=None
)


def proposal(**changes: Any) -> Proposal:
    values: dict[str, Any] = {
        "seq": 1,
        "doc_id": "d",
        "key": "a.md",
        "title": "T",
        "text_hash": "h",
        "waiting": None,
        "failed": (),
        "fields": FIELDS,
        "label": "loans",
        "raw_confidence": 0.9,
        "method": "agreement",
        "model": "m",
        "prompt": "p@v001",
    }
    return Proposal(**{**values, **changes})


def verdict(
    confidence: float | None = 0.9,
    *,
    gate: float = 0.8,
    reaction: str = "stop",
    problems: tuple[str, ...] = (),
    decision: Any = None,
    max_injection: float = 0.5,
    labels: tuple[str, ...] = ("loans", "cards"),
    **changes: Any,
) -> Verdict:
    rules = EnrichmentSettings.model_validate(
        {"gate": gate, "labels": labels, "quality": {"reaction": reaction}}
    )
    return decide(
        proposal(**changes),
        confidence=confidence,
        rules=rules,
        page_problems=problems,
        max_injection=max_injection,
        decision=decision,
    )


@pytest.mark.parametrize(
    ("found", "status", "reason"),
    [
        (verdict(), "published", "confidence 0.900 passes the gate of 0.8"),
        (verdict(0.8), "published", "confidence 0.800 passes the gate of 0.8"),
        (verdict(0.79), "in_review", "confidence 0.790 is below the gate of 0.8"),
        (verdict(0.0, gate=0.0), "published", "confidence 0.000 passes the gate of 0"),
        (
            verdict(None, method="none"),
            "in_review",
            "no confidence: the model gives none (method none)",
        ),
        (
            verdict(failed=("entities", "summary")),
            "published",
            "confidence 0.900 passes the gate of 0.8; without entities; without summary",
        ),
        (verdict(waiting="budget"), "deferred", "budget"),
        (verdict(label=None), "failed", "classification failed; see its dead letter"),
        (verdict(problems=("bad", "worse")), "held", "page: bad"),
        (
            verdict(problems=("bad",), label=None),
            "failed",
            "classification failed; see its dead letter",
        ),
        (verdict(problems=("bad",), reaction="review"), "in_review", "page: bad"),
        (
            verdict(0.5, problems=("bad",), reaction="warn"),
            "in_review",
            "confidence 0.500 is below the gate of 0.8",
        ),
        (
            verdict(0.99, injection=0.6),
            "in_review",
            "speaks to a model: injection score 0.600 of 0.5",
        ),
        (verdict(injection=0.49), "published", "confidence 0.900 passes the gate of 0.8"),
        (verdict(max_injection=0.0), "published", "confidence 0.900 passes the gate of 0.8"),
        (verdict(injection=0.6, decision=APPROVED), "published", "approved by ann in review 7"),
        (verdict(0.1, decision=APPROVED), "published", "approved by ann in review 7"),
        (verdict(problems=("bad",), decision=APPROVED), "published", "approved by ann in review 7"),
        (verdict(waiting="budget", decision=APPROVED), "published", "approved by ann in review 7"),
    ],
)
def test_ways_to_a_status(found: Verdict, status: str, reason: str) -> None:
    assert (found.status, found.reason) == (status, reason)
    assert (found.published is None) == (found.digest is None) == (status != "published")


def test_what_is_published() -> None:
    found = verdict()
    assert found.published == dict.fromkeys(PUBLISHED) | {"label": "loans", "summary": "S"}


def test_a_decision_stands_for_what_the_person_saw() -> None:
    assert verdict(decision=APPROVED).fields["label"] == "cards"
    corrected = SimpleNamespace(
        id=8,
        status="corrected",
        decided_by="bob",
        fields=FIELDS,
        decision={"label": "other", "topics": ["tax"]},
    )
    found = decided(corrected)
    assert found.fields == FIELDS | {"label": "other", "topics": ["tax"]}
    rejected = SimpleNamespace(
        id=9, status="rejected", decided_by="bob", fields=FIELDS, decision=None
    )
    assert (decided(rejected).status, decided(rejected).published) == ("rejected", None)


def test_a_decision_for_a_label_that_is_no_more_does_not_hold() -> None:
    assert verdict(0.5, decision=APPROVED, labels=("loans", "other")).status == "in_review"
    rejected = SimpleNamespace(
        id=9, status="rejected", decided_by="bob", fields=FIELDS, decision=None
    )
    assert verdict(decision=rejected, labels=("cards", "other")).status == "rejected"


def test_confidence_in_an_answer_about_a_text_that_speaks_to_the_model() -> None:
    assert lowered(0.9, 0.6, 0.5) == pytest.approx(0.36)
    assert lowered(0.9, 0.4, 0.5) == 0.9
    assert lowered(0.9, 0.0, 0.0) == 0.9
    assert lowered(None, 0.9, 0.5) is None
