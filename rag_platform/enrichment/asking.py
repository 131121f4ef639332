"""Answers for documents, each paid for once: from the memo, else from the gateway."""

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rag_platform.enrichment.fields import canonical
from rag_platform.enrichment.letters import Failure, StepLetters
from rag_platform.errors import PlatformError
from rag_platform.llm.budget import BudgetExceeded
from rag_platform.llm.completion import Ask, Completion
from rag_platform.llm.errors import InvalidAnswer, ModelError, ModelRefused, ServiceRefused
from rag_platform.llm.gateway import Gateway
from rag_platform.storage.memo import Claim, Memo, memo_key

logger = logging.getLogger(__name__)

Status = Literal["ok", "failed", "deferred"]

# Answers that are kept in one transaction; those that are not kept yet may be lost by a kill.
_KEEP = 8
# So many failures that may pass, one after the other: the service is down, the rest waits. So many
# that the budget refuses: nothing that is longer will fit.
_GIVE_UP = 16
# Why documents wait.
_BUDGET, _DOWN = "budget", "model unavailable"


@dataclass(slots=True)
class AskFigures:
    """What one run asked for: counts of documents by how they came out, and of answers.

    `asked` counts answers by the gateway, `cached` those of them that its cache had.
    """

    ok: int = 0
    failed: int = 0
    deferred: int = 0
    asked: int = 0
    cached: int = 0
    memo_hits: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    microusd: int = 0
    reused_passes: int = 0

    def as_asked_before(self) -> "AskFigures":
        """These, for a run that comes after and finds in the memo what they asked."""
        return AskFigures(
            asked=self.asked,
            cached=self.cached,
            memo_hits=self.memo_hits - self.ok,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            microusd=self.microusd,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document and what is asked about it; `waits` says why it cannot be asked yet."""

    doc_id: str
    key: str
    ask: Ask[Any] | None
    waits: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step has for a document: `answer` as the memo keeps it, or the reason of none."""

    status: Status
    reason: str = ""
    answer: Mapping[str, Any] | None = None


class Asking:
    """One run of a step over a window. `retry` asks again about documents that failed before."""

    def __init__(
        self,
        stage: str,
        fingerprint: str,
        *,
        gateway: Gateway,
        memo: Memo,
        letters: StepLetters,
        window: str,
        retry: bool,
        figures: AskFigures,
    ) -> None:
        self._kind = f"document_{stage}"
        self._fingerprint = fingerprint
        self._gateway = gateway
        self._memo = memo
        self._letters = letters
        self._window = window
        self._retry = retry
        self._figures = figures
        self._is_down = False
        self._unanswered = 0
        self._refused = 0
        self._warned: set[str] = set()

    def outcomes(self, wanted: Sequence[Wanted], *, claim: Claim = set) -> list[Outcome]:
        """One outcome for each document, in order; what is not claimed waits. Raises what is no
        matter of a document and does not pass by itself: a wrong key, an unknown price."""
        keys = [self._key(one.ask) if one.ask else None for one in wanted]
        claimed = claim([key for key in keys if key is not None])
        known = self._known(claimed)
        failed_before = self._failed_before(wanted)
        missing = _missing(wanted, keys, known.keys(), failed_before)
        missing = {key: ask for key, ask in missing.items() if key in claimed}
        found = known | self._asked(missing)
        outcomes = []
        failures: list[Failure] = []
        for one, key in zip(wanted, keys, strict=True):
            if key is None:
                outcomes.append(Outcome("deferred", one.waits or "waits for the step before"))
            elif key in found:
                outcome = found[key]
                outcomes.append(outcome)
                if outcome.status == "failed":
                    reason, _, detail = outcome.reason.partition(": ")
                    failures.append(Failure(one.doc_id, one.key, reason, detail, key.hex()))
            elif one.doc_id in failed_before and key not in missing:
                before = failed_before[one.doc_id]
                outcomes.append(Outcome("failed", f"{before.reason}: {before.detail}"))
            else:
                why = _DOWN if self._is_down else _BUDGET
                outcomes.append(Outcome("deferred", why))
        worked = [
            one.doc_id for one, out in zip(wanted, outcomes, strict=True) if out.status == "ok"
        ]
        self._letters.record(self._window, failures, worked)
        self._count(outcomes, hits=sum(key in known for key in keys))
        return outcomes

    @property
    def is_down(self) -> bool:
        """Whether the service was found to be down: nothing more was asked."""
        return self._is_down

    def missing(self, wanted: Sequence[Wanted]) -> list[Ask[Any]]:
        """The questions that `outcomes` would ask the gateway."""
        keys = [self._key(one.ask) if one.ask else None for one in wanted]
        known = self._memo.known(key for key in keys if key is not None)
        return list(_missing(wanted, keys, known, self._failed_before(wanted)).values())

    def _key(self, ask: Ask[Any]) -> bytes:
        return memo_key(self._kind, self._fingerprint, canonical(dict(ask.variables)))

    def _known(self, keys: Collection[bytes]) -> dict[bytes, Outcome]:
        values = self._memo.get_many(keys)
        return {key: Outcome("ok", answer=json.loads(value)) for key, value in values.items()}

    def _failed_before(self, wanted: Sequence[Wanted]) -> dict[str, Failure]:
        if self._retry:
            return {}
        return self._letters.known([one.doc_id for one in wanted])

    def _asked(self, missing: Mapping[bytes, Ask[Any]]) -> dict[bytes, Outcome]:
        """The gateway's answers, kept a few at a time as they come in.

        Short questions first: one that is dearer than what the budget has left must not keep
        those behind it waiting, run after run.
        """
        found: dict[bytes, Outcome] = {}
        unkept: dict[bytes, bytes] = {}
        self._refused = 0
        keys = sorted(missing, key=lambda key: _length(missing[key]))
        results = self._gateway.map(self._until_given_up(missing[key] for key in keys))
        try:
            for key, result in zip(keys, results, strict=False):
                found[key] = outcome = self._outcome(result)
                if outcome.answer is not None:
                    unkept[key] = canonical(outcome.answer)
                if len(unkept) >= _KEEP:
                    self._memo.put_many(unkept)
                    unkept = {}
        finally:
            if unkept:
                self._memo.put_many(unkept)
        return found

    def _until_given_up(self, asks: Iterable[Ask[Any]]) -> Iterator[Ask[Any]]:
        for ask in asks:
            if self._is_down or self._refused >= _GIVE_UP:
                return
            yield ask

    def _outcome(self, result: Completion[Any] | PlatformError) -> Outcome:
        if not isinstance(result, PlatformError):
            self._unanswered = self._refused = 0
            self._figures.asked += 1
            self._figures.cached += result.cached
            self._figures.input_tokens += result.input_tokens
            self._figures.output_tokens += result.output_tokens
            self._figures.microusd += 0 if result.cached else result.microusd
            return Outcome("ok", answer=answer_of(result))
        if isinstance(result, BudgetExceeded):
            self._refused += 1
            self._warn_once(_BUDGET, result)
            return Outcome("deferred", _BUDGET)
        if result.transient:
            self._unanswered += 1
            self._is_down |= self._unanswered >= _GIVE_UP
            self._warn_once(_DOWN, result)
            return Outcome("deferred", _DOWN)
        if isinstance(result, ModelError) and not isinstance(result, ServiceRefused):
            return Outcome("failed", f"{_reason_of(result)}: {result}")
        raise result

    def _warn_once(self, why: str, error: PlatformError) -> None:
        if why not in self._warned:
            logger.warning("%s: documents wait: %s", self._kind, error)
            self._warned.add(why)

    def _count(self, outcomes: Sequence[Outcome], *, hits: int) -> None:
        self._figures.memo_hits += hits
        for outcome in outcomes:
            name = outcome.status
            setattr(self._figures, name, getattr(self._figures, name) + 1)


def _missing(
    wanted: Sequence[Wanted],
    keys: Sequence[bytes | None],
    known: Collection[bytes],
    failed_before: Mapping[str, Failure],
) -> dict[bytes, Ask[Any]]:
    """What must be asked, each question once: neither known nor known to fail."""
    missing: dict[bytes, Ask[Any]] = {}
    for one, key in zip(wanted, keys, strict=True):
        if one.ask is None or key is None or key in known:
            continue
        before = failed_before.get(one.doc_id)
        if before is None or before.fingerprint != key.hex():
            missing.setdefault(key, one.ask)
    return missing


def _length(ask: Ask[Any]) -> int:
    return sum(map(len, ask.variables.values()))


def answer_of(completion: Completion[Any]) -> dict[str, Any]:
    """A completion as the memo keeps it, without what differs from one asking to the next."""
    return {
        "value": completion.value.model_dump(mode="json"),
        "model": completion.model,
        "prompt": completion.prompt,
        "tier": completion.tier,
        "complexity": completion.complexity,
        "confidence": completion.confidence.value,
        "method": completion.confidence.method,
    }


def _reason_of(error: ModelError) -> str:
    if isinstance(error, ModelRefused):
        return "refused"
    return "invalid_answer" if isinstance(error, InvalidAnswer) else "model_error"
