"""The gate: which enriched documents are published, and which a person is asked about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rag_platform.enrichment.fields import digest_of, published_of
from rag_platform.settings_pipelines import EnrichmentSettings

Status = Literal["published", "in_review", "rejected", "deferred", "failed", "held"]
STATUSES: tuple[Status, ...] = (
    "published",
    "in_review",
    "rejected",
    "held",
    "failed",
    "deferred",
)
DECISIONS = ("approved", "corrected", "rejected")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the steps made of a document: a row of an enriched part.

    `waiting` says why the document waits for a later run; `failed` names the steps that failed;
    `injection` says from 0 to 1 how surely the document speaks to a model.
    """

    seq: int
    doc_id: str
    key: str
    title: str
    text_hash: str
    waiting: str | None
    failed: Sequence[str]
    fields: Mapping[str, Any]
    label: str | None
    raw_confidence: float | None
    method: str | None
    model: str | None
    prompt: str | None
    injection: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status of a document, why, and its fields; `label` as in them."""

    status: Status
    reason: str
    fields: Mapping[str, Any]

    @property
    def published(self) -> dict[str, Any] | None:
        """The fields that downstream sees; None for none."""
        return published_of(self.fields) if self.status == "published" else None

    @property
    def digest(self) -> str | None:
        """Over `published`."""
        published = self.published
        return None if published is None else digest_of(published)


def decide(
    proposal: Proposal,
    *,
    confidence: float | None,
    rules: EnrichmentSettings,
    page_problems: Sequence[str],
    max_injection: float = 1.0,
    decision: Any = None,
) -> Verdict:
    """What becomes of a document.

    `confidence` is the calibrated one, `lowered`; from an injection score of `max_injection` on a
    person is asked, however sure a model is. `decision` is the decided review of its text, if any:
    it holds, whatever a model says later, as long as there is the label that it gives.
    """
    if decision is not None:
        found = decided(decision)
        if found.status == "rejected" or found.fields["label"] in rules.labels:
            return found
    if proposal.waiting:
        return Verdict("deferred", proposal.waiting, proposal.fields)
    if proposal.label is None:
        return Verdict("failed", "classification failed; see its dead letter", proposal.fields)
    reaction = rules.quality.reaction if page_problems else "warn"
    if reaction == "stop":
        return Verdict("held", f"page: {page_problems[0]}", proposal.fields)
    without = "".join(f"; without {stage}" for stage in proposal.failed)
    if reaction == "review":
        return Verdict("in_review", f"page: {page_problems[0]}{without}", proposal.fields)
    if _is_suspect(proposal.injection, max_injection):
        reason = f"speaks to a model: injection score {proposal.injection:.3f} of {max_injection:g}"
        return Verdict("in_review", reason + without, proposal.fields)
    if confidence is None:
        reason = f"no confidence: the model gives none (method {proposal.method or 'none'})"
        return Verdict("in_review", reason + without, proposal.fields)
    if confidence < rules.gate:
        reason = f"confidence {confidence:.3f} is below the gate of {rules.gate:g}"
        return Verdict("in_review", reason + without, proposal.fields)
    reason = f"confidence {confidence:.3f} passes the gate of {rules.gate:g}"
    return Verdict("published", reason + without, proposal.fields)


def lowered(confidence: float | None, injection: float, max_injection: float) -> float | None:
    """The confidence in what a model said of a document: less by the share in which the document
    itself may have told the model what to say."""
    if confidence is None or not _is_suspect(injection, max_injection):
        return confidence
    return confidence * (1 - injection)


def _is_suspect(injection: float, max_injection: float) -> bool:
    return injection > 0 and injection >= max_injection


def decided(review: Any) -> Verdict:
    """What a decided review makes of its document; `review` is its row."""
    fields = {**review.fields, **(review.decision or {})}
    status: Status = "rejected" if review.status == "rejected" else "published"
    return Verdict(status, f"{review.status} by {review.decided_by} in review {review.id}", fields)
