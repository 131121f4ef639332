"""The safety policy of a source applied to one clean document."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rag_platform.documents.safety.injections import injection_score
from rag_platform.documents.safety.rules import Finding, Group
from rag_platform.documents.safety.scanner import mask, scan
from rag_platform.settings_documents import Action, SafetySettings

# Bumped whenever the same text would be found to hold something else.
RULES_VERSION = "3"

Taken = Literal["none", "masked", "review", "quarantined"]
# What nobody found anything in.
NOTHING = {"kinds": "{}", "injection": 0.0, "action": "none"}


@dataclass(frozen=True, slots=True)
class Screened:
    """A document as it may go on, and what was found in it.

    `page_starts` are offsets into the text; `kinds` counts findings by kind; `injection` is from
    0 to 1. A quarantined document has a `reason` code, and `detail` says what a person can do.
    """

    text: str
    title: str
    metadata: dict[str, str]
    page_starts: tuple[int, ...]
    kinds: dict[str, int]
    injection: float
    action: Taken
    reason: Group | None = None
    detail: str = ""


class Screen:
    """Looks for secrets, personal data and text made for models."""

    def __init__(self, rules: SafetySettings) -> None:
        self._rules = rules
        actions: dict[Group, Action] = {"secrets": rules.secrets, "pii": rules.pii}
        self._actions = {group: action for group, action in actions.items() if action != "off"}
        self._masked = {group for group, action in actions.items() if action == "mask"}
        # Where findings overlap secrets come first: those that are only counted must hide nothing.
        is_apart = rules.secrets == "count" and rules.pii in ("mask", "quarantine")
        together: set[Group] = set(self._actions)
        self._scans: list[set[Group]] = [{"pii"}, {"secrets"}] if is_apart else [together]

    @property
    def fingerprint(self) -> str:
        """Rules and policy: what the outcome depends on besides the document."""
        policy = self._rules.model_dump_json()
        return hashlib.sha256(f"{RULES_VERSION}\n{policy}".encode()).hexdigest()

    def __call__(
        self,
        text: str,
        *,
        title: str = "",
        metadata: Mapping[str, str] | None = None,
        page_starts: tuple[int, ...] = (),
        language: str = "",
    ) -> Screened:
        """Screen a clean text, with its title and what its format says of it."""
        metadata = dict(metadata or {})
        # With its name: that may say what a value is.
        entries = [f"{name}: {each}" for name, each in metadata.items()]
        found = self._scan(text, language)
        beside: list[list[Finding]] = [[] for _ in [title, *entries]]
        if self._scan("\n".join([title, *entries]), language):  # in most there is nothing
            beside = [self._scan(each, language) for each in [title, *entries]]
        everything = [*found, *(each for findings in beside for each in findings)]
        injection = injection_score("\n".join([text, title, *metadata.values()]))
        kinds = dict(sorted(Counter(each.kind for each in everything).items()))
        reason = self._refused(everything)
        if reason is not None:
            detail = self._detail(reason, everything)
            return Screened("", "", {}, (), kinds, injection, "quarantined", reason, detail)
        text, page_starts = mask(text, self._to_mask(found), page_starts)
        title, _ = mask(title, self._to_mask(beside[0]))
        masked = {}
        for name, entry, findings in zip(metadata, entries, beside[1:], strict=True):
            entry, (start,) = mask(entry, self._to_mask(findings), (len(name) + 2,))
            masked[entry[:start].removesuffix(": ")] = entry[start:]
        return Screened(
            text=text,
            title=title,
            metadata=masked,
            page_starts=page_starts,
            kinds=kinds,
            injection=injection,
            action=self._taken(everything, injection),
        )

    def _scan(self, text: str, language: str) -> list[Finding]:
        if not self._actions:
            return []
        return [
            finding
            for groups in self._scans
            for finding in scan(text, groups=groups, language=language)
        ]

    def _to_mask(self, findings: list[Finding]) -> list[Finding]:
        return [finding for finding in findings if finding.group in self._masked]

    def _refused(self, findings: list[Finding]) -> Group | None:
        """The group for which the document must not go on."""
        there = {finding.group for finding in findings}
        refused = [
            g for g, action in self._actions.items() if action == "quarantine" and g in there
        ]
        return refused[0] if refused else None

    def _taken(self, findings: list[Finding], injection: float) -> Taken:
        if injection >= self._rules.max_injection:
            return "review"
        return "masked" if self._to_mask(findings) else "none"

    def _detail(self, group: Group, findings: list[Finding]) -> str:
        counts = Counter(finding.kind for finding in findings if finding.group == group)
        listed = ", ".join(f"{kind}: {n}" for kind, n in sorted(counts.items()))
        what = "secrets" if group == "secrets" else "personal data"
        return (
            f"holds {what} ({listed}); remove them from the document, or set `safety.{group}` "
            "of the source to `mask`"
        )


def as_columns(screened: Screened) -> dict[str, object]:
    """What was found, as the columns of a clean part have it."""
    return {
        "kinds": json.dumps(screened.kinds),
        "injection": screened.injection,
        "action": screened.action,
    }
