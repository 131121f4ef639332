"""What people may change, in one place: the command line and the console both go through here.

Each action is in the audit log before it begins and after it ended. The log holds no key and no
text of a document, so that erasing a document has nothing to find there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_platform.operations.audit import Audit, Via

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rag_platform.indexing.promotion import Promotion as IndexPromotion
    from rag_platform.operations.audit import Ending
    from rag_platform.platform import Platform
    from rag_platform.training.ledger import Promotion as ModelPromotion


@dataclass(frozen=True)
class Actions:
    """The actions of one person, by one way in."""

    platform: "Platform"
    actor: str
    via: Via

    def audited(
        self, action: str, subject: str, *, reason: str | None = None, **facts: Any
    ) -> "AbstractContextManager[Ending]":
        """A block that is in the audit log."""
        audit = Audit(self.platform.catalog)
        return audit.audited(
            action, subject, actor=self.actor, via=self.via, reason=reason, **facts
        )

    # Index versions

    def promote_index(
        self, index: str, *, reason: str, force: bool = False, seen: str | None = None
    ) -> "IndexPromotion":
        """Let an index answer, if its gates pass; see `Promotions.promote`."""
        with self.audited("index.promote", index, reason=reason, force=force) as ending:
            row = self.platform.promotions.promote(
                index, actor=self.actor, reason=reason, force=force, seen=seen
            )
            if row.action == "refused":
                ending.refuse("; ".join(row.problems))
            return row

    def roll_back_index(self, *, reason: str, seen: str | None = None) -> "IndexPromotion":
        """Let the index answer that answered before; see `Promotions.rollback`."""
        with self.audited("index.rollback", self.platform.live(), reason=reason) as ending:
            row = self.platform.promotions.rollback(actor=self.actor, reason=reason, seen=seen)
            ending.detail = f"{row.live} answers"
            return row

    def retire_index(self, index: str, *, reason: str) -> None:
        """Remove all that an index keeps; see `Retirement.retire`."""
        with self.audited("index.retire", index, reason=reason):
            self.platform.retirement.retire(index, actor=self.actor, reason=reason)

    # Models

    def promote_model(
        self, model: str, version: str | None, *, reason: str, seen: str | None = None
    ) -> "ModelPromotion":
        """Let a version serve all units; without `version` the challenger."""
        with self.audited("model.promote", model, reason=reason, version=version) as ending:
            row = self.platform.models.promotions.promote(
                model, version, actor=self.actor, reason=reason, seen=seen
            )
            ending.detail = f"version {row.version} serves"
            return row

    def roll_back_model(
        self, model: str, *, reason: str, seen: str | None = None
    ) -> "ModelPromotion":
        """Undo the last change of what serves."""
        with self.audited("model.rollback", model, reason=reason) as ending:
            row = self.platform.models.promotions.rollback(
                model, actor=self.actor, reason=reason, seen=seen
            )
            ending.detail = f"version {row.champion} serves"
            return row

    # Reviews; each returns the numbers of all reviews that the decision holds for

    def approve_review(self, number: int, *, note: str | None = None) -> list[int]:
        """Publish the proposal as it is."""
        with self.audited("review.approve", str(number)) as ending:
            decided = self.platform.reviews.approve(number, by=self.actor, note=note)
            ending.facts["reviews"] = decided
            return decided

    def correct_review(
        self,
        number: int,
        *,
        label: str | None,
        fields: Mapping[str, Any],
        note: str | None = None,
    ) -> list[int]:
        """Publish it with another category or other fields."""
        with self.audited("review.correct", str(number), fields=sorted(fields)) as ending:
            decided = self.platform.reviews.correct(
                number, by=self.actor, label=label, fields=dict(fields), note=note
            )
            ending.facts["reviews"] = decided
            return decided

    def reject_review(self, number: int, *, note: str | None = None) -> list[int]:
        """Publish nothing of it."""
        with self.audited("review.reject", str(number)) as ending:
            decided = self.platform.reviews.reject(number, by=self.actor, note=note)
            ending.facts["reviews"] = decided
            return decided

    # Erasure

    def request_erasure(
        self, source: str, keys: Sequence[str], *, reason: str, redact: bool = False
    ) -> None:
        """Ask for documents of a source to be erased; see `Eraser.request`."""
        from rag_platform.erasure.subjects import NoSuchDocument, StillThere
        from rag_platform.platform_erasure import eraser

        with self.audited("document.erase", source, reason=reason, documents=len(keys)) as ending:
            try:
                eraser(self.platform, source).request(
                    keys, by=self.actor, reason=reason, redact=redact
                )
            except (NoSuchDocument, StillThere) as error:
                ending.refuse(type(error).__name__)  # what it says has a key in it
                raise
